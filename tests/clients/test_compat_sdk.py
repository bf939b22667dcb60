"""The official `openai` SDK, unmodified, on the unified endpoint: other vendors' models as if they were OpenAI's."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest

MODELS = [
    "anthropic/claude-sonnet-4-5",
    "google-ai-studio/gemini-2.0-flash",
    "workers-ai/@cf/meta/llama-3.1-8b-instruct",
    "groq/llama-3.3-70b-versatile",
    "openai/gpt-4o",
]
HELLO: Any = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "Say hello to the harbour"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
PIXEL = base64.b64encode(bytes.fromhex("89504e470d0a1a0a0000000d49484452")).decode()


class Place(pydantic.BaseModel):
    city: str
    people: int


@pytest.fixture
def unified(gateway: Any) -> Iterator[openai.OpenAI]:
    """The SDK, told nothing but a base URL and one header."""
    with openai.OpenAI(
        base_url=gateway.inference_url("compat"), api_key="sk-test", default_headers=gateway.auth, max_retries=0
    ) as client:
        yield client


@pytest.mark.parametrize("model", MODELS)
def test_a_chat_and_its_stream_agree(unified: openai.OpenAI, model: str):
    whole = unified.chat.completions.create(model=model, messages=HELLO)
    said = whole.choices[0].message.content
    assert (whole.choices[0].finish_reason, whole.object) == ("stop", "chat.completion")
    assert said
    assert said.startswith("You said: Say hello to the harbour")
    chunks = list(
        unified.chat.completions.create(
            model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    told = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert told == said
    usage = [chunk.usage for chunk in chunks if chunk.usage]
    assert whole.usage is not None
    assert (usage[-1].prompt_tokens, usage[-1].completion_tokens) == (
        whole.usage.prompt_tokens,
        whole.usage.completion_tokens,
    )


@pytest.mark.parametrize("model", MODELS)
def test_tools_are_called_and_their_results_taken_back(unified: openai.OpenAI, model: str):
    messages: Any = [{"role": "user", "content": "What is the weather in Rotterdam?"}]
    choice = unified.chat.completions.create(model=model, messages=messages, tools=[TOOL]).choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Rotterdam"})
    messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    reply = unified.chat.completions.create(model=model, messages=messages, tools=[TOOL]).choices[0]
    assert reply.finish_reason == "stop"
    assert "rain" in (reply.message.content or "")


@pytest.mark.parametrize("model", MODELS)
def test_a_streamed_tool_call_is_put_together(unified: openai.OpenAI, model: str):
    tool: Any = {"type": "function", "function": {**TOOL["function"], "strict": True}}
    messages: Any = [{"role": "user", "content": "The weather in Rome"}]
    with unified.chat.completions.stream(model=model, messages=messages, tools=[tool]) as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Rome"}


@pytest.mark.parametrize("model", MODELS)
def test_a_picture_is_looked_at(unified: openai.OpenAI, model: str):
    parts: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    reply = unified.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}])
    assert "What is this" in (reply.choices[0].message.content or "")


@pytest.mark.parametrize("model", MODELS)
def test_a_structured_answer_is_parsed(unified: openai.OpenAI, model: str):
    reply = unified.chat.completions.parse(model=model, messages=HELLO, response_format=Place)
    assert isinstance(reply.choices[0].message.parsed, Place)


@pytest.mark.parametrize("model", ["anthropic/claude", "openai/gpt-5"])
def test_a_response_and_its_stream_agree(unified: openai.OpenAI, model: str):
    whole = unified.responses.create(model=model, input="open the gate")
    with unified.responses.stream(model=model, input="open the gate") as stream:
        final = stream.get_final_response()
    assert final.output_text == whole.output_text
    assert whole.output_text.startswith("You said: open the gate")


def test_embeddings_and_the_list_of_models(unified: openai.OpenAI):
    reply = unified.embeddings.create(model="openai/text-embedding-3-small", input=["a", "b"])
    assert len(reply.data) == 2
    assert isinstance(unified.models.list().data, list)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("status-401", openai.AuthenticationError),
        ("status-404", openai.NotFoundError),
        ("status-429", openai.RateLimitError),
        ("status-500", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("model", ["anthropic/claude", "google-ai-studio/gemini", "openai/gpt-4o"])
def test_errors_are_the_sdks_own(unified: openai.OpenAI, model: str, fault: str, kind: type[openai.APIStatusError]):
    with pytest.raises(kind) as found:
        unified.chat.completions.create(model=f"{model}~{fault}", messages=HELLO)
    assert found.value.message


def test_a_stream_that_fails_midway_is_an_error_of_the_sdk(unified: openai.OpenAI):
    stream = unified.chat.completions.create(
        model="anthropic/claude~error-event-3~pace-20", messages=HELLO, stream=True
    )
    with pytest.raises(openai.APIError, match="Overloaded"):
        list(stream)


def test_the_gateway_token_as_api_key(gateway: Any):
    with openai.OpenAI(base_url=gateway.inference_url("compat"), api_key=gateway.token) as client:
        assert client.chat.completions.create(model="anthropic/claude", messages=HELLO).choices[0].message.content


def test_a_missing_provider_is_told(unified: openai.OpenAI):
    with pytest.raises(openai.BadRequestError) as found:
        unified.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert found.value.response.json()["error"] == [{"code": 2019, "message": "Chat completion bad format"}]
