"""Vendors that speak OpenAI's wire, and what each says otherwise than OpenAI."""

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

from sluice.simulator.answers import Spent
from sluice.simulator.words import Json

_PREFIX: Final = re.compile(r"(?:(?:inference|api|openai|compatibility)/)?(?:openai/)?(?:v1(?:beta)?/)?(?:openai/)?")
"""What may stand before a path of OpenAI's at one of these vendors."""

_ERRORS: Final[Mapping[int, tuple[str, str | None, str]]] = {
    400: ("invalid_request_error", None, "The request was malformed."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: bad-key."),
    403: (
        "invalid_request_error",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_error", "overloaded", "The engine is currently overloaded, please try again later"),
}
"""Type, code and words of an error; other statuses have those of their hundred."""


class Fault(NamedTuple):
    """An error before it has a vendor's shape."""

    status: int
    kind: str
    code: str | None
    message: str


UsageTold = Literal["asked", "last", "x_groq"]
"""Where a stream tells the usage: in a chunk of its own if the request asked for it, always in the last chunk with a
choice, or as Groq does, in `x_groq` of that chunk, and where asked for also as OpenAI does."""


class Dialect(NamedTuple):
    error: Callable[[Fault], Json]
    models: tuple[str, ...]
    told: UsageTold = "asked"
    usage: Callable[[Spent], dict[str, Json]] = lambda used: _usage(used)
    also: Mapping[str, Json] = {}
    """Further fields of a chat's reply."""


def own_path(path: str) -> str:
    """A path as OpenAI names it, without what a vendor has before it."""
    found = _PREFIX.match(path)
    return path[found.end() :] if found else path


def fault_of(status: int, message: str) -> Fault:
    """The error of this status in OpenAI's words; an empty message takes the usual one."""
    kind, code, said = _ERRORS.get(status) or _ERRORS[500 if status >= 500 else 400]
    if message.startswith("Invalid URL") or status == 405:
        code = None
    return Fault(status, kind, code, message or said)


def _nested(fault: Fault) -> Json:
    return {"error": {"message": fault.message, "type": fault.kind, "param": None, "code": fault.code}}


def _of_groq(fault: Fault) -> Json:
    return {"error": {"message": fault.message, "type": fault.kind, "code": fault.code}}


def _flat(fault: Fault) -> Json:
    """Cerebras, whose error has no envelope."""
    return {"message": fault.message, "type": fault.kind, "param": None, "code": fault.code}


def _of_mistral(fault: Fault) -> Json:
    said: dict[str, Json] = {"object": "error", "message": fault.message, "type": fault.kind, "param": None}
    return said | {"code": None if fault.code is None else "3505"}


def _of_xai(fault: Fault) -> Json:
    return {"code": fault.code or fault.kind, "error": fault.message}


def _numbered(fault: Fault) -> Json:
    """OpenRouter and Perplexity, whose code is the status."""
    return {"error": {"message": fault.message, "type": fault.kind, "code": fault.status}}


def _of_fireworks(fault: Fault) -> Json:
    return {"error": {"object": "error", "type": fault.kind, "code": fault.code, "message": fault.message}}


def _of_azure(fault: Fault) -> Json:
    code = "DeploymentNotFound" if fault.status == 404 else str(fault.status)
    return {"error": {"code": code, "message": fault.message}}


def _bare(fault: Fault) -> Json:
    return {"error": fault.message}


def _of_parallel(fault: Fault) -> Json:
    return {"type": "error", "error": {"ref_id": f"fixed-{fault.status}", "message": fault.message, "detail": None}}


def _usage(used: Spent) -> dict[str, Json]:
    return {
        "prompt_tokens": used.prompt,
        "completion_tokens": used.completion,
        "total_tokens": used.total,
        "prompt_tokens_details": {"cached_tokens": used.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": used.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _plain_usage(used: Spent) -> dict[str, Json]:
    return {"prompt_tokens": used.prompt, "completion_tokens": used.completion, "total_tokens": used.total}


def _usage_of_deepseek(used: Spent) -> dict[str, Json]:
    missed = used.prompt - used.cached
    return _usage(used) | {"prompt_cache_hit_tokens": used.cached, "prompt_cache_miss_tokens": missed}


def _usage_of_xai(used: Spent) -> dict[str, Json]:
    """xAI counts reasoning beside the completion, and both in the total."""
    return _usage(used) | {"completion_tokens": used.completion - used.reasoning, "num_sources_used": 0}


OPENAI_DIALECT: Final = Dialect(
    _nested,
    (
        "gpt-4o",
        "gpt-4o-mini",
        "gpt-4.1",
        "gpt-5",
        "o3-mini",
        "text-embedding-3-small",
        "text-embedding-3-large",
        "gpt-image-1",
        "gpt-4o-transcribe",
        "gpt-4o-mini-tts",
    ),
)

DIALECTS: Final[Mapping[str, Dialect]] = {
    "openai": OPENAI_DIALECT,
    "groq": Dialect(_of_groq, ("llama-3.3-70b-versatile", "llama-3.1-8b-instant"), "x_groq", _plain_usage),
    "mistral": Dialect(_of_mistral, ("mistral-small-latest", "mistral-embed"), "last", _plain_usage),
    "deepseek": Dialect(_nested, ("deepseek-chat", "deepseek-reasoner"), "last", _usage_of_deepseek),
    "openrouter": Dialect(_numbered, ("openai/gpt-4o-mini", "meta-llama/llama-3.3-70b-instruct"), "last",
                          also={"provider": "Sluice"}),
    "grok": Dialect(_of_xai, ("grok-4", "grok-3-mini"), "last", _usage_of_xai),
    "cerebras": Dialect(_flat, ("llama3.1-8b", "llama-3.3-70b"), "last", _plain_usage),
    "perplexity-ai": Dialect(_numbered, ("sonar", "sonar-pro"), "last", _plain_usage,
                             {"citations": ["https://example.com/sluices"]}),
    "fireworks": Dialect(_of_fireworks, ("accounts/fireworks/models/llama-v3p3-70b-instruct",), "last", _plain_usage),
    "baseten": Dialect(_bare, ("deepseek-ai/DeepSeek-V3.1",)),
    "parallel": Dialect(_of_parallel, ("speed",), "last", _plain_usage),
    "azure-openai": Dialect(_of_azure, OPENAI_DIALECT.models),
}  # fmt: skip


def dialect_of(slug: str) -> Dialect:
    """The dialect of a vendor's OpenAI-shaped paths: OpenAI's own where it has none."""
    return DIALECTS.get(slug, OPENAI_DIALECT)
