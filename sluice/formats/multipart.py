"""One small field out of a multipart form, however large the files beside it are."""

import re
from mmap import mmap
from typing import Final

_BOUNDARY: Final = re.compile(rb'boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)
_NAME: Final = re.compile(rb'[;\s]name=(?:"([^"]*)"|([^\s;]+))', re.IGNORECASE)
_MAX_PARTS: Final = 1_000
_MAX_HEAD_BYTES: Final = 8 * 1024
_MAX_FIELD_BYTES: Final = 1024


def form_field(body: bytes | bytearray | mmap, content_type: bytes, name: bytes) -> bytes | None:
    """The value of the first field of this name, None where it is missing, a file, or over 1 KB."""
    found = _BOUNDARY.search(content_type)
    if not found:
        return None
    delimiter = b"--" + (found[1] or found[2])
    at = 0 if body[: len(delimiter)] == delimiter else body.find(b"\r\n" + delimiter) + 2
    if at == 1:
        return None
    for _ in range(_MAX_PARTS):
        if at < 0:
            return None
        start = at + len(delimiter)
        head_end = body.find(b"\r\n\r\n", start, start + _MAX_HEAD_BYTES)
        if head_end >= 0 and _names(bytes(body[start:head_end]), name):
            end = body.find(b"\r\n" + delimiter, head_end + 2, head_end + 4 + _MAX_FIELD_BYTES + len(delimiter) + 2)
            return bytes(body[head_end + 4 : end]) if end >= 0 else None
        at = body.find(b"\r\n" + delimiter, start)
        at = at + 2 if at >= 0 else at
    return None


def _names(head: bytes, name: bytes) -> bool:
    for line in head.split(b"\r\n"):
        header, _, value = line.partition(b":")
        if header.strip().lower() == b"content-disposition" and b"filename" not in value.lower():
            found = _NAME.search(value)
            return found is not None and (found[1] or found[2]) == name
    return False
