import asyncio

from sluice.outbox import LONE_S, MOST_BYTES, Outbox


class Transport(asyncio.Transport):
    """Remembers what was written to it, and when."""

    def __init__(self, written: list[tuple[str, bytes]], name: str) -> None:
        super().__init__()
        self.name, self.written, self.closing = name, written, False

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append((self.name, bytes(data)))


class Clock:
    """Stands still until it is told the time."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def busy(clock: Clock | None = None) -> Outbox:
    """An outbox that has just written something, so that it waits for more."""
    outbox = Outbox(asyncio.get_running_loop(), clock or Clock())
    outbox.put(Transport([], "before"), b"x")
    return outbox


async def test_writes_at_once_what_comes_alone():
    written: list[tuple[str, bytes]] = []
    clock = Clock()
    outbox, transport = busy(clock), Transport(written, "one")
    await asyncio.sleep(0)
    clock.now_s += 2 * LONE_S
    outbox.put(transport, b"a")
    assert written == [("one", b"a")]


async def test_lets_what_comes_later_in_a_turn_wait_however_slow_the_turn_is():
    written: list[tuple[str, bytes]] = []
    clock = Clock()
    outbox, transport = busy(clock), Transport(written, "one")
    clock.now_s += 2 * LONE_S
    outbox.put(transport, b"a")
    clock.now_s += 2 * LONE_S
    outbox.put(transport, b"b")
    assert written == []
    await asyncio.sleep(0)
    assert written == [("one", b"ab")]


async def test_writes_everything_of_a_turn_before_the_loop_waits_again_once_to_each_connection():
    written: list[tuple[str, bytes]] = []
    outbox = busy()
    one, other = Transport(written, "one"), Transport(written, "other")
    outbox.put(one, b"a")
    outbox.put(other, b"b")
    outbox.put(one, b"c")
    assert written == []
    await asyncio.sleep(0)
    assert written == [("one", b"ac"), ("other", b"b")]


async def test_drops_what_is_meant_for_a_connection_that_has_closed_meanwhile():
    written: list[tuple[str, bytes]] = []
    outbox = busy()
    gone, here = Transport(written, "gone"), Transport(written, "here")
    outbox.put(gone, b"a")
    outbox.put(here, b"b")
    gone.closing = True
    outbox.flush()
    assert written == [("here", b"b")]


async def test_writes_at_once_what_would_take_too_much_memory():
    written: list[tuple[str, bytes]] = []
    outbox = busy()
    transport = Transport(written, "one")
    outbox.put(transport, b"a")
    outbox.put(transport, bytes(MOST_BYTES))
    assert [len(data) for _, data in written] == [1 + MOST_BYTES]
    outbox.put(transport, b"b")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [data for _, data in written[1:]] == [b"b"]
