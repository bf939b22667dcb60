"""The simulator and two gateways in front of it, one of which calls it by TLS, which it does not speak."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.contenders import SLUICE, build, make_token
from bench.faults.cells import SECOND
from bench.faults.shapes import SHAPES
from bench.machine import BenchFault, Program, free_port
from bench.traffic import LOGS, get, read_message

FAMILY = ("sluice: worker 1", "sluice: keeper", "sluice: console")
SETTINGS = """
[upstream]
first_byte_timeout_s = {first_byte_s}
idle_timeout_s = {idle_s}
"""
PROVIDER = """
[providers.{name}]
base_url = "{scheme}://127.0.0.1:{port}/{name}"
"""


class Waits(NamedTuple):
    """The gateway's deadlines for a provider's first byte and for its next one: what stalls is waited for so long."""

    first_byte_s: float = 2.0
    idle_s: float = 1.0


class Console:
    """The management API of one gateway, and the simulator's journal, each over a connection that is kept."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token
        self._line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> Mapping[str, Any]:
        return await get(*await self._open(), path, self._token)

    async def body(self, log_id: str) -> bytes:
        """The stored reply of a log; empty where there is none."""
        reader, writer = await self._open()
        path = f"{LOGS}/{log_id}/response"
        writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {self._token}\r\n\r\n".encode())
        answer, data = await read_message(reader)
        if answer.startswith(b"HTTP/1.1 404 "):
            return b""
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise BenchFault(f"{path} was answered with {(answer + data)[:500]!r}")
        return data

    def close(self) -> None:
        if self._line is not None:
            self._line[1].close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._line is None:
            self._line = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        return self._line


class Gateway(NamedTuple):
    port: int
    token: str

    @property
    def headers(self) -> Mapping[str, str]:
        return {"cf-aig-authorization": f"Bearer {self.token}"}

    def console(self) -> Console:
        return Console(self.port, self.token)


class Stand(NamedTuple):
    plain: Gateway
    tls: Gateway
    """Whose providers, but for the second, are called by TLS."""
    simulator: int


@asynccontextmanager
async def standing(folder: Path, waits: Waits) -> AsyncIterator[Stand]:
    """All of it, started; ended behind the block."""
    with ExitStack() as stack:
        simulator = start_simulator(folder, stack)
        begun = [_start(folder, scheme, simulator, waits, stack) for scheme in ("http", "https")]
        plain, tls = await asyncio.gather(*(asyncio.to_thread(_ready, *each) for each in begun))
        yield Stand(plain, tls, simulator)


def start_simulator(folder: Path, stack: ExitStack) -> int:
    """The simulator's port."""
    port = free_port()
    command = [*SLUICE, "simulate", "--port", str(port)]
    program = stack.enter_context(Program(command, None, folder / "simulator.log", build(pure=False)))
    program.wait_for_port(port)
    return port


def _start(folder: Path, scheme: str, simulator: int, waits: Waits, stack: ExitStack) -> tuple[Program, int, Path]:
    data, port = folder / f"data-{scheme}", free_port()
    config = folder / f"{scheme}.toml"
    config.write_text(_settings(scheme, simulator, waits))
    command = [*SLUICE, "serve", "--config", str(config), "--data", str(data), "--port", str(port), "--workers", "1"]
    program = stack.enter_context(Program(command, None, data.with_suffix(".log"), build(pure=False)))
    stack.callback(program.end, 0.0)  # it has nothing left to do that its drain would be waited for
    return program, port, data


def _ready(program: Program, port: int, data: Path) -> Gateway:
    program.wait_for_port(port)
    program.wait_for_family(FAMILY)
    return Gateway(port, make_token(data))


def _settings(scheme: str, simulator: int, waits: Waits) -> str:
    schemes = dict.fromkeys(sorted({shape.provider for shape in SHAPES.values()}), scheme) | {SECOND: "http"}
    return SETTINGS.format(**waits._asdict()) + "".join(
        PROVIDER.format(name=name, scheme=by, port=simulator) for name, by in schemes.items()
    )


async def journal(console: Console, mark: str, least: int) -> Sequence[Mapping[str, Any]]:
    """What the simulator saw of a mark, once so many requests of it are known and have ended, or after two seconds."""
    answer = await console.get(f"/_simulator/requests?marker={mark.replace('+', '%2B')}&ended={least}&wait_ms=2000")
    found: Sequence[Mapping[str, Any]] = json.loads(json.dumps(answer))["requests"]
    return found
