"""`sluice ws`: a universal WebSocket by hand, a line a message."""

import asyncio
import ssl
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click
import msgspec

from sluice.cli.options import common
from sluice.cli.sending import server_of_folder
from sluice.wire.frames import Closing
from sluice.wire.websocket import GOING_AWAY, NORMAL, WebSocket

CONNECT_S: Final = 10.0
FRIENDLY: Final = (NORMAL, GOING_AWAY)
ERROR: Final = "universal.error"


class Named(msgspec.Struct, frozen=True, rename="camel"):
    """What the client calls an event."""

    event_id: str | int | None = None


class Told(msgspec.Struct, frozen=True):
    """As much of a message as tells which event it ends, if it ends one."""

    type: str = ""
    metadata: Named = Named()
    response: msgspec.Raw = msgspec.Raw()

    @property
    def ends(self) -> bool:
        return self.type in ("universal.done", ERROR) or (bool(self.response) and self.type == "universal.created")


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """As much of a message of ours as tells which event it cancels, if it cancels one."""

    type: str = ""
    event_id: str | int | None = None


@click.command("ws")
@click.argument("url", required=False)
@click.option("--token", envvar="SLUICE_TOKEN", default="", help="Lets the client in.  [default: SLUICE_TOKEN]")
@click.option("--header", "-H", "headers", multiple=True, metavar="NAME:VALUE", help="For the upgrade, as of curl.")
@common
def command(url: str | None, token: str, headers: tuple[str, ...], data: Path | None, as_json: bool) -> None:
    """Run requests over one WebSocket: that of the gateway `default` on the data folder's server, or that at URL.

    Each line of the standard input is a message, or the request of one: a step, or an array of steps. Each message that
    comes back is a line of JSON, so --json changes nothing. It ends once the input has and all is answered.
    """
    fields = [("cf-aig-authorization", f"Bearer {token}")] if token else []
    fields += map(_field, headers)
    if url is None:
        url = "ws" + server_of_folder(data, "local", "default", token).url.removeprefix("http")
    try:
        socket = WebSocket.dial(url, fields, None)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from error
    asyncio.run(Conversation(socket).run(url))


def _field(header: str) -> tuple[str, str]:
    name, colon, value = header.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter(f"{header!r} is not NAME:VALUE", param_hint="--header")
    return name.strip(), value.strip()


class Conversation:
    """Lines out, messages in."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._awaited = 0
        self._cancelled: set[str | int] = set()
        """Names that were to be cancelled; of these `_unanswered` nothing has been heard since."""
        self._unanswered: set[str | int] = set()
        self._no_more = self._parted = False

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
        try:
            await self._converse(reader)
        except ConnectionError as error:
            raise click.ClickException(f"The connection broke off: {error}") from error
        finally:
            self._writer.close()

    async def _converse(self, reader: asyncio.StreamReader) -> None:
        """Returns when both have said goodbye."""
        self._send(b"")
        speaking: asyncio.Task[None] | None = None
        try:
            while data := await reader.read(65_536):
                self._heard(data)
                if self._socket.open and speaking is None:
                    speaking = asyncio.create_task(self._speak())
        finally:
            if speaking is not None:
                speaking.cancel()
                await asyncio.gather(speaking, return_exceptions=True)
        self._socket.finish()
        self._check_accepted()
        if not self._parted:
            raise click.ClickException("The connection broke off")

    def _heard(self, data: bytes) -> None:
        for said in self._socket.feed(data):
            if isinstance(said, Closing):
                self._closed(said)
            else:
                self._print(said)
        self._check_accepted()
        self._send(b"")

    def _check_accepted(self) -> None:
        if self._socket.refusal:
            raise click.ClickException(f"The connection is refused: {self._socket.refusal}")

    def _closed(self, closing: Closing) -> None:
        self._parted = True
        if closing.code not in FRIENDLY or self._awaited > 0:
            raise click.ClickException(f"The gateway has closed with {closing.code}: {closing.reason}")

    def _print(self, message: bytes) -> None:
        click.echo(message.replace(b"\n", b" "))
        with suppress(msgspec.DecodeError):
            told = msgspec.json.decode(message, type=Told)
            if told.ends:
                self._ended(told)

    def _ended(self, told: Told) -> None:
        """An event is over, or could not be begun, or is not there to be cancelled."""
        name = told.metadata.event_id
        if told.type != ERROR or name not in self._cancelled:
            self._awaited -= 1
        if name is not None:
            self._unanswered.discard(name)
        self._leave_if_done()

    async def _speak(self) -> None:
        """Sends lines as they come."""
        threading.Thread(target=self._read_lines, args=(asyncio.get_running_loop(),), daemon=True).start()
        while (line := await self._lines.get()) is not None:
            if line.strip():
                self._ask(as_message(line))
                await self._writer.drain()
        self._no_more = True
        self._leave_if_done()

    def _ask(self, message: str) -> None:
        name = cancelled_by(message)
        if name is None:
            self._awaited += 1
        else:  # answered by the end of its event, or by an error where there is none
            self._cancelled.add(name)
            self._unanswered.add(name)
        self._send(self._socket.message(message.encode()))

    def _read_lines(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop is closed: the conversation has ended before the input
            for line in sys.stdin:
                loop.call_soon_threadsafe(self._lines.put_nowait, line)
            loop.call_soon_threadsafe(self._lines.put_nowait, None)

    def _leave_if_done(self) -> None:
        if self._no_more and self._awaited <= 0 and not self._unanswered:
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


def cancelled_by(message: str) -> str | int | None:
    """The name of the event that a message is to cancel, None where it is another message."""
    try:
        asked = msgspec.json.decode(message, type=Asked)
    except msgspec.DecodeError:
        return None
    return asked.event_id if asked.type == "universal.cancel" else None
