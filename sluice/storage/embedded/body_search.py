"""Looks for a text in bodies: a walk of the logs that fit, as far as the time for it goes.

27 µs a log of 8 KB, of which two fifths are streams: some 70,000 logs in 2 s on one core.
"""

import os
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

import apsw
import zstandard

from sluice.formats.encodings import coding_of, decoded
from sluice.formats.sought import Sought
from sluice.storage.embedded.moment import LARGEST_KEY, ShardMoment
from sluice.storage.embedded.open import segment_name
from sluice.storage.embedded.pack_reader import dictionary_in, read_body
from sluice.storage.embedded.packs import STREAM_BYTES, Place, pack_path
from sluice.storage.embedded.walking import Found, Part
from sluice.storage.ports import LogQuery, Matches, ObjectFault, Side, StoreFault
from sluice.values.log import LogEntry

MOST_FETCHED: Final = 200
"""Bodies that one search reads from packs that are not in the folder: each may be a call to a store of objects."""
MOST_DECODED: Final = 16 * 1024 * 1024
_OPEN_PACKS: Final = 32

Fetch = Callable[[str, Side], Iterator[bytes] | None]
"""Reads a body wherever it is by now, by its log's id."""


class BodySearch:
    """One search of one moment of a shard. What it opened is closed at its end."""

    def __init__(self, folder: Path, sought: Sought, fetch: Fetch, deadline_s: float) -> None:
        self._folder, self._sought, self._fetch, self._deadline_s = folder, sought, fetch, deadline_s
        self._fetched = 0
        self._first = True
        """Nothing was passed before this log: no other one, and no window."""
        self._files: dict[tuple[int, int], int] = {}
        self._decompressors: dict[tuple[int, int], zstandard.ZstdDecompressor] = {}

    def run(self, moment: ShardMoment, query: LogQuery) -> Matches:
        """As many of the logs that fit the query as it wants of a page, each of which has the text in a body."""
        entries: list[LogEntry] = []
        start = LARGEST_KEY if query.descending else 0
        looked, cursor = 0, start if query.cursor is None else query.cursor
        try:
            for window in moment.windows(query):
                for found in window.found:
                    if len(entries) == query.per_page or (not self._first and self._is_over()):
                        return Matches(entries, cursor, looked)
                    if self._holds(found) and (entry := found[1].reader().entry(found[0])):
                        entries.append(entry)
                    looked, cursor, self._first = looked + 1, found[0], False
                cursor, self._first = window.cursor, False
                if self._is_over():
                    return Matches(entries, cursor, looked)
        except apsw.InterruptError:
            return Matches(entries, cursor, looked)
        return Matches(entries, None, looked)

    def close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def _is_over(self) -> bool:
        return time.monotonic() > self._deadline_s or self._fetched >= MOST_FETCHED

    def _holds(self, found: Found) -> bool:
        key, part = found
        for side, place, encoding in part.reader().bodies(key):
            if place.stored and self._is_in_body(part, key, side, place, encoding):
                return True
        return False

    def _is_in_body(self, part: Part, key: int, side: Side, place: Place, encoding: str | None) -> bool:
        """One that is damaged has it not: it is for the doctor. Raises StoreFault where none can be asked for."""
        try:
            if (place.length or 0) >= STREAM_BYTES:
                return self._is_in_pieces(part, key, side, place, encoding)
            body = self._local(part, place)
            if body is None:
                body = b"".join(self._elsewhere(part, key, side))
        except StoreFault as fault:
            if isinstance(fault, ObjectFault) or isinstance(fault.__cause__, ObjectFault):
                raise
            return False
        except (zstandard.ZstdError, OSError):
            return False
        return self._sought.is_in_whole(_plain(body, encoding))

    def _is_in_pieces(self, part: Part, key: int, side: Side, place: Place, encoding: str | None) -> bool:
        """Of a long body, the ends of whose pieces are kept for the next one."""
        segment = segment_name(part.contents.number)
        pieces = read_body(self._folder, segment, place) or self._elsewhere(part, key, side)
        if encoding:
            return self._sought.is_in_whole(_plain(_first(pieces, MOST_DECODED), encoding))
        kept = b""
        for piece in pieces:
            kept += piece
            if self._sought.is_in(kept):
                return True
            if time.monotonic() > self._deadline_s:
                if self._first:
                    break  # the next search would come no further
                raise apsw.InterruptError
            kept = kept[-self._sought.longest :]
        return False

    def _local(self, part: Part, place: Place) -> bytes | None:
        """None where the pack is not in the folder, or no more."""
        pack, offset, stored, length = place
        if pack is None or offset is None or stored is None or length is None:
            return None
        file = self._file(part.contents.number, pack)
        if file < 0:
            return None
        frame = os.pread(file, stored, offset)
        return self._decompressor(part, dictionary_in(frame)).decompress(frame, max_output_size=length)

    def _file(self, segment: int, pack: int) -> int:
        """-1 where there is none."""
        file = self._files.get((segment, pack))
        if file is None:
            if len(self._files) == _OPEN_PACKS:
                self.close()
            path = pack_path(self._folder, segment_name(segment), pack)
            try:
                file = self._files[segment, pack] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return -1
        return file

    def _decompressor(self, part: Part, dictionary: int) -> zstandard.ZstdDecompressor:
        name = part.contents.number, dictionary
        found = self._decompressors.get(name)
        if found is None:
            data = part.reader().dictionary(dictionary) if dictionary else None
            known = zstandard.ZstdCompressionDict(data) if data else None
            found = self._decompressors[name] = zstandard.ZstdDecompressor(dict_data=known)
        return found

    def _elsewhere(self, part: Part, key: int, side: Side) -> Iterator[bytes]:
        self._fetched += 1
        return self._fetch(part.reader().id(key), side) or iter(())


def _plain(body: bytes, encoding: str | None) -> bytes:
    """Decoded where it was sent encoded; as it is where nobody here can."""
    pieces = (
        decoded(BytesIO(body), coding_of(encoding.encode("latin-1", "replace")), MOST_DECODED) if encoding else None
    )
    return body if pieces is None else b"".join(pieces)


def _first(pieces: Iterator[bytes], most: int) -> bytes:
    taken: list[bytes] = []
    for piece in pieces:
        taken.append(piece)
        most -= len(piece)
        if most <= 0:
            break
    return b"".join(taken)
