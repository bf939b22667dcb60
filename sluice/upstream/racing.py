"""The first of several addresses that can be connected to (RFC 8305, "Happy Eyeballs")."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain, zip_longest
from typing import Final, Protocol, TypeVar

DELAY_S: Final = 0.25
"""How long an address is tried alone (RFC 8305, 5)."""


class Abortable(Protocol):
    def abort(self) -> None: ...


Made = TypeVar("Made", bound=Abortable)


def interleaved(addresses: Iterable[str]) -> list[str]:
    """Each family in its order, the families by turns, the first one's first (RFC 8305, 4)."""
    found = list(dict.fromkeys(addresses))
    first = [address for address in found if (":" in address) == (":" in found[0])]
    second = [address for address in found if (":" in address) != (":" in found[0])]
    return [address for address in chain.from_iterable(zip_longest(first, second)) if address is not None]


async def first_made(
    addresses: Sequence[str], connect: Callable[[str], Awaitable[Made]], delay_s: float = DELAY_S
) -> Made:
    """Tries the addresses in order, the next one when the one before has failed or takes longer than the delay.

    What is made in vain is aborted. Raises the last failure, of one address at least.
    """
    if len(addresses) == 1:
        return await connect(addresses[0])
    left, running = deque(addresses), set[asyncio.Future[Made]]()
    failure: BaseException | None = None
    try:
        while left or running:
            if left:
                running.add(asyncio.ensure_future(connect(left.popleft())))
            done, running = await asyncio.wait(
                running, timeout=delay_s if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            made = [each for each in done if each.exception() is None]
            running.update(made[1:])
            if made:
                return made[0].result()
            failure = next((each.exception() for each in done), failure)
        assert failure is not None, "no address to be tried"
        raise failure
    finally:
        for each in running:
            each.cancel()
            each.add_done_callback(_abort)


def _abort(made: "asyncio.Future[Made]") -> None:
    if not made.cancelled() and made.exception() is None:
        made.result().abort()
