"""Realtime connections through a real gateway: what both sides hear, how they part, what the log says of it."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

DEADLINE_S = 20.0
OPENAI = "openai?model=gpt-realtime"
Dial = Callable[..., AbstractAsyncContextManager[ClientConnection]]


@pytest.fixture
def dial(gateway: Any, marker: str) -> Dial:
    """`async with dial("openai?model=x") as socket`: a WebSocket through the shared gateway, with its token."""

    @asynccontextmanager
    async def connect(path: str, through: Any = None, **more: Any) -> AsyncIterator[ClientConnection]:
        house = through or gateway
        url = f"ws://127.0.0.1:{house.port}/v1/local/default/{path}"
        more.setdefault("additional_headers", {**house.auth, "x-sluice-marker": marker})
        async with websockets.connect(url, proxy=None, max_size=None, **{"max_queue": None, **more}) as socket:
            yield socket

    return connect


@pytest.fixture(scope="module")
def behind(start_shared_gateway: Any, stand: Any) -> Any:
    """A gateway whose Deepgram is what a test has it be."""
    return start_shared_gateway(providers={"deepgram": {"base_url": stand.base_url}})


def log_id(socket: ClientConnection) -> str:
    assert socket.response is not None
    return socket.response.headers["cf-aig-log-id"]


async def log_of(house: Any, socket: ClientConnection) -> dict[str, Any]:
    log: dict[str, Any] = await asyncio.to_thread(house.log, log_id(socket))
    return log


async def body_of(house: Any, socket: ClientConnection, side: str) -> bytes:
    body: bytes = await asyncio.to_thread(house.log_body, log_id(socket), side)
    return body


def item(text: str) -> str:
    content = [{"type": "input_text", "text": text}]
    return json.dumps(
        {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}
    )


async def converse(socket: ClientConnection, text: str) -> list[dict[str, Any]]:
    """A question and all events up to the end of its answer."""
    await socket.send(item(text))
    await socket.send('{"type": "response.create"}')
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] != "response.done":
        events.append(json.loads(await socket.recv()))
    return events


async def test_a_conversation_is_relayed_and_logged_with_its_transcript_and_the_sum_of_its_usage(
    gateway: Any, dial: Dial
):
    async with dial(OPENAI) as socket:
        created = json.loads(await socket.recv())
        answers = [await converse(socket, text) for text in ("hello", "and again")]
    assert (created["type"], created["session"]["model"]) == ("session.created", "gpt-realtime")
    usages = [events[-1]["response"]["usage"] for events in answers]
    log = await log_of(gateway, socket)
    assert (log["request_type"], log["status_code"], log["ending"], log["success"]) == (
        "realtime",
        101,
        "complete",
        True,
    )
    assert (log["provider"], log["model"], log["path"]) == ("openai", "gpt-realtime", "v1/realtime")
    assert log["tokens_in"] == sum(usage["input_tokens"] for usage in usages)
    assert log["tokens_out"] == sum(usage["output_tokens"] for usage in usages)
    assert log["cost"] > 0
    assert socket.response is not None
    assert log["connection_id"] == socket.response.headers["cf-aig-connection-id"]
    said = await body_of(gateway, socket, "request")
    assert said.decode().splitlines() == [
        item("hello"),
        '{"type": "response.create"}',
        item("and again"),
        '{"type": "response.create"}',
    ]
    told = [json.loads(line) for line in (await body_of(gateway, socket, "response")).splitlines()]
    assert told == [created, *answers[0], *answers[1]]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("openai?model=m", "/openai/v1/realtime?model=m"),
        ("openai/realtime?model=m", "/openai/v1/realtime?model=m"),
        ("openai/v1/realtime?model=m", "/openai/v1/realtime?model=m"),
        ("grok?model=m", "/grok/v1/realtime?model=m"),
        (
            "google?api_key=k",
            "/google-ai-studio/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=k",
        ),
        ("cartesia?cartesia_version=1&api_key=k", "/cartesia/tts/websocket?cartesia_version=1&api_key=k"),
        ("elevenlabs?agent_id=a", "/elevenlabs/v1/convai/conversation?agent_id=a"),
        ("deepgram/v1/listen?model=nova-3", "/deepgram/v1/listen?model=nova-3"),
        ("fal/fal-ai/app", "/fal/fal-ai/app"),
        ("workers-ai?model=@cf/deepgram/flux&encoding=linear16", "/workers-ai/run/@cf/deepgram/flux?encoding=linear16"),
        ("workers-ai?model=@cf/x%20HTTP/1.1%0d%0aX:%20y", "/workers-ai/run/@cf/x%20HTTP/1.1%0D%0AX:%20y"),
        ("azure-openai/res/openai/realtime?model=m", "/azure-openai/res/openai/realtime?model=m"),
    ],
)
async def test_each_path_reaches_its_vendor(dial: Dial, provider: Any, marker: str, path: str, target: str):
    async with dial(path):
        pass
    (entry,) = await provider.entries(marker, ended=1)
    assert (entry["target"], entry["status"], entry["ended"]) == (target, 101, "complete")


@pytest.mark.parametrize(
    ("offered", "headers", "forwarded", "chosen"),
    [
        (
            ["realtime", "openai-insecure-api-key.sk-theirs", "openai-beta.realtime-v1"],
            {},
            "realtime, openai-insecure-api-key.sk-theirs, openai-beta.realtime-v1",
            "realtime",
        ),
        (["token", "dg-theirs"], {}, "token, dg-theirs", "token"),
        (["xi-api-key.theirs"], {"xi-api-key": "theirs"}, None, "xi-api-key.theirs"),
        (["fal-api-key.theirs"], {"authorization": "Key theirs"}, None, "fal-api-key.theirs"),
        (["x-api-key.theirs", "convai"], {"x-api-key": "theirs"}, "convai", "convai"),
        (["Authorization.theirs"], {"authorization": "Bearer theirs"}, None, "Authorization.theirs"),
    ],
)
async def test_a_browser_sends_token_and_key_as_subprotocols(
    gateway: Any, dial: Dial, offered: list[str], headers: dict[str, str], forwarded: str | None, chosen: str
):
    protocols = [*offered, f"cf-aig-authorization.{gateway.token}"]
    async with dial("elevenlabs", subprotocols=protocols, additional_headers={"x-sluice-echo": "1"}) as socket:
        received = json.loads(await socket.recv())
    seen = {name.lower(): value for name, value in received["headers"]}
    assert {name: seen.get(name) for name in headers} == headers
    assert seen.get("sec-websocket-protocol") == forwarded
    assert socket.subprotocol == chosen
    assert gateway.token not in json.dumps(received)


async def test_a_token_alone_is_echoed_for_browsers_close_where_nothing_is_chosen(gateway: Any, dial: Dial):
    token = f"cf-aig-authorization.{gateway.token}"
    async with dial("deepgram/v1/listen", subprotocols=[token], additional_headers={}) as socket:
        assert socket.subprotocol == token


@pytest.mark.parametrize(
    "carrier",
    ["openai-insecure-api-key.{}", "token, {}", "xi-api-key.{}", "authorization.{}"],
)
async def test_a_gateway_token_in_a_keys_place_lets_in_and_is_not_passed_on(gateway: Any, dial: Dial, carrier: str):
    protocols = carrier.format(gateway.token).split(", ")
    async with dial("deepgram", subprotocols=protocols, additional_headers={"x-sluice-echo": "1"}) as socket:
        assert gateway.token not in await socket.recv()


async def test_headers_pass_but_for_those_of_the_connection_and_ours(dial: Dial, gateway: Any):
    headers = {**gateway.auth, "x-sluice-echo": "1", "Authorization": "Token theirs", "OpenAI-Beta": "realtime=v1"}
    async with dial("deepgram", additional_headers=headers, origin="https://app.example") as socket:
        received = json.loads(await socket.recv())
    names = [name.lower() for name, _ in received["headers"]]
    assert dict(received["headers"])["Authorization"] == "Token theirs"
    assert {"openai-beta", "origin", "user-agent"} <= set(names)
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith("cf-aig-") or name == "sec-websocket-extensions"]


@pytest.mark.parametrize(
    "headers",
    [{}, {"cf-aig-authorization": "Bearer sluice_wrong"}, {"Authorization": "Bearer sk-theirs"}],
)
async def test_a_stranger_is_refused_before_anybody_is_dialled(
    dial: Dial, provider: Any, marker: str, error_body: Any, headers: dict[str, str]
):
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with dial(OPENAI, additional_headers={**headers, "x-sluice-marker": marker}):
            pass
    reply = refused.value.response
    assert (reply.status_code, json.loads(reply.body or b"")) == (401, error_body(401, 2009, "Unauthorized"))
    assert await provider.entries(marker) == []


@pytest.mark.parametrize(("status", "ask"), [(401, "status=401"), (429, "retry-after=7"), (503, "status=503")])
async def test_a_providers_refusal_is_the_answer_and_is_logged(gateway: Any, dial: Dial, status: int, ask: str):
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with dial(OPENAI, additional_headers={**gateway.auth, "x-sluice-fault": ask}):
            pass
    reply = refused.value.response
    assert reply.status_code == status
    assert b'"error"' in (reply.body or b"")
    assert reply.headers.get("retry-after") == ("7" if status == 429 else None)
    log = await asyncio.to_thread(gateway.log, reply.headers["cf-aig-log-id"])
    assert (log["request_type"], log["status_code"], log["ending"], log["success"]) == (
        "realtime",
        status,
        "complete",
        False,
    )
    assert log["response_head"].encode() == reply.body


@pytest.mark.parametrize("fault", ["drop", "bad-head"])
async def test_a_provider_that_does_not_answer_the_handshake_is_error_2005(gateway: Any, dial: Dial, fault: str):
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with dial(OPENAI, additional_headers={**gateway.auth, "x-sluice-fault": fault}):
            pass
    reply = refused.value.response
    assert (reply.status_code, json.loads(reply.body or b"")["internalCode"]) == (400, 2005)
    log = await asyncio.to_thread(gateway.log, reply.headers["cf-aig-log-id"])
    assert (log["ending"], log["error_code"], log["path"]) == ("refused", 2005, "v1/realtime")


async def test_a_slow_handshake_is_given_up_when_the_client_said(gateway: Any, dial: Dial):
    headers = {**gateway.auth, "x-sluice-fault": "slow-head=60000", "cf-aig-request-timeout": "50"}
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with dial(OPENAI, additional_headers=headers):
            pass
    log = await asyncio.to_thread(gateway.log, refused.value.response.headers["cf-aig-log-id"])
    assert (log["error_code"], log["error_message"]) == (2005, "The provider did not answer the handshake in time")


@pytest.mark.parametrize("path", ["nobody", "compat/chat/completions", "azure-openai/res", "openai/../x?model=m"])
async def test_what_is_no_providers_websocket_is_refused(dial: Dial, path: str):
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with dial(path):
            pass
    assert refused.value.response.status_code == 400


async def test_text_and_binary_of_any_length_come_back_as_they_were(dial: Dial):
    messages: list[str | bytes] = ["", b"", "a" * 125, "é" * 70_000, os.urandom(126), os.urandom(3_000_000), "end"]
    async with dial("deepgram") as socket:
        for message in messages:
            await socket.send(message)
        assert [await socket.recv() for _ in messages] == messages


async def test_frames_are_passed_on_as_they_were_cut(stand: Any, behind: Any, dial: Dial):
    async with vendor(stand) as frames, dial("deepgram", behind) as socket:
        await socket.send(["one ", "two ", "three"])
        await socket.send([b"\x00", b"\xff"])
        assert await socket.recv() == "one two three"
    text = [(1, b"one ", False), (0, b"two ", False), (0, b"three", False), (0, b"", True)]
    assert frames == [*text, (2, b"\0", False), (0, b"\xff", False), (0, b"", True)]


async def test_fragments_of_a_provider_arrive_whole_and_in_the_transcript(gateway: Any, dial: Dial):
    async with dial("deepgram", additional_headers={**gateway.auth, "x-sluice-fault": "drip=3"}) as socket:
        await socket.send("cut into pieces")
        assert [piece async for piece in socket.recv_streaming()] == ["cut", " in", "to ", "pie", "ces"]
    assert await body_of(gateway, socket, "response") == b"cut into pieces\n"


async def test_pings_are_answered_here_and_not_passed_on(stand: Any, behind: Any, dial: Dial):
    async with vendor(stand) as frames, dial("deepgram", behind) as socket:
        await asyncio.wait_for(await socket.ping(b"hop"), DEADLINE_S)
        await socket.send("after")
        assert await socket.recv() == "after"
    assert frames == [(1, b"after", True)]


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "tab closed"), (3999, ""), (4321, "ünïcode")])
async def test_a_clients_goodbye_reaches_the_provider_word_for_word(
    stand: Any, behind: Any, dial: Dial, code: int, reason: str
):
    partings: list[tuple[int | None, str | None]] = []
    async with vendor(stand, partings=partings):
        async with dial("deepgram", behind) as socket:
            await socket.close(code, reason)
        log = await log_of(behind, socket)
    assert partings == [(code, reason)]
    assert (socket.close_code, socket.close_reason) == (code, reason)
    assert (log["ending"], log["success"]) == ("complete", True)


@pytest.mark.parametrize(
    ("code", "ending"), [(1000, "complete"), (1001, "complete"), (1011, "broken"), (4008, "broken")]
)
async def test_a_providers_goodbye_reaches_the_client_word_for_word(
    gateway: Any, dial: Dial, provider: Any, marker: str, code: int, ending: str
):
    headers = {**gateway.auth, "x-sluice-marker": marker, "x-sluice-fault": f"goodbye={code}"}
    async with dial("deepgram", additional_headers=headers) as socket:
        await socket.send("hello?")
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()
    assert (socket.close_code, socket.close_reason) == (code, "as asked")
    log = await log_of(gateway, socket)
    assert (log["ending"], log["error_code"]) == (ending, None if ending == "complete" else 2005)
    (entry,) = await provider.entries(marker, ended=1)
    assert entry["ended"] == "complete"


async def test_what_a_provider_still_says_after_its_clients_goodbye_arrives(gateway: Any, dial: Dial):
    headers = {**gateway.auth, "x-sluice-fault": "pace=20"}
    async with dial(OPENAI, additional_headers=headers) as socket:
        await socket.send(item("hello"))
        await socket.send('{"type": "response.create"}')
        await socket.close()
    told = await body_of(gateway, socket, "response")
    assert json.loads(told.splitlines()[-1])["type"] == "response.done"
    log = await log_of(gateway, socket)
    assert (log["ending"], log["tokens_out"] > 0) == ("complete", True)


@pytest.mark.parametrize("fault", ["cut=3", "reset=3", "half-close=3", "malformed=3"])
async def test_a_provider_that_breaks_off_is_told_and_logged_as_broken(gateway: Any, dial: Dial, fault: str):
    async with dial(OPENAI, additional_headers={**gateway.auth, "x-sluice-fault": fault}) as socket:
        await socket.send(item("hello"))
        with suppress(websockets.ConnectionClosedError):
            async for _ in socket:
                pass
    assert socket.close_code == 1014
    log = await log_of(gateway, socket)
    assert (log["ending"], log["success"], log["error_code"]) == ("broken", False, 2005)
    assert (await body_of(gateway, socket, "response")).count(b"\n") == 3


async def test_a_client_that_leaves_without_a_word_ends_the_providers_side_at_once(
    gateway: Any, dial: Dial, provider: Any, marker: str
):
    async with dial(OPENAI) as socket:
        await socket.recv()
        socket.transport.abort()
    log = await log_of(gateway, socket)
    assert (log["ending"], log["success"], log["status_code"]) == ("abandoned", False, 101)
    (entry,) = await provider.entries(marker, ended=1)
    assert entry["ended"] == "complete"  # it was told 1001, and answered


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x02no", 1002),  # not masked
        (b"\xf1\x80\0\0\0\0", 1002),  # reserved bits
        (b"\x83\x80\0\0\0\0", 1002),  # a kind that does not exist
        (b"\x80\x80\0\0\0\0", 1002),  # a fragment of nothing
        (b"\x89\xfe\0\x7e\0\0\0\0" + b"p" * 126, 1002),  # a long ping
        (b"\x88\x81\0\0\0\0x", 1002),  # half a code
        (b"\x81\x81\0\0\0\0\xff", 1007),  # text that is none
        (b"\x88\x83\0\0\0\0\x03\xe8\xff", 1007),  # a reason that is no text
        (b"\x81\xff\0\0\0\0\x40\0\0\0\0\0\0\0", 1009),  # a gigabyte
    ],
)
async def test_a_client_that_breaks_the_protocol_is_told_so_and_nothing_of_it_is_passed_on(
    gateway: Any, dial: Dial, provider: Any, marker: str, data: bytes, code: int
):
    async with dial("deepgram") as socket:
        socket.transport.write(data)
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), DEADLINE_S)
    assert socket.close_code == code
    log = await log_of(gateway, socket)
    assert (log["ending"], log["request_size"]) == ("abandoned", 0)
    (entry,) = await provider.entries(marker, ended=1)
    assert (entry["ended"], entry["body_bytes"]) == ("complete", 0)


async def test_ten_thousand_small_frames_in_one_write_arrive_in_order(dial: Dial):
    numbers = [str(number) for number in range(10_000)]
    async with dial("deepgram") as socket:
        await asyncio.gather(*[socket.send(number) for number in numbers])
        assert [await socket.recv() for _ in numbers] == numbers


async def test_a_revoked_token_ends_the_connection_within_five_seconds(start_gateway: Any, dial: Dial):
    house = await asyncio.to_thread(start_gateway, "--simulate")
    made = await asyncio.to_thread(
        house.cli, "token", "create", "--account", "local", "--permissions", "run", "--name", "short"
    )
    headers = {"cf-aig-authorization": f"Bearer {made['token']}"}
    async with dial(OPENAI, house, additional_headers=headers) as socket:
        await socket.recv()
        await asyncio.to_thread(house.cli, "token", "delete", made["id"])
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 5)
    assert socket.close_code == 1008
    log = await log_of(house, socket)
    assert (log["ending"], log["error_code"], log["error_message"]) == ("broken", 2009, "The token was revoked")


@pytest.mark.parametrize(("setting", "ending"), [("idle_timeout_s", "abandoned"), ("total_timeout_s", "broken")])
async def test_time_limits_end_both_sides(start_gateway: Any, dial: Dial, setting: str, ending: str):
    house = await asyncio.to_thread(start_gateway, "--simulate", realtime={setting: 0.5})
    async with dial("deepgram", house) as socket:
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), DEADLINE_S)
    assert socket.close_code == 1001
    assert (await log_of(house, socket))["ending"] == ending


async def test_a_stop_lets_a_conversation_finish_and_then_says_that_the_gateway_restarts(
    start_gateway: Any, dial: Dial
):
    house = await asyncio.to_thread(start_gateway, "--simulate", server={"drain_timeout_s": 1.5})
    async with dial(OPENAI, house) as socket:
        await socket.recv()
        house.process.send_signal(signal.SIGTERM)
        assert (await converse(socket, "still there?"))[-1]["type"] == "response.done"
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), DEADLINE_S)
    assert socket.close_code == 1012
    assert await asyncio.to_thread(house.process.wait, DEADLINE_S) == 0


async def test_whoever_does_not_read_holds_the_other_side_up(stand: Any, behind: Any, dial: Dial):
    sent = 0
    stopped = asyncio.Event()

    async def flood(socket: ServerConnection) -> None:
        nonlocal sent
        while True:
            try:
                await asyncio.wait_for(socket.send(b"x" * 65_536), 2)
            except TimeoutError:
                return stopped.set()
            sent += 65_536

    standing = serve(flood, "127.0.0.1", stand.port, compression=None)
    async with standing, dial("deepgram", behind, max_queue=1) as socket:
        await asyncio.wait_for(stopped.wait(), 60)
        assert sent < 40_000_000  # the buffers of three sockets, and not what is in the gateway
        socket.transport.abort()


async def test_bodies_are_not_kept_where_the_client_says_so(gateway: Any, dial: Dial):
    headers = {**gateway.auth, "cf-aig-collect-log-payload": "false", "cf-aig-metadata": '{"team": "voice"}'}
    async with dial("deepgram", additional_headers=headers) as socket:
        await socket.send("secret")
        await socket.recv()
    log = await log_of(gateway, socket)
    assert (log["request_head"], log["response_head"], log["metadata"]) == ("", "", {"team": "voice"})


@asynccontextmanager
async def vendor(
    stand: Any, partings: list[tuple[int | None, str | None]] | None = None
) -> AsyncIterator[list[tuple[int, bytes, bool]]]:
    """A vendor that echoes messages, and tells of each frame of data, in the order in which they came."""
    frames: list[tuple[int, bytes, bool]] = []

    class Watched(ServerConnection):
        def process_event(self, event: Event) -> None:
            if isinstance(event, Frame) and event.opcode < Opcode.CLOSE:
                frames.append((int(event.opcode), bytes(event.data), event.fin))
            super().process_event(event)

    async def answer(socket: ServerConnection) -> None:
        with suppress(websockets.ConnectionClosedError):
            async for message in socket:
                await socket.send(message)
        if partings is not None:
            partings.append((socket.close_code, socket.close_reason))

    async with serve(answer, "127.0.0.1", stand.port, compression=None, create_connection=Watched):
        yield frames
