import json
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import types

from sluice.simulator import words

MODELS = "/google-ai-studio/v1beta/models"
FLASH = f"{MODELS}/gemini-2.5-flash"
WEATHER = {
    "name": "get_weather",
    "description": "tells the weather",
    "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}},
}


def said_by_user(text: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


@pytest.fixture
def client(simulator: Any) -> Iterator[genai.Client]:
    options = types.HttpOptions(base_url=f"http://127.0.0.1:{simulator.port}/google-ai-studio")
    with genai.Client(api_key="any", http_options=options) as client:
        yield client


async def test_content_is_generated_from_the_prompt(simulator: Any) -> None:
    body = said_by_user("open the gate") | {"system_instruction": {"parts": [{"text": "be brief"}]}}
    said = (await simulator.ask("POST", f"{FLASH}:generateContent", body)).json()
    (candidate,) = said["candidates"]
    text = words.reply("open the gate")
    assert (candidate["content"]["parts"], candidate["finishReason"]) == ([{"text": text}], "STOP")
    usage = said["usageMetadata"]
    assert (usage["promptTokenCount"], usage["candidatesTokenCount"]) == (3 + 4 + 3 + 4 + 2, words.count(text))
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]
    assert said["modelVersion"] == "gemini-2.5-flash"


@pytest.mark.parametrize("alt", ["?alt=sse", ""])
async def test_a_stream_says_what_the_whole_reply_says(simulator: Any, alt: str) -> None:
    whole = (await simulator.ask("POST", f"{FLASH}:generateContent", said_by_user("hello"))).json()
    reply = await simulator.ask("POST", f"{FLASH}:streamGenerateContent{alt}", said_by_user("hello"))
    chunks = reply.events() if alt else reply.json()
    told = "".join(part["text"] for one in chunks for part in one["candidates"][0]["content"]["parts"])
    assert told == whole["candidates"][0]["content"]["parts"][0]["text"]
    assert chunks[-1]["usageMetadata"] == whole["usageMetadata"]
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    assert all("finishReason" not in one["candidates"][0] for one in chunks[:-1])
    kind = "text/event-stream; charset=utf-8" if alt else "application/json; charset=UTF-8"
    assert reply.header("content-type") == kind


def test_the_official_sdk_streams_calls_a_function_and_gives_its_result_back(client: genai.Client) -> None:
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[types.FunctionDeclaration.model_validate(WEATHER)])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    asked = types.Content(role="user", parts=[types.Part(text="What is the weather in Paris?")])
    chunks = list(client.models.generate_content_stream(model="gemini-2.5-flash", contents=[asked], config=config))
    (call,) = [one for chunk in chunks for one in chunk.function_calls or ()]
    assert (call.name, call.args) == ("get_weather", {"city": "Paris"})
    turns: Any = [
        asked,
        types.Content(role="model", parts=[types.Part(function_call=call)]),
        types.Content(
            role="user", parts=[types.Part.from_function_response(name="get_weather", response={"result": "fine"})]
        ),
    ]
    reply = client.models.generate_content(model="gemini-2.5-flash", contents=turns, config=config)
    assert reply.text == words.reply("fine")


def test_the_official_sdk_embeds_counts_and_lists(client: genai.Client) -> None:
    embedded = client.models.embed_content(
        model="gemini-embedding-001",
        contents=["a gate", "a river"],
        config=types.EmbedContentConfig(output_dimensionality=12),
    )
    assert [one.values for one in embedded.embeddings or ()] == [words.vector(one, 12) for one in ("a gate", "a river")]
    assert client.models.count_tokens(model="gemini-2.5-flash", contents="one two").total_tokens == 9
    listed = next(iter(client.models.list()))
    assert client.models.get(model=listed.name or "").name == listed.name


@pytest.mark.parametrize(
    ("calling", "called"),
    [
        ({"mode": "AUTO"}, False),
        ({"mode": "ANY"}, True),
        ({"mode": "any", "allowedFunctionNames": ["get_weather"]}, True),
    ],
)
async def test_the_mode_of_calling_is_heeded(simulator: Any, calling: Any, called: bool) -> None:
    tools = {"tools": [{"function_declarations": [WEATHER]}], "toolConfig": {"functionCallingConfig": calling}}
    said = (await simulator.ask("POST", f"{FLASH}:generateContent", said_by_user("hello") | tools)).json()
    assert ("functionCall" in said["candidates"][0]["content"]["parts"][0]) == called


async def test_configuration_and_faults_in_the_path_are_heeded(simulator: Any) -> None:
    async def ask(model: str, **config: Any) -> Any:
        body = said_by_user("a b c d e f g h") | {"generationConfig": config}
        return (await simulator.ask("POST", f"{MODELS}/{model}:generateContent", body)).json()

    cut = await ask("gemini", maxOutputTokens=3)
    assert (cut["candidates"][0]["finishReason"], cut["usageMetadata"]["candidatesTokenCount"]) == ("MAX_TOKENS", 3)
    assert (await ask("gemini~refusal"))["candidates"][0]["finishReason"] == "SAFETY"
    assert len((await ask("gemini", candidateCount=2))["candidates"]) == 2
    usage = (await ask("gemini~cached-7~reasoning-5"))["usageMetadata"]
    assert (usage["cachedContentTokenCount"], usage["thoughtsTokenCount"]) == (7, 5)
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"] + 5
    assert "usageMetadata" not in await ask("gemini%7Eno-usage")
    schema = await ask("gemini", responseMimeType="application/json", responseSchema=WEATHER["parameters"])
    assert list(json.loads(schema["candidates"][0]["content"]["parts"][0]["text"])) == ["city"]


async def test_pictures_are_understood(simulator: Any) -> None:
    parts = [{"text": "look"}, {"inline_data": {"mime_type": "image/png", "data": "iVBORw0K"}}]
    said = (await simulator.ask("POST", f"{FLASH}:generateContent", {"contents": [{"parts": parts}]})).json()
    assert said["usageMetadata"]["promptTokenCount"] == 3 + 4 + 1 + 258


@pytest.mark.parametrize(
    ("method", "target", "body", "headers", "status", "name"),
    [
        ("POST", f"{FLASH}:generateContent", {"contents": []}, {}, 400, "INVALID_ARGUMENT"),
        ("POST", f"{FLASH}:generateContent", {"contents": 3}, {}, 400, "INVALID_ARGUMENT"),
        ("POST", f"{FLASH}:generateContent", b"{nonsense", {}, 400, "INVALID_ARGUMENT"),
        ("POST", f"{FLASH}:generateContent", {"contents": [{"role": "system"}]}, {}, 400, "INVALID_ARGUMENT"),
        ("GET", MODELS, None, {"x-goog-api-key": "bad-key"}, 400, "INVALID_ARGUMENT"),
        ("GET", f"{MODELS}?key=bad-key", None, {}, 400, "INVALID_ARGUMENT"),
        ("POST", f"{MODELS}/unknown-x:generateContent", said_by_user("x"), {}, 404, "NOT_FOUND"),
        ("POST", f"{FLASH}:fly", said_by_user("x"), {}, 404, "NOT_FOUND"),
        ("POST", f"{FLASH}~status-503:generateContent", said_by_user("x"), {}, 503, "UNAVAILABLE"),
        ("POST", f"{FLASH}~retry-after-1:streamGenerateContent?alt=sse", said_by_user("x"), {}, 429,
         "RESOURCE_EXHAUSTED"),
    ],
)  # fmt: skip
async def test_an_error_has_googles_shape(
    simulator: Any, method: str, target: str, body: Any, headers: Any, status: int, name: str
) -> None:
    reply = await simulator.ask(method, target, body, headers)
    error = reply.json()["error"]
    assert (reply.status, error["code"], error["status"]) == (status, status, name)
    assert error["message"]


async def test_the_compatible_path_speaks_openais_wire_and_lists_its_errors(simulator: Any) -> None:
    base = "/google-ai-studio/v1beta/openai"
    body = {"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    events = (await simulator.ask("POST", f"{base}/chat/completions", body)).events()
    assert events[-1] == "[DONE]"
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in events[:-1]) == words.reply("hello")
    embedded = await simulator.ask("POST", f"{base}/embeddings", {"model": "gemini-embedding-001", "input": "x"})
    assert embedded.json()["object"] == "list"
    failed = await simulator.ask("POST", f"{base}/chat/completions", body | {"model": "gemini~status-400"})
    assert failed.json()[0]["error"]["status"] == "INVALID_ARGUMENT"
