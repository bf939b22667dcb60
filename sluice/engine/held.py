"""Reply bodies of which some has been read before anybody was told of them."""

from typing import Final

from sluice.values.errors import GatewayError, OutputUnreadable
from sluice.values.reply import Part, Ready, Reply, ReplyBody

MOST_HELD_BYTES: Final = 32 * 1024 * 1024
"""The longest reply that is held whole, to be put into another request or another shape."""


class Held:
    """What was read ahead, then the rest of the body behind it: None where nothing is, but for a fault."""

    __slots__ = ("_fault", "_first", "_rest")

    def __init__(self, first: Part | None, rest: ReplyBody | None, fault: GatewayError | None = None) -> None:
        self._first, self._rest, self._fault = first, rest, fault

    def poll(self) -> Part | None:
        first, self._first = self._first, None
        if first is not None:
            return first
        return None if self._rest is None else self._rest.poll()

    async def read(self) -> Part:
        first, self._first = self._first, None
        if first is not None:
            return first
        if self._rest is None:
            raise self._fault or AssertionError("nothing comes after the last part")
        return await self._rest.read()

    def alert(self, ready: Ready | None) -> bool:
        return self._rest is not None and self._rest.alert(ready)

    def close(self, complete: bool = False) -> None:
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.close(complete)


async def hold_beginning(reply: Reply) -> None:
    """Reads the first part of a reply. Raises UpstreamFailure, which the reply then ends with."""
    body = reply.body
    try:
        part = body.poll() or await body.read()
    except BaseException as error:
        _give_up(reply, b"", error)
        raise
    reply.body = Held(part, None if part.last else body)


async def hold_whole(reply: Reply) -> bytes:
    """Reads all of a reply. Raises UpstreamFailure and OutputUnreadable, which the reply then ends with."""
    body = reply.body
    pieces: list[bytes] = []
    size, last = 0, False
    try:
        while not last:
            data, last = body.poll() or await body.read()
            pieces.append(data)
            size += len(data)
            if size > MOST_HELD_BYTES:
                raise OutputUnreadable(f"A reply of more than {MOST_HELD_BYTES} bytes cannot be held")
    except BaseException as error:
        _give_up(reply, b"".join(pieces), error)
        raise
    whole = b"".join(pieces)
    reply.body = Held(Part(whole, True), None)
    return whole


def _give_up(reply: Reply, data: bytes, error: BaseException) -> None:
    """Leaves the reply with what there was of it and the reason why there is no more."""
    reply.body.close()
    fault = error if isinstance(error, GatewayError) else None
    reply.body = Held(Part(data, False) if data else None, None, fault)
