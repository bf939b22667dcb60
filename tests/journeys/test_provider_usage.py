"""Every provider by its own API and in the unified schema: what its vendor receives, and what is counted of the reply.

`hello` is 8 tokens of a prompt (3, 4 for the message, 1 for the word), and the simulator's answer to it is 37.
"""

import base64
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from sluice.engine.compat import is_served
from sluice.providers.registry import PROVIDERS

TOKENS = (8, 37)
PRICED = {"cf-aig-custom-cost": '{"per_token_in": 0.001, "per_token_out": 0.002}'}
TURNS = [{"role": "user", "content": "hello"}]
CHAT = {"model": "m", "messages": TURNS}
ASKED = {"stream": True, "stream_options": {"include_usage": True}}
STREAM = {"stream": True}
ANTHROPIC = {"max_tokens": 500, "messages": TURNS}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
CONVERSE = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
BEDROCK = "aws-bedrock/bedrock-runtime/us-east-1/model"
VERTEX = "google-vertex-ai/v1/projects/p/locations/europe-west4"
BEARER = ("Authorization", "Bearer the-key")


class Row(NamedTuple):
    """A way to ask for text, and for a stream of it: its path, where that is another, and what its body has more."""

    path: str
    body: dict[str, Any]
    streamed: str | None = ""
    more: Mapping[str, Any] = ASKED
    key: tuple[str, str] = BEARER
    headers: Mapping[str, str] = MappingProxyType({})
    tokens: tuple[int | None, int | None] = TOKENS
    model: str = "m"


SHAPED = ("openai", "groq", "mistral", "perplexity-ai", "grok", "deepseek", "openrouter", "cerebras", "fireworks")
ROWS = [
    *(Row(f"{slug}/chat/completions", CHAT) for slug in (*SHAPED, "baseten")),
    Row("parallel/chat/completions", CHAT, key=("x-api-key", "the-key")),
    Row("azure-openai/r/m/chat/completions?api-version=1", {"messages": TURNS}, key=("api-key", "the-key")),
    Row("anthropic/v1/messages", {"model": "m", **ANTHROPIC}, more=STREAM, key=("x-api-key", "the-key"),
        headers={"anthropic-version": "2023-06-01"}),
    Row("google-ai-studio/v1beta/models/m:generateContent", GEMINI,
        "google-ai-studio/v1beta/models/m:streamGenerateContent?alt=sse", {}, ("x-goog-api-key", "the-key")),
    Row("workers-ai/@cf/meta/m", {"prompt": "hello"}, more=STREAM, model="@cf/meta/m"),
    Row("workers-ai/v1/chat/completions", CHAT),
    Row("cohere/v2/chat", CHAT, more=STREAM),
    Row("cohere/compatibility/v1/chat/completions", CHAT),
    Row(f"{VERTEX}/publishers/google/models/m:generateContent", GEMINI,
        f"{VERTEX}/publishers/google/models/m:streamGenerateContent?alt=sse", {}),
    Row(f"{VERTEX}/publishers/anthropic/models/m:rawPredict", ANTHROPIC,
        f"{VERTEX}/publishers/anthropic/models/m:streamRawPredict", STREAM),
    Row(f"{VERTEX}/endpoints/openapi/chat/completions", CHAT),
    Row(f"{BEDROCK}/m/converse", CONVERSE, f"{BEDROCK}/m/converse-stream", {}),
    Row(f"{BEDROCK}/m/invoke", ANTHROPIC, f"{BEDROCK}/m/invoke-with-response-stream", {}),
    Row("aws-bedrock/bedrock-runtime/us-east-1/openai/v1/chat/completions", CHAT),
    Row("aws-bedrock/bedrock-mantle/us-east-1/v1/chat/completions", CHAT, key=("x-api-key", "the-key")),
    Row("replicate/v1/predictions", {"version": "m", "input": {"prompt": "hello"}}, None, headers={"prefer": "wait"},
        tokens=(1, 37)),  # whose prompt is no message; a stream of it is read at another address
    Row("huggingface/owner/m", {"inputs": "hello", "parameters": {"details": True}}, more=STREAM, tokens=(None, 37),
        model="owner/m"),  # which counts what it wrote alone
]  # fmt: skip
UNCOUNTED = [
    Row("huggingface/owner/m", {"inputs": "hello"}),
    Row("baseten/model/abc123", {"prompt": "hello"}),
    Row("parallel/v1/tasks/runs", {"input": "hello", "processor": "base"}, key=("x-api-key", "the-key")),
    Row("fal/fal-ai/flux/dev", {"prompt": "hello"}, key=("Authorization", "Key the-key")),
    Row("fal/queue.fal.run/fal-ai/flux/dev", {"prompt": "hello"}, key=("Authorization", "Key the-key")),
    Row("ideogram/generate", {"image_request": {"prompt": "hello"}}, key=("Api-Key", "the-key")),
    Row("adobe-firefly/v3/images/generate", {"prompt": "hello"}, headers={"x-api-key": "the-client"}),
    Row("cartesia/tts/bytes", {"transcript": "hello"}, key=("X-API-Key", "the-key")),
    Row("elevenlabs/v1/text-to-speech/v", {"text": "hello"}, key=("xi-api-key", "the-key")),
    Row("elevenlabs/v1/text-to-speech/v/stream", {"text": "hello"}, key=("xi-api-key", "the-key")),
    Row("deepgram/v1/speak", {"text": "hello"}, key=("Authorization", "Token the-key")),
    Row("deepgram/v1/listen", {"url": "https://example.com/a.wav"}, key=("Authorization", "Token the-key")),
]
STREAM_TYPES = ("text/event-stream", "application/vnd.amazon.eventstream")
SENT_AS = {"aws-bedrock/bedrock-mantle": {"Authorization": "Bearer the-key"}}
"""Where a client sends its key otherwise than the vendor gets it."""


def ask(gateway: Any, path: str, body: bytes, marker: str, **headers: str) -> Any:
    sent = {"content-type": "application/json", "x-sluice-marker": marker, **PRICED, **headers}
    return gateway.http.post(f"{gateway.base_url}/v1/local/default/{path}", content=body, headers=sent)


async def received(provider: Any, marker: str) -> tuple[Any, dict[str, str], bytes]:
    """What the vendor got: one request, its headers by lower-case name, its body."""
    (entry,) = await provider.entries(marker, 1)
    return entry, {name.lower(): value for name, value in entry["headers"]}, base64.b64decode(entry["body"])


def judge_log(
    gateway: Any, reply: Any, provider: str, tokens: tuple[int | None, int | None] = TOKENS
) -> dict[str, Any]:
    tokens_in, tokens_out = tokens
    log: dict[str, Any] = gateway.log(reply.headers["cf-aig-log-id"])
    assert (log["provider"], log["success"], log["ending"]) == (provider, True, "complete")
    assert (log["tokens_in"], log["tokens_out"]) == (tokens_in, tokens_out)
    assert log["cost"] == pytest.approx((tokens_in or 0) * 0.001 + (tokens_out or 0) * 0.002, abs=1e-9)
    return log


WAYS = [(row, streams) for row in ROWS for streams in (False, True) if not streams or row.streamed is not None]


@pytest.mark.parametrize(
    ("row", "streams"), WAYS, ids=[f"{row.path} {'streamed' if streams else 'whole'}" for row, streams in WAYS]
)
async def test_text_is_sent_as_it_came_and_its_tokens_are_counted(
    gateway: Any, provider: Any, marker: str, row: Row, streams: bool
):
    path = (row.streamed or row.path) if streams else row.path
    body = json.dumps({**row.body, **(row.more if streams else {})}).encode()
    name, value = row.key
    given = next((key for place, key in SENT_AS.items() if path.startswith(place)), {name: value})
    reply = ask(gateway, path, body, marker, **given, **row.headers)
    assert reply.status_code in (200, 201), reply.text
    entry, headers, got = await received(provider, marker)
    assert (entry["method"], got, headers[name.lower()]) == ("POST", body, value)
    assert [key.lower() for key in entry["key_headers"]] == [name.lower()]
    log = judge_log(gateway, reply, path.partition("/")[0], row.tokens)
    assert entry["target"].partition("?")[0] == f"/{log['provider']}/{log['path']}"
    assert log["model"] == row.model
    assert (reply.headers["content-type"].partition(";")[0] in STREAM_TYPES) == streams


@pytest.mark.parametrize("row", UNCOUNTED, ids=lambda row: row.path)
async def test_what_is_not_counted_is_sent_as_it_came_too_and_costs_what_the_client_says_of_the_call(
    gateway: Any, provider: Any, marker: str, row: Row
):
    body = json.dumps(row.body).encode()
    name, value = row.key
    costs = ((PRICED["cf-aig-custom-cost"], None), ('{"total_cost": 0.25}', 0.25))
    for number, (told, cost) in enumerate(costs):
        sent = {name: value, **row.headers, "cf-aig-custom-cost": told}
        reply = ask(gateway, row.path, body, f"{marker}-{number}", **sent)
        assert reply.status_code in (200, 202), reply.text
        entry, headers, got = await received(provider, f"{marker}-{number}")
        assert (entry["target"], got, headers[name.lower()]) == (f"/{row.path}", body, value)
        log = gateway.log(reply.headers["cf-aig-log-id"])
        assert (log["success"], log["tokens_in"], log["tokens_out"], log["cost"]) == (True, None, None, cost)


def test_every_provider_is_in_a_table():
    assert {row.path.partition("/")[0] for row in ROWS + UNCOUNTED} == PROVIDERS.keys()


AWS_KEYS = {"accessKeyId": "AKID", "secretAccessKey": "hush", "region": "eu-west-1"}
UNIFIED = {
    slug: {"Authorization": "Bearer the-key"}
    for slug in (*SHAPED, "baseten", "cohere", "workers-ai", "aws-bedrock", "google-vertex-ai")
} | {
    "parallel": {"x-api-key": "the-key"},
    "anthropic": {"x-api-key": "the-key"},
    "google-ai-studio": {"x-goog-api-key": "the-key"},
}
"""What the vendor gets of `Authorization: Bearer the-key`."""


def test_every_provider_of_the_unified_schema_is_in_the_table():
    assert UNIFIED.keys() == {slug for slug in PROVIDERS if is_served(slug)}


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("slug", UNIFIED)
async def test_chat_in_the_unified_schema_is_told_and_counted(
    gateway: Any, provider: Any, marker: str, service_account: dict[str, str], slug: str, streams: bool
):
    body = json.dumps({"messages": TURNS, "model": f"{slug}/m"} | (ASKED if streams else {})).encode()
    key, sent = "the-key", UNIFIED[slug]
    if slug == "google-vertex-ai":
        key = base64.b64encode(json.dumps(service_account | {"region": "europe-west4"}).encode()).decode()
        sent = {}
    reply = ask(gateway, "compat/chat/completions", body, marker, Authorization=f"Bearer {key}")
    assert reply.status_code == 200, reply.text
    _, headers, got = await received(provider, marker)
    assert {name: headers.get(name.lower()) for name in sent} == sent
    if not sent:
        assert headers["authorization"].startswith("Bearer ya29.simulated-")
    assert b"hello" in got
    log = judge_log(gateway, reply, slug)
    assert (log["model"], log["compatibilityMode"]) == ("google/m" if slug == "google-vertex-ai" else "m", True)
    told = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith('data: {"')]
    usages = [one["usage"] for one in told if one.get("usage")] if streams else [reply.json()["usage"]]
    if streams and slug == "groq":
        usages = usages or [one["x_groq"]["usage"] for one in told if "x_groq" in one]
    assert (usages[-1]["prompt_tokens"], usages[-1]["completion_tokens"]) == TOKENS
    if streams:
        assert reply.text.rstrip().endswith("data: [DONE]")
