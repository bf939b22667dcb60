"""Rate limits under a flood, with workers killed in it: never one too many passes, none is lost but with its worker."""

import asyncio
import json
import os
import random
import signal
from collections import Counter
from pathlib import Path

from bench.contenders import make_token, start_sluice
from bench.exchange import head
from bench.machine import BenchFault, Program, free_port
from bench.traffic import Broken, read_message, upstream

WORKERS = 4
LIMIT = 100
FLOOD = 2000
CONNECTIONS = 100
FAMILY = tuple(f"sluice: worker {number}" for number in range(1, WORKERS + 1))
GATEWAYS = "/client/v4/accounts/local/ai-gateway/gateways"
BODY = {"model": "gpt-4o-mini", "stream": False, "messages": [{"role": "user", "content": "I am number 1"}]}
BEGUN = 60
"""How many have passed when a worker is killed."""


class Flood:
    """So many requests at once to a gateway of its own."""

    def __init__(self, port: int, token: str, gateway: str) -> None:
        self._port = port
        self._request = message(f"/v1/local/{gateway}/openai/v1/chat/completions", token, BODY)
        self.seen: Counter[int] = Counter()
        """Replies by status; 0 is a connection that ended before one."""
        self.begun = asyncio.Event()
        self._left = FLOOD

    async def run(self) -> Counter[int]:
        await asyncio.gather(*(self._client() for _ in range(CONNECTIONS)))
        return self.seen

    async def _client(self) -> None:
        while self._left > 0:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            try:
                while self._left > 0:
                    self._left -= 1
                    self.seen[await self._ask(reader, writer)] += 1
                    if self.seen[200] >= BEGUN:
                        self.begun.set()
            except (OSError, Broken, asyncio.IncompleteReadError):
                self.seen[0] += 1
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(self._request)
        reply, _ = await read_message(reader)
        return int(reply[9:12])


async def limits(data: Path, rounds: int) -> str:
    """Floods of each technique, every second one with a worker's death. Raises BenchFault where a count is off."""
    lost = 0
    async with upstream() as origin:
        with start_sluice(origin, port := free_port(), None, data, workers=WORKERS) as program:
            await asyncio.to_thread(program.wait_for_port, port)
            await asyncio.to_thread(program.wait_for_family, FAMILY)
            token = await asyncio.to_thread(make_token, data)
            for number in range(rounds):
                for technique in ("fixed", "sliding"):
                    kills = number % 2 == 1
                    name = f"{technique}-{number}"
                    await _make_gateway(port, token, name, technique)
                    flood = Flood(port, token, name)
                    seen = await _with_a_death(flood, program) if kills else await flood.run()
                    cut = seen[0]
                    if not LIMIT - cut <= seen[200] <= LIMIT or (cut and not kills) or set(seen) - {0, 200, 429}:
                        raise BenchFault(f"round {number}, {technique}: {dict(seen)}")
                    lost += LIMIT - seen[200]
    return f"{2 * rounds} floods of {FLOOD:,}: {LIMIT} passed in each but for {lost} whose worker was killed"


async def _with_a_death(flood: Flood, program: Program) -> Counter[int]:
    running = asyncio.create_task(flood.run())
    await flood.begun.wait()
    title = random.choice(FAMILY)
    victim = program.family()[title]
    os.kill(victim, signal.SIGKILL)
    seen = await running
    await asyncio.to_thread(program.wait_for_family, FAMILY)
    return seen


async def _make_gateway(port: int, token: str, name: str, technique: str) -> None:
    fields = {"id": name, "cache_ttl": 0, "cache_invalidate_on_update": False, "collect_logs": True}
    limit = {"rate_limiting_limit": LIMIT, "rate_limiting_interval": 86_400, "rate_limiting_technique": technique}
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(message(GATEWAYS, token, {**fields, **limit}))
    reply, body = await read_message(reader)
    writer.close()
    if not reply.startswith(b"HTTP/1.1 200"):
        raise BenchFault(f"no gateway could be made: {body.decode()}")


def message(path: str, token: str, fields: object) -> bytes:
    """A POST with a body of JSON."""
    body = json.dumps(fields).encode()
    return head(path, {"authorization": f"Bearer {token}"}, len(body)) + body
