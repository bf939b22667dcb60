"""What published clients send that run in no Python: their requests as they come over the wire (contract 10.1, 10.2).

The `ai-gateway-provider` of the Vercel AI SDK posts an array to the gateway's address without a slash at its end, one
element for each model, and reads which of them answered out of `cf-aig-step`. The Workers AI packages post one object.
"""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

MESSAGES = [{"role": "user", "content": "hello"}]
CHAT = {"model": "gpt-4o-mini", "messages": MESSAGES}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
DEPLOYED = {"model": "gpt-4o", "messages": MESSAGES}
KEY = {"authorization": "Bearer sk-theirs"}
CLAUDES = {"x-api-key": "sk-theirs", "anthropic-version": "2023-06-01"}
CLAUDE = {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": MESSAGES}

FORMS: list[tuple[str, str, dict[str, str], dict[str, Any], str, str]] = [
    ("openai", "v1/chat/completions", KEY, CHAT, "openai/v1/chat/completions", "gpt-4o-mini"),
    ("openai", "v1/responses", KEY, {"model": "gpt-5", "input": "hello"}, "openai/v1/responses", "gpt-5"),
    ("openai", "v1/v1/chat/completions", KEY, CHAT, "openai/v1/chat/completions", "gpt-4o-mini"),
    ("anthropic", "v1/messages", CLAUDES, CLAUDE, "anthropic/v1/messages", "claude-sonnet-4-6"),
    ("anthropic", "messages", CLAUDES, CLAUDE, "anthropic/v1/messages", "claude-sonnet-4-6"),
    (
        "google-ai-studio",
        "v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        {"x-goog-api-key": "sk-theirs"},
        CONTENTS,
        "google-ai-studio/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        "gemini-2.5-flash",
    ),
    ("groq", "chat/completions", KEY, {**CHAT, "model": "llama-x"}, "groq/chat/completions", "llama-x"),
    (
        "azure-openai",
        "res/dep/chat/completions?api-version=2024-10-21",
        {"api-key": "sk-theirs"},
        DEPLOYED,
        "azure-openai/res/openai/deployments/dep/chat/completions?api-version=2024-10-21",
        "gpt-4o",
    ),
    ("workers-ai", f"run/{LLAMA}", KEY, {"prompt": "hello"}, f"workers-ai/run/{LLAMA}", LLAMA),
    ("mistral", "v1/chat/completions", KEY, {**CHAT, "model": "m"}, "mistral/v1/chat/completions", "m"),
    ("deepseek", "chat/completions", KEY, {**CHAT, "model": "m"}, "deepseek/chat/completions", "m"),
    ("perplexity-ai", "chat/completions", KEY, {**CHAT, "model": "m"}, "perplexity-ai/chat/completions", "m"),
    ("grok", "v1/chat/completions", KEY, {**CHAT, "model": "m"}, "grok/v1/chat/completions", "m"),
    ("openrouter", "v1/chat/completions", KEY, {**CHAT, "model": "a/m"}, "openrouter/v1/chat/completions", "a/m"),
    (
        "compat",
        "chat/completions",
        KEY,
        {**CHAT, "model": "openai/gpt-4o-mini"},
        "openai/v1/chat/completions",
        "gpt-4o-mini",
    ),
]


def element(provider: str, endpoint: str, headers: dict[str, str], query: object) -> dict[str, Any]:
    """One model's request as that package puts it: the wrapped SDK's own, its host cut off."""
    return {"endpoint": endpoint, "headers": {"content-type": "application/json", **headers}, "provider": provider,
            "query": query}  # fmt: skip


def chat(model: str, *, stream: bool = False) -> dict[str, Any]:
    return element("openai", "v1/chat/completions", KEY, {"model": model, "messages": MESSAGES, "stream": stream})


def post(gateway: Any, body: object, gateway_id: str = "default", token: str = "", **headers: str) -> httpx.Response:
    """As that package's `fetch`: nothing but these headers, and no slash at the end of the address."""
    sent = {"content-type": "application/json", "cf-aig-authorization": f"Bearer {token or gateway.token}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{gateway.base_url}/v1/local/{gateway_id}", json=body, headers=sent, timeout=20, trust_env=False)


@pytest.fixture
def open_gateway(gateway: Any) -> str:
    """The id of a gateway without authentication."""
    name = "open-" + uuid4().hex[:8]
    gateway.cli("gateway", "create", name, "--open")
    return name


# --- ai-gateway-provider (Vercel AI SDK)


@pytest.mark.parametrize(("provider_name", "endpoint", "headers", "query", "target", "model"), FORMS,
                         ids=[f"{form[0]} {form[1]}" for form in FORMS])  # fmt: skip
def test_every_form_of_an_endpoint_reaches_its_vendor(
    gateway: Any, provider: Any, marker: str, provider_name: str, endpoint: str, headers: dict[str, str],
    query: dict[str, Any], target: str, model: str,
):  # fmt: skip
    asked = element(provider_name, endpoint, {**headers, "x-sluice-marker": marker}, query)
    reply = post(gateway, [asked])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "0")
    (entry,) = provider.entries(marker)
    assert (entry["method"], entry["target"]) == ("POST", f"/{target}")
    assert gateway.token not in json.dumps(entry["headers"])
    (row,) = gateway.rows(reply, 1)
    assert (row["provider"], row["model"], row["request_type"]) == (target.partition("/")[0], model, "universal")
    assert (row["success"], row["step"], row["compatibilityMode"]) == (True, 0, provider_name == "compat")
    assert row["tokens_in"] is not None
    assert row["tokens_out"] is not None


def test_the_reply_is_the_vendors_own_and_the_step_tells_whose(gateway: Any):
    """It reads the reply with the model of that index, so wire and content type must be that vendor's."""
    models = [chat("gpt-4o~status-500"), chat("gpt-4o~drop"), element("anthropic", "messages", CLAUDES, CLAUDE)]
    for at, first in enumerate(reversed(range(len(models)))):
        reply = post(gateway, models[first:])
        assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, str(at))
        assert (reply.json()["type"], reply.headers["content-type"]) == ("message", "application/json")
        rows = gateway.rows(reply, at + 1)
        assert [row["step"] for row in rows] == list(range(at + 1))
        assert [row["success"] for row in rows] == [False] * at + [True]
        assert rows[-1]["cost"] > 0


def test_a_stream_is_relayed_with_its_content_type_and_its_end(gateway: Any):
    reply = post(gateway, [chat("gpt-4o~status-429", stream=True), chat("gpt-4o", stream=True)])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "1")
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text.endswith("data: [DONE]\n\n")


def test_a_model_that_its_vendor_does_not_have_falls_through(gateway: Any):
    reply = post(gateway, [chat("unknown-model"), chat("gpt-4o")])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "1")
    assert [row["status_code"] for row in gateway.rows(reply, 2)] == [404, 200]


def test_an_error_of_the_last_vendor_comes_as_it_is(gateway: Any):
    """It goes to that vendor's own parser."""
    reply = post(gateway, [chat("gpt-4o~status-500"), chat("unknown-model")])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (404, "1")
    assert reply.json()["error"]["code"] == "model_not_found"


def test_its_options_are_taken(gateway: Any):
    options = {
        "cf_aig_cache_ttl": "3600", "cf_aig_skip_cache": "true", "cf_aig_cache_key": "key", "cf_aig_zdr": "true",
        "cf_aig_metadata": '{"team": "north", "n": 3, "vip": true}', "cf_aig_event_id": "an-event",
        "cf_aig_request_timeout": "5000", "cf_aig_max_attempts": "3", "cf_aig_retry_delay": "10",
        "cf_aig_backoff": "exponential", "cf_cache_ttl": "3600", "cf_skip_cache": "true",
    }  # fmt: skip
    asked = chat("gpt-4o~status-503~first-2")
    asked["headers"]["x-sluice-marker"] = uuid4().hex
    reply = post(gateway, [asked], **options)
    assert (reply.status_code, reply.headers["cf-aig-event-id"]) == (200, "an-event")
    (row,) = gateway.rows(reply, 1)
    assert (row["metadata"], row["event_id"], row["attempts"]) == (
        {"team": "north", "n": 3, "vip": True}, "an-event", 3,
    )  # fmt: skip
    unlogged = post(gateway, [chat("gpt-4o")], cf_aig_collect_log="false")
    assert (unlogged.status_code, "cf-aig-log-id" in unlogged.headers) == (200, False)


@pytest.mark.parametrize("token", ["undefined", "nonsense"])
def test_an_open_gateway_does_not_look_at_the_token(gateway: Any, open_gateway: str, token: str):
    """Without an `apiKey` that package sends the word `undefined`."""
    reply = post(gateway, [chat("gpt-4o")], open_gateway, token)
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "0")
    (row,) = gateway.rows(reply, 1, open_gateway)
    assert (row["authentication"], row["success"]) == (False, True)


@pytest.mark.parametrize("token", ["undefined", "nonsense"])
def test_an_authenticated_gateway_refuses_in_the_form_that_it_recognises(gateway: Any, token: str):
    reply = post(gateway, [chat("gpt-4o")], token=token)
    answer = reply.json()
    assert (reply.status_code, answer["success"]) == (401, False)
    assert answer["error"] == [{"code": 2009, "message": "Unauthorized"}]
    assert reply.headers["content-type"].startswith("application/json")


def test_a_gateway_that_is_none_is_told_in_the_form_that_it_recognises(gateway: Any):
    reply = post(gateway, [chat("gpt-4o")], "no-such-gateway")
    answer = reply.json()
    assert (reply.status_code, answer["success"]) == (400, False)
    assert answer["error"] == [{"code": 2001, "message": "Please configure AI Gateway in the Cloudflare dashboard"}]


# --- workers-ai-provider and the TanStack packages


@pytest.mark.parametrize("endpoint", [f"run/{LLAMA}", LLAMA, "v1/chat/completions"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_single_object_is_a_request_of_one_step(gateway: Any, endpoint: str, slash: str):
    query = {"messages": MESSAGES, **({"model": LLAMA} if endpoint.startswith("v1") else {})}
    reply = post(gateway, element("workers-ai", endpoint, KEY, query), f"default{slash}")
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "0")
    assert (reply.headers["cf-aig-cache-status"], len(reply.headers["cf-aig-log-id"])) == ("MISS", 26)
    (row,) = gateway.rows(reply, 1)
    assert (row["id"], row["provider"], row["model"]) == (reply.headers["cf-aig-log-id"], "workers-ai", LLAMA)
    assert row["tokens_in"] > 0


def test_a_single_object_streams_workers_ais_own_events(gateway: Any):
    asked = element("workers-ai", f"run/{LLAMA}", KEY, {"messages": MESSAGES, "stream": True})
    reply = post(gateway, asked)
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
    assert events[-1] == "[DONE]"
    assert "".join(json.loads(event).get("response") or "" for event in events[:-1]).startswith("You said: hello.")


def test_the_other_packages_path_reaches_the_model(gateway: Any):
    url = f"{gateway.inference_url('workers-ai')}/{LLAMA}"
    reply = gateway.http.post(url, json={"prompt": "hello"}, headers=KEY)
    assert reply.json()["result"]["response"].startswith("You said: hello.")
    assert reply.headers["cf-aig-step"] == "0"
    row = gateway.log(reply.headers["cf-aig-log-id"])
    assert (row["provider"], row["model"], row["request_type"]) == ("workers-ai", LLAMA, "provider")
