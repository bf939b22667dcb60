"""How fast the keeper stores logs, and how soon after its reply a log can be read.

The drain: the keeper is stopped while a burst of traffic fills the spool, then let go; the logs divided by the
processor time it takes are the logs a second of a whole core. The lag: requests at a fixed rate, the newest pages of
the management API read over and over meanwhile; a log counts as visible when the answer that shows it has arrived, so
the reader's own interval (about 10 ms) is in the figure. A few requests go before it: the first logs of a model wait
until its price has been looked up, once, for half a second or so.
"""

import asyncio
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.contenders import Contender
from bench.exchange import head, reply_body, request_body
from bench.machine import BenchFault, Cores, cpu_s, rss_mb, wait_until_quiet
from bench.throughput import run_wrk
from bench.traffic import LOG_ID, LOGS, get, read_message

BURST_S = 4  # a keeper stopped for longer would be taken for dead and replaced


@dataclass(frozen=True, slots=True)
class Drain:
    logs: int
    cpu_s: float
    took_s: float
    logs_per_cpu_s: float
    rss_mb: float


def drain(contender: Contender, cores: Cores, folder: Path) -> Drain:
    """Fills the spool behind a stopped keeper, then measures it at work; every log must be there afterwards."""
    keeper = contender.process("sluice: keeper")
    wait_until_quiet([keeper])
    stored = asyncio.run(total_logs(contender))
    os.kill(keeper, signal.SIGSTOP)
    try:
        run_wrk(contender, 64, BURST_S, cores=cores, folder=folder)
        before = cpu_s([keeper])
        started = time.monotonic()
    finally:
        os.kill(keeper, signal.SIGCONT)
    wait_until_quiet([keeper])
    took_s = time.monotonic() - started - 0.5  # the last half second is the quiet one
    if contender.process("sluice: keeper") != keeper:
        raise BenchFault("the keeper was replaced while it stood still: nothing measured")
    spent = cpu_s([keeper]) - before
    logs = asyncio.run(total_logs(contender)) - stored
    return Drain(logs, spent, took_s, logs / spent if spent else 0.0, rss_mb(keeper))


@dataclass(frozen=True, slots=True)
class Lag:
    rate: float
    logs: int
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(slots=True)
class _Watch:
    replied: dict[bytes, float] = field(default_factory=dict)
    """When the reply that named a log id had arrived whole."""
    seen: dict[bytes, float] = field(default_factory=dict)


def lag(contender: Contender, rate: float, duration_s: float) -> Lag:
    """Reply to visible, of every request sent at this rate."""
    try:
        asyncio.run(_watch(contender, 160, 0.1))
        watch = asyncio.run(_watch(contender, rate, duration_s))
    except TimeoutError as error:
        raise BenchFault("a log of an answered request did not become visible within a minute") from error
    lags = sorted((watch.seen[log] - at) * 1e3 for log, at in watch.replied.items())
    return Lag(rate, len(lags), lags[len(lags) // 2], lags[len(lags) * 99 // 100], lags[-1])


async def _watch(contender: Contender, rate: float, duration_s: float) -> _Watch:
    watch = _Watch()
    async with asyncio.timeout(duration_s + 60), asyncio.TaskGroup() as group:
        senders = 16
        sending = [group.create_task(_send(contender, watch, rate / senders, duration_s)) for _ in range(senders)]
        group.create_task(_look(contender, watch, sending))
    return watch


async def _send(contender: Contender, watch: _Watch, rate: float, duration_s: float) -> None:
    body = request_body().encode()
    message = head(contender.path, contender.headers, len(body)) + body
    reader, writer = await asyncio.open_connection("127.0.0.1", contender.port)
    start = time.monotonic()
    for number in range(int(rate * duration_s)):
        await asyncio.sleep(start + number / rate - time.monotonic())
        writer.write(message)
        answer_head, answer = await read_message(reader)
        log = LOG_ID.search(answer_head)
        if answer != reply_body().encode() or log is None:
            raise BenchFault(f"a wrong reply: {answer_head + answer!r}")
        watch.replied[log[1]] = time.monotonic()
    writer.close()


async def _look(contender: Contender, watch: _Watch, sending: list[asyncio.Task[None]]) -> None:
    """Reads the newest pages, until every log was seen.

    Each look goes back to a page of which all was seen before the look began: logs that are stored meanwhile push
    pages on. What is missing two seconds after the last reply is looked for on every page.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", contender.port)
    while not all(task.done() for task in sending) or not watch.replied.keys() <= watch.seen.keys():
        began = time.monotonic()
        everywhere = began - max(watch.replied.values(), default=began) > 2
        page, news = 1, True
        while news:
            answer = await get(reader, writer, f"{LOGS}?page={page}&per_page=50", contender.token)
            now = time.monotonic()
            found = [watch.seen.setdefault(entry["id"].encode(), now) for entry in answer["result"]]
            news = bool(found) and (everywhere or max(found) >= began)
            page += 1
        await asyncio.sleep(0.005)
    writer.close()


async def total_logs(contender: Contender) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", contender.port)
    answer = await get(reader, writer, f"{LOGS}?per_page=1", contender.token)
    writer.close()
    total: int = answer["result_info"]["total_count"]
    return total
