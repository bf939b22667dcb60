"""Models by Cloudflare's own API: what a call becomes at its provider, and what its caller is told (contract 1.5)."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

AI = "/client/v4/accounts/local/ai"
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
NOVA = "aws-bedrock/amazon.nova-lite-v1:0"
HELLO = [{"role": "user", "content": "hello"}]
SAID = "You said: hello."


def post(gateway: Any, path: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {"authorization": f"Bearer {gateway.token}", "content-type": "application/json", **fields}
    return httpx.post(gateway.base_url + AI + path, content=content, headers=fields, timeout=20)


async def seen(provider: Any, marker: str) -> dict[str, Any]:
    (entry,) = await provider.entries(marker, ended=1)
    found: dict[str, Any] = entry
    return found


RUNS: list[tuple[str, Any, str, str]] = [
    (LLAMA, {"prompt": "hello"}, "workers-ai", f"/run/{LLAMA}"),
    ("openai/gpt-4o-mini", {"messages": HELLO}, "openai", "/v1/chat/completions"),
    ("openai/gpt-4o-mini", {"prompt": "hello"}, "openai", "/v1/chat/completions"),
    ("openai/gpt-4o-mini", {"input": "hello"}, "openai", "/v1/responses"),
    ("openai/text-embedding-3-small", {"input": "hello"}, "openai", "/v1/embeddings"),
    ("openai/gpt-image-1", {"prompt": "hello"}, "openai", "/v1/images/generations"),
    ("xai/grok-4", {"messages": HELLO}, "grok", "/v1/chat/completions"),
    ("anthropic/claude-sonnet-4-6", {"messages": HELLO, "max_tokens": 9}, "anthropic", "/v1/messages"),
    (NOVA, {"messages": HELLO}, "aws-bedrock", "/model/amazon.nova-lite-v1%3A0/converse"),
    ("google/gemini-2.5-flash", {"messages": HELLO}, "google-ai-studio", "/v1beta/openai/chat/completions"),
    (
        "google/gemini-2.5-flash",
        {"contents": [{"parts": [{"text": "hello"}]}]},
        "google-ai-studio",
        "/v1beta/models/gemini-2.5-flash:generateContent",
    ),
]


@pytest.mark.parametrize("in_path", [True, False])
@pytest.mark.parametrize(("model", "given", "slug", "path"), RUNS)
async def test_a_run_reaches_the_endpoint_that_its_input_is_for_and_is_answered_in_an_envelope(
    gateway: Any, provider: Any, marker: str, model: str, given: Any, slug: str, path: str, in_path: bool
):
    where, body = (f"/run/{model}", given) if in_path else ("/run", {"model": model, "input": given})
    reply = post(gateway, where, body, x_sluice_marker=marker)
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert (told["success"], told["errors"], told["messages"]) == (True, [], [])
    assert told["result"]
    entry = await seen(provider, marker)
    assert entry["target"].partition("?")[0].endswith(path)
    assert gateway.token not in str(entry["headers"])
    row = gateway.log(reply.headers["cf-aig-log-id"])
    assert (row["provider"], row["request_type"], row["success"]) == (slug, "rest", True)
    assert row["model"] == (model if model == LLAMA else model.partition("/")[2])
    assert (reply.headers["cf-aig-provider"], reply.headers["cf-aig-step"]) == (slug, "0")


async def test_a_models_name_may_be_one_segment_of_the_path(gateway: Any, provider: Any, marker: str):
    assert post(gateway, "/run/%40cf%2Fmeta%2Fllama-3.1-8b-instruct", {"prompt": "x"}, x_sluice_marker=marker).json()[
        "success"
    ]
    assert (await seen(provider, marker))["target"].endswith(f"/run/{LLAMA}")


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (LLAMA, {"prompt": "hello", "stream": True}),
        ("openai/gpt-4o-mini", {"messages": HELLO, "stream": True}),
        ("anthropic/claude-sonnet-4-6", {"messages": HELLO, "max_tokens": 50, "stream": True}),
        ("google/gemini-2.5-flash", {"contents": [{"parts": [{"text": "hello"}]}], "stream": True}),
    ],
)
def test_a_stream_of_a_run_passes_as_it_comes(gateway: Any, model: str, given: Any):
    reply = post(gateway, f"/run/{model}", given)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text.count("data: ") > 3
    assert gateway.log_body(reply.headers["cf-aig-log-id"], "response") == reply.content


def test_a_run_of_bedrocks_is_answered_in_openais_shape_in_the_envelope(gateway: Any):
    reply = post(gateway, f"/run/{NOVA}", {"messages": HELLO})
    result = reply.json()["result"]
    said = result["choices"][0]["message"]["content"]
    assert (result["object"], said.startswith(SAID)) == ("chat.completion", True)
    logged = json.loads(gateway.log_body(reply.headers["cf-aig-log-id"], "response"))
    assert logged["output"]["message"]["content"] == [{"text": said}]


def test_a_stream_of_a_run_of_bedrocks_is_openais(gateway: Any):
    reply = post(gateway, f"/run/{NOVA}", {"messages": HELLO, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    datas = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
    assert datas.pop() == "[DONE]"
    choices = [choice for data in datas for choice in json.loads(data)["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in choices).startswith(SAID)


def test_an_error_of_bedrocks_is_told_in_the_envelope(gateway: Any):
    reply = post(gateway, f"/run/{NOVA}~status-429", {"messages": HELLO})
    (error,) = reply.json()["errors"]
    assert (reply.status_code, error["code"], reply.json()["success"]) == (429, 429, False)
    assert not error["message"].startswith("The provider answered")


def test_a_picture_of_cloudflares_passes_as_it_comes(gateway: Any):
    reply = post(gateway, "/run/@cf/stabilityai/stable-diffusion-xl-base-1.0", {"prompt": "a sluice"})
    assert (reply.headers["content-type"], reply.content[:4]) == ("image/png", b"\x89PNG")


def test_the_header_chooses_the_gateway_and_without_it_it_is_the_default_one(gateway: Any):
    name = "api-" + uuid4().hex[:8]
    gateway.cli("gateway", "create", name)
    reply = post(gateway, f"/run/{LLAMA}", {"prompt": "x"}, cf_aig_gateway_id=name, cf_aig_metadata='{"team":"a"}')
    assert gateway.log(reply.headers["cf-aig-log-id"], name)["metadata"] == {"team": "a"}
    unknown = post(gateway, f"/run/{LLAMA}", {"prompt": "x"}, cf_aig_gateway_id="nowhere")
    assert (unknown.status_code, unknown.json()["errors"][0]["code"]) == (400, 2001)


def test_the_log_has_the_providers_words_and_the_client_those_of_its_shape(gateway: Any):
    reply = post(gateway, "/v1/messages", {"model": "openai/gpt-4o-mini", "max_tokens": 50, "messages": HELLO})
    told = json.loads(gateway.log_body(reply.headers["cf-aig-log-id"], "response"))
    assert told["choices"][0]["message"]["content"] == reply.json()["content"][0]["text"]
    asked = json.loads(gateway.log_body(reply.headers["cf-aig-log-id"], "request"))
    assert (asked["model"], asked["max_completion_tokens"]) == ("gpt-4o-mini", 50)


@pytest.mark.parametrize(
    ("author", "field"), [("openai", "max_completion_tokens"), ("mistral", "max_tokens"), ("deepseek", "max_tokens")]
)
def test_the_longest_answer_is_bounded_in_the_words_of_the_vendor(gateway: Any, author: str, field: str):
    reply = post(gateway, "/v1/messages", {"model": f"{author}/m", "max_tokens": 50, "messages": HELLO})
    assert reply.status_code == 200
    asked = json.loads(gateway.log_body(reply.headers["cf-aig-log-id"], "request"))
    assert {name: value for name, value in asked.items() if name.startswith("max_")} == {field: 50}


KEYED = [
    ("/v1/chat/completions", {"model": "openai/gpt-4o-mini", "messages": HELLO}, "Authorization", "Bearer sk-theirs"),
    ("/run/anthropic/claude-sonnet-4-6", {"messages": HELLO, "max_tokens": 9}, "x-api-key", "sk-theirs"),
    ("/v1/messages", {"model": "google/m", "max_tokens": 9, "messages": HELLO}, "x-goog-api-key", "sk-theirs"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "name", "value"), KEYED)
async def test_beside_a_token_in_our_own_header_authorization_is_the_providers_key(
    gateway: Any, provider: Any, marker: str, path: str, body: Any, name: str, value: str
):
    headers = {"authorization": "Bearer sk-theirs", "cf_aig_authorization": f"Bearer {gateway.token}"}
    assert post(gateway, path, body, **headers, x_sluice_marker=marker).status_code == 200
    sent = {header.lower(): value for header, value in (await seen(provider, marker))["headers"]}
    assert sent[name.lower()] == value


@pytest.mark.parametrize(
    "path", ["/run/@cf/meta/llama-3.1-8b-instruct", "/run", "/v1/chat/completions", "/v1/messages"]
)
@pytest.mark.parametrize("token", ["", "Bearer nonsense", "Bearer undefined"])
def test_without_a_good_token_nothing_is_read(gateway: Any, path: str, token: str):
    reply = post(gateway, path, b"{", authorization=token)
    assert (reply.status_code, reply.json()["errors"]) == (401, [{"code": 10000, "message": "Authentication error"}])
    assert "cf-aig-log-id" not in reply.headers


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/run/nobody/model", {"prompt": "x"}, 404, "Model not found: nobody/model"),
        ("/run", {"model": "alibaba/qwen3-max", "input": {"prompt": "x"}}, 404, "Model not found: alibaba/qwen3-max"),
        ("/run/openai", {"prompt": "x"}, 404, "Model not found: openai"),
        ("/v1/chat/completions", {"model": "gpt-4o", "messages": HELLO}, 404, "Model not found: gpt-4o"),
        ("/run", {"input": {}}, 400, "The body must have a model and its input: "),
        ("/run", b"{", 400, "The body must have a model and its input: "),
        ("/run/openai/gpt-4o-mini", [1], 400, "The input must be an object: "),
        ("/run/openai/gpt-4o-mini", {"text": "x"}, 400, "The input must have messages, a prompt"),
        ("/run/anthropic/claude-sonnet-4-6", {"input": "x"}, 400, "The input must have messages, a prompt"),
        (
            "/v1/messages",
            {"model": "openai/gpt-4o-mini", "messages": HELLO},
            400,
            "object missing required field max_t",
        ),
        ("/v1/messages", {"messages": HELLO}, 400, "The model must be a text"),
        ("/v1/messages", {"model": "elevenlabs/x", "max_tokens": 1, "messages": HELLO}, 400, "elevenlabs has no"),
    ],
)
def test_what_cannot_be_run_is_refused_in_the_apis_words(gateway: Any, path: str, body: Any, status: int, said: str):
    reply = post(gateway, path, body)
    (error,) = reply.json()["errors"]
    assert (reply.status_code, error["code"], reply.json()["result"]) == (status, 7003, None)
    assert error["message"].startswith(said)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/run/openai/gpt-4o-mini~status-401", {"messages": HELLO}),
        ("/run/@cf/meta/llama~status-401", {"prompt": "x"}),
        ("/v1/chat/completions", {"model": "openai/gpt-4o-mini~status-401", "messages": HELLO}),
        ("/v1/chat/completions", {"model": "anthropic/claude-sonnet-4-6~status-401", "messages": HELLO}),
        ("/v1/messages", {"model": "anthropic/claude-sonnet-4-6~status-401", "max_tokens": 9, "messages": HELLO}),
    ],
)
async def test_a_key_that_the_provider_refuses_is_told_in_our_words_and_not_tried_again(
    gateway: Any, provider: Any, marker: str, path: str, body: Any
):
    reply = post(gateway, path, body, x_sluice_marker=marker, cf_aig_max_attempts="3", cf_aig_retry_delay="1")
    assert (reply.status_code, reply.json()["errors"]) == (
        401,
        [{"code": 2009, "message": "The provider refused the credentials"}],
    )
    assert len(await provider.entries(marker, ended=1)) == 1
    row = gateway.log(reply.headers["cf-aig-log-id"])
    assert (row["status_code"], row["success"]) == (401, False)


def test_an_error_of_another_vendor_is_told_in_the_envelope(gateway: Any):
    reply = post(gateway, "/run/openai/gpt-4o-mini~status-429", {"messages": HELLO})
    (error,) = reply.json()["errors"]
    assert (reply.status_code, error["code"], reply.json()["success"]) == (429, 429, False)
    assert error["message"]


def test_it_is_tried_again_like_any_other_call(gateway: Any):
    body = {"model": "openai/gpt-4o-mini~status-503", "messages": HELLO}
    reply = post(gateway, "/v1/chat/completions", body, cf_aig_max_attempts="2", cf_aig_retry_delay="1")
    assert reply.status_code == 503
    assert gateway.log(reply.headers["cf-aig-log-id"])["attempts"] == 2


def test_a_browser_may_call_it(gateway: Any):
    url = f"{gateway.base_url}{AI}/v1/chat/completions"
    asked = {"origin": "https://a.example", "access-control-request-method": "POST"}
    assert httpx.options(url, headers=asked).headers["access-control-allow-origin"] == "*"
    reply = post(gateway, f"/run/{LLAMA}", {"prompt": "x"}, origin="https://a.example")
    assert "cf-aig-log-id" in reply.headers["access-control-expose-headers"]


@pytest.mark.parametrize("path", ["/models/search", "/v1/audio/speech", "/runs", f"/run/{LLAMA}"])
def test_what_else_the_api_has_there_is_not_found(gateway: Any, path: str):
    headers = {"authorization": f"Bearer {gateway.token}"}
    reply = httpx.get(gateway.base_url + AI + path, headers=headers)
    assert (reply.status_code, reply.json()["errors"][0]["code"]) == (404, 7003)


async def test_a_stored_key_serves_its_runs_and_has_its_models_listed(gateway: Any, provider: Any, marker: str):
    name = "api-" + uuid4().hex[:8]
    gateway.cli("gateway", "create", name)
    config = {"provider_slug": "anthropic", "alias": "default", "default_config": True, "secret": "sk-ant-stored"}
    assert gateway.manage("POST", f"/gateways/{name}/provider_configs", json=config).status_code == 200
    body = {"messages": HELLO, "max_tokens": 9}
    run = "/run/anthropic/claude-sonnet-4-6"
    reply = post(gateway, run, body, cf_aig_gateway_id=name, x_sluice_marker=marker)
    assert reply.json()["success"]
    sent = {header.lower(): value for header, value in (await seen(provider, marker))["headers"]}
    assert sent["x-api-key"] == "sk-ant-stored"
    assert gateway.log(reply.headers["cf-aig-log-id"], name)["byok"] is True
    headers = {"authorization": f"Bearer {gateway.token}"}

    def owners() -> set[str]:
        listed = gateway.http.get(f"/v1/local/{name}/compat/models", headers=headers).json()["data"]
        return {model["owned_by"] for model in listed}

    assert gateway.until(lambda: owners() or None, "prices") == {"anthropic"}


def test_an_operators_own_key_that_is_refused_is_not_the_clients_to_mend(
    gateway: Any, provider_of: Any, start_gateway: Any
):
    base_url = f"http://{provider_of(gateway).authority}/openai"
    own = start_gateway(providers={"openai": {"base_url": base_url, "api_key": "sk-ours"}})
    reply = post(own, "/run/openai/gpt-4o-mini~status-401", {"messages": HELLO})
    said = [{"code": 2009, "message": "The provider refused the credentials"}]
    assert (reply.status_code, reply.json()["errors"]) == (503, said)
    row = own.log(reply.headers["cf-aig-log-id"])
    assert (row["status_code"], row["wholesale"], row["success"]) == (401, True, False)
