"""Reply bodies of which some has been read before anybody was told of them."""

from collections import deque
from collections.abc import Iterable
from typing import Final

from sluice.values.errors import GatewayError, OutputUnreadable
from sluice.values.reply import Part, Reply, ReplyBody

MOST_HELD_BYTES: Final = 32 * 1024 * 1024
"""The longest reply that is held whole, to be put into another request or another shape."""


class Held:
    """Parts that were read ahead, then the rest of the body behind them: None where nothing is, but for a fault."""

    def __init__(self, parts: Iterable[Part], rest: ReplyBody | None, fault: GatewayError | None = None) -> None:
        self._parts, self._rest, self._fault = deque(parts), rest, fault

    def poll(self) -> Part | None:
        if self._parts:
            return self._parts.popleft()
        return None if self._rest is None else self._rest.poll()

    async def read(self) -> Part:
        if self._parts:
            return self._parts.popleft()
        if self._rest is None:
            raise self._fault or AssertionError("nothing comes after the last part")
        return await self._rest.read()

    def close(self, complete: bool = False) -> None:
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.close(complete)


async def hold_beginning(reply: Reply) -> None:
    """Reads the first part of a reply. Raises UpstreamFailure, the reply then having what there was of it."""
    await _hold(reply, whole=False)


async def hold_whole(reply: Reply) -> bytes:
    """Reads all of a reply. Raises UpstreamFailure and OutputUnreadable, the reply then having what there was of it."""
    return b"".join([part.data for part in await _hold(reply, whole=True)])


async def _hold(reply: Reply, *, whole: bool) -> list[Part]:
    body = reply.body
    parts: list[Part] = []
    size = 0
    try:
        while not parts or (whole and not parts[-1].last):
            parts.append(body.poll() or await body.read())
            size += len(parts[-1].data)
            if whole and size > MOST_HELD_BYTES:
                raise OutputUnreadable(f"A reply of more than {MOST_HELD_BYTES} bytes cannot be held")
    except BaseException as error:
        body.close()
        reply.body = Held(parts, None, error if isinstance(error, GatewayError) else None)
        raise
    reply.body = Held(parts, None if parts[-1].last else body)
    return parts
