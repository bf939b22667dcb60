"""The official `openai` SDK on the unified endpoint: one client, any vendor's model (docs/compat.md)."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pydantic
import pytest

CLAUDE = "anthropic/claude-sonnet-4-6"
GEMINI = "google-ai-studio/gemini-2.5-flash"
LLAMA = "workers-ai/@cf/meta/llama-3.1-8b-instruct"
GROQ = "groq/llama-3.3-70b-versatile"
MODELS = [CLAUDE, GEMINI, LLAMA, GROQ]
KEYS = {CLAUDE: "x-api-key", GEMINI: "x-goog-api-key", LLAMA: "Authorization", GROQ: "Authorization"}
HELLO: Any = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "Say hello to the harbour"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
PICTURE = "data:image/png;base64,iVBORw0K"


class Place(pydantic.BaseModel):
    city: str
    people: int


@pytest.fixture
def client(gateway: Any, marker: str, open_sdk: Any) -> Iterator[openai.OpenAI]:
    """The SDK, told the unified endpoint's address and the gateway's token."""
    with open_sdk(gateway.inference_url("compat"), gateway.auth | {"x-sluice-marker": marker}) as made:
        yield made


def told_by_the_log(gateway: Any, headers: httpx.Headers, model: str, usage: Any) -> dict[str, Any]:
    """The log of a call that went well: whose model it was, through which endpoint, and what it read and wrote."""
    log: dict[str, Any] = gateway.log(headers["cf-aig-log-id"])
    provider, _, name = model.partition("/")
    assert (log["provider"], log["model"], log["status_code"]) == (provider, name, 200)
    assert (log["success"], log["ending"], log["compatibilityMode"]) == (True, "complete", True)
    assert (log["tokens_in"], log["tokens_out"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert (headers["cf-aig-provider"], headers["cf-aig-model"]) == (provider, name)
    return log


@pytest.mark.parametrize("model", MODELS)
def test_a_chat_is_answered_and_logged_with_its_tokens_and_cost(client: openai.OpenAI, gateway: Any, model: str):
    reply = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
    answer = reply.parse()
    (choice,) = answer.choices
    assert (answer.object, choice.finish_reason, choice.message.role) == ("chat.completion", "stop", "assistant")
    assert (choice.message.content or "").startswith("You said: Say hello to the harbour.")
    log = told_by_the_log(gateway, reply.headers, model, answer.usage)
    assert log["cost"] > 0 or model == LLAMA


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_says_the_same_as_a_whole_answer_and_counts_the_same(client: openai.OpenAI, gateway: Any, model: str):
    whole = client.chat.completions.create(model=model, messages=HELLO)
    reply = client.chat.completions.with_raw_response.create(
        model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(reply.parse())
    told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert told == whole.choices[0].message.content
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    usage = chunks[-1].usage
    assert usage is not None
    assert whole.usage is not None
    assert (usage.prompt_tokens, usage.total_tokens) == (whole.usage.prompt_tokens, whole.usage.total_tokens)
    told_by_the_log(gateway, reply.headers, model, usage)


@pytest.mark.parametrize("model", MODELS)
def test_a_tool_is_called_its_result_taken_and_answered(client: openai.OpenAI, model: str):
    messages: Any = [{"role": "user", "content": "What is the weather in Rotterdam?"}]
    asked: Any = {"model": model, "tools": [WEATHER]}
    choice = client.chat.completions.create(messages=messages, **asked).choices[0]
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Rotterdam"})
    assert choice.finish_reason == "tool_calls"
    messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    said = client.chat.completions.create(messages=messages, **asked).choices[0]
    assert said.finish_reason == "stop"
    assert (said.message.content or "").startswith("You said: rain.")


@pytest.mark.parametrize("model", MODELS)
def test_a_streamed_call_is_put_together(client: openai.OpenAI, model: str):
    messages: Any = [{"role": "user", "content": "The weather in Rome"}]
    tool = {**WEATHER, "function": WEATHER["function"] | {"strict": True}}
    with client.chat.completions.stream(model=model, messages=messages, tools=[tool]) as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls or []
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Rome"})


@pytest.mark.parametrize("model", MODELS)
def test_a_tool_may_be_forced_or_forbidden(client: openai.OpenAI, model: str):
    asked: Any = {"model": model, "tools": [WEATHER], "messages": [{"role": "user", "content": "the weather in Rome"}]}
    forced = client.chat.completions.create(tool_choice="required", **asked).choices[0].message
    assert [call.type for call in forced.tool_calls or []] == ["function"]
    assert not client.chat.completions.create(tool_choice="none", **asked).choices[0].message.tool_calls


@pytest.mark.parametrize("model", MODELS)
def test_an_image_is_seen(client: openai.OpenAI, gateway: Any, model: str):
    def count(*parts: Any) -> int:
        reply = client.chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": [{"type": "text", "text": "look"}, *parts]}]
        )
        answer = reply.parse()
        assert (answer.choices[0].message.content or "").startswith("You said: look.")
        told_by_the_log(gateway, reply.headers, model, answer.usage)
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    assert count({"type": "image_url", "image_url": {"url": PICTURE}}) - count() in (85, 258)


@pytest.mark.parametrize("model", MODELS)
def test_a_structured_answer_is_parsed(client: openai.OpenAI, model: str):
    reply = client.chat.completions.parse(model=model, messages=HELLO, response_format=Place)
    assert isinstance(reply.choices[0].message.parsed, Place)
    schema: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": PARAMETERS}}
    plain = client.chat.completions.create(model=model, messages=HELLO, response_format=schema)
    assert set(json.loads(plain.choices[0].message.content or "")) == {"city"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        ("~status-401", openai.AuthenticationError, 401),
        ("~status-400", openai.BadRequestError, 400),
        ("~status-403", openai.PermissionDeniedError, 403),
        ("~retry-after-7", openai.RateLimitError, 429),
        ("~status-500", openai.InternalServerError, 500),
        ("~status-529", openai.InternalServerError, 529),
        ("~drop", openai.BadRequestError, 400),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_is_raised_as_the_sdk_knows_it_and_logged(
    client: openai.OpenAI, gateway: Any, model: str, fault: str, kind: type[openai.APIStatusError], status: int,
    stream: bool,
):  # fmt: skip
    asked: Any = {"model": model + fault, "messages": HELLO, "stream": stream}
    with pytest.raises(kind) as raised:
        client.chat.completions.create(**asked)
    reply = raised.value.response
    assert (raised.value.status_code, reply.headers.get("retry-after")) == (status, "7" if "after" in fault else None)
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert (log["provider"], log["success"], log["compatibilityMode"]) == (model.partition("/")[0], False, True)
    assert (b'"internalCode":2005' in reply.content) == (fault == "~drop")


@pytest.mark.parametrize("model", MODELS)
def test_an_unknown_model_and_a_wrong_key_are_the_vendors_errors(client: openai.OpenAI, model: str):
    provider = model.partition("/")[0]
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model=f"{provider}/unknown-model", messages=HELLO)
    assert raised.value.status_code == 404
    with pytest.raises(openai.APIStatusError) as refused:
        client.with_options(api_key="bad-key").chat.completions.create(model=model, messages=HELLO)
    assert refused.value.status_code == (400 if provider == "google-ai-studio" else 401)
    assert refused.value.response.json() != {}


@pytest.mark.parametrize(
    ("model", "kind", "code"),
    [
        ("gpt-4o", openai.BadRequestError, 2019),
        ("nobody/gpt-4o", openai.BadRequestError, 2008),
        ("dynamic/support", openai.NotFoundError, 2031),
    ],
)
def test_an_error_of_ours_is_raised_with_its_code(client: openai.OpenAI, model: str, kind: Any, code: int):
    with pytest.raises(kind) as raised:
        client.chat.completions.create(model=model, messages=HELLO)
    assert raised.value.response.json()["error"][0]["code"] == code


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fault", ["cut-3", "reset-3", "malformed-3"])
def test_a_stream_that_breaks_breaks_at_the_sdk(client: openai.OpenAI, gateway: Any, model: str, fault: str):
    reply = client.chat.completions.with_raw_response.create(model=f"{model}~{fault}", messages=HELLO, stream=True)
    with pytest.raises(openai.APIConnectionError):
        list(reply.parse())
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert (log["ending"], log["success"], log["compatibilityMode"]) == ("broken", False, True)


@pytest.mark.parametrize("model", [CLAUDE, GEMINI, GROQ])  # Workers AI's own error events are none that the SDK knows
def test_an_error_in_a_stream_is_raised(client: openai.OpenAI, model: str):
    asked: Any = {"model": f"{model}~error-event-3~pace-20", "messages": HELLO, "stream": True}
    stream = client.chat.completions.create(**asked)
    with pytest.raises(openai.APIError):
        list(stream)


def test_a_providers_key_goes_in_the_place_where_its_vendor_has_keys(client: openai.OpenAI, provider: Any, marker: str):
    for model in MODELS:
        client.chat.completions.create(model=model, messages=HELLO)
    entries = provider.entries(marker, len(MODELS))
    assert [entry["key_headers"] for entry in entries] == [[KEYS[model]] for model in MODELS]
    assert all("sk-test" in json.dumps(entry["headers"]) for entry in entries)


def test_a_gateway_token_as_the_api_key_lets_in_and_reaches_no_provider(
    gateway: Any, provider: Any, marker: str, open_sdk: Any
):
    with open_sdk(gateway.inference_url("compat"), {"x-sluice-marker": marker}, gateway.token) as client:
        for model in [*MODELS, "openai/gpt-4o"]:
            reply = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
            assert gateway.log(reply.headers["cf-aig-log-id"])["authentication"] is True
    for entry in provider.entries(marker, 5):
        assert entry["key_headers"] == []
        assert gateway.token not in json.dumps(entry["headers"])
        assert gateway.token.encode() not in base64.b64decode(entry["body"])


def test_a_wrong_token_is_refused_before_any_provider(gateway: Any, open_sdk: Any, provider: Any, marker: str):
    with open_sdk(gateway.inference_url("compat"), {"x-sluice-marker": marker}, "sluice_nonsense") as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            client.chat.completions.create(model=CLAUDE, messages=HELLO)
        assert raised.value.response.json()["error"] == [{"code": 2009, "message": "Unauthorized"}]
    assert provider.entries(marker, 0) == []


def test_the_models_of_the_price_list_are_listed(client: openai.OpenAI, gateway: Any):
    listed = gateway.until(lambda: [model.id for model in client.models.list()], "prices")
    assert {"openai/gpt-4o", "anthropic/claude-sonnet-4-6"} <= set(listed)


@pytest.mark.parametrize(
    "model",
    ["openai/text-embedding-3-small", "google-ai-studio/gemini-embedding-001", "workers-ai/@cf/baai/bge-m3"],
)
@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}])
def test_embeddings_come_from_any_vendor_that_has_them(
    client: openai.OpenAI, gateway: Any, model: str, encoding: dict[str, Any]
):
    reply = client.embeddings.with_raw_response.create(model=model, input=["a gate", "a river"], **encoding)
    vectors = [one.embedding for one in reply.parse().data]
    assert len(vectors) == 2
    assert all(isinstance(number, float) for number in vectors[0])
    assert vectors[0] != vectors[1]
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert (log["provider"], log["model"], log["success"]) == (*model.split("/", 1), True)


@pytest.mark.parametrize("model", ["openai/gpt-5", CLAUDE])
def test_a_response_and_its_stream_agree(client: openai.OpenAI, gateway: Any, model: str):
    asked: Any = {"model": model, "input": "open the gate", "instructions": "be brief"}
    reply = client.responses.with_raw_response.create(**asked)
    whole = reply.parse()
    with client.responses.stream(**asked) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert whole.output_text.startswith("You said: open the gate.")
    assert (final.output_text, final.usage) == (whole.output_text, whole.usage)
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert whole.usage is not None
    assert (log["tokens_in"], log["tokens_out"]) == (whole.usage.input_tokens, whole.usage.output_tokens)
    assert (log["provider"], log["compatibilityMode"], log["cost"] > 0) == (model.partition("/")[0], True, True)


@pytest.mark.parametrize("model", ["openai/gpt-5", CLAUDE])
def test_a_response_calls_a_tool_and_takes_its_result(client: openai.OpenAI, model: str):
    tool: Any = {"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": True}
    turns: Any = [{"role": "user", "content": "weather in Rome"}]
    (call,) = client.responses.create(model=model, input=turns, tools=[tool]).output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Rome"}
    turns += [call, {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    assert client.responses.create(model=model, input=turns, tools=[tool]).output_text.startswith("You said: rain.")


@pytest.mark.parametrize("model", ["openai/gpt-5", CLAUDE])
def test_a_structured_response_is_parsed(client: openai.OpenAI, model: str):
    reply = client.responses.parse(model=model, input="a place", text_format=Place)
    assert isinstance(reply.output_parsed, Place)


async def test_the_asynchronous_client_streams_too(gateway: Any):
    async with openai.AsyncOpenAI(
        base_url=gateway.inference_url("compat"), api_key="sk-test", default_headers=gateway.auth
    ) as client:
        stream = await client.chat.completions.create(model=CLAUDE, messages=HELLO, stream=True)
        told = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert told.startswith("You said: Say hello to the harbour.")
