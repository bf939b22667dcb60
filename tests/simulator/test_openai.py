import base64
import json
import struct
import zlib
from typing import Any

import pytest

from sluice.simulator import words

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
}


async def test_a_chat_is_answered_with_what_follows_from_its_prompt(simulator: Any) -> None:
    reply = await simulator.chat(said="open the gate")
    said = reply.json()
    assert said["choices"][0]["message"]["content"] == words.reply("open the gate")
    assert said["choices"][0]["finish_reason"] == "stop"
    assert (said["object"], said["model"]) == ("chat.completion", "gpt-4o")
    assert reply.header("x-request-id").startswith("req_")
    assert reply.header("openai-processing-ms").isdigit()


async def test_usage_counts_what_was_read_and_said(simulator: Any) -> None:
    usage = (await simulator.chat(said="one two three")).json()["usage"]
    assert usage["prompt_tokens"] == 3 + 4 + 3
    assert usage["completion_tokens"] == words.count(words.reply("one two three"))
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_a_stream_says_what_the_whole_reply_says(simulator: Any) -> None:
    whole = (await simulator.chat(n=2)).json()
    reply = await simulator.chat(n=2, stream=True, stream_options={"include_usage": True})
    events = reply.events()
    for choice in whole["choices"]:
        deltas = [
            one["choices"][0]["delta"].get("content") or ""
            for one in events[:-2]
            if one["choices"][0]["index"] == choice["index"]
        ]
        assert "".join(deltas) == choice["message"]["content"]
    assert (events[-2]["choices"], events[-2]["usage"], events[-1]) == ([], whole["usage"], "[DONE]")
    assert all(one["usage"] is None for one in events[:-2])


async def test_usage_is_streamed_only_when_asked_for(simulator: Any) -> None:
    events = (await simulator.chat(stream=True)).events()
    assert not any("usage" in one for one in events[:-1])


@pytest.mark.parametrize(
    ("model", "more", "expected"),
    [
        ("gpt-4o~cached-7~reasoning-5", {}, (7, 5)),
        ("gpt-4o", {}, (0, 0)),
        ("o3-mini", {"reasoning_effort": "high"}, (0, 256)),
        ("gpt-5", {}, (0, 64)),
    ],
)
async def test_cached_and_reasoning_tokens_are_told(simulator: Any, model: str, more: Any, expected: Any) -> None:
    usage = (await simulator.chat(model, "a b c d e f g h", **more)).json()["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert (cached, usage["completion_tokens_details"]["reasoning_tokens"]) == expected


async def test_a_long_prompt_counts_as_cached(simulator: Any) -> None:
    usage = (await simulator.chat(said="word " * 2000)).json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 1920


async def test_usage_may_be_wrong_or_missing(simulator: Any) -> None:
    wrong = (await simulator.chat("gpt-4o~wrong-usage")).json()["usage"]
    assert wrong["prompt_tokens"] + wrong["completion_tokens"] != wrong["total_tokens"]
    assert "usage" not in (await simulator.chat("gpt-4o~no-usage")).json()


async def test_a_reply_is_cut_off_at_its_most_tokens(simulator: Any) -> None:
    choice = (await simulator.chat(max_tokens=3)).json()["choices"][0]
    assert (words.count(choice["message"]["content"]), choice["finish_reason"]) == (3, "length")


@pytest.mark.parametrize("stop", ["said", ["never", "said"]])
async def test_a_reply_ends_before_what_it_is_to_stop_at(simulator: Any, stop: Any) -> None:
    choice = (await simulator.chat(stop=stop)).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("You ", "stop")


async def test_a_refusal_is_told_as_the_filter_of_content(simulator: Any) -> None:
    whole = (await simulator.chat("gpt-4o~refusal")).json()
    streamed = (await simulator.chat("gpt-4o~refusal", stream=True)).events()
    assert whole["choices"][0]["finish_reason"] == "content_filter"
    assert streamed[-2]["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_tool_is_called_when_the_prompt_asks(simulator: Any, stream: bool) -> None:
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
    reply = await simulator.chat(said="What is the weather in Paris?", tools=[tool], stream=stream)
    if stream:
        deltas = [call for one in reply.events()[:-1] for call in one["choices"][0]["delta"].get("tool_calls", [])]
        name, given = deltas[0]["function"]["name"], "".join(one["function"]["arguments"] for one in deltas)
        finish = reply.events()[-2]["choices"][0]["finish_reason"]
    else:
        choice = reply.json()["choices"][0]
        name, given = choice["message"]["tool_calls"][0]["function"].values()
        finish = choice["finish_reason"]
    assert (name, json.loads(given), finish) == ("get_weather", {"city": "Paris", "unit": "celsius"}, "tool_calls")


@pytest.mark.parametrize(
    ("choice", "said", "called"),
    [
        ("auto", "hello", False),
        ("required", "hello", True),
        ("none", "the weather", False),
        ({"type": "function", "function": {"name": "get_weather"}}, "hello", True),
    ],
)
async def test_the_choice_of_tools_is_heeded(simulator: Any, choice: Any, said: str, called: bool) -> None:
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
    message = (await simulator.chat(said=said, tools=[tool], tool_choice=choice)).json()["choices"][0]["message"]
    assert ("tool_calls" in message) == called


async def test_a_schema_is_answered_with_json_that_fits(simulator: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER}}
    text = (await simulator.chat(response_format=form)).json()["choices"][0]["message"]["content"]
    assert json.loads(text) == {"city": words.reply("hello"), "unit": "celsius"}
    text = (await simulator.chat(response_format={"type": "json_object"})).json()["choices"][0]["message"]["content"]
    assert "answer" in json.loads(text)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_huge_reply_is_valid_and_its_usage_true(simulator: Any, stream: bool) -> None:
    reply = await simulator.chat("gpt-4o~huge-2mb", stream=stream, stream_options={"include_usage": True})
    if stream:
        events = reply.events()
        text = "".join(one["choices"][0]["delta"].get("content") or "" for one in events[:-2])
        usage = events[-2]["usage"]
    else:
        text, usage = reply.json()["choices"][0]["message"]["content"], reply.json()["usage"]
    assert len(text) >= 2 << 20
    assert usage["completion_tokens"] == words.count(text)


async def test_a_response_and_its_stream_agree(simulator: Any) -> None:
    body = {"model": "gpt-5", "input": "open the gate", "instructions": "be brief"}
    whole = (await simulator.ask("POST", "/v1/responses", body)).json()
    reply = await simulator.ask("POST", "/v1/responses", body | {"stream": True})
    events = reply.events()
    assert [one["sequence_number"] for one in events] == list(range(len(events)))
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    last = events[-1]["response"]
    assert {k: v for k, v in last.items() if "id" not in k and k != "output"} == {
        k: v for k, v in whole.items() if "id" not in k and k != "output"
    }
    told = "".join(one["delta"] for one in events if one["type"] == "response.output_text.delta")
    assert told == whole["output"][0]["content"][0]["text"] == words.reply("open the gate")
    assert whole["usage"] == {
        "input_tokens": 3 + 4 + 3 + 2,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": words.count(told) + 64,
        "output_tokens_details": {"reasoning_tokens": 64},
        "total_tokens": 12 + words.count(told) + 64,
    }


async def test_a_response_calls_tools_and_heeds_its_bounds(simulator: Any) -> None:
    tool = {"type": "function", "name": "get_weather", "parameters": WEATHER}
    items = [{"role": "user", "content": [{"type": "input_text", "text": "weather in Rome"}]}]
    body = {"model": "gpt-4o", "input": items, "tools": [tool], "stream": True}
    events = (await simulator.ask("POST", "/v1/responses", body)).events()
    (call,) = events[-1]["response"]["output"]
    assert (call["name"], json.loads(call["arguments"])["city"]) == ("get_weather", "Rome")
    answered = [*items, {"type": "function_call_output", "call_id": call["call_id"], "output": "the weather is fine"}]
    said = (await simulator.ask("POST", "/v1/responses", {**body, "input": answered, "stream": False})).json()
    assert said["output"][0]["type"] == "message"
    short = {"model": "gpt-4o", "input": "hi", "max_output_tokens": 2}
    cut = (await simulator.ask("POST", "/v1/responses", short)).json()
    assert (cut["status"], cut["usage"]["output_tokens"]) == ("incomplete", 2)


async def test_embeddings_are_the_same_in_both_encodings(simulator: Any) -> None:
    body = {"model": "text-embedding-3-small", "input": ["a gate", "a river"], "dimensions": 12}
    floats = (await simulator.ask("POST", "/v1/embeddings", body)).json()
    packed = (await simulator.ask("POST", "/v1/embeddings", body | {"encoding_format": "base64"})).json()
    for one, other in zip(floats["data"], packed["data"], strict=True):
        assert one["embedding"] == list(struct.unpack("<12f", base64.b64decode(other["embedding"])))
    assert floats["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    whole = {"model": "text-embedding-3-large", "input": [1, 2, 3]}
    assert len((await simulator.ask("POST", "/v1/embeddings", whole)).json()["data"][0]["embedding"]) == 3072


async def test_a_legacy_completion_is_answered_streamed_and_not(simulator: Any) -> None:
    body = {"model": "gpt-3.5-turbo-instruct", "prompt": ["open", "close"], "max_tokens": 100}
    whole = (await simulator.ask("POST", "/v1/completions", body)).json()
    events = (await simulator.ask("POST", "/v1/completions", body | {"stream": True})).events()
    for choice in whole["choices"]:
        told = [one["choices"][0] for one in events[:-1] if one["choices"][0]["index"] == choice["index"]]
        assert "".join(one["text"] for one in told) == choice["text"]
    assert whole["usage"]["prompt_tokens"] == 2


async def test_an_image_is_a_picture(simulator: Any) -> None:
    reply = (await simulator.ask("POST", "/v1/images/generations", {"prompt": "a gate", "n": 2})).json()
    assert len(reply["data"]) == 2
    picture = base64.b64decode(reply["data"][0]["b64_json"])
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    start = picture.index(b"IDAT")
    (length,) = struct.unpack(">I", picture[start - 4 : start])
    assert len(zlib.decompress(picture[start + 4 : start + 4 + length])) == 4


async def test_files_are_kept_listed_read_and_deleted(simulator: Any) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    form += b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n\x00\xff\r\n--b--\r\n'
    sent = {"Content-Type": "multipart/form-data; boundary=b"}
    file = (await simulator.ask("POST", "/v1/files", form, sent)).json()
    assert (file["filename"], file["bytes"], file["purpose"]) == ("x.jsonl", 2, "batch")
    target = "/v1/files/" + file["id"]
    assert (await simulator.ask("GET", "/v1/files")).json()["data"] == [file]
    assert (await simulator.ask("GET", target)).json() == file
    assert (await simulator.ask("GET", target + "/content")).body == b"\x00\xff"
    assert (await simulator.ask("DELETE", target)).json()["deleted"] is True
    assert (await simulator.ask("GET", target)).status == 404


async def test_speech_is_bytes_and_a_transcription_is_text(simulator: Any) -> None:
    speech = await simulator.ask("POST", "/v1/audio/speech", {"model": "gpt-4o-mini-tts", "input": "a gate opens"})
    assert (speech.header("content-type"), len(speech.body)) == ("audio/mpeg", 768)
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    form += b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.wav"\r\n\r\nRIFF\r\n--b--\r\n'
    sent = {"Content-Type": "multipart/form-data; boundary=b"}
    heard = (await simulator.ask("POST", "/v1/audio/transcriptions", form, sent)).json()
    assert heard["usage"]["output_tokens"] == words.count(heard["text"])


async def test_models_are_listed_and_found(simulator: Any) -> None:
    listed = (await simulator.ask("GET", "/openai/v1/models")).json()["data"]
    assert listed[0] == (await simulator.ask("GET", "/v1/models/" + listed[0]["id"])).json()


@pytest.mark.parametrize(
    ("method", "target", "body", "headers", "status", "code"),
    [
        ("POST", "/v1/chat/completions", b"{nonsense", {}, 400, None),
        ("POST", "/v1/chat/completions", {"model": 3, "messages": []}, {}, 400, None),
        ("POST", "/v1/chat/completions", {"model": "gpt-4o"}, {}, 400, None),
        ("POST", "/v1/chat/completions", {"messages": []}, {}, 400, None),
        ("POST", "/v1/chat/completions", {"model": "gpt-4o~no-such", "messages": []}, {}, 400, None),
        ("GET", "/v1/models", None, {"Authorization": "Bearer bad-key"}, 401, "invalid_api_key"),
        ("GET", "/v1/models/unknown-x", None, {}, 404, "model_not_found"),
        ("GET", "/v1/nowhere", None, {}, 404, None),
        ("DELETE", "/v1/models", None, {}, 405, None),
        ("GET", "/v1/models", None, {"x-sluice-fault": "status=418"}, 418, None),
        ("GET", "/v1/models", None, {"x-sluice-fault": "status=503"}, 503, "overloaded"),
        ("POST", "/v1/files", b"no form", {}, 400, None),
    ],
)
async def test_an_error_has_the_vendors_shape(
    simulator: Any, method: str, target: str, body: Any, headers: Any, status: int, code: str | None
) -> None:
    reply = await simulator.ask(method, target, body, headers)
    error = reply.json()["error"]
    assert (reply.status, error["code"]) == (status, code)
    assert error["message"]
    assert reply.header("x-request-id")


async def test_a_rate_limit_says_when_to_come_again(simulator: Any) -> None:
    reply = await simulator.chat("gpt-4o~retry-after-3")
    assert (reply.status, reply.header("retry-after")) == (429, "3")
    assert reply.json()["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_may_come_with_a_200(simulator: Any, stream: bool) -> None:
    reply = await simulator.chat("gpt-4o~error-200", stream=stream)
    assert reply.status == 200
    said = reply.events()[0] if stream else reply.json()
    assert said["error"]["type"] == "server_error"


async def test_a_body_too_long_to_be_kept_is_answered_all_the_same(simulator: Any) -> None:
    reply = await simulator.chat("gpt-4o", "x" * 3_000_000, stream=True)
    assert reply.events()[-1] == "[DONE]"
    assert "3000082 bytes" in "".join(one["choices"][0]["delta"].get("content") or "" for one in reply.events()[:-1])
