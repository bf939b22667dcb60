"""A body whose beginning is looked at: nothing of it is lost, whatever happens meanwhile."""

import asyncio

import pytest

from sluice.engine.peeked import MOST_PEEKED, Peeked


class Pieces:
    """A body that comes piece by piece, as fast as `more` is set."""

    whole = None
    length = None

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [*pieces]
        self.more = asyncio.Event()
        self.more.set()

    async def read(self) -> bytes:
        await self.more.wait()
        return self.pieces.pop(0) if self.pieces else b""

    async def gather(self, most_bytes: int) -> None:
        return None


async def all_of(body: Peeked) -> bytes:
    found = b""
    while data := await body.read():
        found += data
    return found


@pytest.mark.parametrize("pieces", [(), (b"a",), (b"a", b"bc", b"d")])
async def test_a_small_body_is_whole_and_can_be_read_once(pieces: tuple[bytes, ...]):
    body = Peeked(Pieces(*pieces))
    assert body.whole is None
    await body.fill()
    assert (body.whole, body.length) == (b"".join(pieces), len(b"".join(pieces)))
    assert await all_of(body) == b"".join(pieces)
    assert (await body.read(), body.whole) == (b"", b"".join(pieces))


async def test_a_large_body_goes_on_where_it_was_left():
    pieces = [bytes([number]) * 400_000 for number in range(5)]
    source = Pieces(*pieces)
    body = Peeked(source)
    await body.fill()
    assert (body.whole, len(source.pieces)) == (None, 2)
    assert MOST_PEEKED < 400_000 * 3
    await body.fill()
    assert await all_of(body) == b"".join(pieces)


async def test_a_try_that_is_cut_short_loses_nothing():
    source = Pieces(b"a", b"b")
    body = Peeked(source)
    source.more.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(body.fill(), 0.01)
    source.more.set()
    await body.fill()
    assert body.whole == b"ab"
