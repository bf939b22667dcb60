"""Models by Cloudflare's own API: the official `cloudflare`, `openai` and `anthropic` SDKs, with a token and no key."""

from typing import Any

import anthropic
import cloudflare
import openai
import pytest

LLAMA = "@cf/meta/llama-3.1-8b-instruct"
HELLO: Any = [{"role": "user", "content": "Say hello to the harbour"}]
SAID = "You said: Say hello to the harbour."
WEATHER: Any = {"type": "object", "properties": {"city": {"type": "string"}}}


@pytest.fixture
def api(gateway: Any) -> Any:
    with cloudflare.Cloudflare(
        api_token=gateway.token, base_url=gateway.base_url + "/client/v4", max_retries=0, timeout=20
    ) as made:
        yield made


@pytest.fixture
def gpt(gateway: Any) -> Any:
    url = gateway.base_url + "/client/v4/accounts/local/ai/v1"
    with openai.OpenAI(api_key=gateway.token, base_url=url, max_retries=0, timeout=20) as made:
        yield made


@pytest.fixture
def claude(gateway: Any) -> Any:
    url = gateway.base_url + "/client/v4/accounts/local/ai"
    with anthropic.Anthropic(auth_token=gateway.token, api_key=None, base_url=url, max_retries=0, timeout=20) as made:
        yield made


def row_of(gateway: Any, headers: Any) -> dict[str, Any]:
    row: dict[str, Any] = gateway.log(headers["cf-aig-log-id"])
    assert (row["request_type"], row["compatibilityMode"], row["authentication"]) == ("rest", False, True)
    assert (row["success"], row["ending"]) == (True, "complete")
    return row


def test_cloudflares_sdk_runs_a_model_of_cloudflares(api: cloudflare.Cloudflare, gateway: Any):
    raw = api.ai.with_raw_response.run(LLAMA, account_id="local", messages=HELLO)
    told: Any = raw.parse()
    assert told["response"].startswith(SAID)
    row = row_of(gateway, raw.headers)
    assert (row["provider"], row["model"], row["path"]) == ("workers-ai", LLAMA, f"run/{LLAMA}")
    assert row["tokens_out"] == told["usage"]["completion_tokens"]


def test_cloudflares_sdk_runs_a_model_of_another(api: cloudflare.Cloudflare, gateway: Any):
    raw = api.ai.with_raw_response.run("openai/gpt-4o-mini", account_id="local", messages=HELLO)
    told: Any = raw.parse()
    assert told["choices"][0]["message"]["content"].startswith(SAID)
    row = row_of(gateway, raw.headers)
    assert (row["provider"], row["model"], row["path"]) == ("openai", "gpt-4o-mini", "v1/chat/completions")
    assert row["tokens_out"] == told["usage"]["completion_tokens"]


def test_cloudflares_sdk_reads_our_errors(api: cloudflare.Cloudflare):
    with pytest.raises(cloudflare.NotFoundError) as missing:
        api.ai.run("nobody/model", account_id="local", prompt="x")
    assert (missing.value.errors[0].code, missing.value.errors[0].message) == (7003, "Model not found: nobody/model")
    with pytest.raises(cloudflare.AuthenticationError) as refused:
        api.with_options(api_token="nonsense").ai.run(LLAMA, account_id="local", prompt="x")
    assert refused.value.errors[0].code == 10000


@pytest.mark.parametrize(
    "model", [LLAMA, "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-6", "google/gemini-2.5-flash"]
)
def test_openais_sdk_chats_with_every_vendor_whole_and_streamed(gpt: openai.OpenAI, gateway: Any, model: str):
    raw = gpt.chat.completions.with_raw_response.create(model=model, messages=HELLO)
    whole = raw.parse().choices[0].message.content
    assert whole is not None
    assert whole.startswith(SAID)
    assert row_of(gateway, raw.headers)["model"] == (model if model == LLAMA else model.partition("/")[2])
    chunks = gpt.chat.completions.create(model=model, messages=HELLO, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-6"])
def test_openais_sdk_asks_for_responses(gpt: openai.OpenAI, model: str):
    assert gpt.responses.create(model=model, input="Say hello to the harbour").output_text.startswith(SAID)


def test_openais_sdk_reads_our_errors(gpt: openai.OpenAI):
    with pytest.raises(openai.NotFoundError) as missing:
        gpt.chat.completions.create(model="nobody/model", messages=HELLO)
    assert (missing.value.code, missing.value.type) == ("7003", "not_found_error")
    with pytest.raises(openai.BadRequestError) as invalid:
        gpt.chat.completions.create(model="anthropic/claude-sonnet-4-6", messages=[])
    assert invalid.value.code == "7003"


@pytest.mark.parametrize(
    "model", ["anthropic/claude-sonnet-4-6", "openai/gpt-4o-mini", LLAMA, "google/gemini-2.5-flash"]
)
def test_anthropics_sdk_talks_to_every_vendor_whole_and_streamed(claude: anthropic.Anthropic, gateway: Any, model: str):
    raw = claude.messages.with_raw_response.create(model=model, max_tokens=500, messages=HELLO)
    message = raw.parse()
    (block,) = message.content
    assert block.type == "text"
    assert block.text.startswith(SAID)
    assert message.stop_reason == "end_turn"
    row = row_of(gateway, raw.headers)
    assert (row["tokens_in"], row["tokens_out"]) == (message.usage.input_tokens, message.usage.output_tokens)
    with claude.messages.stream(model=model, max_tokens=500, messages=HELLO) as stream:
        assert "".join(stream.text_stream) == block.text
        assert stream.get_final_message().stop_reason == "end_turn"


@pytest.mark.parametrize("streamed", [False, True])
def test_anthropics_sdk_has_a_model_of_openais_use_a_tool(claude: anthropic.Anthropic, streamed: bool):
    asked: Any = {
        "model": "openai/gpt-4o-mini",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": "What is the weather in Rotterdam?"}],
        "tools": [{"name": "get_weather", "description": "tells it", "input_schema": WEATHER}],
    }
    if streamed:
        with claude.messages.stream(**asked) as stream:
            message = stream.get_final_message()
    else:
        message = claude.messages.create(**asked)
    (use,) = message.content
    assert use.type == "tool_use"
    assert (use.name, use.input, message.stop_reason) == ("get_weather", {"city": "Rotterdam"}, "tool_use")


@pytest.mark.parametrize(
    ("model", "kind", "said"),
    [
        ("nobody/model", anthropic.NotFoundError, "not_found_error"),
        ("openai/gpt-4o-mini~status-429", anthropic.RateLimitError, "rate_limit_error"),
        ("openai/gpt-4o-mini~status-503", anthropic.InternalServerError, "overloaded_error"),
        ("openai/gpt-4o-mini~status-401", anthropic.AuthenticationError, "authentication_error"),
        ("anthropic/claude-sonnet-4-6~status-400", anthropic.BadRequestError, "invalid_request_error"),
    ],
)
def test_anthropics_sdk_reads_errors_of_ours_and_of_any_vendor(
    claude: anthropic.Anthropic, model: str, kind: Any, said: str
):
    with pytest.raises(kind) as raised:
        claude.messages.create(model=model, max_tokens=9, messages=HELLO)
    body: Any = raised.value.body
    assert (body["type"], body["error"]["type"]) == ("error", said)


def test_anthropics_sdk_may_bring_the_token_as_its_key(gateway: Any):
    url = gateway.base_url + "/client/v4/accounts/local/ai"
    with anthropic.Anthropic(api_key=gateway.token, base_url=url, max_retries=0, timeout=20) as client:
        assert client.messages.create(model="openai/gpt-4o-mini", max_tokens=9, messages=HELLO).usage.output_tokens > 0
