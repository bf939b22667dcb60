"""A process in the worker's place: it appends log frames to a spool of its own, as fast as the keeper stores them.

    python -m bench.store.filling DATA GATEWAY,... LOGS [--rate N] [--index-only]

Prints a line of JSON when it is done: what it appended. The times of its logs are spread evenly over the days before
now; with a rate they are the present ones, so many a second.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Final

from bench.store.corpus import Corpus, Pair
from sluice.metrics import Metrics
from sluice.spool.layout import spool_bytes
from sluice.spool.tape import Whole
from sluice.spool.writer import SpoolWriter
from sluice.values.exchange import Exchange
from sluice.values.ids import Mint, wall_ms
from sluice.values.settings import MB, SpoolSettings
from sluice.values.tenancy import Gateway

NUMBERS: Final = range(100, 120)
"""Spools that no worker of the measured server takes."""
AHEAD_BYTES: Final = 512 * MB
LEFT_BYTES: Final = 128 * MB
"""The spool is filled up to the first, then left alone until the keeper has come down to the second: most of the time
nothing else runs."""
LOGS_A_DAY: Final = 10 * 86_400
"""Ten a second: so many share a minute that roll-ups are what they are on a busy gateway."""
_LOOK_EVERY: Final = 2_000


@dataclass(slots=True)
class Filled:
    """What was appended; `raw_bytes` are those of bodies and of each log's own fields as JSON."""

    logs: int = 0
    body_bytes: int = 0
    raw_bytes: int = 0


class Filler:
    def __init__(self, data: Path, gateways: list[bytes], account: str, corpus: Corpus, *, payload: bool) -> None:
        self._spool = SpoolWriter.open(data / "spool", SpoolSettings(), Metrics.unseen(), numbers=NUMBERS)
        self._root = data / "spool"
        self._gateways = cycle([gateway_of(one, account) for one in gateways])
        self._account, self._payload = account, payload
        self.corpus = corpus
        self._chance = random.Random(2)
        self.now_ms = 0
        """The time of the log that comes next."""
        self._mint = Mint(self._spool.number, 0, lambda: self.now_ms)
        self.filled = Filled()

    async def fill(self, logs: int, rate: float) -> None:
        end_ms = wall_ms()
        begin_ms = end_ms - logs / LOGS_A_DAY * 86_400_000
        started_s = time.monotonic()
        for number, pair in zip(range(logs), self.corpus.endless(), strict=False):
            self.now_ms = wall_ms() if rate else int(begin_ms + (end_ms - begin_ms) * number / logs)
            self.append(number, pair, next(self._gateways))
            if rate:
                await asyncio.sleep(max(0.0, started_s + number / rate - time.monotonic()))
            elif number % _LOOK_EVERY == 0:
                await self._leave_alone()
        self.close()

    def append(self, number: int, pair: Pair, gateway: Gateway) -> None:
        """One log, of an exchange that begins at `now_ms`."""
        self._spool.append(gateway, self._exchange(number, pair), Whole(pair.request), Whole(pair.response))
        self.filled.logs += 1
        self.filled.body_bytes += len(pair.request) + len(pair.response)
        self.filled.raw_bytes += len(pair.request) + len(pair.response) + _FIELDS_BYTES

    def close(self) -> None:
        self._spool.close()

    async def _leave_alone(self) -> None:
        if spool_bytes(self._root) > AHEAD_BYTES:
            while spool_bytes(self._root) > LEFT_BYTES:  # noqa: ASYNC110 another process empties it
                await asyncio.sleep(0.05)

    def _exchange(self, number: int, pair: Pair) -> Exchange:
        latency_us = int(self._chance.lognormvariate(12.5, 0.6))
        return Exchange(
            id=self._mint.mint(),
            account=self._account,
            provider=pair.provider,
            path="v1/chat/completions",
            method="POST",
            request_type="provider",
            started_ms=self.now_ms,
            latency_us=latency_us,
            duration_us=latency_us + int(self._chance.lognormvariate(13.5, 0.9)),
            status=pair.status,
            ending="complete",
            error=0,
            step=0,
            attempts=1,
            authenticated=True,
            payload=self._payload,
            request_content_type=b"application/json",
            request_encoding=b"",
            response_content_type=b"text/event-stream" if pair.streamed else b"application/json",
            response_encoding=b"",
            user_agent=b"OpenAI/Python 2.8.0",
            metadata=self.corpus.metadata(number),
            custom_cost=b"",
            request_bytes=len(pair.request),
            response_bytes=len(pair.response),
            cached=number % 10 == 3,
        )


_FIELDS_BYTES: Final = 700
"""A row of the log list as JSON, about."""


def gateway_of(gateway_id: bytes, account: str) -> Gateway:
    return Gateway(gateway_id, account, "bench", authentication=True, collect_logs=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("gateways", type=lambda text: [bytes.fromhex(each) for each in text.split(",")])
    parser.add_argument("logs", type=int)
    parser.add_argument("--account", default="local")
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--index-only", action="store_true")
    asked = parser.parse_args()
    filler = Filler(asked.data, asked.gateways, asked.account, Corpus(), payload=not asked.index_only)
    print("ready", flush=True)
    asyncio.run(filler.fill(asked.logs, asked.rate))
    print(json.dumps(asdict(filler.filled)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
