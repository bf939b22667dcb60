"""What the simulator received lately and how each exchange ended: for tests to read, in bounded memory."""

import asyncio
import base64
from collections import Counter, deque
from typing import Final, Literal

from sluice.simulator.bodies import KEY_HEADERS
from sluice.simulator.call import Body
from sluice.simulator.words import Json
from sluice.values.request import Header

Ended = Literal["running", "complete", "broken", "client gone", "malformed"]
"""complete: the whole reply was handed to the socket. broken: a fault ended it. client gone: the client left before its
end. malformed: what came was no request."""

KEPT_ENTRIES: Final = 1000
KEPT_BYTES: Final = 8 * 1024 * 1024
KEPT_BODY_BYTES: Final = 64 * 1024
_ENTRY_BYTES: Final = 500


class Entry:
    """One request and its fate."""

    __slots__ = ("body", "body_bytes", "connection", "digest", "ended", "headers", "marker", "method", "number",
                 "provider", "sent_bytes", "serial", "size", "status", "target")  # fmt: skip

    def __init__(self, serial: int, connection: int, number: int, method: str, target: str) -> None:
        self.serial, self.connection, self.number = serial, connection, number
        self.method, self.target = method, target
        self.headers: list[Header] = []
        self.marker = self.digest = self.provider = ""
        self.body: bytes | None = None
        self.status: int | None = None
        self.body_bytes = self.sent_bytes = self.size = 0
        self.ended: Ended = "running"

    def render(self) -> Json:
        return {
            "serial": self.serial,
            "connection": self.connection,
            "number": self.number,
            "provider": self.provider,
            "method": self.method,
            "target": self.target,
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for _, name, value in self.headers],
            "key_headers": [name.decode("latin-1") for lower, name, _ in self.headers if lower in KEY_HEADERS],
            "marker": self.marker,
            "body": None if self.body is None else base64.b64encode(self.body).decode(),
            "body_bytes": self.body_bytes,
            "body_sha256": self.digest,
            "status": self.status,
            "sent_bytes": self.sent_bytes,
            "ended": self.ended,
        }


class Journal:
    """The last requests, the oldest first, and counters since the start. Whoever waits is told of every change."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._requests = 0
        self._changed: asyncio.Event = asyncio.Event()
        self.ends: Counter[Ended] = Counter()
        self.connections_opened = 0
        self.connections_open = 0

    def open(self, connection: int, number: int, method: str, target: str, headers: list[Header]) -> Entry:
        """Enters a request whose head has come."""
        self._requests += 1
        entry = Entry(self._requests, connection, number, method, target)
        entry.headers = headers
        entry.size = _ENTRY_BYTES + len(target) + sum(2 * len(name) + len(value) for name, _, value in headers)
        entry.marker = next((v.decode("latin-1") for n, _, v in headers if n == b"x-sluice-marker"), "")
        self._entries.append(entry)
        self._bytes += entry.size
        self._make_room()
        self._tell()
        return entry

    def received(self, entry: Entry, body: Body, provider: str) -> None:
        """Enters the body, whole where it is not too long, and the provider that was asked."""
        entry.digest, entry.provider = body.sha256, provider
        kept = bool(self._entries) and entry.serial >= self._entries[0].serial
        if kept and body.whole is not None and body.length <= KEPT_BODY_BYTES:
            entry.body = body.whole
            entry.size += body.length
            self._bytes += body.length
            self._make_room()

    def end(self, entry: Entry, how: Ended) -> None:
        """Enters how a request ended; only the first time counts, and of the journal's own readers none."""
        if entry.ended == "running" and entry.serial:
            entry.ended = how
            self.ends[how] += 1
            self._tell()

    def clear(self) -> None:
        """Forgets the entries; the counters go on."""
        self._entries.clear()
        self._bytes = 0

    def entries(self, marker: str | None, last: int) -> list[Entry]:
        """The last entries, of those with this marker where one is given."""
        found = [one for one in self._entries if marker is None or one.marker == marker]
        return found[-last:] if last else []

    async def ended(self, marker: str | None, least: int, seconds: float) -> None:
        """Waits until at least so many such requests are known and all have ended, or the time is over."""
        try:
            async with asyncio.timeout(seconds):
                while not self._all_ended(marker, least):
                    await self._changed.wait()
        except TimeoutError:
            return

    def counters(self) -> Json:
        return {
            "requests": self._requests,
            "running": self._requests - self.ends.total(),
            "ended": {str(how): times for how, times in self.ends.items()},
            "connections_opened": self.connections_opened,
            "connections_open": self.connections_open,
        }

    def _all_ended(self, marker: str | None, least: int) -> bool:
        found = self.entries(marker, KEPT_ENTRIES)
        return len(found) >= least and all(one.ended != "running" for one in found)

    def _make_room(self) -> None:
        while len(self._entries) > KEPT_ENTRIES or self._bytes > KEPT_BYTES:
            self._bytes -= self._entries.popleft().size

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
