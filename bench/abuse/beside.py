"""Ordinary requests beside the abuse, by a process of its own: each must be answered rightly, and its time is taken.

`python -m bench.abuse.beside PORT`, with the token as the first line of its input: it says `begun` behind its first
answer, goes on until its input ends, and prints what it saw as JSON.
"""

import asyncio
import base64
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field

from bench.abuse.cases import CHAT, GATEWAY, QUERY, Aim, encoded, request
from bench.traffic import DONE, read_message

CONNECTIONS = 3
PAUSE_S = 0.03
DEADLINE_S = 15.0
MOST_WRONG = 20


@dataclass(slots=True)
class Seen:
    """What became of the ordinary requests."""

    asked: int = 0
    wrong: list[str] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)
    """Of the native ones that are not streamed, from the first byte sent to the last one read."""

    def quantile_ms(self, share: float) -> float:
        ordered = sorted(self.took_ms) or [0.0]
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


Exchange = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Ask = Callable[[Exchange, Aim, Seen, str], Awaitable[None]]


async def native(exchange: Exchange, aim: Aim, seen: Seen, mark: str) -> None:
    """The provider echoes what it got, which must be what was sent."""
    body = encoded({**QUERY, "model": "echo", "mark": mark})
    start = time.perf_counter()
    reply = await told(exchange, request(CHAT, body, aim=aim))
    seen.took_ms.append((time.perf_counter() - start) * 1000)
    if base64.b64decode(json.loads(reply)["body"]) != body:
        raise ValueError(f"the provider got another body: {reply!r}")


async def universal(exchange: Exchange, aim: Aim, seen: Seen, mark: str) -> None:
    """The first step fails, the second is echoed."""
    failing = {**QUERY, "model": "gpt-4o~status-503"}
    echoed = {**QUERY, "model": "echo", "mark": mark}
    steps = [{"provider": "openai", "endpoint": "chat/completions", "query": query} for query in (failing, echoed)]
    reply = await told(exchange, request(GATEWAY, encoded(steps), aim=aim))
    if json.loads(base64.b64decode(json.loads(reply)["body"])) != echoed:
        raise ValueError(f"the provider got another body: {reply!r}")


async def streamed(exchange: Exchange, aim: Aim, seen: Seen, mark: str) -> None:
    reply = await told(exchange, request(CHAT, encoded({**QUERY, "stream": True}), aim=aim))
    if not reply.startswith(b"data: {") or not reply.endswith(DONE):
        raise ValueError(f"no stream: {reply!r}")


WAYS: tuple[Ask, ...] = (native, native, universal, streamed)


async def told(exchange: Exchange, data: bytes) -> bytes:
    reader, writer = exchange
    writer.write(data)
    head, body = await read_message(reader)
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError(f"{head + body!r}")
    return body


async def client(number: int, port: int, aim: Aim, seen: Seen, stop: asyncio.Event) -> None:
    exchange = await asyncio.open_connection("127.0.0.1", port)
    turn = 0
    while not stop.is_set():
        turn += 1
        seen.asked += 1
        try:
            async with asyncio.timeout(DEADLINE_S):
                await WAYS[turn % len(WAYS)](exchange, aim, seen, f"{number}-{turn}")
        except Exception as error:
            seen.wrong.append(f"{WAYS[turn % len(WAYS)].__name__} {number}-{turn}: {error!r:.1000}")
            if len(seen.wrong) >= MOST_WRONG:
                break
            exchange[1].transport.abort()
            exchange = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(PAUSE_S)
    exchange[1].close()


async def main() -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    aim, seen = Aim(sys.stdin.readline().strip()), Seen()
    exchange = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    await native(exchange, aim, seen, "first")
    exchange[1].close()
    print("begun", flush=True)
    clients = [asyncio.create_task(client(at, int(sys.argv[1]), aim, seen, stop)) for at in range(CONNECTIONS)]
    loop.add_reader(sys.stdin.fileno(), stop.set)
    await asyncio.gather(*clients)
    print(json.dumps(asdict(seen)))


if __name__ == "__main__":
    asyncio.run(main())
