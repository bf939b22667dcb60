"""What the store finds is what a filter says, reckoned in plain Python over the entries themselves."""

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.rows import scalar_text
from sluice.storage.embedded.shard import Bounds
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import LogQuery
from sluice.values.log import LogEntry, NewLog, Position, ShardKey, Usage
from sluice.values.log_filter import KEYS, Filter, filter_of

SMALL = Bounds(rows=7, pack_bytes=1 << 30, age_ms=1 << 40)
WORDS = ["openai", "OpenAI", "anthropic", "gpt-4o", "", "ä"]
COUNTS = st.sampled_from([None, 0, 1, 2])
CHANGES = st.fixed_dictionaries(
    {
        "provider": st.sampled_from(WORDS),
        "model": st.sampled_from(WORDS),
        "model_type": st.sampled_from([*WORDS, None]),
        "user_agent": st.sampled_from([*WORDS, None]),
        "request_content_type": st.sampled_from(["application/json", None]),
        "duration_ms": st.integers(0, 4),
        "cost_nano": st.sampled_from([None, 0, 1, 2_000_000_000]),
        "feedback": st.sampled_from([None, -1, 0, 1]),
        "usage": st.builds(Usage, tokens_in=COUNTS, tokens_out=COUNTS),
        "metadata": st.dictionaries(st.sampled_from(WORDS[:3]), st.sampled_from(["a", "A", 1, 1.5, True]), max_size=2),
        "event_id": st.sampled_from([None, "e-1", "E-2"]),
        **{flag: st.booleans() for flag in ("success", "cached", "authentication", "wholesale")},
    }
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": st.sampled_from([*WORDS, "a", "A", "true", "1", "1.5", "e-", "E-2", "application/json", None]),
    "number": st.sampled_from([None, -1, 0, 1, 2, 0.5, 1e-9]),
    "flag": st.booleans(),
    "time": st.sampled_from(["2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"]),
    "none": st.sampled_from([None, "x"]),
}
OPERATORS = {"text": ["eq", "neq", "contains"], "none": ["eq", "neq"], "flag": ["eq", "neq"]}


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    key = draw(st.sampled_from(list(KEYS)))
    values = VALUES[KEYS[key]]
    operator = draw(st.sampled_from(OPERATORS.get(KEYS[key], ["eq", "neq", "lt", "gt"])))
    if operator in ("lt", "gt", "contains"):
        values = values.filter(lambda value: value is not None)
    several = operator not in ("lt", "gt")
    return filter_of(key, operator, draw(st.lists(values, min_size=1, max_size=1 + several)))


def held_by(entry: LogEntry, key: str) -> list[Any]:
    """The values of an entry that a filter compares: one, or, of metadata, as many as there are."""
    if key == "metadata.key":
        return list(entry.metadata) or [None]
    if key == "metadata.value":
        return [scalar_text(value) for value in entry.metadata.values()] or [None]
    usage = entry.usage
    counts = [count for count in (usage.tokens_in, usage.tokens_out) if count is not None]
    plain = {
        "created_at": entry.created_ms,
        "tokens": sum(counts) if counts else None,
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "duration": entry.duration_ms,
        "cost": entry.cost_nano,
        "compatibilityMode": entry.compat,
        "dlp_action": None,
        "prompts.prompt_id": None,
        "prompts.version_id": None,
    }
    return [plain[key] if key in plain else getattr(entry, key)]


def fits(entry: LogEntry, wanted: Filter) -> bool:
    held = held_by(entry, wanted.key)
    values = [round(value * 1e9) if wanted.key == "cost" and value is not None else value for value in wanted.values]
    if wanted.operator == "contains":
        return any(text is not None and str(part).casefold() in text.casefold() for text in held for part in values)
    if wanted.operator in ("lt", "gt"):
        (value,), (bound,) = held, values
        return value is not None and (value < bound if wanted.operator == "lt" else value > bound)
    return any(value in values for value in held) == (wanted.operator == "eq")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields_of=st.lists(CHANGES, min_size=1, max_size=12),
    asked=st.lists(st.lists(filters(), min_size=1, max_size=3), min_size=1, max_size=6),
)
def test_the_store_finds_what_the_filters_say(
    tmp_path_factory: Any, log: Callable[..., NewLog], fields_of: list[dict[str, Any]], asked: list[list[Filter]]
):
    root, shard = tmp_path_factory.mktemp("filtered"), ShardKey("acme", "0123456789abcdef" * 2)
    logs = []
    writer = EmbeddedLogWriter.open(root, bounds=SMALL)
    for number, fields in enumerate(fields_of):
        made = log()
        named = {**fields, "event_id": fields["event_id"] or made.entry.id}
        logs.append(made._replace(entry=msgspec.structs.replace(made.entry, **named)))
        writer.append(shard, logs[-1:], {"0": Position(1, number)})
    reader = EmbeddedLogReader(root, query_timeout_s=20)
    for wanted in asked:
        expected = [each.entry for each in reversed(logs) if all(fits(each.entry, one) for one in wanted)]
        page = reader.page(shard, LogQuery(per_page=50, filters=tuple(wanted)))
        assert page.entries == expected
        assert (page.total, page.total_exact, page.complete) == (len(expected), True, True)
        by_model = reader.page(shard, LogQuery(per_page=50, order_by="model", filters=tuple(wanted)))
        assert by_model.entries == sorted(expected, key=lambda entry: entry.model, reverse=True)
        durations = [entry.duration_ms for entry in expected]
        extremes = reader.extremes(shard, LogQuery(filters=tuple(wanted)))
        ends = (min(durations, default=None), max(durations, default=None))
        assert (extremes.min_duration, extremes.max_duration) == ends
    reader.close()
    writer.close()


def test_where_the_time_is_up_a_page_tells_what_was_found_by_then(
    opened: Callable[..., EmbeddedLogWriter], shard: ShardKey, root: Any, log: Callable[..., NewLog]
):
    opened().append(shard, [log() for _ in range(3_000)], {"0": Position(1, 1)})
    reader = EmbeddedLogReader(root, query_timeout_s=0.0)
    page = reader.page(shard, LogQuery(filters=(filter_of("metadata.value", "contains", ["nowhere"]),)))
    assert (page.entries, page.complete, page.total_exact) == ([], False, False)
    assert page.total <= 3_000
    assert reader.extremes(shard, LogQuery(search="nowhere")).max_duration is None
    reader.close()
