"""How soon after its append a log can be read: a few gateways of many are asked for their newest logs all the time."""

import json
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.machine import BenchFault, Cores, cpu_s
from bench.store.crowd import shard_of
from bench.store.measuring import appending
from bench.store.pacing import Asked, Paced
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.ports import LogQuery
from sluice.values.log import ShardKey

WATCHED: Final = 50
"""Gateways that are asked: a reader keeps connections to so many."""
LOOK_S: Final = 0.02
LEFT_S: Final = 60.0
"""How long what was appended may take to be seen."""
_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Lag:
    """Of the logs of watched gateways: from append to answer, in which the interval between two looks is."""

    logs: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    look_ms: float
    """The interval, on the average."""


@dataclass(frozen=True, slots=True)
class Seen:
    paced: list[Paced]
    lag: Lag
    cpu_share: float
    """Of one core, of the watched processes."""


class Watch:
    def __init__(self, reader: EmbeddedLogReader, gateways: Iterable[bytes]) -> None:
        self._reader = reader
        self._after: dict[ShardKey, int] = {}
        for gateway in gateways:
            shard = shard_of(gateway)
            page = reader.page(shard, LogQuery(per_page=1))
            self._after[shard] = page.total
        self._lags_ms: list[float] = []
        self._looks, self._looked_s = 0, 0.0

    @property
    def seen(self) -> int:
        return len(self._lags_ms)

    def look(self) -> None:
        """One look at every gateway, and a pause after it."""
        began_s = time.monotonic()
        for shard, after in self._after.items():
            entries, self._after[shard] = self._reader.tail(shard, after, _AT_ONCE)
            now_ms = time.time() * 1e3
            self._lags_ms += [now_ms - entry.created_ms for entry in entries]
        time.sleep(max(0.0, began_s + LOOK_S - time.monotonic()))
        self._looks += 1
        self._looked_s += time.monotonic() - began_s

    def lag(self) -> Lag:
        found = sorted(self._lags_ms)
        if not found:
            raise BenchFault("none of the logs was seen")
        look_ms = self._looked_s / self._looks * 1e3
        return Lag(len(found), found[len(found) // 2], found[len(found) * 99 // 100], found[-1], look_ms)


@contextmanager
def pacing(data: Path, seconds: float, asked: Sequence[Asked], core: int) -> Iterator[subprocess.Popen[str]]:
    """The process that appends logs at these rates, begun."""
    words = [str(data), str(seconds), *(each.word for each in asked)]
    with appending("bench.store.pacing", core, words) as process:
        yield process


def told_by(process: "subprocess.Popen[str]") -> list[Paced]:
    """What became of the streams, when all is appended."""
    assert process.stdout is not None
    return [Paced(**json.loads(line)) for line in process.stdout]


def observe(
    data: Path, seconds: float, asked: Sequence[Asked], watched: Sequence[bytes], cores: Cores, keeper: int
) -> Seen:
    """Appends logs at these rates and watches some gateways of theirs until all their logs were seen.

    Raises BenchFault where a log of any gateway does not come.
    """
    reader = EmbeddedLogReader(data / "shards", query_timeout_s=30)
    try:
        gateways = [gateway for each in asked for gateway in each.gateways]
        before = stored(reader, gateways)
        watch = Watch(reader, watched)
        with pacing(data, seconds, asked, cores.load) as process:
            began_s, spent_s = time.monotonic(), cpu_s([keeper])
            while process.poll() is None:
                watch.look()
            share = (cpu_s([keeper]) - spent_s) / (time.monotonic() - began_s)
            paced = told_by(process)
        own = sum(stream.given(told.logs, watched) for stream, told in zip(asked, paced, strict=True))
        _await_all(watch, own, reader, gateways, before + sum(each.logs for each in paced))
        return Seen(paced, watch.lag(), share)
    finally:
        reader.close()


def stored(reader: EmbeddedLogReader, gateways: Iterable[bytes]) -> int:
    return sum(reader.page(shard_of(each), LogQuery(per_page=1)).total for each in gateways)


def _await_all(watch: Watch, own: int, reader: EmbeddedLogReader, gateways: Sequence[bytes], goal: int) -> None:
    """First those of the watched, for to count all others takes a while."""
    give_up_s = time.monotonic() + LEFT_S
    while watch.seen < own and time.monotonic() < give_up_s:
        watch.look()
    while (found := stored(reader, gateways)) < goal:
        if time.monotonic() > give_up_s:
            raise BenchFault(f"{goal - found} of {goal} logs did not come")
        time.sleep(LOOK_S)
