"""Calls that several share, with no gateway around them: who makes one, and who bears it."""

import asyncio
from types import SimpleNamespace
from typing import Any

from sluice.engine.caching import finished, given
from sluice.engine.flights import Asking, Flights, Given
from sluice.engine.head_tokens import HEAD_TOKENS_IN
from sluice.metrics import Metrics
from sluice.values.caching import Place
from sluice.values.limits import Reservation
from sluice.values.reply import Reply, WholeBody

FIELDS = {b"content-type": b"application/json", b"content-length": b"2", HEAD_TOKENS_IN: b"7"}
PLACE = Place(b"k" * 32, b"g", 0)


class Billed(SimpleNamespace):
    """As much of a record as a flight looks at."""

    def hand_over(self) -> Reservation | None:
        held, self.reservation = self.reservation, None
        return held


def asking() -> Asking:
    record: Any = Billed(reply_fields=FIELDS, reply_type=FIELDS[b"content-type"], reply_encoding=b"", reservation=None)
    target: Any = SimpleNamespace(endpoint="v1/x", provider=SimpleNamespace(terminal_line=b""))
    step: Any = SimpleNamespace(body=None)
    return Asking(step, record, target, PLACE, 60, False)


class Field:
    """Flights whose look into the cache, and whose calls, wait for the test."""

    def __init__(self) -> None:
        self.found, self.answer = asyncio.Event(), asyncio.Event()
        self.callers: list[Any] = []
        self.flights = Flights(self._make, self, finished, False, Metrics.unseen())  # type: ignore[arg-type]  # it is all of a cache that they use

    async def find(self, key: bytes) -> None:
        await self.found.wait()

    def keep(self, place: Place, reply: Any) -> None:
        pass

    async def _make(self, step: Any, record: Any) -> Reply:
        self.callers.append(record)
        record.reservation = record.reservation or Reservation(5, ())
        await self.answer.wait()
        return Reply(200, b"OK", [], 2, WholeBody(b"{}"))

    async def join(self, count: int) -> list[tuple[Asking, asyncio.Task[Any]]]:
        all_of_them = [asking() for _ in range(count)]
        tasks = [asyncio.create_task(self.flights.join(one)) for one in all_of_them]
        await asyncio.sleep(0)
        return list(zip(all_of_them, tasks, strict=True))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_whoever_left_before_the_call_does_not_make_it():
    field = Field()
    (first, leaving), (second, staying) = await field.join(2)
    leaving.cancel()
    await settle()
    field.found.set()
    field.answer.set()
    assert isinstance(await staying, Reply)
    assert field.callers == [second.record]
    assert (first.record.reservation, second.record.reservation) == (None, Reservation(5, ()))
    await field.flights.close()


async def test_what_was_set_aside_and_what_the_head_tells_go_to_the_one_who_pays():
    field = Field()
    field.found.set()
    (first, leaving), (second, paying), (third, free) = await field.join(3)
    await settle()
    leaving.cancel()
    await settle()
    field.answer.set()
    outcome = await paying
    assert isinstance(outcome, Given)
    assert (outcome.cached, (await free).cached) == (False, True)
    held = [one.record.reservation for one in (first, second, third)]
    assert held == [None, Reservation(5, ()), None]
    heard: dict[str, Any] = {}
    record: Any = SimpleNamespace(
        given=lambda *told: heard.update(given=told), answered=lambda *told: heard.update(answered=told)
    )
    given(second.step, record, second.target, outcome.reply, outcome)
    assert heard["given"][2] is False
    assert heard["answered"][1][HEAD_TOKENS_IN] == b"7"
    await field.flights.close()


async def test_the_last_who_leaves_takes_what_was_set_aside():
    field = Field()
    field.found.set()
    (first, leading), (second, waiting) = await field.join(2)
    await settle()
    for task in (leading, waiting):
        task.cancel()
        await settle()
    assert [one.record.reservation for one in (first, second)] == [None, Reservation(5, ())]
    await field.flights.close()
