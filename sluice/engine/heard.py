"""Request bodies that are recorded as they are read, so that they can be sent once more."""

from typing import Final

from sluice.spool.tape import Tape
from sluice.values.errors import Overloaded
from sluice.values.request import Body

REREAD_BYTES: Final = 256 * 1024


class Heard:
    """A request body that is recorded as it is read."""

    __slots__ = ("_body", "length", "tape")

    whole: bytes | None = None

    def __init__(self, body: Body, tape: Tape) -> None:
        self._body, self.tape = body, tape
        self.length = body.length

    @property
    def kept(self) -> bool:
        """Whether the tape has all that was read."""
        return not self.tape.truncated

    async def read(self) -> bytes:
        data = await self._body.read()
        self.tape.add(data)
        if self.tape.behind:
            await self.tape.settle()
        return data


class Repeated:
    """A request body sent once more: what was recorded of it, then what is still to come."""

    __slots__ = ("_at", "_heard", "_recorded", "length")

    whole: bytes | None = None

    def __init__(self, heard: Heard) -> None:
        self._heard, self._at, self._recorded = heard, 0, heard.tape.length
        self.length = heard.length

    async def read(self) -> bytes:
        if self._at == self._recorded:
            return await self._heard.read()
        try:
            data = await self._heard.tape.reread(self._at, min(REREAD_BYTES, self._recorded - self._at))
        except OSError as error:
            raise Overloaded(detail=f"The request's body cannot be read again: {error}") from error
        self._at += len(data)
        return data
