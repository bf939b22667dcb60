"""Where an event stream ends, though its HTTP body may not have: clients hang up there."""


class TerminalLine:
    """Looks for the line that ends an event stream, in pieces of it."""

    __slots__ = ("_after_newline", "_line", "_within")

    def __init__(self, line: bytes) -> None:
        self._line, self._within = line, b"\n" + line
        self._after_newline = True

    def ends_in(self, data: bytes) -> bool:
        """Whether the line begins in this piece. One split over two pieces is missed: the keeper finds it."""
        found = self._within in data or (self._after_newline and data.startswith(self._line))
        self._after_newline = data.endswith(b"\n")
        return found
