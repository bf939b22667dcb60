"""Logs to count, and what roll-ups must tell of them."""

import random
from collections import defaultdict
from collections.abc import Callable

from sluice.storage.ports import AnalyticsReader
from sluice.values.ids import Mint
from sluice.values.log import LogEntry, NewLog, ShardKey, Usage
from sluice.values.rollup import RollupQuery

START_MS = 1_790_000_000_000 // 86_400_000 * 86_400_000 + 20 * 3_600_000
HOUR_MS = 3_600_000
EVER = RollupQuery(0, START_MS + 1_000 * HOUR_MS, group_by=("provider", "model", "status_code", "cached", "error"))
QUERIES = (
    EVER,
    RollupQuery(EVER.from_ms, EVER.to_ms, "day", ("model",)),
    RollupQuery(EVER.from_ms, EVER.to_ms, "hour", ("gateway", "error")),
    RollupQuery(EVER.from_ms, EVER.to_ms, "hour", ("metadata.team", "cached"), "team"),
    RollupQuery(START_MS, START_MS + 24 * HOUR_MS, "none"),
)
BY_MINUTE = (
    RollupQuery(EVER.from_ms, EVER.to_ms, "minute", ("provider",)),
    RollupQuery(START_MS + 7 * 60_000, START_MS + 5 * HOUR_MS + 60_000, "hour", ("cached",)),
    RollupQuery(START_MS + 7 * 60_000, START_MS + 28 * HOUR_MS + 60_000, "day", ("cached",)),
    RollupQuery(START_MS + 7 * 60_000, START_MS + 26 * 60_000),
    RollupQuery(START_MS + 47 * 60_000, START_MS + 66 * 60_000),
)


def random_logs(entry_of: Callable[..., LogEntry], count: int, seed: int, hours: float = 30) -> list[NewLog]:
    """So many logs at random within the hours after START_MS, in the order of their times."""
    chance = random.Random(seed)
    at_ms = sorted(START_MS + chance.randrange(int(hours * HOUR_MS)) for _ in range(count))
    clock = iter(at_ms)
    mint = Mint(1, clock_ms=lambda: next(clock))
    logs = []
    for _ in range(count):
        status = chance.choice((200, 200, 429, 500))
        usage = Usage(chance.choice((None, 0, 7, 5_000)), chance.randrange(400))
        fields = {
            "provider": chance.choice(("openai", "anthropic")),
            "model": chance.choice(("a", "b")),
            "status_code": status,
            "success": status == 200 and chance.random() < 0.9,
            "cached": chance.random() < 0.3,
            "usage": usage,
            "cost_nano": chance.choice((None, 0, 22_200)),
            "duration_ms": int(chance.lognormvariate(6, 2)),
            "latency_ms": chance.choice((None, chance.randrange(2_000))),
            "metadata": chance.choice(({}, {"team": chance.choice(("red", "blue", 7))}, {"other": True})),
        }
        logs.append(NewLog(entry_of(mint.mint(), **fields), None, None))
    return logs


def brute_force(logs: list[NewLog], query: RollupQuery) -> dict[object, tuple[int, ...]]:
    """What groups must be, by their start and labels."""
    step_ms = {"minute": 60_000, "hour": HOUR_MS, "day": 24 * HOUR_MS}.get(query.step)
    found: defaultdict[object, list[int]] = defaultdict(lambda: [0] * 8)
    for entry in (log.entry for log in logs):
        key = f"metadata.{query.metadata_key}"
        if not query.from_ms <= entry.created_ms < query.to_ms:
            continue
        if query.metadata_key and query.metadata_key not in entry.metadata:
            continue
        labels = {
            "gateway": "gw",
            "provider": entry.provider,
            "model": entry.model,
            "status_code": entry.status_code,
            "cached": entry.cached,
            "error": not entry.success,
            key: str(entry.metadata.get(query.metadata_key)),
        }
        start = None if step_ms is None else entry.created_ms // step_ms * step_ms
        tokens_in, tokens_out = entry.usage.tokens_in or 0, entry.usage.tokens_out or 0
        counts = (1, not entry.success, entry.cached, tokens_in, tokens_out)
        more = (tokens_in * entry.cached, tokens_out * entry.cached, entry.cost_nano or 0)
        group = found[start, tuple(labels[name] for name in query.group_by)]
        for place, count in enumerate((*counts, *more)):
            group[place] += count
    return {key: tuple(counts) for key, counts in found.items()}


def told(reader: AnalyticsReader, shard: ShardKey, query: RollupQuery) -> dict[object, tuple[int, ...]]:
    answer = reader.groups({"gw": shard}, query)
    assert answer.complete
    return {(group.start_ms, group.labels): tuple(group[2:10]) for group in answer.groups}
