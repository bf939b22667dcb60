"""A request as the simulator received it."""

import hashlib
import re
from collections.abc import Container
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec

from sluice.simulator.faults import Faults
from sluice.values.request import Header

WHOLE_BYTES: Final = 2 * 1024 * 1024
"""A longer body is not kept: its digest, its length and its two ends are."""
END_BYTES: Final = 64 * 1024

NOWHERE: Final = re.compile(r"(?!)")
"""Where vendors have the model whose paths name none."""
_MODEL: Final = re.compile(rb'"model"\s*:\s*"((?:[^"\\]|\\.){0,500})"')
_FORM_MODEL: Final = re.compile(rb'name="?model"?\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{0,500})\r\n')


class Body(NamedTuple):
    """A request's body. `whole` is None where it was too long to be kept; `head` and `tail` are its ends."""

    length: int
    sha256: str
    whole: bytes | None
    head: bytes
    tail: bytes


EMPTY: Final = Body(0, hashlib.sha256().hexdigest(), b"", b"", b"")


class BodyKeeper:
    """Takes in one body of any length and keeps a bounded part of it."""

    __slots__ = ("_digest", "_head", "_kept", "_length", "_most", "_tail")

    def __init__(self, most_bytes: int = WHOLE_BYTES) -> None:
        self._digest = hashlib.sha256()
        self._most = most_bytes
        self._kept = bytearray()
        self._head = self._tail = b""
        self._length = 0

    @property
    def held(self) -> int:
        """Bytes of memory in use."""
        return len(self._kept) + len(self._head) + len(self._tail)

    def add(self, data: bytes) -> None:
        self._digest.update(data)
        self._length += len(data)
        if self._length <= self._most:
            self._kept += data
            return
        if not self._head:
            self._head = bytes(self._kept[:END_BYTES] + data[:END_BYTES])[:END_BYTES]
            self._tail = bytes(self._kept[-END_BYTES:])
            self._kept = bytearray()
        self._tail = (self._tail + data[-END_BYTES:])[-END_BYTES:]

    def body(self) -> Body:
        whole = bytes(self._kept) if self._length <= self._most else None
        head = self._head if whole is None else whole[:END_BYTES]
        tail = self._tail if whole is None else whole[-END_BYTES:]
        return Body(self._length, self._digest.hexdigest(), whole, head, tail)


class Call(NamedTuple):
    """One request, addressed: `slug` names the vendor, and `path` is its own, without slug and query."""

    method: str
    target: str
    slug: str
    path: str
    headers: list[Header]
    body: Body
    model: str
    """With its suffixes; empty where the request names none."""
    faults: Faults

    def header(self, name: bytes) -> str:
        """The first value of a header, by its name in lower case; empty where there is none."""
        return header_of(self.headers, name)

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; none where there are too many."""
        try:
            return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True, max_num_fields=100))
        except ValueError:
            return {}


def header_of(headers: list[Header], name: bytes) -> str:
    for lower, _, value in headers:
        if lower == name:
            return value.decode("latin-1")
    return ""


def address_of(target: str, slugs: Container[str]) -> tuple[str, str]:
    """The slug of a known vendor, OpenAI's where none is named, and the vendor's own path without query."""
    if "://" in target[:8]:
        target = "/" + target.partition("://")[2].partition("/")[2]
    segments = [unquote(one) for one in target.partition("?")[0].split("/") if one]
    if segments and segments[0].lower() in slugs:
        return segments[0].lower(), "/".join(segments[1:])
    return "openai", "/".join(segments)


def model_of(path: str, body: Body, in_path: re.Pattern[str] = NOWHERE) -> str:
    """The model that a request names, in its path where the vendor has it there, or in its body; else empty."""
    if found := in_path.search(path):
        return found[1]
    if body.whole is not None and body.whole[:1] in (b"{", b" ", b"\n", b"\t", b"\r"):
        try:
            named = _DECODE_NAMED.decode(body.whole)
        except msgspec.DecodeError:
            return ""
        return next((one for one in (named.model, named.version) if isinstance(one, str) and one), "")
    for pattern in (_MODEL, _FORM_MODEL):
        for end in (body.head, body.tail):
            if match := pattern.search(end):
                return match[1].decode("utf-8", "replace")
    return ""


class _Named(msgspec.Struct):
    model: object = None
    version: object = None
    """What Replicate calls a model."""


_DECODE_NAMED: Final = msgspec.json.Decoder(_Named)
