"""A plain and a streamed reply of every vendor that is paid by tokens, and what each comes to."""

import json
from base64 import b64encode
from typing import Any, NamedTuple

from sluice.formats.eventstream import encode
from sluice.values.log import Usage

SSE = b"text/event-stream"
MESSAGES = b"application/vnd.amazon.eventstream"
CONVERSED = {
    "inputTokens": 100,
    "outputTokens": 20,
    "totalTokens": 1130,
    "cacheReadInputTokens": 1000,
    "cacheWriteInputTokens": 10,
}


class Call(NamedTuple):
    """A vendor's plain reply and its stream, with what both come to."""

    provider: str
    path: str
    model: str
    asked: dict[str, Any]
    plain: bytes
    stream: bytes
    usage: Usage
    cost_nano: int
    stream_type: bytes = SSE


def events(*datas: dict[str, Any], done: bool = False, named: bool = False) -> bytes:
    lines = [
        (f"event: {data['type']}\n" if named else "") + f"data: {json.dumps(data, separators=(',', ':'))}\n\n"
        for data in datas
    ]
    return "".join([*lines, "data: [DONE]\n\n"] if done else lines).encode()


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def messages(*datas: dict[str, Any], wrapped: bool = False) -> bytes:
    """A stream of Bedrock's: each event a message, or one that wraps what a model says itself."""
    lines = [
        dumped({"bytes": b64encode(dumped(data)).decode(), "p": "ab"}) if wrapped else dumped(data) for data in datas
    ]
    return b"".join(
        encode({":event-type": "chunk" if wrapped else "event", ":message-type": "event"}, line) for line in lines
    )


CHAT = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
CHAT_COST = 100 * 3_000 + 10 * 15_000


def openai_shaped(provider: str, path: str = "v1/chat/completions", **usage: Any) -> Call:
    told = {**CHAT, **usage}
    return Call(
        provider,
        path,
        "a-model",
        {"model": "a-model", "messages": []},
        dumped({"id": "x", "model": "a-model-2", "choices": [{"message": {"content": "hi"}}], "usage": told}),
        events(
            {"choices": [{"index": 0, "delta": {"content": "hi"}}], "usage": None},
            {"choices": [], "usage": told},
            done=True,
        ),
        Usage(100, 10, 110),
        CHAT_COST,
    )


CALLS = {
    "anthropic": Call(
        "anthropic",
        "v1/messages",
        "claude-x",
        {"model": "claude-x", "max_tokens": 9, "messages": []},
        dumped(
            {
                "type": "message",
                "model": "claude-x",
                "content": [{"type": "text", "text": "hi"}],
                "usage": {
                    "input_tokens": 100,
                    "cache_read_input_tokens": 1000,
                    "cache_creation_input_tokens": 10,
                    "output_tokens": 20,
                },
            }
        ),
        events(
            {
                "type": "message_start",
                "message": {
                    "model": "claude-x",
                    "usage": {
                        "input_tokens": 100,
                        "cache_read_input_tokens": 1000,
                        "cache_creation_input_tokens": 10,
                        "output_tokens": 1,
                    },
                },
            },
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}},
            {"type": "message_stop"},
            named=True,
        ),
        Usage(1110, 20, cached_in=1000, cache_write=10),
        100 * 3_000 + 1000 * 300 + 10 * 3_750 + 20 * 15_000,
    ),
    "gemini": Call(
        "google-ai-studio",
        "v1beta/models/gemini-x:generateContent",
        "gemini-x",
        {"contents": []},
        dumped(
            {
                "candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
                "usageMetadata": {
                    "promptTokenCount": 100,
                    "cachedContentTokenCount": 40,
                    "candidatesTokenCount": 10,
                    "thoughtsTokenCount": 5,
                    "totalTokenCount": 115,
                },
                "modelVersion": "gemini-x-001",
            }
        ),
        events(
            {
                "candidates": [{"content": {"parts": [{"text": "hi"}]}}],
                "usageMetadata": {"promptTokenCount": 100, "totalTokenCount": 100},
            },
            {
                "candidates": [{"content": {"parts": [{"text": "!"}]}, "finishReason": "STOP"}],
                "usageMetadata": {
                    "promptTokenCount": 100,
                    "cachedContentTokenCount": 40,
                    "candidatesTokenCount": 10,
                    "thoughtsTokenCount": 5,
                    "totalTokenCount": 115,
                },
            },
        ),
        Usage(100, 15, 115, reasoning=5, cached_in=40),
        60 * 3_000 + 40 * 300 + 15 * 15_000,
    ),
    "bedrock converse": Call(
        "aws-bedrock",
        "bedrock-runtime/us-east-1/model/anthropic.claude-x-v1%3A0/converse",
        "anthropic.claude-x-v1:0",
        {"messages": []},
        dumped({"output": {"message": {"content": [{"text": "hi"}]}}, "usage": CONVERSED, "metrics": {"latencyMs": 9}}),
        messages(
            {"role": "assistant"},
            {"contentBlockIndex": 0, "delta": {"text": "hi"}},
            {"stopReason": "end_turn"},
            {"usage": CONVERSED, "metrics": {"latencyMs": 9}},
        ),
        Usage(1110, 20, 1130, cached_in=1000, cache_write=10),
        100 * 3_000 + 1000 * 300 + 10 * 3_750 + 20 * 15_000,
        MESSAGES,
    ),
    "bedrock, a model's own shape": Call(
        "aws-bedrock",
        "bedrock-runtime/us-east-1/model/claude-x/invoke",
        "claude-x",
        {"messages": []},
        dumped({"type": "message", "content": [], "usage": {"input_tokens": 100, "output_tokens": 20}}),
        messages(
            {"type": "message_start", "message": {"usage": {"input_tokens": 100, "output_tokens": 1}}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
            {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 20}},
            {
                "type": "message_stop",
                "amazon-bedrock-invocationMetrics": {"inputTokenCount": 100, "outputTokenCount": 20},
            },
            wrapped=True,
        ),
        Usage(100, 20),
        100 * 3_000 + 20 * 15_000,
        MESSAGES,
    ),
    "bedrock, a model that says nothing of usage": Call(
        "aws-bedrock",
        "bedrock-runtime/us-east-1/model/meta.llama-x/invoke",
        "meta.llama-x",
        {"prompt": "hi"},
        dumped({"usage": {"inputTokens": 100, "outputTokens": 20}}),
        messages(
            {"generation": "hi"},
            {
                "generation": "",
                "stop_reason": "stop",
                "amazon-bedrock-invocationMetrics": {"inputTokenCount": 100, "outputTokenCount": 20},
            },
            wrapped=True,
        ),
        Usage(100, 20),
        100 * 3_000 + 20 * 15_000,
        MESSAGES,
    ),
    "vertex through openai's shape": openai_shaped(
        "google-vertex-ai", "v1/projects/p/locations/r/endpoints/openapi/chat/completions"
    ),
    "gemini through openai's shape": openai_shaped("google-ai-studio", "v1beta/openai/chat/completions"),
    "workers ai": Call(
        "workers-ai",
        "run/@cf/meta/llama-x",
        "@cf/meta/llama-x",
        {"prompt": "hi"},
        dumped({"result": {"response": "hi", "usage": CHAT}, "success": True, "errors": [], "messages": []}),
        events({"response": "hi"}, {"response": "", "usage": CHAT}, done=True),
        Usage(100, 10, 110),
        CHAT_COST,
    ),
    "workers ai through openai's shape": openai_shaped("workers-ai"),
    "cohere v1": Call(
        "cohere",
        "v1/chat",
        "command-x",
        {"model": "command-x", "message": "hi"},
        dumped({"text": "hi", "meta": {"billed_units": {"input_tokens": 100.0, "output_tokens": 10.0}}}),
        b"".join(
            dumped(line) + b"\n"
            for line in (
                {"is_finished": False, "event_type": "stream-start", "generation_id": "g"},
                {"is_finished": False, "event_type": "text-generation", "text": "hi"},
                {
                    "is_finished": True,
                    "event_type": "stream-end",
                    "response": {"text": "hi", "meta": {"billed_units": {"input_tokens": 100, "output_tokens": 10}}},
                },
            )
        ),
        Usage(100, 10),
        CHAT_COST,
        b"application/stream+json",
    ),
    "cohere v2": Call(
        "cohere",
        "v2/chat",
        "command-x",
        {"model": "command-x", "messages": []},
        dumped(
            {
                "message": {"content": [{"type": "text", "text": "hi"}]},
                "usage": {
                    "billed_units": {"input_tokens": 7, "output_tokens": 10},
                    "tokens": {"input_tokens": 100, "output_tokens": 10},
                },
            }
        ),
        events(
            {"type": "content-delta", "delta": {"message": {"content": {"text": "hi"}}}},
            {"type": "message-end", "delta": {"usage": {"tokens": {"input_tokens": 100, "output_tokens": 10}}}},
            done=True,
            named=True,
        ),
        Usage(100, 10),
        CHAT_COST,
    ),
    "cohere through openai's shape": openai_shaped("cohere", "compatibility/v1/chat/completions"),
    "azure": openai_shaped("azure-openai", "res/openai/deployments/a-model/chat/completions")._replace(
        asked={"messages": []}
    ),
    "groq": openai_shaped("groq", "chat/completions")._replace(
        stream=events(
            {"choices": [{"delta": {"content": "hi"}}], "x_groq": {"id": "r"}},
            {"choices": [], "x_groq": {"id": "r", "usage": CHAT}},
            done=True,
        )
    ),
    "hugging face": Call(
        "huggingface",
        "org/model-x",
        "org/model-x",
        {"inputs": "hi"},
        dumped([{"generated_text": "hi", "details": {"generated_tokens": 10, "input_length": 100}}]),
        events(
            {"token": {"text": "hi"}, "generated_text": None, "details": None},
            {
                "token": {"text": "!"},
                "generated_text": "hi!",
                "details": {"generated_tokens": 10, "input_length": 100},
            },
        ),
        Usage(100, 10),
        CHAT_COST,
    ),
    "replicate": Call(
        "replicate",
        "v1/models/meta/llama-x/predictions",
        "meta/llama-x",
        {"input": {"prompt": "hi"}},
        dumped({"status": "succeeded", "metrics": {"input_token_count": 100, "output_token_count": 10}}),
        b"",
        Usage(100, 10),
        CHAT_COST,
    ),
    "anthropic's shape elsewhere": Call(
        "deepseek",
        "anthropic/v1/messages",
        "a-model",
        {"model": "a-model", "messages": []},
        dumped({"type": "message", "usage": {"input_tokens": 60, "cache_read_input_tokens": 40, "output_tokens": 10}}),
        events(
            {
                "type": "message_start",
                "message": {"usage": {"input_tokens": 60, "cache_read_input_tokens": 40, "output_tokens": 0}},
            },
            {"type": "message_delta", "usage": {"output_tokens": 10}},
            {"type": "message_stop"},
            named=True,
        ),
        Usage(100, 10, cached_in=40),
        60 * 3_000 + 40 * 300 + 10 * 15_000,
    ),
    **{
        slug: openai_shaped(
            slug, "chat/completions" if slug in ("perplexity-ai", "fireworks") else "v1/chat/completions"
        )
        for slug in (
            "openai",
            "mistral",
            "deepseek",
            "openrouter",
            "grok",
            "cerebras",
            "perplexity-ai",
            "fireworks",
            "baseten",
            "parallel",
        )
    },
}
