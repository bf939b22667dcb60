"""The simulator over WebSockets, as the vendors' own clients see it."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

GEMINI = "google-ai-studio/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
CREATE = '{"type": "response.create"}'


def connect(simulator: Any, path: str, **headers: str) -> Any:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return websockets.connect(
        f"ws://127.0.0.1:{simulator.port}/{path}", additional_headers=fields, proxy=None, max_queue=None
    )


def item(text: str) -> str:
    content = [{"type": "input_text", "text": text}]
    return json.dumps(
        {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}
    )


async def events_until(socket: ClientConnection, kind: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] != kind:
        events.append(json.loads(await socket.recv()))
    return events


async def test_a_response_is_told_in_events_whose_pieces_are_its_text(simulator: Any):
    async with connect(simulator, "openai/v1/realtime?model=gpt-realtime") as socket:
        await socket.send(item("three little words"))
        await socket.send(CREATE)
        events = await events_until(socket, "response.done")
    kinds = [event["type"] for event in events]
    assert kinds[:4] == ["session.created", "conversation.item.added", "conversation.item.done", "response.created"]
    said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    done = events[-1]["response"]
    assert done["output"][0]["content"][0]["text"] == said
    assert (done["usage"]["input_tokens"], done["usage"]["total_tokens"]) == (10, 10 + done["usage"]["output_tokens"])
    assert len({event["event_id"] for event in events}) == len(events)


@pytest.mark.parametrize(
    ("said", "kinds"),
    [
        ('{"type": "session.update", "session": {"instructions": "x"}}', ["session.updated"]),
        ('{"type": "input_audio_buffer.clear"}', ["input_audio_buffer.cleared"]),
        (
            '{"type": "input_audio_buffer.commit"}',
            ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"],
        ),
        ('{"type": "nonsense", "event_id": "mine"}', ["error"]),
        ("no JSON", ["error"]),
    ],
)
async def test_what_a_client_says_is_answered(simulator: Any, said: str, kinds: list[str]):
    async with connect(simulator, "realtime?model=gpt-realtime") as socket:
        await socket.recv()
        await socket.send('{"type": "input_audio_buffer.append", "audio": ""}')
        await socket.send(said)
        assert [json.loads(await socket.recv())["type"] for _ in kinds] == kinds


async def test_gemini_answers_in_binary_frames_and_tells_the_usage_of_each_turn(simulator: Any):
    turn = {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "hello"}]}], "turnComplete": True}}
    async with connect(simulator, GEMINI) as socket:
        await socket.send(json.dumps({"setup": {"model": "models/gemini-live"}}))
        assert json.loads(await socket.recv(decode=False)) == {"setupComplete": {}}
        await socket.send(json.dumps(turn))
        messages: list[dict[str, Any]] = []
        while not messages or not messages[-1].get("serverContent", {}).get("turnComplete"):
            data = await socket.recv()
            assert isinstance(data, bytes)
            messages.append(json.loads(data))
    parts = [message["serverContent"]["modelTurn"]["parts"] for message in messages[:-2]]
    assert "".join(part["text"] for (part,) in parts).startswith("You said: hello.")
    used = messages[-1]["usageMetadata"]
    assert (used["promptTokenCount"], used["totalTokenCount"]) == (8, 8 + used["responseTokenCount"])


@pytest.mark.parametrize("said", ["{}", "no JSON", '{"setup": {"model": "m~nonsense-1"}}'])
async def test_gemini_hangs_up_on_who_does_not_set_up(simulator: Any, said: str):
    async with connect(simulator, GEMINI) as socket:
        await socket.send(said)
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()
    assert socket.close_code == 1007


@pytest.mark.parametrize(
    "vendor", ["cartesia/tts/websocket", "deepgram/v1/listen", "elevenlabs/x", "fal/x", "workers-ai/run/@cf/x"]
)
async def test_others_echo_text_and_binary(simulator: Any, vendor: str):
    async with connect(simulator, vendor) as socket:
        for message in ("text", b"\x00binary", ""):
            await socket.send(message)
            assert await socket.recv() == message


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("openai/v1/realtime?model=gpt-realtime~status-503", {}, 503),
        ("deepgram/v1/listen", {"x_sluice_fault": "retry-after=3"}, 429),
        ("deepgram/v1/listen", {"x_sluice_fault": "nonsense"}, 400),
        ("openai/v1/realtime?model=gpt-realtime", {"Authorization": "Bearer bad-key"}, 401),
        ("openai/v1/realtime?model=unknown-model", {}, 404),
        ("openai/v1/realtime", {}, 400),
        ("openai/v1/chat/completions?model=x", {}, 404),
        ("google-ai-studio/v1beta/models", {}, 404),
        ("anthropic/v1/messages", {}, 404),
    ],
)
async def test_a_websocket_is_refused(simulator: Any, path: str, headers: dict[str, str], status: int):
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connect(simulator, path, **headers):
            pass
    assert refused.value.response.status_code == status


@pytest.mark.parametrize(
    ("fault", "code", "messages"),
    [("cut=2", 1006, 2), ("reset=2", 1006, 2), ("malformed=2", 1006, 2), ("goodbye=4001", 4001, 0), ("cut=0", 1006, 0)],
)
async def test_a_conversation_breaks_where_it_was_asked_to(simulator: Any, fault: str, code: int, messages: int):
    heard = 0
    async with connect(simulator, "deepgram/x", x_sluice_fault=fault) as socket:
        with suppress(websockets.ConnectionClosed):
            while True:
                await socket.send("again")
                await asyncio.wait_for(socket.recv(), 10)
                heard += 1
    assert (socket.close_code, heard) == (code, messages)


async def test_a_stalled_conversation_says_nothing_more(simulator: Any):
    async with connect(simulator, "deepgram/x", x_sluice_fault="stall=1") as socket:
        await socket.send("one")
        assert await socket.recv() == "one"
        await socket.send("two")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.2)
        socket.transport.abort()


async def test_the_journal_has_what_the_client_said(simulator: Any):
    async with connect(simulator, "deepgram/v1/listen?model=nova", x_sluice_marker="m") as socket:
        await socket.send("one")
        await socket.send("two")
    (entry,) = await simulator.journal("m")
    assert (entry["provider"], entry["status"], entry["ended"], entry["body_bytes"]) == ("deepgram", 101, "complete", 8)


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["a", "realtime"], "realtime"), (["token", "k"], "token"), (["x"], None)]
)
async def test_a_subprotocol_is_chosen_where_one_is_known(simulator: Any, offered: list[str], chosen: str | None):
    url = f"ws://127.0.0.1:{simulator.port}/deepgram/x"
    async with websockets.connect(url, subprotocols=offered, proxy=None) as socket:
        assert socket.subprotocol == chosen
