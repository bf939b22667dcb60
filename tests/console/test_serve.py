"""The console on its sockets: the official SDK over them, the process with its orders, the end."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import cloudflare
import httpx
import pytest

import sluice
from sluice.console.app import create_app
from sluice.console.serve import serve
from sluice.supervisor import orders
from sluice.supervisor.orders import Orders


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    return listener


def over(path: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://console")


async def refused_at(path: Path) -> None:
    """Returns when nobody listens there any more."""
    while True:
        try:
            _, writer = await asyncio.open_unix_connection(str(path))
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.01)


class Serving:
    """A console on its two sockets, in this loop."""

    def __init__(self, console, data: Path) -> None:
        self.operator, self.relay = data / "console.sock", data / "relay.sock"
        self.stop = asyncio.Event()
        apps = [
            (create_app(console.desk, operator=True), listening(self.operator)),
            (create_app(console.desk, operator=False), listening(self.relay)),
        ]
        self.task = asyncio.create_task(serve(apps, self._told(), drain_s=5))

    async def _told(self) -> None:
        await self.stop.wait()


@pytest.fixture
async def serving(console, settings) -> AsyncIterator[Serving]:
    running = Serving(console, settings.data)
    yield running
    running.stop.set()
    await running.task


async def test_each_socket_asks_what_it_should_of_its_callers(serving):
    url = "/client/v4/accounts/local/ai-gateway/gateways"
    async with over(serving.operator) as operator, over(serving.relay) as relay:
        assert (await operator.get(url)).status_code == 200
        assert (await relay.get(url)).status_code == 401
        front = await relay.head("/")
        assert (front.status_code, front.content) == (200, b"")


async def test_the_official_sdk_manages_gateways(serving, console):
    async with over(serving.relay) as http:
        client = cloudflare.AsyncCloudflare(
            api_token=console.admin, base_url="http://console/client/v4", http_client=http
        )
        gateways, account = client.ai_gateway, "local"
        required = {
            "cache_invalidate_on_update": True,
            "cache_ttl": None,
            "collect_logs": True,
            "rate_limiting_interval": 0,
            "rate_limiting_limit": None,
        }
        created = await gateways.create(account_id=account, id="prod", **required)
        assert (created.id, created.cache_ttl, created.is_default) == ("prod", 0, False)
        assert await gateways.get("prod", account_id=account) is not None
        updated = await gateways.update("prod", account_id=account, **{**required, "collect_logs": False})
        assert updated.collect_logs is False
        assert updated.modified_at >= created.modified_at
        listed = [gateway.id async for gateway in gateways.list(account_id=account, per_page=1)]
        assert listed == ["default", "prod"]
        url = await gateways.urls.get("openai", account_id=account, gateway_id="prod")
        assert url == "https://ai.example.com/v1/local/prod/openai"
        deleted = await gateways.delete("prod", account_id=account)
        assert deleted.id == "prod"
        with pytest.raises(cloudflare.NotFoundError) as missing:
            await gateways.get("prod", account_id=account)
        assert missing.value.errors[0].code == 7002
        with pytest.raises(cloudflare.BadRequestError) as refused:
            await gateways.create(account_id=account, id="default", **required)
        assert refused.value.errors[0].code == 7001


async def test_the_official_sdk_reads_logs(serving, console, log, write_logs):
    stored = [log(response=b'{"answer": 42}') for _ in range(3)]
    write_logs(*stored)
    async with over(serving.relay) as http:
        client = cloudflare.AsyncCloudflare(
            api_token=console.admin, base_url="http://console/client/v4", http_client=http
        )
        logs, scope = client.ai_gateway.logs, {"account_id": "local", "gateway_id": "default"}
        listed = [row.id async for row in logs.list("default", account_id="local", per_page=2)]
        assert listed == [new.entry.id for new in reversed(stored)]
        log_id = stored[0].entry.id
        detail = await logs.get(log_id, **scope)
        assert (detail.id, detail.response_head, detail.tokens_in) == (log_id, '{"answer": 42}', 12)
        assert await logs.request(log_id, **scope) == {"model": "gpt-4o"}
        assert await logs.response(log_id, **scope) == {"answer": 42}
        with pytest.raises(cloudflare.BadRequestError) as refused:
            await logs.list("default", account_id="local", per_page=51)
        assert refused.value.body["errors"][0] == {
            "code": 7001,
            "message": "Number must be less than or equal to 50",
            "path": ["query", "per_page"],
        }


async def test_a_request_that_has_begun_is_answered_after_the_call_to_stop(serving, settings):
    reader, writer = await asyncio.open_unix_connection(str(serving.operator))
    body = json.dumps({"permissions": ["run"]}).encode()
    writer.write(
        b"POST /client/v4/accounts/local/ai-gateway/tokens HTTP/1.1\r\nhost: console\r\n"
        b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body)
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 100")  # the handler waits for the body
    serving.stop.set()
    await refused_at(serving.operator)
    writer.write(body)
    answer = await reader.read()
    assert b"HTTP/1.1 200" in answer
    assert b'"token":"sluice_' in answer
    writer.close()
    await serving.task


def test_the_process_serves_until_its_link_is_closed(settings, admin, generations):
    data, before = settings.data, generations.of("local")
    (data / "metrics").mkdir()
    ours, theirs = socket.socketpair()
    listeners = [listening(data / "console.sock"), listening(data / "relay.sock")]
    fds = [listener.fileno() for listener in listeners]
    process = subprocess.Popen(
        [sys.executable, "-m", "sluice.processes", "console", str(theirs.fileno())],
        pass_fds=[theirs.fileno(), *fds],
        env={**os.environ, "PYTHONPATH": str(Path(sluice.__file__).parents[1])},
        stderr=subprocess.PIPE,
    )
    theirs.close()
    ours.sendall(orders.encode(Orders("console", 0, settings, fds, data / "metrics" / "console-1.map")))
    try:
        ours.settimeout(20)
        said = b""
        while orders.READY not in said:
            said += ours.recv(100)
        assert generations.of("local") > before
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(data / "relay.sock")), base_url="http://c") as client:
            answer = client.get(
                "/client/v4/accounts/local/ai-gateway/gateways/default/url/openai",
                headers={"authorization": f"Bearer {admin}"},
            )
            assert answer.json()["result"] == "https://ai.example.com/v1/local/default/openai"
            assert "sluice_process_resident_bytes" in client.get("/metrics").text
    finally:
        ours.close()
        _, log = process.communicate(timeout=20)
        for listener in listeners:
            listener.close()
    assert process.returncode == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["event"] for line in lines if line["level"] not in ("info", "debug")] == []
    assert admin.encode() not in log
