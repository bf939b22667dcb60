"""The shapes in which the simulator speaks, and how each is asked: by its own path, and by the unified one."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

Json = Mapping[str, object]

QUESTION: Final = "What is a sluice for?"
_MESSAGES: Final = [{"role": "user", "content": QUESTION}]
_COUNT: Final = rb'"%b"\s*:\s*(\d+)'


@dataclass(frozen=True, slots=True)
class Counts:
    """Where a shape tells its tokens; of several places the last one holds."""

    tokens_in: re.Pattern[bytes]
    tokens_out: re.Pattern[bytes]

    def told(self, body: bytes) -> tuple[int | None, int | None]:
        """Tokens in and out as a body tells them; None where it does not."""
        return _last(self.tokens_in, body), _last(self.tokens_out, body)


def _last(sought: re.Pattern[bytes], body: bytes) -> int | None:
    found = sought.findall(body)
    return int(found[-1]) if found else None


def _named(tokens_in: bytes, tokens_out: bytes) -> Counts:
    return Counts(re.compile(_COUNT % tokens_in), re.compile(_COUNT % tokens_out))


CHAT_COUNTS: Final = _named(b"prompt_tokens", b"completion_tokens")
_MESSAGE_COUNTS: Final = _named(b"input_tokens", b"output_tokens")
_GEMINI_COUNTS: Final = _named(b"promptTokenCount", b"candidatesTokenCount")
_CONVERSE_COUNTS: Final = _named(b"inputTokens", b"outputTokens")
_COHERE_COUNTS: Final = Counts(
    re.compile(rb'"tokens"\s*:\s*\{[^}]*"input_tokens"\s*:\s*(\d+)'),
    re.compile(rb'"tokens"\s*:\s*\{[^}]*"output_tokens"\s*:\s*(\d+)'),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A provider's way to speak. `terminal` is in the last event of its streams and in no other."""

    name: str
    provider: str
    model: str
    endpoint: Callable[[str, bool], str]
    body: Callable[[str, bool], Json]
    counts: Counts
    terminal: bytes
    headers: dict[str, str]
    unified: str = ""
    """The path under `compat/` that serves its provider; empty where none does."""
    binary: bool = False
    """Whether its streams are no event streams."""
    translated: bool = False
    """Whether what goes by that path is put from one shape into the other."""


def _chat(model: str, stream: bool) -> Json:
    asked: dict[str, object] = {"model": model, "messages": _MESSAGES}
    return asked | {"stream": True, "stream_options": {"include_usage": True}} if stream else asked


def _responses(model: str, stream: bool) -> Json:
    return {"model": model, "input": QUESTION, "stream": stream}


def _anthropic(model: str, stream: bool) -> Json:
    return {"model": model, "max_tokens": 500, "messages": _MESSAGES, "stream": stream}


def _gemini(model: str, stream: bool) -> Json:
    return {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}


def _workers_ai(model: str, stream: bool) -> Json:
    return {"messages": _MESSAGES, "stream": stream}


def _cohere(model: str, stream: bool) -> Json:
    return {"model": model, "messages": _MESSAGES, "stream": stream}


def _converse(model: str, stream: bool) -> Json:
    return {"messages": [{"role": "user", "content": [{"text": QUESTION}]}]}


def unified_body(shape: Shape, model: str, stream: bool) -> Json:
    """The question in the schema of the unified path."""
    make = _responses if shape.unified == "responses" else _chat
    return make(f"{shape.provider}/{model}", stream)


def _always(path: str) -> Callable[[str, bool], str]:
    return lambda model, stream: path


def _generate(model: str, stream: bool) -> str:
    return f"v1beta/models/{model}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")


def _converse_path(model: str, stream: bool) -> str:
    return f"bedrock-runtime/us-east-1/model/{model}/converse" + ("-stream" if stream else "")


_KEY: Final = {"authorization": "Bearer simulated"}
_ANTHROPIC: Final = {"x-api-key": "simulated", "anthropic-version": "2023-06-01"}
_LLAMA: Final = "@cf/meta/llama-3.1-8b-instruct"
_V1: Final = _always("v1/chat/completions")
_CHAT_END: Final = b"data: [DONE]"
UNIFIED: Final = "chat/completions"

SHAPES: Final = {
    shape.name: shape
    for shape in (
        Shape("openai-chat", "openai", "gpt-4o-mini", _V1, _chat, CHAT_COUNTS, _CHAT_END, _KEY, UNIFIED),
        Shape(
            "openai-responses", "openai", "gpt-4o-mini", _always("v1/responses"), _responses, _MESSAGE_COUNTS,
            b'"response.completed"', _KEY, "responses",
        ),
        Shape(
            "anthropic", "anthropic", "claude-3-5-haiku-latest", _always("v1/messages"), _anthropic, _MESSAGE_COUNTS,
            b"event: message_stop", _ANTHROPIC, UNIFIED, translated=True,
        ),
        Shape(
            "gemini", "google-ai-studio", "gemini-2.0-flash", _generate, _gemini, _GEMINI_COUNTS,
            b'"finishReason"', {"x-goog-api-key": "simulated"}, UNIFIED,
        ),
        Shape(
            "workers-ai-run", "workers-ai", _LLAMA, lambda model, stream: model, _workers_ai, CHAT_COUNTS,
            _CHAT_END, _KEY,
        ),
        Shape("workers-ai-v1", "workers-ai", _LLAMA, _V1, _chat, CHAT_COUNTS, _CHAT_END, _KEY, UNIFIED),
        Shape(
            "cohere", "cohere", "command-a-03-2025", _always("v2/chat"), _cohere, _COHERE_COUNTS,
            b"event: message-end", _KEY, UNIFIED,
        ),
        Shape(
            "bedrock-converse", "aws-bedrock", "amazon.nova-lite-v1:0", _converse_path, _converse, _CONVERSE_COUNTS,
            b'"latencyMs"', _KEY, UNIFIED, binary=True, translated=True,
        ),
        Shape("openai-shaped", "mistral", "mistral-small-latest", _V1, _chat, CHAT_COUNTS, _CHAT_END, _KEY, UNIFIED),
    )
}  # fmt: skip
