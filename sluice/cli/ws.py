"""`sluice ws`: a universal WebSocket by hand, a line a message."""

import asyncio
import ssl
import sys
import threading
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click
import msgspec

from sluice.cli.options import common
from sluice.wire.websocket import GOING_AWAY, NORMAL, Closed, Gathered, WebSocket

CONNECT_S: Final = 10.0
FRIENDLY: Final = (NORMAL, GOING_AWAY)


class Told(msgspec.Struct):
    """As much of a message as tells whether it ends its event."""

    type: str = ""
    response: msgspec.Raw = msgspec.Raw()


@click.command("ws")
@click.argument("url", default="ws://127.0.0.1:8787/v1/local/default")
@click.option("--token", envvar="SLUICE_TOKEN", help="A gateway token.  [default: SLUICE_TOKEN]")
@click.option("--header", "-H", "headers", multiple=True, metavar="NAME:VALUE", help="For the upgrade, as of curl.")
@common
def command(url: str, token: str | None, headers: tuple[str, ...], data: Path | None, as_json: bool) -> None:
    """Run requests over one WebSocket.

    Each line of the standard input is a message, or the request of one: a step, or an array of steps. Each message that
    comes back is a line of JSON, so --json changes nothing, nor does --data. It ends once the input has and all is
    answered.
    """
    fields = [("cf-aig-authorization", f"Bearer {token}")] if token else []
    for header in headers:
        name, _, value = header.partition(":")
        fields.append((name.strip(), value.strip()))
    try:
        socket = WebSocket.dial(url, fields, None)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from error
    asyncio.run(Conversation(socket).run(url))


class Conversation:
    """Lines out, messages in."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket, self._gathered = socket, Gathered()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._awaited = 0
        self._no_more = False

    async def run(self, url: str) -> None:
        """Returns when all is answered. Raises ClickException where it cannot be."""
        where = urlsplit(url)
        context = ssl.create_default_context() if where.scheme == "wss" else None
        port = where.port or (80 if context is None else 443)
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, self._writer = await asyncio.open_connection(where.hostname, port, ssl=context)
        except (OSError, TimeoutError) as error:
            raise click.ClickException(f"{where.netloc} cannot be reached: {error}") from error
        self._send(b"")
        speaking: asyncio.Task[None] | None = None
        while data := await reader.read(65_536):
            self._heard(data)
            if self._socket.open and speaking is None:
                speaking = asyncio.create_task(self._speak())
        if speaking is not None:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
        self._writer.close()

    def _heard(self, data: bytes) -> None:
        for said in self._socket.feed(data):
            if isinstance(said, Closed):
                self._closed(said)
            elif (message := self._gathered.add(said)) is not None:
                self._print(message)
        if self._socket.refusal:
            raise click.ClickException(f"The connection is refused: {self._socket.refusal}")
        self._send(b"")

    def _closed(self, closed: Closed) -> None:
        if closed.code not in FRIENDLY or self._awaited:
            raise click.ClickException(f"The gateway has closed with {closed.code}: {closed.reason}")

    def _print(self, message: bytes) -> None:
        click.echo(message.replace(b"\n", b" "))
        told = msgspec.json.decode(message, type=Told)
        if told.type in ("universal.done", "universal.error") or (told.response and told.type == "universal.created"):
            self._awaited -= 1
            self._leave_if_done()

    async def _speak(self) -> None:
        """Sends lines as they come."""
        threading.Thread(target=self._read_lines, args=(asyncio.get_running_loop(),), daemon=True).start()
        while (line := await self._lines.get()) is not None:
            if line.strip():
                self._awaited += 1
                self._send(self._socket.message(as_message(line).encode()))
                await self._writer.drain()
        self._no_more = True
        self._leave_if_done()

    def _read_lines(self, loop: asyncio.AbstractEventLoop) -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(self._lines.put_nowait, line)
        loop.call_soon_threadsafe(self._lines.put_nowait, None)

    def _leave_if_done(self) -> None:
        if self._no_more and self._awaited <= 0:
            self._socket.close(NORMAL)
            self._send(b"")

    def _send(self, data: bytes) -> None:
        self._writer.write(self._socket.outgoing() + data)


def as_message(line: str) -> str:
    """A request alone becomes the message that asks for it."""
    try:
        found = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return line
    if isinstance(found, list) or (isinstance(found, dict) and "provider" in found):
        return f'{{"type":"universal.create","request":{line.strip()}}}'
    return line
