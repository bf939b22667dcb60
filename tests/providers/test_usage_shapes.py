"""Usage as each vendor words it, beside what it comes to by hand."""

import json

import pytest

from sluice.providers.usage import counted, may_tell_usage, merged, told_by_event, told_by_reply
from sluice.values.log import Usage

WHOLE = {
    "anthropic": (
        {"type": "message", "usage": {"input_tokens": 10, "output_tokens": 20}},
        Usage(10, 20),
    ),
    "anthropic that thinks": (
        {"usage": {"input_tokens": 10, "output_tokens": 500, "output_tokens_details": {"thinking_tokens": 400}}},
        Usage(10, 500, reasoning=400),
    ),
    "anthropic with a cache": (
        {
            "type": "message",
            "usage": {
                "input_tokens": 10,
                "cache_creation_input_tokens": 300,
                "cache_read_input_tokens": 2000,
                "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 20,
                "service_tier": "standard",
            },
        },
        Usage(2310, 20, cached_in=2000, cache_write=300),
    ),
    "anthropic with an unused cache": (
        {"usage": {"input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}},
        Usage(10, None, cached_in=0, cache_write=0),
    ),
    "openai's words with anthropic's cache": (
        {"usage": {"prompt_tokens": 2010, "completion_tokens": 1, "cache_read_input_tokens": 2000}},
        Usage(2010, 1, cached_in=2000),
    ),
    "gemini": (
        {
            "candidates": [{"content": {"parts": [{"text": "hi"}]}}],
            "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 5, "totalTokenCount": 13},
            "modelVersion": "gemini-2.5-flash",
        },
        Usage(8, 5, 13),
    ),
    "gemini that thinks, hears, sees and uses tools": (
        {
            "usageMetadata": {
                "promptTokenCount": 300,
                "toolUsePromptTokenCount": 20,
                "candidatesTokenCount": 50,
                "thoughtsTokenCount": 70,
                "totalTokenCount": 440,
                "cachedContentTokenCount": 100,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 42},
                    {"modality": "IMAGE", "tokenCount": 258},
                ],
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}],
            }
        },
        Usage(320, 120, 440, reasoning=70, cached_in=100, audio_out=50, image_in=258),
    ),
    "gemini that hears out of the cache": (
        {
            "usageMetadata": {
                "promptTokenCount": 300,
                "candidatesTokenCount": 50,
                "totalTokenCount": 350,
                "cachedContentTokenCount": 120,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 100},
                    {"modality": "AUDIO", "tokenCount": 200},
                ],
                "cacheTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 20},
                    {"modality": "AUDIO", "tokenCount": 100},
                ],
            }
        },
        Usage(300, 50, 350, cached_in=120, audio_in=200, cached_audio_in=100),
    ),
    "gemini that only thought": (
        {"usageMetadata": {"promptTokenCount": 8, "thoughtsTokenCount": 70, "totalTokenCount": 78}},
        Usage(8, 70, 78, reasoning=70),
    ),
    "gemini through openai's shape": (
        {"usage": {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13}},
        Usage(8, 5, 13),
    ),
    "workers ai": (
        {
            "result": {
                "response": "hi",
                "usage": {"prompt_tokens": 26, "completion_tokens": 9, "total_tokens": 35},
            },
            "success": True,
            "errors": [],
            "messages": [],
        },
        Usage(26, 9, 35),
    ),
    "cohere v1": (
        {
            "text": "hi",
            "meta": {
                "api_version": {"version": "1"},
                "billed_units": {"input_tokens": 5.0, "output_tokens": 418.0},
                "tokens": {"input_tokens": 71.0, "output_tokens": 418.0},
            },
        },
        Usage(5, 418),
    ),
    "cohere v1 without bill": ({"meta": {"tokens": {"input_tokens": 71, "output_tokens": 418}}}, Usage(71, 418)),
    "cohere v1 embeddings": ({"embeddings": [[0.1]], "meta": {"billed_units": {"input_tokens": 3}}}, Usage(3)),
    "cohere v2": (
        {
            "message": {"role": "assistant", "content": [{"type": "text", "text": "hi"}]},
            "usage": {
                "billed_units": {"input_tokens": 5, "output_tokens": 418},
                "tokens": {"input_tokens": 71, "output_tokens": 418},
            },
        },
        Usage(71, 418),
    ),
    "cohere v2 without tokens": ({"usage": {"billed_units": {"input_tokens": 5, "output_tokens": 4}}}, Usage(5, 4)),
    "groq": (
        {
            "usage": {
                "queue_time": 0.04,
                "prompt_tokens": 24,
                "prompt_time": 0.01,
                "completion_tokens": 377,
                "completion_time": 0.3,
                "total_tokens": 401,
            },
            "x_groq": {"id": "req_1"},
        },
        Usage(24, 377, 401),
    ),
    "grok, whose output is without its reasoning": (
        {
            "usage": {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "prompt_tokens_details": {"text_tokens": 32, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 8},
                "completion_tokens_details": {"reasoning_tokens": 94, "audio_tokens": 0},
                "num_sources_used": 0,
            }
        },
        Usage(32, 103, 135, reasoning=94, cached_in=8, audio_in=0, audio_out=0, image_in=0),
    ),
    "perplexity's deep research": (
        {
            "usage": {
                "prompt_tokens": 33,
                "completion_tokens": 7163,
                "total_tokens": 7196,
                "citation_tokens": 20016,
                "num_search_queries": 18,
                "reasoning_tokens": 73997,
            }
        },
        Usage(33, 81160, 7196, reasoning=73997),
    ),
    "deepseek": (
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_cache_hit_tokens": 64,
                "prompt_cache_miss_tokens": 36,
                "completion_tokens_details": {"reasoning_tokens": 30},
            }
        },
        Usage(100, 50, 150, reasoning=30, cached_in=64),
    ),
    "openrouter": (
        {
            "usage": {
                "prompt_tokens": 194,
                "completion_tokens": 2,
                "total_tokens": 196,
                "cost": 0.95,
                "cost_details": {"upstream_inference_cost": 19},
                "prompt_tokens_details": {"cached_tokens": 0},
            }
        },
        Usage(194, 2, 196, cached_in=0),
    ),
    "replicate": (
        {
            "id": "p",
            "status": "succeeded",
            "output": ["h", "i"],
            "metrics": {
                "predict_time": 1.5,
                "input_token_count": 14,
                "output_token_count": 2,
                "tokens_per_second": 9.5,
            },
        },
        Usage(14, 2),
    ),
    "hugging face": (
        [{"generated_text": "hi", "details": {"finish_reason": "length", "generated_tokens": 20, "prefill": []}}],
        Usage(None, 20),
    ),
}
STREAMED = {
    "anthropic": (
        [
            {
                "type": "message_start",
                "message": {
                    "model": "claude",
                    "usage": {"input_tokens": 25, "cache_read_input_tokens": 100, "output_tokens": 1},
                },
            },
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}},
        ],
        Usage(125, 15, cached_in=100),
    ),
    "anthropic, whose last usage repeats all": (
        [
            {
                "type": "message_start",
                "message": {"usage": {"input_tokens": 25, "cache_creation_input_tokens": 7, "output_tokens": 1}},
            },
            {
                "type": "message_delta",
                "usage": {
                    "input_tokens": 30,
                    "cache_creation_input_tokens": 7,
                    "cache_read_input_tokens": 0,
                    "output_tokens": 15,
                },
            },
        ],
        Usage(37, 15, cached_in=0, cache_write=7),
    ),
    "anthropic that thinks": (
        [
            {"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}},
            {
                "type": "message_delta",
                "usage": {"output_tokens": 15, "output_tokens_details": {"thinking_tokens": 12}},
            },
        ],
        Usage(25, 15, reasoning=12),
    ),
    "anthropic, cut where its thinking is ahead of its output": (
        [
            {
                "type": "message_start",
                "message": {"usage": {"output_tokens": 1, "output_tokens_details": {"thinking_tokens": 12}}},
            },
        ],
        Usage(None, 1, reasoning=12),
    ),
    "another's stream in anthropic's shape": (
        [
            {"type": "message_start", "message": {"usage": {"input_tokens": 0, "output_tokens": 0}}},
            {"type": "message_delta", "usage": {"input_tokens": 30, "output_tokens": 15}},
        ],
        Usage(30, 15),
    ),
    "gemini": (
        [
            {"usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 78, "thoughtsTokenCount": 70}},
            {"usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 5, "totalTokenCount": 83}},
        ],
        Usage(8, 75, 83, reasoning=70),
    ),
    "workers ai": (
        [{"response": "hi"}, {"response": "", "usage": {"prompt_tokens": 26, "completion_tokens": 9}}],
        Usage(26, 9),
    ),
    "cohere v1": (
        [
            {"is_finished": False, "event_type": "text-generation", "text": "hi"},
            {
                "is_finished": True,
                "event_type": "stream-end",
                "response": {"text": "hi", "meta": {"billed_units": {"input_tokens": 5, "output_tokens": 4}}},
            },
        ],
        Usage(5, 4),
    ),
    "cohere v2": (
        [
            {"type": "message-start", "delta": {"message": {"role": "assistant"}}},
            {
                "type": "message-end",
                "delta": {
                    "finish_reason": "COMPLETE",
                    "usage": {
                        "billed_units": {"input_tokens": 5, "output_tokens": 4},
                        "tokens": {"input_tokens": 71, "output_tokens": 4},
                    },
                },
            },
        ],
        Usage(71, 4),
    ),
    "groq": (
        [
            {"x_groq": {"id": "req_1"}, "choices": []},
            {"choices": [], "x_groq": {"id": "req_1", "usage": {"prompt_tokens": 24, "completion_tokens": 377}}},
        ],
        Usage(24, 377),
    ),
    "hugging face": (
        [
            {"token": {"text": "hi"}, "generated_text": None, "details": None},
            {
                "token": {"text": "!"},
                "generated_text": "hi!",
                "details": {"finish_reason": "length", "generated_tokens": 2, "input_length": 7},
            },
        ],
        Usage(7, 2),
    ),
}


@pytest.mark.parametrize(("reply", "usage"), WHOLE.values(), ids=WHOLE)
def test_usage_is_read_from_the_reply_of_every_vendor(reply, usage):
    assert counted(told_by_reply(json.dumps(reply).encode())) == usage


@pytest.mark.parametrize(("events", "usage"), STREAMED.values(), ids=STREAMED)
def test_usage_is_read_from_the_stream_of_every_vendor(events, usage):
    told = None
    for event in events:
        data = json.dumps(event).encode()
        seen = told_by_event(data)
        assert seen is None or may_tell_usage(data)
        told = merged(told, seen)
    assert counted(told) == usage


def test_an_array_is_a_stream_as_a_document():
    events, usage = STREAMED["gemini"]
    assert counted(told_by_reply(json.dumps(events).encode())) == usage
    assert counted(told_by_reply(b" \n" + json.dumps(events, indent=2).encode())) == usage


@pytest.mark.parametrize(
    "reply",
    [
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        {"success": False, "errors": [{"code": 5007, "message": "No such model"}], "result": None},
        {"result": "a string", "response": ["a", "list"], "message": 3, "delta": None, "meta": "text", "details": []},
        {"meta": {"billed_units": {"search_units": 1}}},
        {"metrics": {"predict_time": 1.5}},
        {"usageMetadata": "many"},
        {"usageMetadata": {"promptTokenCount": "8"}},
        {"message": {"usage": {"input_tokens": "8"}}},
        {"data": [{"usage": {"prompt_tokens": 8}}]},
        [0.1, 0.2],
        [[0.1, 0.2]],
        [{"label": "POSITIVE", "score": 0.9}],
        [],
    ],
    ids=str,
)
def test_a_reply_without_usage_has_none(reply):
    data = json.dumps(reply).encode()
    assert counted(told_by_reply(data)) is None
    assert counted(told_by_event(data)) is None


@pytest.mark.parametrize("count", [-1, 1.5, 10**13])
def test_impossible_counts_are_unknown(count):
    body = {"usage": {"input_tokens": count, "cache_read_input_tokens": 5, "output_tokens": 1}}
    assert counted(told_by_reply(json.dumps(body).encode())) == Usage(None, 1, cached_in=5)
