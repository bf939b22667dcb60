"""A gateway under measurement: started with all of its processes on one core, asked until it answers, called."""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from bench.contenders import Contender
from bench.exchange import head
from bench.machine import BenchFault, Cores, Program
from bench.peers.calls import PIECES, Call, Mode, judge_completion, plain
from bench.peers.install import Installed
from bench.peers.upstreams import Upstream

PATIENCE_S: Final = 120
CHAT: Final = "/v1/chat/completions"
REALTIME: Final = "/v1/realtime?model=gpt-realtime"
_WITHOUT_PROXIES: Final = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")


class Site(NamedTuple):
    """Where a gateway is started."""

    upstream: Upstream
    cores: Cores
    folder: Path
    stack: ExitStack
    """Ends it."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that runs."""

    name: str
    port: int
    program: Program | None
    core: int
    calls: Mapping[Mode, Call]
    realtime: tuple[str, Mapping[str, str]] | None = None
    """Path and headers by which it relays a WebSocket to the provider's."""

    def way(self, mode: Mode) -> Contender | None:
        """How to ask it for a plain reply; what passes everything on has no ways but one."""
        call = self.call(mode)
        if call is None:
            return None
        pieces = () if call.verbatim else PIECES
        path, headers, body = call.path, call.headers, call.write(plain())
        return Contender(self.name, self.port, path, headers, self.program, self.core, body, pieces)

    def call(self, mode: Mode) -> Call | None:
        passes_on = mode != "cached" and self.calls.keys() == {"native"}
        return self.calls.get("native" if passes_on else mode)

    def socket_way(self) -> Contender | None:
        if self.realtime is None:
            return None
        return Contender(self.name, self.port, *self.realtime, self.program, self.core)

    def some_way(self) -> Contender:
        """The way that is used where any does: through the unified schema if it has that."""
        way = self.way("compat")
        assert way is not None
        return way


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway that can be started."""

    name: str
    installed: Installed
    launch: Callable[[Site], Gateway]
    """Returns when it was started, not when it is ready."""
    prepare: Callable[[Site], None] = field(default=lambda _: None)
    """What is done once per folder, before a start whose time counts."""


def direct(site: Site) -> Gateway:
    """No gateway at all."""
    return Gateway("direct", site.upstream.port, None, site.cores.gateway, {"native": Call(CHAT, {})}, (REALTIME, {}))


def run(name: str, command: Sequence[str], environment: Mapping[str, str], site: Site) -> Program:
    """Starts a program on the gateway's core that trusts the upstream and calls it without a proxy."""
    log = site.folder / f"{name}-{site.upstream.port}.log"
    log.unlink(missing_ok=True)
    settings = {**environment, **_WITHOUT_PROXIES, **site.upstream.trust}
    return site.stack.enter_context(Program(command, site.cores.gateway, log, settings))


def start(peer: Peer, site: Site) -> tuple[Gateway, float]:
    """The gateway, ready, and the seconds that it took from its start to its first right reply."""
    peer.prepare(site)
    began = time.monotonic()
    gateway = peer.launch(site)
    while answer(gateway.some_way()) is None:
        if time.monotonic() - began > PATIENCE_S or gateway.program is None or not gateway.program.running:
            told = gateway.program.said() if gateway.program else ""
            raise BenchFault(f"{peer.name} gave no reply within {PATIENCE_S} s of its start:\n{told}")
        time.sleep(0.005)
    took_s = time.monotonic() - began
    check(gateway, "compat")
    return gateway, took_s


def check(gateway: Gateway, mode: Mode) -> None:
    """Reads two replies whole: what is judged under load is less. Raises BenchFault."""
    way, call = gateway.way(mode), gateway.call(mode)
    assert way is not None
    assert call is not None
    replies = [answer(way), answer(way)]
    for reply in replies:
        judge_completion(reply.body if reply else b"", gateway.name)
    if call.mark not in (replies[1].head if replies[1] else ""):
        raise BenchFault(f"{gateway.name} does not say that it gave a reply out of its cache: {replies[1]}")


class Answer(NamedTuple):
    """A reply with status 200."""

    head: str
    """In small letters."""
    body: bytes


def answer(way: Contender) -> Answer | None:
    """Nothing where there is no reply, or one with another status."""
    message = head(way.path, {**way.headers, "connection": "close"}, len(way.body)) + way.body.encode()
    try:
        with socket.create_connection(("127.0.0.1", way.port), timeout=30) as connection:
            connection.sendall(message)
            reply = b""
            while piece := connection.recv(65536):
                reply += piece
    except OSError:
        return None
    before, _, body = reply.partition(b"\r\n\r\n")
    return Answer(before.decode("latin-1").lower() + "\r\n", body) if before.startswith(b"HTTP/1.1 200 ") else None
