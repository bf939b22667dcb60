"""A plain and a streamed reply of every vendor through the meter: model, kind, usage, cost, computed by hand."""

import gzip
from base64 import b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.formats.eventstream import MEDIA_TYPE, encode
from sluice.keeper.metering import Meter
from sluice.providers.registry import PROVIDERS
from sluice.values.exchange import Exchange
from sluice.values.log import LogEntry, SideFile, Usage
from sluice.values.rates import Rates
from tests.keeper.vendor_calls import CALLS, CHAT, CHAT_COST, MESSAGES, SSE, Call, dumped

RATES = Rates(3_000_000_000, 15_000_000_000, cached_input=300_000_000, cache_write=3_750_000_000)
"""3 USD a million tokens in, 15 out, 0.30 from the cache, 3.75 into it: 3,000, 15,000, 300, 3,750 nano-USD a token."""
PLAIN = Exchange(
    id="01JC3R94FRD97JBCBX3S0ZAXKW",
    account="local",
    provider="openai",
    path="v1/chat/completions",
    method="POST",
    request_type="provider",
    started_ms=1_767_323_045_678,
    latency_us=790_499,
    duration_us=812_500,
    status=200,
    ending="complete",
    error=0,
    step=0,
    attempts=1,
    authenticated=True,
    payload=True,
    request_content_type=b"application/json",
    request_encoding=b"",
    response_content_type=b"application/json",
    response_encoding=b"",
    user_agent=b"",
    metadata=b"",
    custom_cost=b"",
    request_bytes=0,
    response_bytes=0,
)


def meter(call: Call, response: bytes | SideFile, **seen: object) -> LogEntry:
    exchange = msgspec.structs.replace(PLAIN, **{"provider": call.provider, "path": call.path, **seen})
    rates = {(call.provider, call.model): RATES}
    return Meter(lambda provider, model: rates.get((provider, model))).entry(exchange, dumped(call.asked), response)


def test_every_provider_is_metered_here():
    by_the_call = {"cartesia", "elevenlabs", "deepgram", "fal", "ideogram", "adobe-firefly"}
    assert {call.provider for call in CALLS.values()} == PROVIDERS.keys() - by_the_call


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_plain_reply_is_counted_and_priced(call: Call):
    entry = meter(call, call.plain)
    assert (entry.usage, entry.cost_nano) == (call.usage, call.cost_nano)
    assert (entry.model, entry.provider) == (call.model, call.provider)


@pytest.mark.parametrize("call", [call for call in CALLS.values() if call.stream])
def test_a_streamed_reply_is_counted_and_priced(call: Call):
    entry = meter(call, call.stream, response_content_type=call.stream_type)
    assert entry.usage == msgspec.structs.replace(call.usage, total=entry.usage.total)
    assert entry.usage.total in (None, call.usage.total)
    assert (entry.cost_nano, entry.model) == (call.cost_nano, call.model)


@pytest.mark.parametrize("call", [call for call in CALLS.values() if call.stream])
def test_an_encoded_stream_in_a_side_file_is_counted_alike(call: Call, tmp_path):
    zipped = gzip.compress(call.stream)
    (tmp_path / "body").write_bytes(zipped)
    seen = {"response_content_type": call.stream_type, "response_encoding": b"gzip"}
    entry = meter(call, SideFile(tmp_path / "body", len(zipped)), **seen)
    assert (entry.usage.tokens_in, entry.usage.tokens_out) == (call.usage.tokens_in, call.usage.tokens_out)
    (tmp_path / "plain").write_bytes(call.plain)
    plain = meter(call, SideFile(tmp_path / "plain", len(call.plain)))
    assert (plain.usage, plain.cost_nano) == (call.usage, call.cost_nano)


@pytest.mark.parametrize("call", [call for call in CALLS.values() if call.stream])
@pytest.mark.parametrize("ending", ["abandoned", "broken"])
def test_a_stream_left_after_its_last_event_is_complete_and_before_it_is_not(call: Call, ending: str):
    seen = {"response_content_type": call.stream_type, "ending": ending}
    assert meter(call, call.stream, **seen).ending == "complete"
    separator = b"\n" if call.stream_type != SSE else b"\n\n"
    first = call.stream.partition(separator)[0] + separator
    if call.stream_type == MESSAGES:
        first = call.stream[: int.from_bytes(call.stream[:4], "big")]
    assert meter(call, first, **seen).ending == ending


def test_a_stream_in_messages_is_told_over_a_websocket_as_it_comes_only_where_it_is_translated():
    call = next(call for call in CALLS.values() if call.stream_type == MESSAGES)
    seen = {"response_content_type": MESSAGES, "ending": "broken", "request_type": "websocket"}
    assert meter(call, call.stream, compat=True, **seen).ending == "complete"
    assert meter(call, call.stream, compat=False, **seen).ending == "broken"


def test_geminis_stream_as_a_document_is_counted():
    call = CALLS["gemini"]
    datas = [line.removeprefix(b"data: ") for line in call.stream.split(b"\n\n") if line]
    entry = meter(call, b"[" + b",\r\n".join(datas) + b"]", path="v1beta/models/gemini-x:streamGenerateContent")
    assert (entry.usage, entry.cost_nano, entry.model_type) == (call.usage, call.cost_nano, "Text Generation")


AS_ARRAY = b"[%s\n]" % b",\r\n".join(
    line.removeprefix(b"data: ") for line in CALLS["gemini"].stream.split(b"\n\n") if line
)
ARRAYED = {"path": "v1beta/models/gemini-x:streamGenerateContent"}


@pytest.mark.parametrize("ending", ["abandoned", "broken"])
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_geminis_stream_as_a_document_that_was_left_behind_its_end_is_complete(ending: str, cut: int, tmp_path):
    call, body = CALLS["gemini"], AS_ARRAY[: len(AS_ARRAY) - cut]
    (tmp_path / "body").write_bytes(body)
    for told in (body, SideFile(tmp_path / "body", len(body))):
        entry = meter(call, told, ending=ending, error=2005, **ARRAYED)
        assert (entry.usage, entry.cost_nano, entry.ending, entry.error) == (call.usage, call.cost_nano, "complete", 0)
    zipped = meter(call, gzip.compress(body), ending=ending, response_encoding=b"gzip", **ARRAYED)
    assert (zipped.usage, zipped.ending) == (call.usage, "complete")


@pytest.mark.parametrize("cut", [3, 40, 200])
def test_geminis_stream_as_a_document_that_was_cut_counts_as_far_as_it_came(cut: int):
    entry = meter(CALLS["gemini"], AS_ARRAY[:-cut], ending="broken", **ARRAYED)
    assert (entry.usage, entry.ending) == (Usage(100, None, 100), "broken")


def test_a_document_of_anothers_that_is_an_array_and_was_left_stays_so():
    call = CALLS["hugging face"]
    assert meter(call, b'[{"generated_text":"hi"}]', ending="abandoned").ending == "abandoned"


def test_anthropics_stream_names_its_model_where_the_request_is_lost():
    call = CALLS["anthropic"]
    entry = Meter(lambda provider, model: RATES).entry(
        msgspec.structs.replace(PLAIN, provider="anthropic", path="v1/messages", response_content_type=SSE),
        None,
        call.stream,
    )
    assert (entry.model, entry.usage) == ("claude-x", call.usage)


def test_a_polled_prediction_is_not_billed_again():
    entry = meter(CALLS["replicate"], CALLS["replicate"].plain, method="GET", path="v1/predictions/p")
    assert (entry.usage, entry.cost_nano) == (Usage(), None)


THOUGHT = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 103}
VERTEX_CHAT = "v1/projects/p/locations/global/endpoints/openapi/chat/completions"


@pytest.mark.parametrize(
    ("provider", "path", "usage", "told"),
    [
        ("google-ai-studio", "v1beta/openai/chat/completions", THOUGHT, Usage(9, 94, 103, reasoning=93)),
        ("google-vertex-ai", VERTEX_CHAT, THOUGHT, Usage(9, 94, 103, reasoning=93)),
        (
            "google-vertex-ai",
            VERTEX_CHAT,
            THOUGHT | {"completion_tokens_details": {"reasoning_tokens": 93}},
            Usage(9, 94, 103, reasoning=93),
        ),
        ("google-ai-studio", "v1beta/openai/chat/completions", THOUGHT | {"total_tokens": 9}, Usage(9, 1, 9)),
        ("google-ai-studio", "v1beta/openai/embeddings", {"prompt_tokens": 9, "total_tokens": 12}, Usage(9, None, 12)),
        ("openai", "v1/chat/completions", THOUGHT, Usage(9, 1, 103)),
    ],
)
def test_googles_thoughts_are_counted_where_only_the_total_tells_of_them(provider, path, usage, told):
    call = CALLS["gemini"]
    plain = meter(call, dumped({"usage": usage}), provider=provider, path=path)
    stream = b"data: %s\n\ndata: %s\n\n" % (dumped({"usage": {"prompt_tokens": 9}}), dumped({"usage": usage}))
    assert plain.usage == told
    assert meter(call, stream, provider=provider, path=path, response_content_type=SSE).usage == told


SOLD_OTHERWISE: dict[str, tuple[dict[str, Any], bytes, bytes, Rates, Usage, int]] = {
    "bedrock's converse, with what concerns the cache on top": (
        {"provider": "aws-bedrock", "path": "model/anthropic.claude-x/converse"},
        b'{"messages":[]}',
        dumped(
            {
                "output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}},
                "usage": {
                    "inputTokens": 100,
                    "outputTokens": 20,
                    "totalTokens": 1130,
                    "cacheReadInputTokens": 1000,
                    "cacheWriteInputTokens": 10,
                    "cacheDetails": [{"inputTokens": 4, "ttl": "1h"}, {"inputTokens": 6, "ttl": "5m"}],
                },
            }
        ),
        msgspec.structs.replace(RATES, cache_write_1h=6_000_000_000),
        Usage(1110, 20, 1130, cached_in=1000, cache_write=10, cache_write_1h=4),
        100 * 3_000 + 1000 * 300 + 6 * 3_750 + 4 * 6_000 + 20 * 15_000,
    ),
    "bedrock's head, where the body tells nothing": (
        {"provider": "aws-bedrock", "path": "model/meta.llama-x/invoke", "head_tokens": (100, 10)},
        b'{"prompt":"hi"}',
        b'{"generation":"hi"}',
        RATES,
        Usage(100, 10),
        CHAT_COST,
    ),
    "bedrock's head, where the body tells one side": (
        {"provider": "aws-bedrock", "path": "model/m/invoke", "head_tokens": (100, 10)},
        b'{"prompt":"hi"}',
        b'{"usage":{"input_tokens":100}}',
        RATES,
        Usage(100, 10),
        CHAT_COST,
    ),
    "bedrock's head, against which the body is right": (
        {"provider": "aws-bedrock", "path": "model/claude-x/invoke", "head_tokens": (7, 7)},
        b'{"prompt":"hi"}',
        b'{"usage":{"input_tokens":100,"output_tokens":10}}',
        RATES,
        Usage(100, 10),
        CHAT_COST,
    ),
    "bedrock's head beside a stream that tells one side": (
        {
            "provider": "aws-bedrock",
            "path": "model/m/invoke-with-response-stream",
            "response_content_type": MEDIA_TYPE.encode(),
            "head_tokens": (100, None),
        },
        b'{"prompt":"hi"}',
        encode({":event-type": "chunk"}, dumped({"bytes": b64encode(b'{"usage":{"output_tokens":10}}').decode()})),
        RATES,
        Usage(100, 10),
        CHAT_COST,
    ),
    "bedrock's embeddings, which have no tokens out": (
        {"provider": "aws-bedrock", "path": "model/amazon.titan-embed-text-v2/invoke", "head_tokens": (100, None)},
        b'{"inputText":"hi"}',
        b'{"embedding":[0.5],"inputTextTokenCount":100}',
        RATES,
        Usage(100),
        100 * 3_000,
    ),
    "anthropic's cache, kept for an hour": (
        {"provider": "anthropic", "path": "v1/messages"},
        b'{"model":"claude-x"}',
        dumped(
            {
                "usage": {
                    "input_tokens": 100,
                    "cache_creation_input_tokens": 10,
                    "cache_creation": {"ephemeral_5m_input_tokens": 6, "ephemeral_1h_input_tokens": 4},
                    "output_tokens": 20,
                }
            }
        ),
        msgspec.structs.replace(RATES, cache_write_1h=6_000_000_000),
        Usage(110, 20, cache_write=10, cache_write_1h=4),
        100 * 3_000 + 6 * 3_750 + 4 * 6_000 + 20 * 15_000,
    ),
    "speech, by the character": (
        {"path": "v1/audio/speech", "response_content_type": b"audio/mpeg"},
        '{"model":"tts-x","input":"Grüß dich"}'.encode(),
        b"\xff\xfb sound",
        Rates(None, None, characters=15_000_000_000),
        Usage(characters_in=9),
        9 * 15_000,
    ),
    "a transcription, by the hour": (
        {"path": "v1/audio/transcriptions"},
        b'{"model":"whisper-x"}',
        b'{"text":"hi","usage":{"type":"duration","seconds":90.5}}',
        Rates(None, None, audio_hour=360_000_000),
        Usage(audio_in_ms=90_500),
        9_050_000,  # 0.36 USD an hour is 0.0001 USD a second
    ),
    "an image, whose tokens are told apart": (
        {"path": "v1/images/generations"},
        b'{"model":"image-x","prompt":"a sluice"}',
        dumped(
            {
                "data": [{"b64_json": "x"}],
                "usage": {
                    "input_tokens": 30,
                    "output_tokens": 1000,
                    "total_tokens": 1030,
                    "input_tokens_details": {"text_tokens": 10, "image_tokens": 20},
                },
            }
        ),
        Rates(5_000_000_000, 40_000_000_000, image_input=10_000_000_000),
        Usage(30, 1000, 1030, image_in=20),
        10 * 5_000 + 20 * 10_000 + 1000 * 40_000,
    ),
    "a chat that has a fee for the call": (
        {"provider": "perplexity-ai", "path": "chat/completions"},
        b'{"model":"sonar-x"}',
        dumped({"usage": CHAT}),
        msgspec.structs.replace(RATES, requests=5_000_000_000),
        Usage(100, 10, 110),
        CHAT_COST + 5_000_000,
    ),
}


@pytest.mark.parametrize(
    ("seen", "asked", "told", "rates", "usage", "cost_nano"), SOLD_OTHERWISE.values(), ids=SOLD_OTHERWISE
)
def test_what_is_not_sold_by_plain_tokens_is_counted_and_priced(seen, asked, told, rates, usage, cost_nano):
    entry = Meter(lambda provider, model: rates).entry(msgspec.structs.replace(PLAIN, **seen), asked, told)
    assert (entry.usage, entry.cost_nano) == (usage, cost_nano)


@pytest.mark.parametrize("seen", [{"status": 400}, {"ending": "refused", "error": 2005}, {"method": "GET"}])
def test_speech_that_was_not_made_costs_nothing(seen):
    exchange = msgspec.structs.replace(PLAIN, path="v1/audio/speech", **seen)
    entry = Meter(lambda provider, model: Rates(None, None, characters=1)).entry(exchange, b'{"input":"x"}', b"{}")
    assert (entry.usage, entry.cost_nano) == (Usage(), None)


@settings(max_examples=200)
@given(
    st.sampled_from(list(CALLS.values())),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 40), st.binary(max_size=6)), max_size=4),
    st.sampled_from([SSE, MESSAGES, b"application/json", b"application/stream+json", b""]),
)
def test_damaged_replies_never_break_the_meter(call: Call, streamed, damages, content_type):
    body = call.stream if streamed else call.plain
    for at, length, bytes_ in damages:
        body = body[:at] + bytes_ + body[at + length :]
    entry = meter(call, body, response_content_type=content_type, ending="broken")
    assert entry.cost_nano is None or entry.cost_nano >= 0
    assert msgspec.json.encode(entry)
