"""The operator's way to the management API: over the console's socket, or, where no server runs, in this process."""

import http.client
import importlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import click
import msgspec

from sluice.supervisor import lock
from sluice.values.settings import Settings
from sluice.wiring.unix_http import UnixConnection

_OFFLINE: Final = "sluice.wiring.offline"
"""Loaded where no server runs: it brings the console's web framework, 0.2 s that other calls need not wait for."""
_TIMEOUT_S: Final = 60.0
_PATIENCE_S: Final = 10.0
"""A server that has just begun has the folder's lock and no socket yet; another command may have the lock."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Problem(msgspec.Struct):
    message: str
    path: list[str | int] = []


class Envelope(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw(b"null")
    errors: list[Problem] = []


class Operator:
    """Asks as the operator of a data folder, who needs no token."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        folder = settings.data.absolute()
        if not (folder / "control.db").exists():
            found = f"{folder} is no data folder of Sluice" if folder.exists() else f"There is no data folder {folder}"
            raise click.ClickException(f"{found} yet: start `sluice serve` on it once, or name another with --data.")

    def result(self, method: str, path: str, body: object = None, *, missing: str = "") -> msgspec.Raw:
        """The `result` of a management call; its refusal ends the command with the reason, a 404 with `missing`."""
        answer = self.answer(method, path, None if body is None else msgspec.json.encode(body))
        if answer.status == 404 and missing:
            raise click.ClickException(missing)
        return opened(answer).result

    def pages(self, path: str, *, missing: str = "") -> Iterator[msgspec.Raw]:
        """The items of a list, page after page up to the empty one; a 404 ends the command with `missing`."""
        number = 1
        while items := msgspec.json.decode(
            self.result("GET", f"{path}?{urlencode({'page': number, 'per_page': 50})}", missing=missing),
            type=list[msgspec.Raw],
        ):
            yield from items
            number += 1

    @property
    def serves(self) -> bool:
        """Whether a server runs on the folder."""
        return lock.is_held(self._settings.data / "sluice.lock")

    def content(self, path: str) -> Answer | None:
        """What is served outside the envelope, such as a stored body; None where there is none."""
        answer = self.answer("GET", path, None)
        if answer.status == 404:
            return None
        if answer.status != 200:
            opened(answer)
        return answer

    def answer(self, method: str, path: str, body: bytes | None) -> Answer:
        give_up_at = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return self._over_socket(method, path, body)
            except (FileNotFoundError, ConnectionRefusedError):
                pass  # no server, or not yet
            except (OSError, http.client.HTTPException) as error:
                raise click.ClickException(f"The server did not answer: {error or type(error).__name__}") from error
            try:
                with lock.hold(self._settings.data, "A sluice command"):
                    return self._in_process(method, path, body)
            except lock.FolderInUse as error:
                if time.monotonic() > give_up_at:
                    raise click.ClickException(f"{error} It does not answer on its console.sock.") from error
            time.sleep(0.05)

    def _over_socket(self, method: str, path: str, body: bytes | None) -> Answer:
        connection = UnixConnection(self._settings.data / "console.sock", _TIMEOUT_S)
        try:
            connection.connect()
            connection.request(method, path, body, {"content-type": "application/json"} if body else {})
            reply = connection.getresponse()
            headers = {name.lower(): value for name, value in reply.getheaders()}
            return Answer(reply.status, headers, reply.read())
        finally:
            connection.close()

    def _in_process(self, method: str, path: str, body: bytes | None) -> Answer:
        ask: Callable[..., tuple[int, dict[str, str], bytes]] = importlib.import_module(_OFFLINE).ask
        return Answer(*ask(self._settings, method, path, body or b""))


def opened(answer: Answer) -> Envelope:
    """The envelope of a management reply; a refusal ends the command with its reason."""
    try:
        envelope = msgspec.json.decode(answer.body, type=Envelope)
    except msgspec.DecodeError as error:
        raise click.ClickException(f"The server answered {answer.status} with no management reply") from error
    if answer.status >= 400:
        problems = [
            f"{'.'.join(map(str, problem.path[1:]))}: {problem.message}" if problem.path[1:] else problem.message
            for problem in envelope.errors
        ]
        raise click.ClickException("; ".join(problems) or f"The server answered {answer.status}")
    return envelope


def decoded(raw: msgspec.Raw) -> object:
    return json.loads(bytes(raw))
