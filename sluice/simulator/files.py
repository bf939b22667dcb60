"""Uploaded files, as many as fit a bounded memory, and the forms that bring them."""

import re
from collections import OrderedDict
from typing import Final, NamedTuple

from sluice.simulator.call import Body

KEPT_BYTES: Final = 16 * 1024 * 1024
KEPT_FILES: Final = 1000

_BOUNDARY: Final = re.compile(r'boundary=(?:"([^"]{1,200})"|([^;\s]{1,200}))')
_NAME: Final = re.compile(rb'[; ]name="([^"]*)"')
_FILENAME: Final = re.compile(rb'filename="([^"]*)"')


class FormPart(NamedTuple):
    """A part of a form. `data` is None where the part was too long to be kept whole."""

    filename: str | None
    length: int
    data: bytes | None

    @property
    def text(self) -> str:
        return "" if self.data is None else self.data.decode("utf-8", "replace")


class File(NamedTuple):
    id: str
    filename: str
    purpose: str
    length: int
    data: bytes | None


class Shelf:
    """The files uploaded so far; the oldest make room for new ones."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._files: OrderedDict[str, File] = OrderedDict()
        self._most_bytes = most_bytes
        self._bytes = 0

    def put(self, file: File) -> None:
        self.remove(file.id)
        self._files[file.id] = file
        self._bytes += len(file.data or b"")
        while self._bytes > self._most_bytes or len(self._files) > KEPT_FILES:
            self.remove(next(iter(self._files)))

    def get(self, file_id: str) -> File | None:
        return self._files.get(file_id)

    def all(self) -> list[File]:
        """The newest first."""
        return list(reversed(self._files.values()))

    def remove(self, file_id: str) -> bool:
        file = self._files.pop(file_id, None)
        if file is not None:
            self._bytes -= len(file.data or b"")
        return file is not None


def read_form(content_type: str, body: Body) -> dict[str, FormPart]:
    """The parts of a multipart form by name. Raises ValueError where it is none.

    Of a form too long to be kept, the small parts at its two ends and the length of the long one between are known.
    """
    match = _BOUNDARY.search(content_type)
    if match is None or not content_type.lower().startswith("multipart/form-data"):
        raise ValueError("expected a multipart/form-data body with a boundary")
    mark = b"\r\n--" + (match[1] or match[2]).encode()
    if body.whole is not None:
        return dict(_parts((b"\r\n" + body.whole).split(mark)[1:]))
    head = (b"\r\n" + body.head).split(mark)[1:]
    tail = body.tail.split(mark)
    parts = dict(_parts(head[:-1])) | dict(_parts(tail[1:]))
    open_part = list(_parts(head[-1:]))
    for name, part in open_part:
        cut_off = body.length - len(body.head) - len(body.tail) + len(tail[0])
        parts[name] = FormPart(part.filename, part.length + cut_off, None)
    return parts


def _parts(pieces: list[bytes]) -> "list[tuple[str, FormPart]]":
    found: list[tuple[str, FormPart]] = []
    for piece in pieces:
        head, gap, data = piece.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if gap and name:
            filename = _FILENAME.search(head)
            said = None if filename is None else filename[1].decode("utf-8", "replace")
            found.append((name[1].decode("utf-8", "replace"), FormPart(said, len(data), data)))
    return found
