"""What the gateway says, in a word each: `400:2004` an error of ours, `m404:7003` one of the management API,
`g400:7001` one of its GraphQL.

`200`, `400` are replies that are not ours; `200-cut` is one without its end. `end` and `reset` are how the connection
ended, `hang` that it did not. Behind a 101 `pong`, `close1002`, `text`, and a universal message by its type:
`created`, `created400:2005`, `stream`, `done`, `error2004`. `garbled`, with a reason, and `leak` are never right.
"""

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ERRORS = Path(__file__).parent.parent.parent / "docs" / "errors.md"
OURS = {
    *("success", "result", "messages", "error", "errors", "name"),
    *("httpCode", "internalCode", "message", "description"),
}
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([^\r\n\0]*)\r\n")
_INFERENCE_ROW = re.compile(r"\| (\d+) \| (\d{3}) \| ")
_MANAGEMENT_ROW = re.compile(r"\| (\d+) \| (\d{3}(?:, \d{3})*) \| ")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Code and status of every error, as docs/errors.md has them."""

    inference: frozenset[tuple[int, int]]
    management: frozenset[tuple[int, int]]


def read_catalogue() -> Catalogue:
    inference, _, management = ERRORS.read_text().partition("\n## On the management API\n")
    ours = {(int(row[1]), int(row[2])) for row in _INFERENCE_ROW.finditer(inference)}
    told = {(int(row[1]), int(status)) for row in _MANAGEMENT_ROW.finditer(management) for status in row[2].split(", ")}
    return Catalogue(
        frozenset(ours), frozenset(told | ours)
    )  # Cloudflare's own paths tell all of these by its envelope


class Ended(Exception):
    """The connection ended; the word says how."""


class Replies:
    """Reads what comes on one connection, word by word."""

    def __init__(self, reader: asyncio.StreamReader, catalogue: Catalogue, secret: str) -> None:
        self._reader, self._catalogue, self._secret = reader, catalogue, secret.encode()
        self.status = 0
        self.heard = b""
        """The last reply, for whoever has to be told what was wrong."""

    async def reply(self) -> str:
        """The next reply. Raises Ended where there is none."""
        while True:
            head = await self._until(b"\r\n\r\n")
            found = _STATUS.match(head)
            if found is None:
                return f"garbled: {head[:200]!r}"
            self.status = int(found[1])
            rest = head[found.end() : -2]
            lines = _FIELD.findall(rest)
            if b"".join(b"%b: %b\r\n" % line for line in lines) != rest:
                return f"garbled: {head[:500]!r}"
            if self.status >= 200 or self.status == 101:
                break
        fields = {name.lower(): value for name, value in lines}
        if self.status in (101, 204, 304):
            return str(self.status)
        try:
            body = await self._body(fields)
        except (asyncio.IncompleteReadError, ConnectionError):
            return f"{self.status}-cut"
        self.heard = head + body
        return self._named(fields, body)

    async def ending(self) -> str:
        """How the connection ended, which is told by what cannot be read any more."""
        try:
            surplus = await self._reader.read(1000)
        except ConnectionError:
            return "reset"
        return f"garbled: {surplus!r} after the last reply" if surplus else "end"

    async def message(self) -> str:
        """The next frame behind a 101. Raises Ended where there is none."""
        try:
            first, second = await self._reader.readexactly(2)
            size = second & 0x7F
            if size > 125:
                size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
            data = await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Ended(how(error)) from None
        self.heard = data
        if second & 0x80 or first & 0x70:
            return f"garbled: {bytes((first, second))!r}"
        if first & 0x0F == 8:
            return f"close{int.from_bytes(data[:2], 'big') or 1005}"
        if first & 0x0F in (9, 10):
            return ("ping", "pong")[(first & 0x0F) - 9]
        return self._universal(data)

    async def _until(self, mark: bytes) -> bytes:
        try:
            return await self._reader.readuntil(mark)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Ended(how(error)) from None
        except asyncio.LimitOverrunError:
            return b"a head without end"

    async def _body(self, fields: dict[bytes, bytes]) -> bytes:
        if (length := fields.get(b"content-length")) is not None:
            return await self._reader.readexactly(int(length))
        if fields.get(b"transfer-encoding") != b"chunked":
            return await self._reader.read(-1)
        body = []
        while size := int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            body.append((await self._reader.readexactly(size + 2))[:-2])
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return b"".join(body)

    def _named(self, fields: dict[bytes, bytes], body: bytes) -> str:
        """A reply in a word; the errors of ours must be whole, and known."""
        told = _decoded(body) if self.status >= 400 else None
        if not isinstance(told, dict):
            return str(self.status)
        if told.get("name") == "AiGatewayError":
            if self._secret in body:
                return "leak"
            code = told.get("internalCode")
            whole = set(told) == OURS and told["httpCode"] == self.status and told["success"] is False
            known = (code, self.status) in self._catalogue.inference
            sound = whole and known and told["description"] and told["errors"] == told["error"]
            return f"{self.status}:{code}" if sound else f"garbled: {body[:500]!r}"
        if set(told) == {"success", "errors", "messages", "result"} and told["result"] is None:
            code = told["errors"][0].get("code") if told["errors"] else None
            sound = not told["success"] and (code, self.status) in self._catalogue.management
            return f"m{self.status}:{code}" if sound and told["errors"][0]["message"] else f"garbled: {body[:500]!r}"
        if set(told) == {"errors", "data"}:
            known = (told["errors"][0]["extensions"]["code"], self.status) in self._catalogue.management
            return f"g{self.status}:{told['errors'][0]['extensions']['code']}" if known else f"garbled: {body[:500]!r}"
        return str(self.status)

    def _universal(self, data: bytes) -> str:
        told = _decoded(data)
        if not isinstance(told, dict) or "type" not in told:
            return "text"
        kind = str(told["type"]).removeprefix("universal.")
        if kind == "error":
            sound = told["success"] is False and told["error"][0]["message"]
            return f"error{told['error'][0]['code']}" if sound else f"garbled: {data[:500]!r}"
        status = told.get("metadata", {}).get("statusCode", 200)
        if kind != "created" or status < 400:
            return kind
        response = told.get("response")
        if not isinstance(response, dict) or response.get("name") != "AiGatewayError":
            return f"created{status}"
        return f"created{status}:{response['internalCode']}"


def how(error: BaseException) -> str:
    """How a connection ended on which more was waited for."""
    if isinstance(error, asyncio.IncompleteReadError):
        return "cut" if error.partial else "end"
    return "reset"


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
