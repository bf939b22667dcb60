"""A process in the worker's place that appends logs for many gateways at fixed rates and tells how true to them it was.

    python -m bench.store.pacing DATA SECONDS RATE:GATEWAY,... [RATE:GATEWAY,...]

Each stream has a rate of its own, in logs a second, and gives its gateways their turn one by one. A log's time is the
moment of its append. Prints a line of JSON for each stream when all is done: how many logs, over how long, how late.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, cycle
from pathlib import Path
from typing import Final, NamedTuple

from bench.store.corpus import Corpus
from bench.store.filling import Filler, gateway_of
from sluice.values.ids import wall_ms
from sluice.values.tenancy import Gateway

ACCOUNT: Final = "local"
_TICK_S: Final = 0.001


class Asked(NamedTuple):
    """So many logs a second, evenly among gateways of these ids."""

    rate: float
    gateways: list[bytes]

    @property
    def word(self) -> str:
        return f"{self.rate}:{','.join(each.hex() for each in self.gateways)}"

    def given(self, logs: int, gateways: Collection[bytes]) -> int:
        """How many of its first so many logs go to some of its gateways."""
        whole, rest = divmod(logs, len(self.gateways))
        return sum(whole + (place < rest) for place, each in enumerate(self.gateways) if each in gateways)

    @classmethod
    def of(cls, word: str) -> "Asked":
        rate, _, gateways = word.partition(":")
        return cls(float(rate), [bytes.fromhex(each) for each in gateways.split(",")])


@dataclass(frozen=True, slots=True)
class Paced:
    """What a stream came to. A log is late by the time between when it was due and its append."""

    logs: int
    rate: float
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float


class Stream:
    def __init__(self, asked: Asked, begin_s: float) -> None:
        self._rate, self._begin_s = asked.rate, begin_s
        self._turns: Iterator[Gateway] = cycle([gateway_of(each, ACCOUNT) for each in asked.gateways])
        self._late_s: list[float] = []
        self._last_s = begin_s

    def take_due(self, now_s: float, end_s: float) -> Iterator[Gateway]:
        """The gateways of all logs that are due by now, each to be appended at once."""
        due_s = self._begin_s + len(self._late_s) / self._rate
        while due_s <= now_s and due_s < end_s:
            self._last_s = time.monotonic()
            self._late_s.append(self._last_s - due_s)
            yield next(self._turns)
            due_s = self._begin_s + len(self._late_s) / self._rate

    def paced(self) -> Paced:
        late_ms = sorted(late_s * 1e3 for late_s in self._late_s)
        logs, took_s = len(late_ms), self._last_s - self._begin_s + 1 / self._rate
        return Paced(logs, logs / took_s, late_ms[logs // 2], late_ms[logs * 99 // 100], late_ms[-1])


async def pace(filler: Filler, asked: list[Asked], seconds: float) -> list[Paced]:
    pairs = filler.corpus.endless()
    begin_s = now_s = time.monotonic()
    end_s = begin_s + seconds
    streams = [Stream(each, begin_s) for each in asked]
    while now_s < end_s:  # once more at the end, for what was due in the last moment
        await asyncio.sleep(_TICK_S)
        now_s = time.monotonic()
        for gateway in chain.from_iterable(stream.take_due(now_s, end_s) for stream in streams):
            filler.now_ms = wall_ms()
            filler.append(filler.filled.logs, next(pairs), gateway)
    return [stream.paced() for stream in streams]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("streams", type=Asked.of, nargs="+")
    parser.add_argument("--pairs", type=int, default=2_000, help="so many different exchanges")
    asked = parser.parse_args()
    filler = Filler(asked.data, [], ACCOUNT, Corpus(pairs=asked.pairs), payload=True)
    print("ready", flush=True)
    paced = asyncio.run(pace(filler, asked.streams, asked.seconds))
    filler.close()
    for each in paced:
        print(json.dumps(asdict(each)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
