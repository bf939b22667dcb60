"""A request body whose beginning is read before it is sent."""

from typing import Final

from sluice.values.request import BytesBody, ClientBody

MOST_PEEKED: Final = 1024 * 1024
"""So much of a body is waited for, to see which model it asks for."""


async def peeked(body: ClientBody) -> ClientBody:
    """The same body, all of it in memory unless it is larger. Raises as `read` does."""
    if body.whole is not None:
        return body
    parts: list[bytes] = []
    held = 0
    while held <= MOST_PEEKED:
        data = await body.read()
        if not data:
            return BytesBody(b"".join(parts))
        parts.append(data)
        held += len(data)
    return _Begun(b"".join(parts), body)


class _Begun:
    """What was read of a body, and then the rest of it."""

    __slots__ = ("_begun", "_rest", "length")

    whole: None = None

    def __init__(self, begun: bytes, rest: ClientBody) -> None:
        self._begun, self._rest = begun, rest
        self.length: int | None = rest.length

    async def read(self) -> bytes:
        data, self._begun = self._begun, b""
        return data or await self._rest.read()

    async def gather(self, most_bytes: int) -> None:
        return None
