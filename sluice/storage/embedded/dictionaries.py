"""Dictionaries: what the bodies of one gateway share, told to zstd beforehand: less than half the room, half the time.

A frame names its dictionary in its header; a segment holds every dictionary that its frames name.
"""

import secrets
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import Final, NamedTuple

import apsw
import zstandard

from sluice.storage.embedded.open import database_path, open_segment_readonly, segment_name
from sluice.storage.embedded.packs import LEVEL, Place, pack_path, plain_compressor

DICTIONARY_BYTES: Final = 64 * 1024
TRAIN_ROWS: Final = 2_000
"""A segment without a dictionary gets one from its first logs, as many as these."""
_SAMPLE_BYTES: Final = 64 * 1024
_SAMPLES_BYTES: Final = 8 * 1024 * 1024
"""To learn from so much takes 0.3 s, in which Python goes on."""
_FEWEST: Final = 200
_HELD_BACK: Final = 5
"""One sample of so many is not learned from: on those the dictionary is tried."""
_WORTH: Final = 0.9
"""A dictionary that leaves more than this part of the bytes is not worth its reading."""
_WORSE: Final = 1.15
"""So much worse than when it was trained may a dictionary do before another one is."""
_IDS: Final = range(32_768, 65_536)
"""Two bytes in every header; the format leaves these to whoever wants them (RFC 8878, 3.1.1.1.3)."""

_SAMPLES: Final = (
    "SELECT {0}_pack, {0}_off, {0}_z, {0}_len FROM det"
    " WHERE {0}_z > 0 AND {0}_len BETWEEN 64 AND ? AND {1} IS NULL ORDER BY k DESC LIMIT ?"
)
"""What came compressed has nothing in common with the rest."""


class Dictionary(NamedTuple):
    """`ratio`: what is left of the bytes of bodies of which it knew nothing when it was new."""

    id: int
    data: bytes
    ratio: float


class Compressors:
    """One for each dictionary in use, of a bounded number: 0.4 MB and 0.4 ms each."""

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._plain = plain_compressor()
        self._known: OrderedDict[bytes, zstandard.ZstdCompressor] = OrderedDict()

    def of(self, dictionary: Dictionary | None) -> zstandard.ZstdCompressor:
        if dictionary is None:
            return self._plain
        found = self._known.get(dictionary.data)  # a text's hash is reckoned once
        if found is None:
            found = self._known[dictionary.data] = _compressor(dictionary)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(dictionary.data)
        return found


class Training:
    """Makes a dictionary from the newest bodies of a segment, if it is worth it; for the housekeeping's thread."""

    def __init__(self, folder: Path, number: int, former: Dictionary | None = None) -> None:
        self.number = number
        self.made: Dictionary | None = None
        self._folder, self._former = folder, former
        self._stopped = False

    def run(self) -> None:
        """Raises what SQLite and the file system raise."""
        samples, ratio = self._samples()
        if len(samples) < _FEWEST or self._stopped:
            return
        if self._former is None or ratio > self._former.ratio * _WORSE:
            self.made = _trained(samples)

    def stop(self) -> None:
        self._stopped = True

    def discard(self) -> None:
        self.made = None

    def _samples(self) -> tuple[list[bytes], float]:
        """Bodies, and what the former dictionary has left of those that were compressed with it."""
        former = self._former
        samples: list[bytes] = []
        stored = raw = held = 0
        for place in self._places():
            found = _read(self._folder, segment_name(self.number), place, former)
            if found is None:
                continue
            samples.append(found.body)
            held += len(found.body)
            if found.dictionary:
                stored += place.stored or 0
                raw += len(found.body)
            if held > _SAMPLES_BYTES or self._stopped:
                break
        return samples, stored / raw if raw else 0.0

    def _places(self) -> Iterator[Place]:
        """Requests and replies in turn, the newest first."""
        path = database_path(self._folder, self.number)
        with closing(open_segment_readonly(path)) as db:
            sides = [
                [Place(*row) for row in db.execute(_SAMPLES.format(side, encoding), (_SAMPLE_BYTES, TRAIN_ROWS))]
                for side, encoding in (("req", "rqce"), ("res", "rsce"))
            ]
        for pair in zip_longest(*sides):
            yield from filter(None, pair)


def read_dictionary(db: apsw.Connection, number: int) -> bytes | None:
    """The dictionary that a frame of this segment names."""
    found: bytes | None = db.execute("SELECT d FROM zdict WHERE id = ?", (number,)).get
    return found


def newest_dictionary(db: apsw.Connection) -> Dictionary | None:
    """The one that new bodies are compressed with."""
    row = db.execute("SELECT id, d, ratio FROM zdict ORDER BY n DESC LIMIT 1").fetchone()
    return None if row is None else Dictionary(*row)


def put_dictionary(db: apsw.Connection, dictionary: Dictionary) -> None:
    db.execute("INSERT INTO zdict (id, d, ratio) VALUES (?, ?, ?)", dictionary)


def _trained(samples: Sequence[bytes]) -> Dictionary | None:
    learned: list[bytes | bytearray | memoryview] = [one for index, one in enumerate(samples) if index % _HELD_BACK]
    tried = samples[::_HELD_BACK]
    number = secrets.choice(_IDS)
    try:
        data = zstandard.train_dictionary(DICTIONARY_BYTES, learned, dict_id=number, level=LEVEL).as_bytes()
    except zstandard.ZstdError:
        return None  # the samples have nothing in common
    dictionary = Dictionary(number, data, 0.0)
    plain, compressor = plain_compressor(), _compressor(dictionary)
    without = sum(len(plain.compress(sample)) for sample in tried)
    left = sum(len(compressor.compress(sample)) for sample in tried)
    if left > without * _WORTH:
        return None
    return dictionary._replace(ratio=left / sum(map(len, tried)))


def _compressor(dictionary: Dictionary) -> zstandard.ZstdCompressor:
    data = zstandard.ZstdCompressionDict(dictionary.data)
    data.precompute_compress(level=LEVEL)
    return zstandard.ZstdCompressor(level=LEVEL, dict_data=data, write_checksum=True)


class _Read(NamedTuple):
    body: bytes
    dictionary: int


def _read(folder: Path, segment: str, place: Place, former: Dictionary | None) -> _Read | None:
    """A body of a few KB; None where it cannot be read, or needs another dictionary than this."""
    if place.pack is None or place.offset is None or place.stored is None:
        return None
    try:
        with pack_path(folder, segment, place.pack).open("rb") as file:
            file.seek(place.offset)
            frame = file.read(place.stored)
        number = zstandard.get_frame_parameters(frame).dict_id
        data = zstandard.ZstdCompressionDict(former.data) if former and number == former.id else None
        return _Read(zstandard.ZstdDecompressor(dict_data=data).decompress(frame), number)
    except (zstandard.ZstdError, OSError):
        return None
