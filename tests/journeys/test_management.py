"""The management paths as a worker hands them on: bounded, and never in the way of inference."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

GATEWAYS = "/client/v4/accounts/local/ai-gateway/gateways"


@pytest.fixture(scope="module")
def narrow(start_shared_gateway: Any) -> Any:
    """A gateway that relays one management request at a time, for a second at most."""
    return start_shared_gateway(
        "--simulate", "--workers", "1", limits={"management_requests": 1}, console={"request_timeout_s": 1}
    )


@pytest.fixture(scope="module")
def newcomer(narrow: Any) -> str:
    """A token of an account that has no gateway yet."""
    narrow.cli("account", "create", "newcomers")
    token: str = narrow.cli("token", "create", "--account", "newcomers", "--permissions", "run")["token"]
    return token


@contextmanager
def console_held_up(gateway: Any) -> Iterator[None]:
    console = gateway.processes()["sluice: console"]
    os.kill(console, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(console, signal.SIGCONT)


def manage(gateway: Any, compose: Any, path: str = GATEWAYS, method: str = "GET") -> bytes:
    sent: bytes = compose(gateway, method, path, Authorization=f"Bearer {gateway.token}")
    return sent


def unavailable(message: str) -> dict[str, Any]:
    return {"success": False, "errors": [{"code": 7000, "message": message}], "messages": [], "result": None}


async def test_a_console_that_hangs_is_told_and_inference_goes_on(narrow: Any, wire: Any, compose: Any):
    with console_held_up(narrow):
        async with wire(narrow) as waiting, wire(narrow) as line:
            await waiting.send(manage(narrow, compose))
            await asyncio.sleep(0.1)
            busy = await line.ask(manage(narrow, compose))
            assert (busy.status, busy.json()) == (503, unavailable("The console is busy, try again"))
            assert busy.header("retry-after") == "1"
            assert (await line.ask(compose(narrow, "GET", "openai/models"))).status == 200
            assert (await line.ask(compose(narrow, "GET", "/healthz"))).body == b"ok\n"
            late = await waiting.reply()
            assert (late.status, late.json()) == (503, unavailable("The console does not answer, try again"))
    async with wire(narrow) as line:
        assert (await line.ask(manage(narrow, compose))).status == 200


async def test_who_leaves_makes_room_for_the_next(narrow: Any, wire: Any, compose: Any):
    with console_held_up(narrow):
        for _ in range(3):
            async with wire(narrow) as line:
                await line.send(manage(narrow, compose))
                await asyncio.sleep(0.05)
                line.reset()
    async with wire(narrow) as line:
        for _ in range(3):
            assert (await line.ask(manage(narrow, compose))).status == 200


async def test_a_console_that_dies_comes_back_and_loses_no_inference(narrow: Any, wire: Any, compose: Any):
    async with wire(narrow) as line:
        os.kill(narrow.processes()["sluice: console"], signal.SIGKILL)
        assert (await line.ask(compose(narrow, "GET", "openai/models"))).status == 200
        answer = await line.ask(manage(narrow, compose))
        assert answer.status in (200, 503)
    narrow.until(lambda: narrow.manage("GET", "/gateways").status_code == 200, "the console's successor")


async def test_the_first_gateway_of_an_account_cannot_be_made_without_the_console(
    narrow: Any, newcomer: str, wire: Any, compose: Any
):
    """That is no fault of the provider's, and the client may try again."""
    path = "/v1/newcomers/default/openai/models"
    sent = compose(narrow, "GET", path, cf_aig_authorization=f"Bearer {newcomer}")
    async with wire(narrow) as line:
        with console_held_up(narrow):
            refused = await line.ask(sent)
            assert (refused.status, refused.json()["internalCode"]) == (503, 2005)
            assert refused.json()["message"] == "The gateway is at its limit, try again"
        narrow.until(lambda: narrow.manage("GET", "/gateways").status_code == 200, "the console")
        assert (await line.ask(sent)).status == 200


@pytest.mark.parametrize(
    "path", ["/internal/accounts/local/default-gateway", "//internal/accounts/local/default-gateway"]
)
async def test_what_workers_ask_the_console_is_nobody_elses(narrow: Any, wire: Any, compose: Any, path: str):
    async with wire(narrow) as line:
        assert (await line.ask(manage(narrow, compose, path, "PUT"))).status == 404


@pytest.mark.parametrize(
    "path", ["/client/v4/../../internal/accounts/local/default-gateway", "/client/v4/%2e%2e/%2e%2e/internal/x"]
)
async def test_nor_by_a_detour(narrow: Any, wire: Any, compose: Any, path: str):
    async with wire(narrow) as line:
        assert (await line.ask(manage(narrow, compose, path, "PUT"))).status in (404, 405)


ENVELOPE = {"success", "errors", "messages", "result"}


@pytest.mark.parametrize(
    ("head", "status", "message"),
    [
        (b"PUT %b/default HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", 413, "Request body too large"),
        (b"GET %b?search=" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431, "Request header fields too large"),
        (b"GET %b HTTP/1.1\r\n\r\n", 400, "Malformed request: exactly one Host header is needed"),
        (b"GET %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "Transfer coding not supported"),
        (b"GET %b HTTP/3.0\r\nHost: a\r\n\r\n", 400, None),
        (b"GET %b#top HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
    ],
    ids=("body", "head", "no host", "coding", "version", "fragment"),
)
async def test_what_is_refused_before_the_console_sees_it_is_told_in_its_envelope(
    gateway: Any, wire: Any, head: bytes, status: int, message: str | None
):
    async with wire(gateway) as line:
        refused = await line.ask(head % GATEWAYS.encode())
    told = refused.json()
    assert (refused.status, told["success"], told["result"]) == (status, False, None)
    assert told.keys() == ENVELOPE
    assert [problem["code"] for problem in told["errors"]] == [2004]
    assert message in (None, told["errors"][0]["message"])


async def test_the_description_is_for_everybody(gateway: Any, wire: Any, compose: Any):
    async with wire(gateway) as line:
        told = await line.ask(compose(gateway, "GET", "/client/v4/openapi.json", **{"cf-aig-authorization": None}))
    assert told.status == 200
    assert "/client/v4/accounts/{account}/ai-gateway/gateways" in told.json()["paths"]
