"""What a client of the universal WebSocket sees of one request, on a connection of its own."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bench.faults.seeing import Seen


async def converse(port: int, path: str, headers: Mapping[str, str], request: bytes, patience_s: float) -> Seen:
    """Runs a request and listens to the message that ends it. Its body is what it was told, a piece a line."""
    seen = Seen()
    message = b'{"type":"universal.create","request":%b}' % request
    try:
        async with asyncio.timeout(patience_s):
            address = f"ws://127.0.0.1:{port}{path}/"
            async with connect(address, additional_headers=headers, proxy=None, close_timeout=1) as socket:
                await socket.send(message.decode())
                async for text in socket:
                    if _hear(seen, json.loads(text)):
                        break
    except TimeoutError:
        seen.view = "silent"
    except (ConnectionClosed, OSError):
        seen.view = "cut" if seen.status else "nothing"
    return seen


def _hear(seen: Seen, message: Mapping[str, Any]) -> bool:
    """Takes a message in; whether it was the last."""
    told = message.get("metadata", {})
    if message["type"] != "universal.stream":
        seen.status = told.get("statusCode", 200)
        seen.headers = {"cf-aig-step": told.get("step", ""), "cf-aig-log-id": told.get("logId", "")}
    if message["type"] == "universal.done":
        seen.view = "cut" if "error" in told else "whole"
        return True
    if "response" in message:
        seen.body += json.dumps(message["response"]).encode() + b"\n"
        if message["type"] == "universal.created":
            seen.view = "whole"
            return True
    return bool(message["type"] == "universal.error")
