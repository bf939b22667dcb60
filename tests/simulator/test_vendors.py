"""What holds for every vendor: its faults, its errors, the echo and the journal."""

import json
from typing import Any, NamedTuple

import pytest

from sluice.providers.registry import PROVIDERS
from sluice.simulator import words
from sluice.simulator.openai_dialects import DIALECTS
from sluice.simulator.vendors import VENDORS

TURNS = [{"role": "user", "content": "hello"}]
HEADERS = {"anthropic-version": "2023-06-01"}


class Ask(NamedTuple):
    """A vendor's own way to ask for text; the model stands for M in its path."""

    name: str
    target: str
    body: dict[str, Any]
    streamed: str | None = None
    """The path for a stream, where that is another; where it is none, the body says that it is one."""

    def request(self, model: str, stream: bool = False) -> tuple[str, dict[str, Any]]:
        in_path = "M" in self.target
        target = (self.streamed or self.target) if stream else self.target
        body = self.body | ({} if in_path else {"model": model})
        says = stream and self.streamed is None
        return target.replace("M", model), body | ({"stream": True} if says else {})


SHAPED = [
    Ask(slug, f"/{slug}/chat/completions", {"messages": TURNS}) for slug in DIALECTS if slug not in ("azure-openai",)
]
OWN = [
    Ask("anthropic", "/anthropic/v1/messages", {"max_tokens": 500, "messages": TURNS}),
    Ask("grok messages", "/grok/v1/messages", {"max_tokens": 500, "messages": TURNS}),
    Ask("azure", "/azure-openai/mine/M/chat/completions?api-version=1", {"messages": TURNS}),
    Ask("cohere v1", "/cohere/v1/chat", {"message": "hello"}),
    Ask("cohere v2", "/cohere/v2/chat", {"messages": TURNS}),
    Ask("cohere compatible", "/cohere/compatibility/v1/chat/completions", {"messages": TURNS}),
    Ask(
        "google",
        "/google-ai-studio/v1beta/models/M:generateContent",
        {"contents": [{"parts": [{"text": "hello"}]}]},
        "/google-ai-studio/v1beta/models/M:streamGenerateContent?alt=sse",
    ),
    Ask(
        "google array",
        "/google-ai-studio/v1beta/models/M:generateContent",
        {"contents": [{"parts": [{"text": "hello"}]}]},
        "/google-ai-studio/v1beta/models/M:streamGenerateContent",
    ),
    Ask("google compatible", "/google-ai-studio/v1beta/openai/chat/completions", {"messages": TURNS}),
    Ask("huggingface", "/huggingface/org/M", {"inputs": "hello"}),
    Ask("workers-ai", "/workers-ai/run/@cf/meta/M", {"prompt": "hello"}),
    Ask("workers-ai v1", "/workers-ai/v1/chat/completions", {"messages": TURNS}),
]
CONVERSED = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
ANTHROPIC = {"max_tokens": 500, "messages": TURNS}
VERTEX = "/google-vertex-ai/v1/projects/p/locations/global"
OWN += [
    Ask(
        "vertex",
        f"{VERTEX}/publishers/google/models/M:generateContent",
        {"contents": [{"parts": [{"text": "hello"}]}]},
        f"{VERTEX}/publishers/google/models/M:streamGenerateContent?alt=sse",
    ),
    Ask(
        "vertex anthropic",
        f"{VERTEX}/publishers/anthropic/models/M:rawPredict",
        ANTHROPIC,
    ),
    Ask("vertex compatible", f"{VERTEX}/endpoints/openapi/chat/completions", {"messages": TURNS}),
    Ask(
        "bedrock converse",
        "/aws-bedrock/bedrock-runtime/us-east-1/model/M/converse",
        CONVERSED,
        "/aws-bedrock/bedrock-runtime/us-east-1/model/M/converse-stream",
    ),
    Ask(
        "bedrock invoke",
        "/aws-bedrock/bedrock-runtime/us-east-1/model/M/invoke",
        ANTHROPIC,
        "/aws-bedrock/bedrock-runtime/us-east-1/model/M/invoke-with-response-stream",
    ),
    Ask("bedrock mantle", "/aws-bedrock/bedrock-mantle/us-east-1/v1/chat/completions", {"messages": TURNS}),
]
REFUSED = {"google-ai-studio": 400, "aws-bedrock": 403}
STREAMING = [pytest.param(one, id=one.name) for one in SHAPED + OWN]
ALL = [
    *STREAMING,
    pytest.param(Ask("replicate", "/replicate/v1/predictions", {"input": {"prompt": "hello"}}), id="replicate"),
    pytest.param(Ask("parallel", "/parallel/v1/tasks/runs", {"input": "hello"}), id="parallel runs"),
    pytest.param(Ask("baseten", "/baseten/model/M/production/predict", {"prompt": "hello"}), id="baseten models"),
]


def test_every_provider_of_the_gateway_is_simulated() -> None:
    assert set(PROVIDERS) <= set(VENDORS)


@pytest.mark.parametrize("ask", ALL)
async def test_every_vendor_answers_with_what_follows_from_the_prompt(simulator: Any, ask: Ask) -> None:
    target, body = ask.request("m")
    reply = await simulator.ask("POST", target, body, HEADERS)
    assert 200 <= reply.status < 203
    if "input" in ask.body:
        assert reply.json()["status"] in ("starting", "queued")
    else:
        assert words.reply("hello") in reply.body.decode()


@pytest.mark.parametrize("ask", ALL)
async def test_every_vendor_has_its_errors_in_json(simulator: Any, ask: Ask) -> None:
    for suffix, status in (("status-400", 400), ("status-503", 503), ("status-418", 418), ("retry-after-2", 429)):
        target, body = ask.request(f"m~{suffix}")
        reply = await simulator.ask("POST", target, body, HEADERS)
        assert (reply.status, reply.header("retry-after")) == (status, "2" if status == 429 else None)
        assert any(word in reply.body for word in (b"error", b"message", b"detail"))
        assert reply.json()


@pytest.mark.parametrize("key", ["Authorization: Bearer", "Authorization: Token", "x-api-key:", "api-key:"])
@pytest.mark.parametrize("ask", ALL)
async def test_the_bad_key_is_refused_by_every_vendor(simulator: Any, ask: Ask, key: str) -> None:
    target, body = ask.request("m")
    name, _, scheme = key.partition(":")
    reply = await simulator.ask("POST", target, body, HEADERS | {name: f"{scheme} bad-key".strip()})
    slug = target.split("/")[1]
    assert reply.status == (401 if "publishers/anthropic" in target else REFUSED.get(slug, 401))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["cut-3", "reset-3", "half-close-3", "malformed-3", "drop", "bad-head"])
@pytest.mark.parametrize("ask", STREAMING)
async def test_every_vendors_reply_can_be_broken(simulator: Any, ask: Ask, fault: str, stream: bool) -> None:
    target, body = ask.request(f"m~{fault}", stream)
    reply = await simulator.ask("POST", target, body, HEADERS)
    assert reply.fault


@pytest.mark.parametrize("ask", STREAMING)
async def test_every_vendors_stream_can_end_in_an_error_or_without_its_tail(simulator: Any, ask: Ask) -> None:
    async def streamed(fault: str) -> bytes:
        target, body = ask.request("m", stream=True)
        reply = await simulator.ask("POST", target, body, HEADERS | {"x-sluice-fault": fault})
        assert (reply.status, reply.fault) == (200, "")
        found: bytes = reply.body
        return found

    whole = await streamed("")
    failed, headless = await streamed("error-event=2"), await streamed("error-200")
    assert whole.startswith(failed[:60])
    assert b"error" in failed.lower()
    assert b"error" in headless.lower()
    assert b"error" not in whole.lower()
    tailless = await streamed("no-tail")
    assert whole.startswith(tailless.rstrip())
    assert len(tailless) < len(whole)


@pytest.mark.parametrize("ask", STREAMING)
async def test_every_vendors_stream_ends_as_its_whole_reply_did_when_it_is_huge(simulator: Any, ask: Ask) -> None:
    for stream in (False, True):
        target, body = ask.request("m~huge-1mb", stream)
        reply = await simulator.ask("POST", target, body, HEADERS)
        assert (reply.status, reply.fault) == (200, "")
        assert len(reply.body) > 1 << 20
        if not stream:
            json.loads(reply.body)


@pytest.mark.parametrize("ask", STREAMING)
async def test_every_vendors_usage_may_be_wrong_or_missing(simulator: Any, ask: Ask) -> None:
    target, body = ask.request("m~no-usage")
    assert b"usage" not in (await simulator.ask("POST", target, body, HEADERS)).body.replace(b"no-usage", b"")
    if ask.name != "huggingface":
        right, wrong = [
            (await simulator.ask("POST", *ask.request(model), HEADERS)).body for model in ("m", "m~wrong-usage")
        ]
        assert right != wrong


@pytest.mark.parametrize("ask", STREAMING)
async def test_every_vendor_answers_to_a_body_too_long_to_be_kept(simulator: Any, ask: Ask) -> None:
    target, body = ask.request("m")
    reply = await simulator.ask("POST", target, json.dumps(body).encode() + b" " * 2_500_000, HEADERS)
    assert reply.status == 200
    assert b"bytes with the digest" in reply.body


@pytest.mark.parametrize("ask", ALL)
async def test_every_vendor_is_echoed_and_in_the_journal(simulator: Any, ask: Ask) -> None:
    target, body = ask.request("m")
    marked = HEADERS | {"x-sluice-echo": "1", "x-sluice-marker": "asked"}
    echoed = (await simulator.ask("POST", target, body, marked)).json()
    assert echoed["target"] == target
    (entry,) = await simulator.journal("asked")
    assert entry["provider"] == target.split("/")[1]
    assert (entry["body"], entry["headers"]) == (echoed["body"], echoed["headers"])


@pytest.mark.parametrize("ask", ALL)
async def test_faults_end_after_the_first_requests_of_every_vendor(simulator: Any, ask: Ask) -> None:
    target, body = ask.request("m~status-503~first-1")
    statuses = [(await simulator.ask("POST", target, body, HEADERS)).status for _ in range(2)]
    assert statuses[0] == 503
    assert statuses[1] < 203


@pytest.mark.parametrize("target", ["/custom-mine/v1/chat/completions", "/nobody/chat/completions", "/Bedrock2/x"])
async def test_a_slug_that_is_none_is_not_answered(simulator: Any, target: str) -> None:
    assert (await simulator.ask("POST", target, {"model": "m", "messages": TURNS})).status == 404
