"""The unified endpoint: one schema for every provider, whole and streamed (contract 1.3)."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import httpx
import pytest

from sluice.providers.registry import PROVIDERS

Body = dict[str, Any]
SPOKEN = [name for name, row in PROVIDERS.items() if row.compat.chat and not row.takes_documents]
MUTE = [name for name, row in PROVIDERS.items() if not row.compat.chat and name not in ("anthropic", "aws-bedrock")]
NO_MODEL = "The model must be a text that names its provider too, as openai/gpt-4o-mini"


def model_of(provider: str) -> str:
    return f"{provider}/@cf/meta/llama-3.1-8b-instruct" if provider == "workers-ai" else f"{provider}/a-model"


def chat(model: str, text: str = "hello", **fields: Any) -> Body:
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def post(gateway: Any, body: Any, path: str = "chat/completions", **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {"content-type": "application/json", "authorization": "Bearer sk-theirs", **fields}
    return gateway.http.post(f"/v1/local/default/compat/{path}", content=content, headers=fields)


def deltas(reply: httpx.Response) -> str:
    """The words of a stream of chunks, which has its end."""
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def take(reply: httpx.Response, got: list[bytes]) -> None:
    """Reads a reply into a list, which has what came before it was cut."""
    for piece in reply.iter_raw():
        got.append(piece)


@pytest.mark.parametrize("provider_name", [*SPOKEN, "anthropic"])
def test_every_provider_answers_in_one_schema_whole_and_streamed(gateway: Any, provider_name: str):
    model = model_of(provider_name)
    whole = post(gateway, chat(model))
    assert (whole.status_code, whole.json()["object"]) == (200, "chat.completion")
    words = whole.json()["choices"][0]["message"]["content"]
    assert words.startswith("You said: hello")
    streamed = post(gateway, chat(model, stream=True))
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert deltas(streamed) == words
    for reply in (whole, streamed):
        told = (reply.headers["cf-aig-provider"], reply.headers["cf-aig-model"], reply.headers["cf-aig-step"])
        assert told == (provider_name, model.partition("/")[2], "0")
        row = gateway.log(reply.headers["cf-aig-log-id"])
        assert (row["provider"], row["model"]) == (provider_name, model.partition("/")[2])
        assert (row["request_type"], row["compatibilityMode"], row["success"]) == ("compat", True, True)
        assert row["tokens_in"] or reply is streamed  # of which many tell no usage unless asked


@pytest.mark.parametrize("provider_name", MUTE)
def test_a_provider_without_such_an_endpoint_is_refused_in_words(gateway: Any, provider_name: str, error_body: Any):
    reply = post(gateway, chat(model_of(provider_name)))
    said = f"{provider_name} has no chat/completions in OpenAI's shape"
    assert (reply.status_code, reply.json()) == (400, error_body(400, 2004, said))


@pytest.mark.parametrize(
    ("body", "status", "code", "message", "told"),
    [
        (chat("gpt-4o"), 400, 2019, "Chat completion bad format", NO_MODEL),
        ({"messages": []}, 400, 2019, "Chat completion bad format", NO_MODEL),
        (chat("nobody/gpt"), 400, 2008, "Invalid provider", "This version of Sluice has no provider 'nobody'"),
        (
            chat("custom-a/gpt"),
            400,
            2008,
            "Invalid provider",
            "This account has no custom provider 'custom-a' that is enabled",
        ),
        (chat("dynamic/a"), 404, 2031, "Dynamic route not found", "This version of Sluice has no dynamic routes"),
        (b"{", 400, 2004, "The body is not valid JSON", ""),
    ],
)
def test_what_names_no_provider_is_refused_and_the_description_says_why(
    gateway: Any, body: Any, status: int, code: int, message: str, told: str, error_body: Any
):
    reply = post(gateway, body)
    assert (reply.status_code, reply.json()) == (status, error_body(status, code, message, told))
    assert "cf-aig-log-id" not in reply.headers
    step = {"provider": "compat", "endpoint": "chat/completions"}
    if not isinstance(body, bytes):
        universal = gateway.universal([{**step, "query": body}])
        assert (universal.status_code, universal.json()["error"][0]["code"]) == (status, code)


def test_the_model_alone_is_changed_in_the_body(gateway: Any):
    body = b'{ "n" : 1.50,\n"model":"openai\\/echo" , "messages":[ ] }'
    reply = post(gateway, body)
    assert (
        gateway.log_body(reply.headers["cf-aig-log-id"], "request")
        == b'{ "n" : 1.50,\n"model":"echo" , "messages":[ ] }'
    )


KEYS = [("openai", "Authorization", "Bearer sk-theirs"), ("google-ai-studio", "x-goog-api-key", "sk-theirs"),
        ("anthropic", "x-api-key", "sk-theirs"), ("groq", "Authorization", "Bearer sk-theirs")]  # fmt: skip


@pytest.mark.parametrize(("provider_name", "name", "value"), KEYS)
async def test_a_bearer_key_goes_where_its_vendor_wants_it(
    gateway: Any, provider: Any, marker: str, provider_name: str, name: str, value: str
):
    assert post(gateway, chat(f"{provider_name}/m"), x_sluice_marker=marker).status_code == 200
    (entry,) = await provider.entries(marker, ended=1)
    sent = {header.lower(): value for header, value in entry["headers"]}
    assert sent[name.lower()] == value
    assert entry["key_headers"] == [name]


@pytest.mark.parametrize("carrier", ["authorization", "x-api-key"])
async def test_a_gateway_token_in_the_providers_slot_lets_in_and_goes_no_further(
    gateway: Any, provider: Any, marker: str, carrier: str
):
    headers = {carrier: f"Bearer {gateway.token}", "x-sluice-marker": marker}
    for model in ("openai/m", "anthropic/m"):
        async with httpx.AsyncClient(base_url=gateway.base_url, trust_env=False) as client:
            url = "/v1/local/default/compat/chat/completions"
            assert (await client.post(url, json=chat(model), headers=headers)).status_code == 200
    for entry in await provider.entries(marker, ended=2):
        assert entry["key_headers"] == []
        assert gateway.token not in json.dumps(entry["headers"])


@pytest.mark.parametrize("path", ["v1/chat/completions", "chat/completions/"])
def test_other_forms_of_the_path(gateway: Any, path: str):
    assert post(gateway, chat("openai/m"), path).status_code == 200


def test_responses_and_embeddings(gateway: Any):
    for name in ("openai", "anthropic"):
        reply = post(gateway, {"model": f"{name}/m", "input": "hello"}, "responses")
        assert (reply.status_code, reply.json()["object"]) == (200, "response")
        streamed = post(gateway, {"model": f"{name}/m", "input": "hello", "stream": True}, "responses")
        assert "event: response.completed" in streamed.text
    reply = post(gateway, {"model": "openai/text-embedding-3-small", "input": "hello"}, "embeddings")
    assert reply.json()["data"][0]["embedding"]
    assert post(gateway, {"model": "anthropic/m", "input": "hello"}, "embeddings").json()["error"][0]["code"] == 2004


def test_models_are_those_of_the_price_list(gateway: Any):
    def look() -> list[Body] | None:
        headers = {"authorization": "Bearer sk-theirs"}
        listed = gateway.http.get("/v1/local/default/compat/models", headers=headers).json()
        assert listed["object"] == "list"
        return listed["data"] or None

    found = {model["id"]: model for model in gateway.until(look, "prices")}
    assert found["openai/gpt-4o"] == {"id": "openai/gpt-4o", "object": "model", "created": 0, "owned_by": "openai"}
    assert {name.partition("/")[0] for name in found} >= {"openai", "anthropic", "groq", "mistral"}
    stranger = httpx.get(f"{gateway.base_url}/v1/local/default/compat/models", trust_env=False)
    assert (stranger.status_code, stranger.json()["error"][0]["code"]) == (401, 2009)
    assert gateway.http.post("/v1/local/default/compat/models").status_code == 405


GOOGLES = {"google-ai-studio", "google-vertex-ai"}


@pytest.mark.parametrize(
    ("headers", "providers"),
    [
        ({"x-goog-api-key": "sk-theirs"}, GOOGLES),
        ({"x-api-key": "sk-theirs", "x-goog-api-key": "sk-theirs"}, {"anthropic", "aws-bedrock", "grok", *GOOGLES}),
        ({}, set()),
    ],
)
def test_models_are_those_of_providers_that_the_caller_has_a_key_of(gateway: Any, headers: Any, providers: set[str]):
    def look() -> bool:
        sent = {"authorization": f"Bearer {gateway.token}", **headers}  # which is nobody's key
        listed = gateway.http.get("/v1/local/default/compat/models", headers=sent).json()["data"]
        return {model["owned_by"] for model in listed} == providers

    gateway.until(look, "the models of these providers alone")


# --- Anthropic, translated


def test_the_log_has_the_providers_own_words(gateway: Any):
    for stream in (False, True):
        reply = post(gateway, chat("anthropic/claude-sonnet-4", stream=stream))
        log_id = reply.headers["cf-aig-log-id"]
        sent = json.loads(gateway.log_body(log_id, "request"))
        assert (sent["model"], sent["max_tokens"]) == ("claude-sonnet-4", 4096)
        kept = gateway.log_body(log_id, "response")
        assert (b'"type": "message"' in kept) != stream
        assert (b"event: message_stop" in kept) == stream
        row = gateway.log(log_id)
        assert (row["path"], row["ending"], row["success"]) == ("v1/messages", "complete", True)
        assert row["cost"]


def test_usage_ends_a_stream_where_it_is_asked_for(gateway: Any):
    reply = post(gateway, chat("anthropic/m", stream=True, stream_options={"include_usage": True}))
    chunks = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    assert chunks[-1]["usage"]["total_tokens"] > 0
    assert deltas(reply)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 529])
def test_an_error_of_the_provider_keeps_its_status_and_takes_openais_shape(gateway: Any, status: int, stream: bool):
    reply = post(gateway, chat(f"anthropic/claude~status-{status}", stream=stream))
    assert reply.status_code == status
    assert set(reply.json()) == {"error"}
    assert {"message", "type", "code", "param"} <= set(reply.json()["error"])
    row = gateway.log(reply.headers["cf-aig-log-id"])
    assert (row["status_code"], row["ending"]) == (status, "complete")
    assert json.loads(gateway.log_body(row["id"], "response"))["type"] == "error"


def test_a_reply_that_is_none_is_told_as_such_and_falls_back(gateway: Any, error_body: Any):
    odd = chat("anthropic/claude~error-200")
    reply = post(gateway, odd)
    assert (reply.status_code, reply.json()) == (400, error_body(400, 2002, "Failed to parse model output"))
    row = gateway.log(reply.headers["cf-aig-log-id"])
    assert (row["error_code"], row["ending"], row["success"]) == (2002, "refused", False)
    step = {"provider": "compat", "endpoint": "chat/completions"}
    for stream in (False, True):
        odd = chat("anthropic/claude~error-200", stream=stream)
        second = chat("openai/gpt-4o", stream=stream)
        universal = gateway.universal([{**step, "query": odd}, {**step, "query": second}])
        assert (universal.status_code, universal.headers["cf-aig-step"]) == (200, "1")
        first, _ = gateway.rows(universal, 2)
        assert (first["error_code"] in (2002, 2005), first["success"]) == (True, False)
        assert first["error_message"]


@pytest.mark.parametrize("fault", ["no-tail", "cut-3", "error-event-3~pace-20", "reset-4", "malformed-2"])
def test_a_stream_that_does_not_end_well_never_looks_as_if_it_did(gateway: Any, fault: str):
    body = chat(f"anthropic/claude~{fault}", stream=True)
    got: list[bytes] = []
    with gateway.http.stream("POST", "/v1/local/default/compat/chat/completions", json=body) as reply:
        assert reply.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            take(reply, got)
    assert b"[DONE]" not in b"".join(got)
    assert (b'"error"' in b"".join(got)) == fault.startswith("error-event")
    row = gateway.log(reply.headers["cf-aig-log-id"])
    assert (row["ending"], row["success"], row["error_code"]) == ("broken", False, 2005)


def test_a_request_that_cannot_be_translated_names_the_culprit(gateway: Any):
    body = {"model": "anthropic/m", "messages": [{"role": "user", "content": [{"type": "text"}, {"type": "moving"}]}]}
    reply = post(gateway, body)
    assert (reply.status_code, reply.json()["error"][0]["code"]) == (400, 2004)
    assert reply.json()["message"].startswith("messages[0].content[")


# --- as a provider of the universal endpoint


@pytest.mark.parametrize("model", ["openai/echo", "anthropic/claude", "google-ai-studio/gemini", "workers-ai/@cf/x/y"])
def test_compat_is_a_provider_of_the_universal_endpoint_in_a_chain_too(gateway: Any, model: str):
    source = {"provider": "compat", "endpoint": "chat/completions", "query": chat(model), "id": "a"}
    follower = {
        "provider": "compat",
        "endpoint": "chat/completion",
        "query": chat("anthropic/c", "<prompt-response id='a' />"),
    }
    reply = gateway.universal([{**source, "option": {"onComplete": follower}}])
    assert (reply.status_code, reply.json()["object"]) == (200, "chat.completion")
    first, second = gateway.rows(reply, 2)
    assert (first["provider"], second["provider"]) == (model.partition("/")[0], "anthropic")
    assert first["compatibilityMode"] == second["compatibilityMode"] is True
    assert {first["request_type"], second["request_type"]} == {"universal"}
    sent = json.loads(gateway.log_body(second["id"], "request"))["messages"][0]["content"]
    assert "hello" in json.dumps(sent) or model == "openai/echo"


def test_retries_hold_for_the_unified_endpoint(gateway: Any):
    reply = post(gateway, chat("anthropic/claude~status-529"), cf_aig_max_attempts="3")
    assert reply.status_code == 529
    assert gateway.log(reply.headers["cf-aig-log-id"])["attempts"] == 3


# --- in front of a provider of the test's own


@pytest.fixture(scope="module")
def behind(start_shared_gateway: Any, stand: Any) -> Any:
    return start_shared_gateway("--workers", "1", providers={"anthropic": {"base_url": stand.base_url}})


UNREADABLE_BEGINNINGS = [
    b"Content-Type: text/event-stream\r\n\r\nevent: message_start\ndata: {\n\n",
    b"Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00",
]


@pytest.mark.parametrize("told", UNREADABLE_BEGINNINGS, ids=["malformed", "compressed"])
async def test_a_stream_that_cannot_be_translated_is_not_left_open(
    behind: Any, stand: Any, wire: Any, compose: Any, error_body: Any, told: bytes
):
    left = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + told)
        with suppress(ConnectionError):
            while await reader.read(65_536):
                pass
        left.set()

    body = chat("anthropic/claude", stream=True)
    async with stand.serve(handle), wire(behind) as line:
        reply = await line.ask(compose(behind, path="compat/chat/completions", body=body))
        assert (reply.status, reply.json()) == (400, error_body(400, 2002, "Failed to parse model output"))
        async with asyncio.timeout(5):
            await left.wait()


async def test_a_client_that_leaves_a_translated_stream_cancels_it(behind: Any, stand: Any, wire: Any, compose: Any):
    left = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        start = {"type": "message_start", "message": {"id": "msg_1", "model": "claude"}}
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        writer.write(b"event: message_start\ndata: %b\n\n" % json.dumps(start).encode())
        with suppress(ConnectionError):
            while await reader.read(65_536):
                pass
        left.set()

    body = chat("anthropic/claude", stream=True)
    async with stand.serve(handle), wire(behind) as line:
        await line.send(compose(behind, path="compat/chat/completions", body=body))
        head = await line.until(b"\r\n\r\n")
        await line.until(b'"role":"assistant"')
        line.reset()
        async with asyncio.timeout(5):
            await left.wait()
    (log_id,) = [row[15:].decode() for row in head.split(b"\r\n") if row.startswith(b"cf-aig-log-id: ")]
    row = behind.log(log_id)
    assert (row["ending"], row["status_code"], row["success"]) == ("abandoned", 200, False)
