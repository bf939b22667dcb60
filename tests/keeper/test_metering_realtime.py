"""Realtime connections as the keeper meters them: the sum of all that was told, and the model, wherever it stands."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluice.keeper.metering import MAX_USAGE_EVENTS, Meter
from sluice.values.exchange import Exchange
from sluice.values.log import LogEntry, SideFile, Usage
from sluice.values.rates import Rates

LINES = b"application/x-ndjson"
LIVE = Exchange(
    id="01JC3R94FRD97JBCBX3S0ZAXKW",
    account="local",
    provider="openai",
    path="v1/realtime",
    method="GET",
    request_type="realtime",
    started_ms=1_767_323_045_678,
    latency_us=790_499,
    duration_us=812_500,
    status=101,
    ending="complete",
    error=0,
    step=0,
    attempts=1,
    authenticated=True,
    payload=True,
    request_content_type=LINES,
    request_encoding=b"",
    response_content_type=LINES,
    response_encoding=b"",
    user_agent=b"",
    metadata=b"",
    custom_cost=b"",
    request_bytes=0,
    response_bytes=0,
    connection_id="c-1",
    model="gpt-realtime",
)


def lines(*messages: object) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def done(tokens_in: int, tokens_out: int, audio: int = 0, cached: int = 0) -> dict[str, object]:
    usage = {
        "total_tokens": tokens_in + tokens_out,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "input_token_details": {"text_tokens": tokens_in - audio, "audio_tokens": audio, "cached_tokens": cached},
        "output_token_details": {"text_tokens": tokens_out, "audio_tokens": 0},
    }
    return {"type": "response.done", "response": {"status": "completed", "usage": usage}}


def turn(tokens_in: int, tokens_out: int) -> dict[str, object]:
    usage = {"promptTokenCount": tokens_in, "responseTokenCount": tokens_out, "totalTokenCount": tokens_in + tokens_out}
    return {"serverContent": {"turnComplete": True}, "usageMetadata": usage}


CREATED = {"type": "response.created", "response": {"usage": None}}


def meter(request: bytes, response: bytes | SideFile, **seen: object) -> LogEntry:
    rates = {("openai", "gpt-realtime"): Rates(4_000_000_000, 16_000_000_000)}
    exchange = msgspec.structs.replace(LIVE, **seen)
    return Meter(lambda provider, model: rates.get((provider, model))).entry(exchange, request, response)


def test_every_response_of_a_connection_counts():
    entry = meter(lines({"type": "response.create"}), lines(CREATED, done(10, 5, 4, 2), CREATED, done(20, 7, 6, 8)))
    assert entry.usage == Usage(30, 12, 42, cached_in=10, audio_in=10, audio_out=0)
    assert (entry.model, entry.status_code, entry.success) == ("gpt-realtime", 101, True)
    assert entry.connection_id == "c-1"
    assert entry.cost_nano


def test_cached_audio_is_paid_for_once():
    told: Any = done(1000, 0, audio=500, cached=500)
    usage = told["response"]["usage"]
    usage["input_token_details"]["cached_tokens_details"] = {"text_tokens": 0, "audio_tokens": 500}
    rates = Rates(4_000_000_000, 16_000_000_000, 400_000_000, audio_input=32_000_000_000)
    entry = Meter(lambda provider, model: rates).entry(LIVE, b"", lines(told, told))
    assert (entry.usage.cached_audio_in, entry.cost_nano) == (1000, 2 * 2_200_000)


def test_more_responses_than_a_stream_has_events_with_usage_all_count():
    many = MAX_USAGE_EVENTS + 10
    assert meter(b"", lines(*[done(1, 2)] * many)).usage.tokens_out == 2 * many


def test_every_turn_of_geminis_counts_and_its_model_is_that_of_the_setup():
    request = lines({"setup": {"model": "models/gemini-live"}}, {"clientContent": {"turnComplete": True}})
    entry = meter(
        request, lines({"setupComplete": {}}, turn(8, 30), turn(50, 4)), provider="google-ai-studio", model=""
    )
    assert (entry.usage.tokens_in, entry.usage.tokens_out, entry.usage.total) == (58, 34, 92)
    assert entry.model == "gemini-live"


def test_a_model_that_nobody_asked_for_is_that_of_the_session():
    session = {"type": "session.created", "session": {"type": "realtime", "model": "gpt-realtime"}}
    assert meter(lines({"type": "response.create"}), lines(session), model="").model == "gpt-realtime"


@pytest.mark.parametrize("ending", ["broken", "abandoned"])
def test_a_connection_that_broke_stays_broken_whatever_was_said_on_it(ending: str):
    entry = meter(b"", lines(done(1, 2), {"type": "response.completed"}), ending=ending)
    assert (entry.ending, entry.success, entry.usage.tokens_in) == (ending, False, 1)


@pytest.mark.parametrize("said", [b"", b"words\nmore words\n", b"{\n", b'{"usage": 7}\n', b"\xff\n" * 3])
def test_what_tells_nothing_is_unknown(said: bytes):
    entry = meter(said, said)
    assert (entry.usage, entry.cost_nano, entry.model) == (Usage(), None, "gpt-realtime")


def test_a_transcript_in_a_file_is_read_too(tmp_path: Path):
    file = tmp_path / "told"
    file.write_bytes(lines({"type": "x", "pad": "y" * 200_000}, done(3, 4)))
    assert meter(b"", SideFile(file, file.stat().st_size)).usage.tokens_out == 4
