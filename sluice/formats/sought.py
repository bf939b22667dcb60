"""A text looked for in bodies as they went over the wire: JSON writes it otherwise, streams cut it in pieces."""

import json
import re
from typing import Final

import msgspec

_STREAM: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")
_PIECE: Final = re.compile(
    rb'"(?:content|text|delta|response|thinking|reasoning|reasoning_content|arguments|partial_json|transcript)"'
    rb': ?"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
)
"""What vendors call the pieces of a text in the events of a stream (contract, appendix A).

Possessive, for the body is hostile: 16 MB of escapes took a gigabyte of places to come back to."""


class Sought:
    """Finds it whatever the case of ASCII letters is; of others, as it was given, in small or in capital ones."""

    def __init__(self, text: str) -> None:
        cases = (text, text.lower(), text.upper())
        self._forms = tuple(dict.fromkeys(form for case in cases for form in _forms(case)))
        self.longest = max(map(len, self._forms))
        """In bytes, of the forms that it may have."""

    def is_in(self, piece: bytes) -> bool:
        lowered = piece.lower()
        return any(form in lowered for form in self._forms)

    def is_in_whole(self, body: bytes) -> bool:
        """Where the body is a stream of events, also in the text that its events tell piece by piece."""
        return self.is_in(body) or (_STREAM.match(body) is not None and self.is_in(b"".join(_PIECE.findall(body))))


def _forms(text: str) -> tuple[bytes, ...]:
    """As it is, and as JSON has it, with and without characters past ASCII."""
    plain = text.encode("utf-8", "replace")
    return plain.lower(), msgspec.json.encode(plain.decode())[1:-1].lower(), json.dumps(text)[1:-1].lower().encode()
