"""The console's own code in a command's process, for a data folder on which no server runs."""

import asyncio
from collections.abc import MutableMapping, Sequence
from contextlib import closing
from typing import Any

from sluice.console.app import create_app
from sluice.console.desk import Desk
from sluice.console.envelope import busy
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.generations import MappedGenerations
from sluice.values.command import Change
from sluice.values.log import ShardKey
from sluice.values.settings import Settings
from sluice.wiring.desk import opened_desk

Message = MutableMapping[str, Any]


class NoKeeper:
    """Stored logs are the keeper's, and where no server runs there is none."""

    async def give(self, shard: ShardKey, log_ids: Sequence[str], change: Change | None) -> int:
        raise busy("Stored logs are changed by a running server only: start `sluice serve` on this data folder")


def ask(settings: Settings, method: str, target: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """One management call, as the operator; returns status, headers and body. For the holder of the folder's lock."""
    with (
        closing(MappedGenerations.open(settings.data / "generations.map", writable=True)) as generations,
        closing(EmbeddedControlStore.open_for_writing(settings.data / "control.db", generations)) as control,
        opened_desk(settings, control, NoKeeper()) as desk,
    ):
        return asyncio.run(_call(desk, method, target, body))


async def _call(desk: Desk, method: str, target: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    path, _, query = target.partition("?")
    scope: Message = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost"), (b"content-length", str(len(body)).encode())],
        "root_path": "",
    }
    if body:
        scope["headers"].append((b"content-type", b"application/json"))
    said: list[Message] = []
    ended = asyncio.Event()
    requests: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not requests:
            await ended.wait()  # this client stays until it has its reply
            return {"type": "http.disconnect"}
        return requests.pop()

    async def send(message: Message) -> None:
        said.append(message)

    await create_app(desk, operator=True)(scope, receive, send)
    ended.set()
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in said[0]["headers"]}
    return said[0]["status"], headers, b"".join(message.get("body", b"") for message in said[1:])
