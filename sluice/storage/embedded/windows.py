"""The table of windows, shared by all processes of a machine: a mapped file under a short lock per bucket.

Measured: counting a request takes 5 to 11 µs, a third of it for the lock (docs/limits.md). SQLite from four processes
took a p50 of 26 µs, but a p99 of 1.2 ms.
"""

import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from sluice.storage.embedded.cells import LARGEST, Cells, rebinned
from sluice.storage.embedded.reserved import CELL_US, LASTS_US, Reserved
from sluice.storage.embedded.stamps import MOST, Stamps
from sluice.storage.embedded.windows_file import (
    COUNTS,
    NAME,
    RESERVED,
    SPAN,
    SPEND_SPAN,
    UNTIL,
    WIDTH,
    Field,
    WindowsFile,
)
from sluice.storage.ports import StoreFault
from sluice.values.limits import BUCKET_BYTES, Permit, RateLimit, SpendLimit

_US: Final = 1_000_000
_CLAIM_US: Final = 60 * _US
"""How long a slot is kept for whoever has claimed it and not used it yet."""
_REMEMBERED: Final = 4096
_LOOK_S: Final = 1.0
_RETRY_S: Final = 1.0
_NAME: Final = struct.Struct("<qq")


def wall_us() -> int:
    """Unix time in microseconds."""
    return time.time_ns() // 1000


class _Rate(NamedTuple):
    """Where a rate limit's bucket is."""

    field: Field
    name: tuple[int, int]
    at: int
    counter: Cells | Stamps
    lasts_us: int


class MappedWindows:
    """WindowStore over one file, which is opened, and made, when it is first needed. For one thread at a time."""

    def __init__(self, path: Path, length: int, clock_us: Callable[[], int] = wall_us) -> None:
        """`length` is what a new file gets, in bytes."""
        self._path, self._length, self._clock_us = path, length, clock_us
        self._file: WindowsFile | None = None
        self._retry_s = self._look_s = 0.0
        self.evicted = 0
        self._rates: dict[tuple[bytes, int, str, bool], _Rate] = {}

    def take(self, bucket: bytes, rate: RateLimit) -> Permit:
        file = self._opened()
        words = file.words
        known = (bucket, rate.interval_s, rate.technique, rate.limit > MOST)
        found = self._rates.get(known) or self._find_rate(file, known)
        while True:
            at, name = found.at, found.name
            file.lock(at)
            try:
                if words[at] == name[0] and words[at + 1] == name[1]:
                    now_us = self._clock_us()  # under the lock, so that it does not go back
                    permit = found.counter.take(rate.limit, now_us)
                    words[at + UNTIL] = min(now_us + found.lasts_us, LARGEST)
                    return permit
            finally:
                file.unlock(at)
            found = self._find_rate(file, known)  # it was given to another bucket meanwhile

    def reserve(self, bucket: bytes, limit: SpendLimit, nano: int) -> int | None:
        with self._spend(bucket) as (at, now_us):
            self._fit(at, limit.window_s, now_us)
            aside, spent_nano = self._reserved(at), self._cells(at, sliding=limit.technique == "sliding").sum(now_us)
            self._keep(at, limit.window_s if spent_nano else 0, now_us)
            if spent_nano + aside.sum(now_us) >= limit.limit_nano:
                return None
            return aside.add(nano, now_us)

    def release(self, bucket: bytes, nano: int, until: int) -> None:
        with self._spend(bucket) as (at, now_us):
            self._reserved(at).remove(nano, until, now_us)

    def publish(self, bucket: bytes, window_s: int, spent: Iterable[tuple[int, int]]) -> None:
        with self._spend(bucket) as (at, now_us):
            known_us = self._words[at + WIDTH]  # where a rule has another window by now, that one counts
            self._fit(at, known_us * SPEND_SPAN // _US or window_s, now_us)
            width_us = self._words[at + WIDTH]
            amounts: dict[int, int] = {}
            for when_us, nano in spent:
                cell = when_us // width_us
                amounts[cell] = amounts.get(cell, 0) + nano
            cells = self._cells(at, sliding=True)
            cells.replace(amounts, now_us)
            self._keep(at, width_us * SPEND_SPAN // _US if cells.sum(now_us) else 0, now_us)

    @property
    def length(self) -> int:
        """Bytes of the file; 0 where none is open."""
        return 0 if self._file is None else self._file.length

    def close(self) -> None:
        if self._file is not None:
            self._rates.clear()
            self._file.close()
            self._file = None

    # --- finding buckets

    def _opened(self) -> WindowsFile:
        """The file that bears the name, looked for once a second: all processes must count in the same one."""
        file, now_s = self._file, time.monotonic()
        if file is not None and now_s < self._look_s:
            return file
        self._look_s = now_s + _LOOK_S
        if file is not None and not file.is_at(self._path):
            self.close()
        return self._file or self._open(now_s)

    def _open(self, now_s: float) -> WindowsFile:
        """A file that could not be opened is tried again after a second."""
        if now_s < self._retry_s:
            raise StoreFault(f"{self._path} cannot be opened")
        self._retry_s = now_s + _RETRY_S
        self._file = WindowsFile.open(self._path, self._length)
        self._retry_s = 0.0
        return self._file

    @property
    def _words(self) -> memoryview:
        """Of the file that was opened for the bucket at hand."""
        assert self._file is not None
        return self._file.words

    def _find_rate(self, file: WindowsFile, known: tuple[bytes, int, str, bool]) -> _Rate:
        bucket, interval_s, technique, large = known
        interval_us = interval_s * _US
        field = file.fields.fixed if technique == "fixed" else file.fields.sliding
        name = _named(blake2b(b"%b %d %d" % (bucket, interval_s, large), digest_size=BUCKET_BYTES).digest())
        at = self._claimed(file, field, name)
        counter: Cells | Stamps
        if technique == "fixed":
            counter = Cells(file.words, at + COUNTS, 1, interval_us, sliding=False)
        elif large:
            counter = Cells(file.words, at + COUNTS, SPAN, interval_us // SPAN, sliding=True)
        else:
            counter = Stamps(file.words, at + COUNTS, interval_us)
        if len(self._rates) >= _REMEMBERED:
            self._rates.clear()
        found = self._rates[known] = _Rate(field, name, at, counter, 2 * interval_us)
        return found

    @contextmanager
    def _spend(self, bucket: bytes) -> Iterator[tuple[int, int]]:
        """Where a bucket of money is, locked, and the time."""
        file = self._opened()
        words, name = file.words, _named(bucket)
        while True:
            at = self._claimed(file, file.fields.spend, name)
            file.lock(at)
            try:
                if words[at] != name[0] or words[at + 1] != name[1]:
                    continue
                yield at, self._clock_us()
                return
            finally:
                file.unlock(at)

    def _fit(self, at: int, window_s: int, now_us: int) -> None:
        """Gives the bucket this window; what was spent in another one goes over into it."""
        words, width_us = self._words, window_s * (_US // SPEND_SPAN)
        old_us = words[at + WIDTH]
        if old_us == width_us:
            return
        spent = self._cells(at, sliding=True).amounts() if old_us else {}
        words[at + WIDTH] = width_us
        words[at + COUNTS] = 0  # so far back that all begins anew
        self._cells(at, sliding=True).replace(rebinned(spent, old_us, width_us), now_us)

    def _keep(self, at: int, window_s: int, now_us: int) -> None:
        """Until when a bucket of money is needed: where nothing is spent, for what may be set aside alone."""
        self._words[at + UNTIL] = min(now_us + 2 * window_s * _US + LASTS_US + CELL_US, LARGEST)

    def _cells(self, at: int, *, sliding: bool) -> Cells:
        return Cells(self._words, at + COUNTS, SPEND_SPAN, self._words[at + WIDTH], sliding=sliding)

    def _reserved(self, at: int) -> Reserved:
        return Reserved(self._words, at + RESERVED)

    def _claimed(self, file: WindowsFile, field: Field, name: tuple[int, int]) -> int:
        """The slot of this name, taken for it where it has none. Raises StoreFault where there is no room."""
        words = file.words
        for at in field.places(name):
            if words[at + 1] == name[1] and words[at] == name[0]:
                return at
        places = list(field.places(name))
        file.lock(field.at - 1)
        try:
            for at in places:
                if words[at + 1] == name[1] and words[at] == name[0]:
                    return at
            for at in places:
                if words[at + UNTIL] < self._clock_us() and self._claim(file, field, at, name):
                    return at
            least = self._least(file, places) if field is file.fields.spend else None
            if least is not None and self._claim(file, field, least, name, evicts=True):
                self.evicted += 1
                return least
        finally:
            file.unlock(field.at - 1)
        raise StoreFault("the table of windows has no room: see limits.table_bytes")

    def _least(self, file: WindowsFile, places: list[int]) -> int | None:
        """Where the least is spent and no call runs; None where calls run everywhere.

        The ledger knows what is spent, and tells it again with the next call that is settled.
        """
        found: list[tuple[int, int]] = []
        for at in places:
            file.lock(at)
            try:
                if self._is_idle(at):
                    found.append((self._cells(at, sliding=True).sum(self._clock_us()), at))
            finally:
                file.unlock(at)
        return min(found)[1] if found else None

    def _is_idle(self, at: int) -> bool:
        return self._words[at + WIDTH] > 0 and self._reserved(at).sum(self._clock_us()) == 0

    def _claim(self, file: WindowsFile, field: Field, at: int, name: tuple[int, int], *, evicts: bool = False) -> bool:
        """Empties a slot and names it, its name last; false where its bucket came to life meanwhile."""
        words = file.words
        file.lock(at)
        try:
            now_us = self._clock_us()
            if words[at + UNTIL] >= now_us and not (evicts and self._is_idle(at)):
                return False
            words[at + NAME] = words[at + NAME + 1] = 0
            words[at + UNTIL : at + field.size] = memoryview(bytes((field.size - UNTIL) * 8)).cast("q")
            words[at + UNTIL] = now_us + _CLAIM_US
            words[at + NAME + 1] = name[1]
            words[at + NAME] = name[0]
        finally:
            file.unlock(at)
        return True


def _named(bucket: bytes) -> tuple[int, int]:
    first, second = _NAME.unpack(bucket)
    return first, second
