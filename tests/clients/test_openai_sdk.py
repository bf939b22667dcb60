"""The official `openai` SDK, told nothing but a base URL and one header."""

import asyncio
import json
from typing import Any

import openai
import pydantic
import pytest

HELLO: Any = [{"role": "user", "content": "Say hello to the harbour"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


ITS_OWN = {"host", "connection"}
"""Headers that each leg of the way has of its own."""


class Place(pydantic.BaseModel):
    city: str
    people: int


def test_a_chat_is_answered_as_the_provider_answers_it(client: openai.OpenAI, direct: openai.OpenAI):
    asked: Any = {"model": "gpt-4o-mini", "messages": HELLO, "n": 2}
    assert client.chat.completions.create(**asked) == direct.chat.completions.create(**asked)


def test_a_chat_is_logged_with_its_model_tokens_and_cost(client: openai.OpenAI, gateway: Any):
    reply = client.chat.completions.with_raw_response.create(model="gpt-4o-mini~cached-3~reasoning-4", messages=HELLO)
    usage = reply.parse().usage
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert usage is not None
    assert (log["tokens_in"], log["tokens_out"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert (log["provider"], log["path"], log["status_code"]) == ("openai", "v1/chat/completions", 200)
    assert (log["success"], log["cached"], log["model"]) == (True, False, "gpt-4o-mini~cached-3~reasoning-4")


def test_a_known_model_is_logged_with_its_cost(client: openai.OpenAI, gateway: Any):
    reply = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=HELLO)
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert log["cost"] > 0


def test_a_streamed_chat_says_the_same_as_a_whole_one(client: openai.OpenAI, gateway: Any):
    whole = client.chat.completions.create(model="gpt-4o", messages=HELLO)
    reply = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(reply.parse())
    told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert told == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert whole.usage is not None
    assert (log["tokens_in"], log["tokens_out"]) == (whole.usage.prompt_tokens, whole.usage.completion_tokens)


def test_every_stream_of_the_sdk_is_logged_complete_and_its_upstream_connection_used_again(
    start_gateway: Any, provider_of: Any, marker: str
):
    gateway = start_gateway("--simulate", server={"workers": 1})
    headers = gateway.auth | {"x-sluice-marker": marker}
    asked = [("gpt-4o", {}), ("gpt-4o~pace-1", {}), ("gpt-4o~linger-20", {}), ("gpt-4o", {"x-sluice-encoding": "gzip"})]
    ids = []
    with openai.OpenAI(base_url=gateway.inference_url(), api_key="sk", default_headers=headers) as client:
        for model, more in asked * 3:
            chat = client.chat.completions.with_raw_response.create(
                model=model, messages=HELLO, stream=True, extra_headers=more
            )
            response = client.responses.with_raw_response.create(
                model=model, input="hello", stream=True, extra_headers=more
            )
            for reply in (chat, response):
                assert list(reply.parse())
                ids.append(reply.headers["cf-aig-log-id"])
    entries = provider_of(gateway).entries(marker, len(ids))
    logs = [gateway.log(one) for one in ids]
    assert [log["incomplete"] for log in logs] == [False] * len(ids)
    assert [log["success"] for log in logs] == [True] * len(ids)
    assert {entry["ended"] for entry in entries} == {"complete"}
    assert len({entry["connection"] for entry in entries}) == 1


def test_tools_are_called_and_their_results_taken_back(client: openai.OpenAI):
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
    messages: Any = [{"role": "user", "content": "What is the weather in Rotterdam?"}]
    message = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[tool]).choices[0].message
    (call,) = message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Rotterdam"})
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    reply = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[tool]).choices[0]
    assert reply.finish_reason == "stop"
    assert (reply.message.content or "").startswith("You said: rain.")


def test_a_streamed_tool_call_is_put_together(client: openai.OpenAI):
    tool: Any = {"type": "function", "function": {"name": "get_weather", "strict": True, "parameters": WEATHER}}
    messages: Any = [{"role": "user", "content": "The weather in Rome"}]
    with client.chat.completions.stream(model="gpt-4o", messages=messages, tools=[tool]) as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Rome"}


def test_a_structured_answer_is_parsed(client: openai.OpenAI):
    reply = client.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=Place)
    assert isinstance(reply.choices[0].message.parsed, Place)


def test_a_response_and_its_stream_agree(client: openai.OpenAI, gateway: Any):
    whole = client.responses.create(model="gpt-5", input="open the gate", instructions="be brief")
    with client.responses.stream(model="gpt-5", input="open the gate", instructions="be brief") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert final.output_text == whole.output_text
    assert final.usage == whole.usage
    assert whole.usage is not None
    for log in gateway.logs(2)[:2]:
        assert (log["tokens_in"], log["tokens_out"]) == (whole.usage.input_tokens, whole.usage.output_tokens)
        assert log["path"] == "v1/responses"


def test_a_response_calls_tools(client: openai.OpenAI):
    tool: Any = {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}
    (call,) = client.responses.create(model="gpt-4o", input="weather in Rome", tools=[tool]).output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Rome"}


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}])
def test_embeddings_come_as_the_provider_made_them(client: openai.OpenAI, direct: openai.OpenAI, encoding: Any):
    asked: Any = {"model": "text-embedding-3-small", "input": ["a gate", "a river"], "dimensions": 64} | encoding
    through = client.embeddings.create(**asked)
    assert through == direct.embeddings.create(**asked)
    assert len(through.data[1].embedding) == 64


def test_models_are_listed_and_found(client: openai.OpenAI, direct: openai.OpenAI):
    listed = [model.id for model in client.models.list()]
    assert listed == [model.id for model in direct.models.list()]
    assert client.models.retrieve(listed[0]).id == listed[0]


def test_an_image_comes_through(client: openai.OpenAI, direct: openai.OpenAI):
    assert client.images.generate(prompt="a gate", n=2) == direct.images.generate(prompt="a gate", n=2)


def test_a_file_goes_up_and_comes_back_the_same(client: openai.OpenAI):
    content = bytes(range(256)) * 1000
    file = client.files.create(file=("odd näme.bin", content), purpose="batch")
    assert (file.bytes, file.purpose) == (len(content), "batch")
    assert client.files.retrieve(file.id) == file
    assert file.id in [one.id for one in client.files.list()]
    assert client.files.content(file.id).read() == content
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_sound_goes_both_ways(client: openai.OpenAI, direct: openai.OpenAI):
    asked: Any = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "the gate opens"}
    with client.audio.speech.with_streaming_response.create(**asked) as reply:
        sound = b"".join(reply.iter_bytes())
    assert sound == direct.audio.speech.create(**asked).read()
    assert client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.mp3", sound)).text


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("gpt-4o~status-400", openai.BadRequestError),
        ("gpt-4o~status-403", openai.PermissionDeniedError),
        ("gpt-4o~retry-after-7", openai.RateLimitError),
        ("gpt-4o~status-500", openai.InternalServerError),
        ("gpt-4o~status-529", openai.InternalServerError),
        ("unknown-model", openai.NotFoundError),
    ],
)
def test_a_providers_error_is_the_providers(client: openai.OpenAI, direct: openai.OpenAI, model: str, kind: Any):
    found = []
    for way in (client, direct):
        with pytest.raises(kind) as raised:
            way.chat.completions.create(model=model, messages=HELLO)
        found.append((raised.value.status_code, raised.value.body, raised.value.response.headers.get("retry-after")))
    assert found[0] == found[1]


def test_a_wrong_provider_key_is_the_providers_error_and_a_wrong_token_is_ours(client: openai.OpenAI, gateway: Any):
    with pytest.raises(openai.AuthenticationError) as raised:
        client.with_options(api_key="bad-key").models.list()
    assert raised.value.code == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError) as raised:
        client.with_options(default_headers={"cf-aig-authorization": "Bearer nonsense"}).models.list()
    assert raised.value.response.json()["error"] == [{"code": 2009, "message": "Unauthorized"}]


def test_the_sdk_tries_again_after_an_overload(client: openai.OpenAI, provider: Any, marker: str):
    patient = client.with_options(max_retries=2)
    assert patient.chat.completions.create(model="gpt-4o~status-503~first-1", messages=HELLO).choices
    assert [entry["status"] for entry in provider.entries(marker, 2)] == [503, 200]


@pytest.mark.parametrize("fault", ["slow-head-600000", "stall-1"])
def test_a_client_that_waits_no_longer_cancels_the_provider(
    client: openai.OpenAI, provider: Any, marker: str, fault: str
):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(model=f"gpt-4o~{fault}", messages=HELLO)
    (entry,) = provider.entries(marker)
    assert entry["ended"] == "client gone"


def test_a_client_that_leaves_a_stream_cancels_the_provider(
    client: openai.OpenAI, gateway: Any, provider: Any, marker: str
):
    reply = client.chat.completions.with_raw_response.create(model="gpt-4o~stall-3", messages=HELLO, stream=True)
    stream = reply.parse()
    assert next(iter(stream)).choices
    stream.close()
    (entry,) = provider.entries(marker)
    assert entry["ended"] == "client gone"
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert log["incomplete"] is True


@pytest.mark.parametrize("fault", ["cut-3", "reset-3", "malformed-3"])
def test_a_stream_that_breaks_breaks_at_the_client_and_is_logged_incomplete(
    client: openai.OpenAI, gateway: Any, fault: str
):
    reply = client.chat.completions.with_raw_response.create(model=f"gpt-4o~{fault}", messages=HELLO, stream=True)
    seen = []
    with pytest.raises(openai.APIConnectionError):
        seen.extend(reply.parse())
    assert len(seen) <= 3
    assert gateway.log(reply.headers["cf-aig-log-id"])["incomplete"] is True


@pytest.mark.parametrize("fault", ["drop", "bad-head"])
def test_a_provider_that_does_not_answer_is_error_2005(client: openai.OpenAI, fault: str):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=f"gpt-4o~{fault}", messages=HELLO)
    assert raised.value.response.json()["internalCode"] == 2005


async def test_many_streams_at_once_do_not_mix(gateway: Any):
    async with openai.AsyncOpenAI(
        base_url=gateway.inference_url(), api_key="sk-test", default_headers=gateway.auth
    ) as client:

        async def say(number: int) -> str:
            messages: Any = [{"role": "user", "content": f"number {number}"}]
            stream = await client.chat.completions.create(model="gpt-4o~pace-2", messages=messages, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        told = await asyncio.gather(*map(say, range(50)))
    assert [text.startswith(f"You said: number {number}. ") for number, text in enumerate(told)] == [True] * 50


GZIP = {"x-sluice-encoding": "gzip", "Accept-Encoding": "gzip"}
CALLS: list[tuple[str, str, object, dict[str, str]]] = [
    ("POST", "v1/chat/completions", {"model": "gpt-4o", "messages": HELLO}, {}),
    ("POST", "chat/completions", {"model": "gpt-4o", "messages": HELLO, "stream": True}, {}),
    ("POST", "v1/chat/completions", {"model": "gpt-4o~drip-7", "messages": HELLO, "stream": True}, {}),
    ("POST", "v1/chat/completions", {"model": "gpt-4o~huge-3mb", "messages": HELLO}, {}),
    ("POST", "v1/chat/completions", {"model": "gpt-4o~error-200", "messages": HELLO}, {}),
    ("POST", "v1/chat/completions", {"model": "gpt-4o", "messages": HELLO}, {"x-sluice-framing": "close"}),
    ("POST", "v1/chat/completions", {"model": "gpt-4o", "messages": HELLO}, {"x-sluice-framing": "chunked"}),
    ("POST", "v1/responses", {"model": "gpt-4o", "input": "hi", "stream": True}, {"x-sluice-framing": "length"}),
    (
        "POST",
        "v1/responses",
        {"model": "gpt-4o", "input": "hi"},
        {"x-sluice-encoding": "gzip", "Accept-Encoding": "gzip"},
    ),
    ("POST", "v1/embeddings", {"model": "text-embedding-3-small", "input": "hi"}, {}),
    ("POST", "v1/images/generations", {"prompt": "a gate"}, {}),
    ("POST", "v1/audio/speech", {"model": "gpt-4o-mini-tts", "input": "hi", "voice": "alloy"}, {}),
    ("GET", "v1/models?limit=3&after=%2Fx", None, {}),
    ("HEAD", "v1/models", None, {}),
    ("GET", "v1/models/unknown-one", None, {}),
    ("DELETE", "v1/models", None, {}),
    ("POST", "v1/chat/completions", b"{nonsense", {}),
    *(("GET", "v1/models", None, {"x-sluice-fault": f"status={status}"}) for status in (201, 204, 304, 418, 429, 503)),
]


@pytest.mark.parametrize(
    "asked", CALLS, ids=lambda asked: f"{asked[0]} {asked[1]} {asked[2]!r:.60} {asked[3]}".replace("v1/", "")
)
def test_the_reply_is_the_providers_byte_for_byte_and_header_for_header(both_ways: Any, asked: Any):
    through, direct = both_ways(*asked)
    assert (through.status, through.body) == (direct.status, direct.body)
    assert through.provider_headers == direct.provider_headers
    assert "cf-aig-log-id" in dict(through.headers)


def test_an_interim_reply_stays_between_the_gateway_and_the_provider(both_ways: Any):
    through, _ = both_ways("POST", "v1/chat/completions", {"model": "gpt-4o~interim", "messages": HELLO})
    assert through.status == 200
    assert b"chat.completion" in through.body


def test_the_provider_receives_what_the_sdk_sent(client: openai.OpenAI, direct: openai.OpenAI):
    asked: Any = {"model": "echo", "messages": HELLO, "user": "ü" * 100}
    received = []
    for way in (client, direct):
        echoed = way.chat.completions.with_raw_response.create(**asked).http_response.json()
        kept = [
            (name.lower(), value) for name, value in echoed["headers"] if name.lower() not in ("host", "connection")
        ]
        received.append((echoed["method"], echoed["target"], sorted(kept), echoed["body"]))
    assert received[0] == received[1]
