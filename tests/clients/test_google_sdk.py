"""The official `google-genai` SDK, told nothing but a base URL and one header."""

from collections.abc import Iterator
from typing import Any

import pydantic
import pytest
from google import genai
from google.genai import errors, types

FLASH = "gemini-2.5-flash"
HELLO = "Say hello to the harbour"
WEATHER: Any = {
    "name": "get_weather",
    "description": "tells the weather",
    "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}},
}
MANUALLY = types.GenerateContentConfig(
    tools=[types.Tool(function_declarations=[types.FunctionDeclaration.model_validate(WEATHER)])],
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
)


class Place(pydantic.BaseModel):
    city: str
    people: int


def sdk(base_url: str, headers: dict[str, str], key: str = "sk-test") -> genai.Client:
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base_url, headers=headers))


@pytest.fixture
def client(gateway: Any, marker: str) -> Iterator[genai.Client]:
    with sdk(gateway.inference_url("google-ai-studio"), gateway.auth | {"x-sluice-marker": marker}) as made:
        yield made


@pytest.fixture
def direct(provider: Any) -> Iterator[genai.Client]:
    """The same SDK, straight to the provider."""
    with sdk(f"http://{provider.authority}/google-ai-studio", {}) as made:
        yield made


def said_by(client: genai.Client, model: str, *, streamed: bool) -> tuple[str, Any]:
    """The words of an answer, and its usage."""
    if not streamed:
        reply = client.models.generate_content(model=model, contents=HELLO)
        return reply.text or "", reply.usage_metadata
    chunks = list(client.models.generate_content_stream(model=model, contents=HELLO))
    return "".join(chunk.text or "" for chunk in chunks), chunks[-1].usage_metadata


def log_of(gateway: Any, provider: Any, marker: str) -> dict[str, Any]:
    """The newest log, once the provider's request with this marker has ended: the SDK hides its headers."""
    assert provider.entries(marker)
    found: dict[str, Any] = gateway.until(
        lambda: next((log for log in gateway.logs() if log["event_id"] == marker), None), f"the log of {marker}"
    )
    return found


def named(client_headers: dict[str, str], marker: str) -> dict[str, str]:
    return client_headers | {"x-sluice-marker": marker, "cf-aig-event-id": marker}


@pytest.mark.parametrize("streamed", [False, True])
def test_content_is_generated_as_the_provider_does_and_logged_with_tokens_and_cost(
    gateway: Any, direct: genai.Client, provider: Any, marker: str, streamed: bool
):
    whole = direct.models.generate_content(model=FLASH, contents=HELLO)
    with sdk(gateway.inference_url("google-ai-studio"), named(gateway.auth, marker)) as client:
        text, usage = said_by(client, FLASH, streamed=streamed)
    assert text == whole.text
    assert text.startswith("You said: Say hello to the harbour.")
    assert usage == whole.usage_metadata
    assert usage is not None
    log = log_of(gateway, provider, marker)
    assert (log["provider"], log["model"]) == ("google-ai-studio", FLASH)
    assert log["path"].endswith(f"/models/{FLASH}:{'streamGenerateContent' if streamed else 'generateContent'}")
    assert (log["tokens_in"], log["tokens_out"]) == (usage.prompt_token_count, usage.candidates_token_count)
    assert (log["success"], log["ending"], log["compatibilityMode"], log["cost"] > 0) == (True, "complete", False, True)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_function_is_called_its_result_taken_and_answered(client: genai.Client, streamed: bool):
    asked = types.Content(role="user", parts=[types.Part(text="What is the weather in Rotterdam?")])
    if streamed:
        chunks = list(client.models.generate_content_stream(model=FLASH, contents=[asked], config=MANUALLY))
    else:
        chunks = [client.models.generate_content(model=FLASH, contents=[asked], config=MANUALLY)]
    (call,) = [one for chunk in chunks for one in chunk.function_calls or ()]
    assert (call.name, call.args) == ("get_weather", {"city": "Rotterdam"})
    result = types.Part.from_function_response(name="get_weather", response={"result": "rain"})
    turns: Any = [
        asked,
        types.Content(role="model", parts=[types.Part(function_call=call)]),
        types.Content(role="user", parts=[result]),
    ]
    reply = client.models.generate_content(model=FLASH, contents=turns, config=MANUALLY)
    assert (reply.text or "").startswith("You said: rain.")


def test_a_python_function_is_called_by_the_sdk_itself(client: genai.Client):
    asked = []

    def get_weather(city: str) -> str:
        """Tells the weather of a city."""
        asked.append(city)
        return "rain"

    config = types.GenerateContentConfig(tools=[get_weather])
    reply = client.models.generate_content(model=FLASH, contents="What is the weather in Rotterdam?", config=config)
    assert asked == ["Rotterdam"]
    assert "rain" in (reply.text or "")


def test_a_chat_remembers_what_was_said(client: genai.Client, provider: Any, marker: str):
    chat = client.chats.create(model=FLASH)
    first = chat.send_message("hello")
    second = "".join(chunk.text or "" for chunk in chat.send_message_stream("open the gate"))
    assert (first.text or "").startswith("You said: hello.")
    assert second.startswith("You said: open the gate.")
    assert [turn.role for turn in chat.get_history()][:3] == ["user", "model", "user"]
    assert len(provider.entries(marker, 2)) == 2


def test_a_structured_answer_is_parsed(client: genai.Client):
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Place)
    assert isinstance(client.models.generate_content(model=FLASH, contents="a place", config=config).parsed, Place)


def test_a_picture_is_seen(client: genai.Client):
    def count(*parts: Any) -> int:
        usage = client.models.generate_content(model=FLASH, contents=["look", *parts]).usage_metadata
        assert usage is not None
        return usage.prompt_token_count or 0

    assert count(types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")) - count() == 258


def test_it_embeds_counts_and_lists(client: genai.Client, direct: genai.Client):
    def ask(way: genai.Client) -> list[object]:
        config = types.EmbedContentConfig(output_dimensionality=12)
        embedded = way.models.embed_content(model="gemini-embedding-001", contents=["gate", "river"], config=config)
        counted = way.models.count_tokens(model=FLASH, contents="one two")
        return [[one.values for one in embedded.embeddings or ()], counted.total_tokens,
                [model.name for model in way.models.list()]]  # fmt: skip

    through = ask(client)
    assert through == ask(direct)
    assert all(through)


@pytest.mark.parametrize(
    ("model", "kind", "code"),
    [
        (f"{FLASH}~status-400", errors.ClientError, 400),
        (f"{FLASH}~retry-after-7", errors.ClientError, 429),
        ("unknown-model", errors.ClientError, 404),
        (f"{FLASH}~status-503", errors.ServerError, 503),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_providers_error_is_the_providers(
    client: genai.Client, direct: genai.Client, model: str, kind: Any, code: int, streamed: bool
):
    found = []
    for way in (client, direct):
        with pytest.raises(kind) as raised:
            said_by(way, model, streamed=streamed)
        found.append((raised.value.code, raised.value.status, raised.value.message))
    assert found[0] == found[1]
    assert found[0][0] == code


def test_a_wrong_key_is_the_providers_error_and_a_wrong_token_is_ours(gateway: Any):
    url = gateway.inference_url("google-ai-studio")
    with sdk(url, gateway.auth, "bad-key") as client, pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(model=FLASH, contents=HELLO)
    assert (raised.value.code, raised.value.status) == (400, "INVALID_ARGUMENT")
    with sdk(url, {}) as stranger, pytest.raises(errors.ClientError) as refused:
        stranger.models.generate_content(model=FLASH, contents=HELLO)
    assert refused.value.code == 401
    assert "Unauthorized" in str(refused.value)


def test_a_gateway_token_as_the_api_key_lets_in_and_reaches_no_provider(gateway: Any, provider: Any, marker: str):
    with sdk(gateway.inference_url("google-ai-studio"), {"x-sluice-marker": marker}, gateway.token) as client:
        assert client.models.generate_content(model=FLASH, contents=HELLO).text
    (entry,) = provider.entries(marker)
    assert entry["key_headers"] == []
    assert gateway.token not in str(entry["headers"])


async def test_the_asynchronous_client_streams_too(client: genai.Client):
    async with client.aio as asynchronous:
        stream = await asynchronous.models.generate_content_stream(model=FLASH, contents=HELLO)
        told = "".join([chunk.text or "" async for chunk in stream])
    assert told.startswith("You said: Say hello to the harbour.")
