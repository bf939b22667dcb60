"""Whether text is UTF-8, piece by piece: a character may be cut in two, a wrong one is told at once (RFC 6455, 8)."""

from codecs import utf_8_decode


class TextCheck:
    """Looks at one message after another, each in pieces."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = b""

    def passes(self, data: bytes, last: bool) -> bool:
        """Whether the message may still be text; its last piece must end its last character."""
        if not self._begun and data.isascii():  # nearly all that is said to a model
            return True
        data = self._begun + data
        try:
            _, read = utf_8_decode(data, "strict", last)
        except UnicodeDecodeError:
            return False
        self._begun = data[read:]
        return True
