"""Logs that leave and come back, and those of LiteLLM."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.insight import litellm, portable
from sluice.insight.portable import WrongLine
from sluice.values.ids import key_of
from sluice.values.log import LogEntry, NewLog, Usage

LOG_ID = "01JC3R94FRD97JBCBX3S0ZAXKW"
ROWS = (Path(__file__).parent / "litellm_spend_logs.jsonl").read_bytes().splitlines()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
BODIES = st.none() | st.binary(max_size=50) | TEXT.map(str.encode)


@given(
    changes=st.fixed_dictionaries(
        {
            "model": TEXT,
            "detail": st.none() | TEXT,
            "cost_nano": st.none() | st.integers(0, 2**53),
            "score": st.none() | st.floats(0, 100),
            "usage": st.builds(Usage, tokens_in=st.none() | st.integers(0, 10**12), audio_in=st.none() | st.just(3)),
            "metadata": st.dictionaries(TEXT, TEXT | st.booleans() | st.integers(-(2**53), 2**53), max_size=3),
        }
    ),
    request=BODIES,
    response=BODIES,
)
def test_every_log_comes_back_as_it_left(entry_of: Any, changes: dict[str, Any], request: Any, response: Any) -> None:
    entry: LogEntry = entry_of(LOG_ID, **changes)
    line = portable.written(entry, request, response)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert portable.read(line) == NewLog(entry, request, response)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda line: line[:-5], "no JSON"),
        (lambda line: b"", "no JSON"),
        (lambda line: b"{}", "sluice_log"),
        (lambda line: line.replace(b'"sluice_log":1', b'"sluice_log":2'), "sluice_log"),
        (lambda line: line.replace(LOG_ID.encode(), b"01JC"), "without a log's id"),
        (lambda line: line.replace(b'"status_code":200', b'"status_code":"x"'), "entry.status_code"),
        (lambda line: line.replace(b'"response_base64":"/w=="', b'"response_base64":"/w"'), "base64"),
        (lambda line: b"[" * 10_000, "no exported log"),
        (lambda line: b"\xff" + line, "no JSON"),
    ],
)
def test_a_line_that_is_no_log_says_why(entry_of: Any, change: Any, why: str) -> None:
    line = portable.written(entry_of(LOG_ID), b"{}", b"\xff")
    with pytest.raises(WrongLine, match=why):
        portable.read(change(line))


def test_a_row_of_litellm_is_a_log_with_what_it_says_of_tokens_money_and_time() -> None:
    log = litellm.read(ROWS[0])
    entry = log.entry
    assert (entry.provider, entry.model, entry.path) == ("openai", "gpt-4o-mini", "v1/chat/completions")
    assert (entry.usage, entry.cost_nano) == (Usage(24, 9, 33), 9_000)
    assert (entry.created_ms, entry.duration_ms, entry.latency_ms) == (1767323045123, 1377, 400)
    assert (entry.success, entry.status_code, entry.cached) == (True, 200, False)
    assert entry.metadata == {"user": "ada", "team": "team-1", "tags": "prod,eu"}
    assert entry.event_id == "chatcmpl-1"
    assert key_of(entry.id) >> 21 == entry.created_ms
    assert json.loads(log.request or b"") == {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
    assert json.loads(log.response or b"")["choices"][0]["message"]["content"] == "Hello"
    assert b"hashed" not in msgspec.json.encode(entry)


def test_a_failed_call_and_one_from_the_cache_are_told_as_such() -> None:
    failed, cached = litellm.read(ROWS[1]).entry, litellm.read(ROWS[2]).entry
    assert (failed.success, failed.status_code, failed.usage, failed.provider) == (
        False,
        429,
        Usage(),
        "google-ai-studio",
    )
    assert failed.model == "gemini-2.0-flash"
    assert (cached.cached, cached.success, cached.path) == (True, True, "v1/embeddings")
    assert litellm.read(ROWS[2]).request is None


def test_the_same_row_is_the_same_log_and_others_are_others() -> None:
    ids = [litellm.read(row).entry.id for row in ROWS]
    assert ids == [litellm.read(row).entry.id for row in ROWS]
    assert len(set(ids)) == len(ROWS)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"request_id":"a","call_type":"b","startTime":"soon","endTime":"x"}',
        b'{"request_id":"a","call_type":"b","startTime":"1900-01-01","endTime":"2026-01-01"}',
    ],
)
def test_what_is_no_row_says_so(line: bytes) -> None:
    with pytest.raises(WrongLine):
        litellm.read(line)
