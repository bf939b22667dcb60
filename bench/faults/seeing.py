"""What a client sees of one request: its own few lines of HTTP, so that no library mends or hides anything."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.exchange import head

View = Literal["whole", "cut", "reset", "silent", "nothing"]
"""How it ended: by its proper end, before it, by a reset, not within the client's patience, or before any head."""
LONGEST_HEAD = 1 << 20


@dataclass(slots=True)
class Seen:
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    view: View = "nothing"


async def see(port: int, path: str, headers: Mapping[str, str], body: bytes, patience_s: float) -> Seen:
    """Sends a request on a connection of its own and looks to the end of what comes."""
    seen = Seen()
    writer = None
    try:
        async with asyncio.timeout(patience_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LONGEST_HEAD)
            writer.write(head(path, headers, len(body)) + body)
            await _head(reader, seen)
            await _body(reader, seen)
        seen.view = "whole"
    except TimeoutError:
        seen.view = "silent"
    except asyncio.IncompleteReadError as error:
        if seen.status:
            seen.body += error.partial
            seen.view = "cut"
    except ConnectionError:
        seen.view = "reset"
    except ValueError:
        seen.view = "cut"  # what should be the length of a chunk is none
    finally:
        if writer is not None:
            writer.close()
    return seen


async def _head(reader: asyncio.StreamReader, seen: Seen) -> None:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    pairs = (line.partition(":") for line in lines)
    seen.headers = {name.lower(): value.strip() for name, _, value in pairs}
    seen.status = int(status.split()[1])


async def _body(reader: asyncio.StreamReader, seen: Seen) -> None:
    if "chunked" in seen.headers.get("transfer-encoding", "").lower():
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            seen.body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
    elif (length := seen.headers.get("content-length")) is not None:
        seen.body = await reader.readexactly(int(length))
    else:
        while data := await reader.read(1 << 16):
            seen.body += data
