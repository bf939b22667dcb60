import base64
from typing import Any

import pytest

from sluice.simulator import words

RUN = "/workers-ai/run"
LLAMA = f"{RUN}/@cf/meta/llama-3.1-8b-instruct"
WEATHER = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


@pytest.mark.parametrize("asked", [{"prompt": "hello"}, {"messages": [{"role": "user", "content": "hello"}]}])
async def test_text_comes_in_the_envelope_and_streamed_it_is_the_same(simulator: Any, asked: Any) -> None:
    whole = (await simulator.ask("POST", LLAMA, asked)).json()
    assert (whole["success"], whole["errors"], whole["messages"]) == (True, [], [])
    assert whole["result"]["response"] == words.reply("hello")
    events = (await simulator.ask("POST", LLAMA, asked | {"stream": True})).events()
    assert events[-1] == "[DONE]"
    assert "".join(one["response"] for one in events[:-1]) == words.reply("hello")
    told = words.count(words.reply("hello"))
    usage = {"prompt_tokens": 8, "completion_tokens": told, "total_tokens": 8 + told}
    assert events[-2]["usage"] == whole["result"]["usage"] == usage


async def test_a_model_alone_is_run_and_its_faults_are_in_the_path(simulator: Any) -> None:
    reply = await simulator.ask("POST", "/workers-ai/@cf/meta/llama~status-429", {"prompt": "hi"})
    assert (reply.status, reply.json()["errors"][0]["code"]) == (429, 3040)
    cut = await simulator.ask("POST", f"{LLAMA}~cut-2", {"prompt": "hi", "stream": True})
    assert "cut short" in cut.fault


@pytest.mark.parametrize("tool", [WEATHER, {"type": "function", "function": WEATHER}])
async def test_tools_are_called(simulator: Any, tool: Any) -> None:
    asked = {"messages": [{"role": "user", "content": "the weather in Paris"}], "tools": [tool]}
    result = (await simulator.ask("POST", LLAMA, asked)).json()["result"]
    assert (result["response"], result["tool_calls"]) == (
        None,
        [{"name": "get_weather", "arguments": {"city": "Paris"}}],
    )


async def test_json_is_answered_as_json(simulator: Any) -> None:
    form = {"type": "json_schema", "json_schema": WEATHER["parameters"]}
    result = (await simulator.ask("POST", LLAMA, {"prompt": "hi", "response_format": form})).json()["result"]
    assert result["response"] == {"city": words.reply("hi")}


async def test_texts_are_embedded(simulator: Any) -> None:
    body = {"text": ["a gate", "a river"]}
    result = (await simulator.ask("POST", f"{RUN}/@cf/baai/bge-base-en-v1.5", body)).json()["result"]
    assert result["shape"] == [2, 768]
    assert result["data"] == [words.vector(one, 768) for one in body["text"]]


async def test_a_picture_is_bytes_or_base64_as_its_model_has_it(simulator: Any) -> None:
    plain = await simulator.ask("POST", f"{RUN}/@cf/stabilityai/stable-diffusion-xl-base-1.0", {"prompt": "a gate"})
    coded = await simulator.ask("POST", f"{RUN}/@cf/black-forest-labs/flux-1-schnell", {"prompt": "a gate"})
    assert plain.header("content-type") == "image/png"
    assert plain.body.startswith(b"\x89PNG\r\n\x1a\n")
    assert base64.b64decode(coded.json()["result"]["image"]) == plain.body


async def test_sound_is_heard_and_text_translated(simulator: Any) -> None:
    heard = (await simulator.ask("POST", f"{RUN}/@cf/openai/whisper", b"\x00RIFF")).json()["result"]
    assert len(heard["text"].split()) == heard["word_count"]
    asked = {"text": "a gate", "target_lang": "french"}
    translated = (await simulator.ask("POST", f"{RUN}/@cf/meta/m2m100-1.2b", asked)).json()["result"]
    assert translated["translated_text"] == words.reply("french a gate")


@pytest.mark.parametrize(
    ("method", "target", "body", "headers", "status", "code"),
    [
        ("POST", f"{RUN}/@cf/unknown-model", {"prompt": "x"}, {}, 400, 5007),
        ("POST", LLAMA, {}, {}, 400, 5004),
        ("POST", LLAMA, b"{nonsense", {}, 400, 5004),
        ("POST", f"{RUN}/@cf/baai/bge-m3", {}, {}, 400, 5004),
        ("POST", LLAMA, {"prompt": "x"}, {"Authorization": "Bearer bad-key"}, 401, 10000),
        ("POST", "/workers-ai/nowhere", {}, {}, 404, 7000),
        ("GET", LLAMA, None, {}, 405, 7001),
        ("POST", f"{LLAMA}~status-408", {"prompt": "x"}, {}, 408, 3007),
        ("POST", "/workers-ai/v1/chat/completions", {"model": "@cf/x~status-413"}, {}, 413, 3006),
    ],
)
async def test_an_error_has_its_code_in_the_envelope(
    simulator: Any, method: str, target: str, body: Any, headers: Any, status: int, code: int
) -> None:
    reply = await simulator.ask(method, target, body, headers)
    said = reply.json()
    assert (reply.status, said["success"], said["errors"][0]["code"]) == (status, False, code)


async def test_the_versioned_paths_speak_openais_wire_without_the_envelope(simulator: Any) -> None:
    body = {"model": "@cf/meta/llama", "messages": [{"role": "user", "content": "hello"}]}
    said = (await simulator.ask("POST", "/workers-ai/v1/chat/completions", body)).json()
    assert said["choices"][0]["message"]["content"] == words.reply("hello")
    embedded = await simulator.ask("POST", "/workers-ai/v1/embeddings", {"model": "@cf/baai/bge-m3", "input": ["x"]})
    assert embedded.json()["usage"] == {"prompt_tokens": 1, "total_tokens": 1}
