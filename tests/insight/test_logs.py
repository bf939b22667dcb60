"""The log record of contract 7.1."""

import gzip
import json

import brotli
import msgspec
import pytest

from sluice.insight.logs import HEAD_BYTES, log_detail, log_row
from sluice.values.log import LogEntry, Usage

SAMPLE = """{"id":"01JC3R94FRD97JBCBX3S0ZAXKW","created_at":"2026-01-02T03:04:05.678Z","provider":"openai",
"model":"gpt-4o-mini","model_type":"Text Generation","path":"v1/chat/completions","request_type":"universal",
"request_content_type":"application/json","response_content_type":"application/json","status_code":200,
"success":true,"cached":false,"duration":812,"timings":{"total":812,"latency":790},"tokens_in":12,"tokens_out":34,
"cost":0.0000222,"custom_cost":false,"metadata":{"team":"a"},"step":0,"event_id":"e-1","feedback":null,"score":null,
"user_agent":"OpenAI/Python","authentication":true,"wholesale":false,"byok":false,"dlp_action":null}"""

ENTRY = LogEntry(
    id="01JC3R94FRD97JBCBX3S0ZAXKW",
    request_id="01JC3R94FRD97JBCBX3S0ZAXKW",
    event_id="e-1",
    created_ms=1_767_323_045_678,
    duration_ms=812,
    latency_ms=790,
    provider="openai",
    model="gpt-4o-mini",
    model_type="Text Generation",
    path="v1/chat/completions",
    request_type="universal",
    request_content_type="application/json",
    response_content_type="application/json",
    status_code=200,
    success=True,
    cached=False,
    incomplete=False,
    ending="complete",
    error=0,
    step=0,
    attempts=1,
    usage=Usage(12, 34),
    cost_nano=22_200,
    custom_cost=False,
    metadata={"team": "a"},
    user_agent="OpenAI/Python",
    authentication=True,
    wholesale=False,
    byok=False,
    compat=False,
    payload=True,
    request_bytes=2,
    response_bytes=2,
)


def test_a_row_holds_the_golden_sample() -> None:
    row = json.loads(msgspec.json.encode(log_row(ENTRY)))
    sample = json.loads(SAMPLE)
    assert {name: row[name] for name in sample} == sample
    assert [name for name in row if name in sample] == list(sample)


def test_a_row_tells_the_groups_the_log_belongs_to_and_why_it_failed() -> None:
    entry = msgspec.structs.replace(ENTRY, connection_id="c-1", compat=True, error=2005, detail="timed out", attempts=3)
    row = log_row(entry)
    assert (row["request_id"], row["connection_id"], row["compatibilityMode"]) == (ENTRY.id, "c-1", True)
    assert (row["ending"], row["attempts"], row["error_code"], row["error_message"]) == (
        "complete",
        3,
        2005,
        "timed out",
    )
    assert log_row(ENTRY)["error_code"] is None


def test_usage_names_what_the_provider_said_and_nothing_else() -> None:
    assert log_row(ENTRY)["usage_metadata"] == {"input_tokens": 12, "output_tokens": 34}
    full = msgspec.structs.replace(ENTRY, usage=Usage(1, 2, 3, 0, 5, 6))
    assert log_row(full)["usage_metadata"] == {
        "input_tokens": 1,
        "output_tokens": 2,
        "total_tokens": 3,
        "output_reasoning_tokens": 0,
        "input_cached_tokens": 5,
        "input_cache_write_tokens": 6,
    }


def test_what_is_unknown_is_null_and_never_zero() -> None:
    row = log_row(msgspec.structs.replace(ENTRY, usage=Usage(), cost_nano=None, latency_ms=None))
    assert [row[name] for name in ("tokens_in", "tokens_out", "usage_metadata", "cost")] == [None] * 4
    assert row["timings"] == {"total": 812, "latency": None}
    assert log_row(msgspec.structs.replace(ENTRY, cost_nano=0))["cost"] == 0


@pytest.mark.parametrize("ms", [0, 999, 1_000, 1_767_323_045_001])
def test_times_keep_their_milliseconds(ms: int) -> None:
    assert str(log_row(msgspec.structs.replace(ENTRY, created_ms=ms))["created_at"]).endswith(f".{ms % 1000:03d}Z")


def head_of(head: bytes | None, size: int, encoding: str | None = None) -> tuple[object, object, object]:
    entry = msgspec.structs.replace(ENTRY, response_bytes=size, response_encoding=encoding)
    detail = log_detail(entry, None, head)
    return detail["response_head"], detail["response_head_complete"], detail["response_size"]


def test_a_short_body_is_shown_whole_and_a_long_one_begun() -> None:
    assert head_of(b"{}", 2) == ("{}", True, 2)
    assert head_of(b"", 0) == ("", True, 0)
    assert head_of(b"x" * HEAD_BYTES, HEAD_BYTES) == ("x" * HEAD_BYTES, True, HEAD_BYTES)
    assert head_of(b"x" * HEAD_BYTES, 1 << 30) == ("x" * HEAD_BYTES, False, 1 << 30)
    detail = log_detail(msgspec.structs.replace(ENTRY, request_bytes=3), b"abc", None)
    assert (detail["request_head"], detail["request_head_complete"], detail["request_size"]) == ("abc", True, 3)


def test_a_body_that_is_not_kept_has_an_empty_head() -> None:
    assert head_of(None, 500) == ("", False, 500)
    assert head_of(None, 0) == ("", True, 0)


def test_a_truncated_body_is_never_called_complete() -> None:
    assert head_of(b"begun", 100) == ("begun", False, 100)


def test_a_body_stored_cut_off_is_marked_so() -> None:
    detail = log_detail(msgspec.structs.replace(ENTRY, response_truncated=True), b"", b"begun")
    assert (detail["request_truncated"], detail["response_truncated"]) == (False, True)


def test_a_character_cut_at_the_end_is_left_out_and_bytes_that_are_no_text_are_marked() -> None:
    cut = ("ü" * HEAD_BYTES).encode()[: HEAD_BYTES - 1]
    assert head_of(cut, 1 << 20) == ("ü" * (HEAD_BYTES // 2 - 1), False, 1 << 20)
    assert head_of(b"\x89PNG\xff", 5) == ("\ufffdPNG\ufffd", True, 5)
    assert head_of(b"end\xc3", 4) == ("end\ufffd", True, 4)


def test_an_encoded_body_is_shown_decoded() -> None:
    packed = gzip.compress(b'{"a": 1}')
    assert head_of(packed, len(packed), "gzip") == ('{"a": 1}', True, len(packed))
    large = gzip.compress(b"y" * 100_000)
    assert head_of(large, len(large), "GZIP") == ("y" * HEAD_BYTES, False, len(large))
    assert head_of(packed[:-9], len(packed), "gzip")[1] is False
    assert head_of(brotli.compress(b"{}"), 6, "br") == ("{}", True, 6)
    assert head_of(b"\x1f\x9d\x90", 3, "compress") == ("", False, 3)
