"""One bad input played against the gateway; what it was told."""

import asyncio
import socket
import struct
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

from bench.abuse.cases import Aim, Case, Script
from bench.abuse.replies import Catalogue, Ended, Replies

DEADLINE_S = 60.0
"""For each word: many times those of the gateway's that an input may wait for, as cores are shared with others."""
LATE_S = 2.5
"""How long a client that reads late leaves its reply unread."""
MOST_HEAD_BYTES = 1024 * 1024
LAST = ("garbled", "leak", "close", "200-cut", "400-cut", "429-cut", "500-cut")
"""Words behind which nothing can be read that makes sense."""
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Told:
    """All that was said on one connection, and how it ended where that was waited for."""

    words: tuple[str, ...]
    replies: int
    last: bytes = b""

    def __str__(self) -> str:
        words = [f"{word}*{count}" if (count := len([*same])) > 1 else word for word, same in groupby(self.words)]
        return f"{' '.join(words)[:1000] or 'nothing'}, the last of it {self.last[-600:]!r}"


async def play(
    case: Case, port: int, aim: Aim, catalogue: Catalogue, scripts: MutableMapping[str, Script]
) -> list[Told]:
    """What each of the case's connections was told."""
    if case.script is not None:
        scripts[case.script.key] = case.script
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_play_one(case, port, aim, catalogue)) for _ in range(case.copies)]
        return [task.result() for task in tasks]
    finally:
        if case.script is not None:
            del scripts[case.script.key]


async def _play_one(case: Case, port: int, aim: Aim, catalogue: Catalogue) -> Told:
    words: list[str] = []
    replies = None
    try:
        async with asyncio.timeout(DEADLINE_S) as deadline:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MOST_HEAD_BYTES)
            replies = Replies(reader, catalogue, aim.token)
            try:
                await _Line(case, replies, writer, words, deadline).talk()
            finally:
                writer.transport.abort()
    except TimeoutError:
        words.append("hang")
    except OSError as error:
        words.append(f"garbled: {error!r}")
    said = [word for word in words if word not in ("end", "reset", "cut", "hang")]
    return Told(tuple(words), len(said), b"" if replies is None else replies.heard)


class _Line:
    """One connection: what is sent goes out beside what is read."""

    def __init__(
        self,
        case: Case,
        replies: Replies,
        writer: asyncio.StreamWriter,
        words: list[str],
        deadline: asyncio.Timeout,
    ) -> None:
        self._case, self._replies, self._writer, self._words = case, replies, writer, words
        self._deadline = deadline
        self._open = asyncio.Event()

    async def talk(self) -> None:
        case = self._case
        sending = asyncio.create_task(self._send())
        try:
            if case.goes in ("leaves", "resets"):
                with suppress(ConnectionError):
                    await sending
                return
            if case.goes == "reads late":
                await self._listen(most=1 if case.upgrades else 0)
                await asyncio.sleep(LATE_S)
            await self._listen(case.most)
            if case.until_end or case.most == 0:
                self._words.append(await self._replies.ending())
        except Ended as ended:
            self._words.append(str(ended))
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _listen(self, most: int) -> None:
        replies, words = self._replies, self._words
        while len(words) < most and not (words and words[-1].startswith(LAST)):
            words.append(await (replies.message() if replies.status == 101 else replies.reply()))
            self._open.set()
            self._deadline.reschedule(asyncio.get_running_loop().time() + DEADLINE_S)

    async def _send(self) -> None:
        case, writer = self._case, self._writer
        for number, piece in enumerate(case.sends):
            if number and case.pause_s:
                await asyncio.sleep(case.pause_s)
            if number and case.upgrades:
                await self._open.wait()
            writer.write(piece)
            await writer.drain()
        if case.goes == "half-closes":
            writer.write_eof()
        elif case.goes == "resets":
            peer: socket.socket = writer.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
