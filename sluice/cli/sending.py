"""One universal request from the command line: whom it is sent to, its reply as it comes, and its logs."""

import http.client
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import click
import msgspec

from sluice.cli.gateway import gateways_path, missing_gateway
from sluice.cli.operator import Answer, Operator, decoded, opened
from sluice.cli.options import folder_settings

_TIMEOUT_S: Final = 660.0
"""Longer than the ten minutes after which the gateway itself gives a provider up."""
_LOGS_S: Final = 15.0
_UNLOGGED_S: Final = 1.0
"""How long is waited for logs where the step that answered has none: others of the request may."""
_LOOK_S: Final = 0.1
_TELL_S: Final = 1.0
_CHUNK_BYTES: Final = 64 * 1024


class LogRow(msgspec.Struct):
    """What a person is told of a log."""

    id: str
    request_id: str = ""
    step: int = 0
    provider: str = ""
    model: str = ""
    path: str = ""
    status_code: int = 0
    success: bool = False
    attempts: int = 0
    duration: int = 0
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None
    ending: str = ""
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A gateway's universal endpoint, and the way to its logs."""

    url: str
    token: str
    logs_path: str
    ask: Callable[[str], Answer]


class Body:
    """The body of a reply, read once and kept."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection, self._response = connection, response
        self._kept: list[bytes] = []
        self.broken = ""
        """Why it ended before its end."""

    def __iter__(self) -> Iterator[bytes]:
        try:
            while piece := self._response.read1(_CHUNK_BYTES):
                self._kept.append(piece)
                yield piece
            if self._response.length:
                self.broken = f"{self._response.length} bytes are missing"
        except (OSError, http.client.HTTPException) as error:
            self.broken = _reason(error)
        finally:
            self._response.close()
            self._connection.close()

    def whole(self) -> bytes:
        """All of it, the rest of it read first."""
        for _ in self:
            pass
        return b"".join(self._kept)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of which the head is there."""

    status: int
    headers: dict[str, str]
    body: Body

    @property
    def kind(self) -> str:
        """The media type alone."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def attempted(self) -> bool:
        """Whether any step was tried: a refusal names none."""
        return "cf-aig-step" in self.headers


def server_of_folder(data: Path | None, account: str, gateway: str, token: str) -> Server:
    """The server that runs on a data folder; its logs are read as the operator."""
    settings = folder_settings(data)
    operator = Operator(settings)
    if not operator.serves:
        folder = settings.data.absolute()
        raise click.ClickException(f"No server runs on {folder}: start `sluice serve`, or name another one's URL.")
    path = gateways_path(account, gateway)
    url = decoded(operator.result("GET", f"{path}/url/universal", missing=missing_gateway(account, gateway)))
    return Server(str(url).rstrip("/"), token, f"{path}/logs", lambda path: operator.answer("GET", path, None))


def server_at(origin: str, account: str, gateway: str, token: str) -> Server:
    """A server by its address; its logs are read with the token, which must allow that."""
    origin = origin.rstrip("/")

    def ask(path: str) -> Answer:
        reply = _exchange("GET", origin + path, b"", {"authorization": f"Bearer {token}"})
        answer = Answer(reply.status, reply.headers, reply.body.whole())
        if reply.body.broken:
            raise click.ClickException(f"{origin} did not answer: {reply.body.broken}")
        return answer

    url = f"{origin}/v1/{quote(account, safe='')}/{quote(gateway, safe='')}"
    return Server(url, token, f"{gateways_path(account, gateway)}/logs", ask)


def send(server: Server, body: bytes) -> Reply:
    """Posts the request and returns once the head of the reply is there."""
    headers = {"content-type": "application/json"}
    if server.token:
        headers["cf-aig-authorization"] = f"Bearer {server.token}"
    return _exchange("POST", server.url, body, headers)


def _exchange(method: str, url: str, body: bytes, headers: dict[str, str]) -> Reply:
    parts = urlsplit(url)
    https = parts.scheme == "https"
    kind = http.client.HTTPSConnection if https else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=_TIMEOUT_S)
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, target, body or None, headers)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise click.ClickException(f"{url} does not answer: {_reason(error)}") from error
    fields = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, fields, Body(connection, response))


def _reason(error: OSError | http.client.HTTPException) -> str:
    """Why an exchange failed, without the number of the system's error."""
    if isinstance(error, http.client.IncompleteRead):
        return "its end is missing"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def logs_of(server: Server, reply: Reply, waiting: Callable[[], None]) -> list[msgspec.Raw]:
    """The logs of a request in the order in which its steps were begun, once that of the answer is stored.

    Logs are stored in the order in which steps end, so the others are there by then. `waiting` is called once if it
    takes more than a second.
    """
    request_id, log_id = reply.headers.get("cf-aig-request-id", ""), reply.headers.get("cf-aig-log-id")
    begun_at, told = time.monotonic(), False
    give_up_at = begun_at + (_LOGS_S if log_id else _UNLOGGED_S)
    while True:
        rows = dict(sorted(_rows(server, request_id))) if request_id else {}
        if log_id in rows or time.monotonic() > give_up_at:
            return list(rows.values())
        if not told and time.monotonic() > begun_at + _TELL_S:
            waiting()
            told = True
        time.sleep(_LOOK_S)


def _rows(server: Server, request_id: str) -> Iterator[tuple[str, msgspec.Raw]]:
    """Newest first; a log with a lower id is older than the request, and so are all behind it."""
    number = 1
    while True:
        answer = opened(server.ask(f"{server.logs_path}?page={number}&per_page=50"))
        items = msgspec.json.decode(answer.result, type=list[msgspec.Raw])
        for item in items:
            row = msgspec.json.decode(item, type=LogRow)
            if row.id < request_id:
                return
            if row.request_id == request_id:
                yield row.id, item
        if not items:
            return
        number += 1
