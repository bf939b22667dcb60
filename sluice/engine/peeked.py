"""A request body whose beginning is read before it is sent."""

from typing import Final

from sluice.values.request import ClientBody

MOST_PEEKED: Final = 1024 * 1024
"""So much of a body is waited for, to see which model it asks for."""


class Peeked:
    """The same body, whole where it is no larger than that. What was read of it outlasts a try that is cut short."""

    __slots__ = ("_begun", "_ended", "_given", "_held", "_rest", "length")

    def __init__(self, body: ClientBody) -> None:
        self._rest, self.length = body, body.length
        self._begun: list[bytes] = []
        self._held = 0
        self._ended = self._given = False

    @property
    def whole(self) -> bytes | None:
        if not self._ended:
            return None
        if len(self._begun) > 1:
            self._begun = [b"".join(self._begun)]
        return self._begun[0] if self._begun else b""

    async def fill(self) -> None:
        """Reads as much as is to be seen. Raises as `read` does."""
        while not self._ended and self._held <= MOST_PEEKED:
            data = await self._rest.read()
            if data:
                self._begun.append(data)
                self._held += len(data)
            else:
                self._ended = True
                self.length = self._held

    async def read(self) -> bytes:
        if self._ended:
            data = b"" if self._given else self.whole or b""
            self._given = True
            return data
        if not self._begun:
            return await self._rest.read()
        data, self._begun = b"".join(self._begun), []
        return data

    async def gather(self, most_bytes: int) -> None:
        return None
