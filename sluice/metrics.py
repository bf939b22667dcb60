"""Counters of one process in a mapped file, and the sum over all processes as Prometheus text.

File: a head of 64 bytes (magic, length of the text), 4,096 words of 8 bytes, then text: one JSON line per series that
names its words. A line is written before the length that covers it, so a reader never sees half a line, and a word is
written by one machine store: a process killed at any instruction leaves a file that can be read and gone on with.
"""

import math
import mmap
import os
import struct
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[tuple[str, str], ...]

SLOTS: Final = 4096
_MAGIC: Final = b"SLUMET01"
_HEAD: Final = struct.Struct("<8sQ48x")
_TEXT_AT: Final = _HEAD.size + SLOTS * 8
_FILE_BYTES: Final = 512 * 1024
_OVERFLOW: Final = 0
"""Word that takes what belongs to series past the bound; the word after it swallows their sums."""
_FIRST_FREE: Final = 2
_LARGEST: Final = (1 << 63) - 1
_NS: Final = 1_000_000_000


class _Series(msgspec.Struct, frozen=True, array_like=True):
    slot: int
    kind: Kind
    name: str
    help: str
    labels: Labels = ()
    unit: int = 1
    """How many of the word make one of what is shown: 1e9 for seconds counted in nanoseconds."""
    buckets: tuple[float, ...] = ()

    @property
    def words(self) -> int:
        return len(self.buckets) + 2 if self.kind == "histogram" else 1


_as_series: Final = msgspec.json.Decoder(_Series)


class Counter:
    """A number that only grows.

    Threads of one process may share it: CPython 3.11 and later switch threads at calls and loop ends only, of which
    an addition has none.
    """

    __slots__ = ("_slot", "_words")

    def __init__(self, words: memoryview, slot: int) -> None:
        self._words, self._slot = words, slot

    def add(self, n: int = 1) -> None:
        self._words[self._slot] += n

    @property
    def value(self) -> int:
        """The sum so far, with that of the predecessors that had the same file."""
        return int(self._words[self._slot])


class Gauge:
    """A number of this process that goes up and down; shown as the sum over living processes."""

    __slots__ = ("_slot", "_words")

    def __init__(self, words: memoryview, slot: int) -> None:
        self._words, self._slot = words, slot

    def add(self, n: int = 1) -> None:
        self._words[self._slot] += n

    def set(self, n: int) -> None:
        self._words[self._slot] = n

    @property
    def value(self) -> int:
        return int(self._words[self._slot])


class Histogram:
    """How often something took how long."""

    __slots__ = ("_buckets", "_slot", "_sum", "_words")

    def __init__(self, words: memoryview, slot: int, buckets: tuple[float, ...]) -> None:
        self._words, self._slot, self._buckets = words, slot, buckets
        self._sum = slot + len(buckets) + 1

    def observe(self, seconds: float) -> None:
        """Where a clock was set back it took no time. The sum begins again from 0 after 292 years, like any counter."""
        seconds = max(seconds, 0.0)
        self._words[self._slot + bisect_left(self._buckets, seconds)] += 1
        self._words[self._sum] = (self._words[self._sum] + int(seconds * _NS)) & _LARGEST


class Metrics:
    """The series of one process. Past 4,096 words every new series falls into one shared overflow counter."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._view = memoryview(memory)
        self._words = self._view[_HEAD.size : _TEXT_AT].cast("q")
        self._known: dict[tuple[str, Labels], _Series] = {}
        self._next_slot = _FIRST_FREE
        self._text_end = _TEXT_AT
        self._adopt()

    @classmethod
    def open(cls, path: Path) -> "Metrics":
        """Maps the file, made if need be. What a dead predecessor counted goes on; its gauges start from 0.

        Raises OSError. The whole file is written at once: touching a mapped page that a full disk cannot hold kills.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _load(path) is None or os.fstat(fd).st_size != _FILE_BYTES:
                os.ftruncate(fd, 0)
                blank = _HEAD.pack(_MAGIC, 0).ljust(_FILE_BYTES, b"\0")
                if os.pwrite(fd, blank, 0) != _FILE_BYTES:
                    raise OSError(f"{path} could not be written whole")
            return cls(mmap.mmap(fd, _FILE_BYTES))
        finally:
            os.close(fd)

    @classmethod
    def unseen(cls) -> "Metrics":
        """Series in plain memory that nobody else can read: for offline commands, and where no file can be had."""
        memory = mmap.mmap(-1, _FILE_BYTES)
        memory[: _HEAD.size] = _HEAD.pack(_MAGIC, 0)
        return cls(memory)

    def counter(self, name: str, help: str, /, **labels: str) -> Counter:
        return Counter(self._words, self._slot_of(_Series(0, "counter", name, help, _labels(labels))))

    def seconds(self, name: str, help: str, /, **labels: str) -> Counter:
        """A counter shown in seconds and added to in nanoseconds."""
        return Counter(self._words, self._slot_of(_Series(0, "counter", name, help, _labels(labels), _NS)))

    def gauge(self, name: str, help: str, /, **labels: str) -> Gauge:
        return Gauge(self._words, self._slot_of(_Series(0, "gauge", name, help, _labels(labels))))

    def histogram(self, name: str, help: str, buckets: tuple[float, ...], /, **labels: str) -> Histogram:
        """`buckets` are upper bounds in seconds, ascending; the one without a bound is added."""
        slot = self._slot_of(_Series(0, "histogram", name, help, _labels(labels), _NS, buckets))
        return Histogram(self._words, slot, () if slot == _OVERFLOW else buckets)

    def _slot_of(self, wanted: _Series) -> int:
        key = (wanted.name, wanted.labels)
        known = self._known.get(key)
        if known is not None:
            if (known.kind, known.buckets) != (wanted.kind, wanted.buckets):
                raise ValueError(f"metric {wanted.name} is a {known.kind} already, or has other buckets")
            return known.slot
        series = msgspec.structs.replace(wanted, slot=self._next_slot)
        line = msgspec.json.encode(series) + b"\n"
        if self._next_slot + series.words > SLOTS or self._text_end + len(line) > _FILE_BYTES:
            return _OVERFLOW
        self._view[self._text_end : self._text_end + len(line)] = line
        self._text_end += len(line)
        _HEAD.pack_into(self._memory, 0, _MAGIC, self._text_end - _TEXT_AT)
        self._next_slot += series.words
        self._known[key] = series
        return series.slot

    def _adopt(self) -> None:
        length = _HEAD.unpack_from(self._memory)[1]
        for series in _decode(bytes(self._view[_TEXT_AT : _TEXT_AT + length])):
            self._known[series.name, series.labels] = series
            self._next_slot = series.slot + series.words
            if series.kind == "gauge":
                self._words[series.slot] = 0
        self._text_end += length


def retire(path: Path) -> None:
    """Takes the gauges of a dead process out of the sums; its counters stay in them."""
    if path.exists():
        Metrics.open(path)


def render(paths: Iterable[Path]) -> str:
    """Prometheus text: every series summed over the files. What cannot be read is left out."""
    families: dict[str, _Series] = {}
    sums: dict[tuple[str, Labels], list[int]] = {}
    overflow = 0
    for words, known_series in filter(None, map(_load, paths)):
        overflow += words[_OVERFLOW]
        for series in known_series:
            if families.setdefault(series.name, series).kind != series.kind:
                continue
            mine = words[series.slot : series.slot + series.words]
            known = sums.get((series.name, series.labels))
            if known is None or len(known) != len(mine):
                sums[series.name, series.labels] = list(mine)
            else:
                sums[series.name, series.labels] = [a + b for a, b in zip(known, mine, strict=True)]
    grouped: defaultdict[str, list[tuple[Labels, list[int]]]] = defaultdict(list)
    for (name, labels), values in sorted(sums.items()):
        grouped[name].append((labels, values))
    lines = [line for name, members in grouped.items() for line in _family(families[name], members)]
    lines += _family(
        _Series(0, "counter", "sluice_metrics_overflow_total", "Added to series past the bound of a process."),
        [((), [overflow])],
    )
    return "\n".join(lines) + "\n"


def _load(path: Path) -> tuple[tuple[int, ...], list[_Series]] | None:
    """The words and the series of a file that its process goes on writing; None of one that is half made."""
    try:
        with path.open("rb") as file:
            head = file.read(_TEXT_AT)
            if not head.startswith(_MAGIC):
                return None
            text = file.read(min(_HEAD.unpack_from(head)[1], _FILE_BYTES))
            return struct.unpack_from(f"<{SLOTS}q", head, _HEAD.size), _decode(text)
    except (OSError, struct.error, msgspec.DecodeError):
        return None


def _decode(text: bytes) -> list[_Series]:
    return [_as_series.decode(line) for line in text.splitlines()]


def _labels(labels: dict[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _family(first: _Series, members: list[tuple[Labels, list[int]]]) -> Iterator[str]:
    yield f"# HELP {first.name} {_escape(first.help)}"
    yield f"# TYPE {first.name} {first.kind}"
    for labels, values in members:
        if first.kind != "histogram":
            yield f"{first.name}{_braced(labels)} {_number(values[0], first.unit)}"
            continue
        total = 0
        for bound, count in zip((*first.buckets, math.inf), values, strict=False):
            total += count
            edge = "+Inf" if bound == math.inf else f"{bound:g}"
            yield f"{first.name}_bucket{_braced((*labels, ('le', edge)))} {total}"
        yield f"{first.name}_sum{_braced(labels)} {_number(values[-1], first.unit)}"
        yield f"{first.name}_count{_braced(labels)} {total}"


def _braced(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escape(text)}"' for name, text in labels) + "}" if labels else ""


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(word: int, unit: int) -> str:
    return str(word) if unit == 1 else f"{word / unit:.9g}"
