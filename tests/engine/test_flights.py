"""Calls that several share, with no gateway around them: who makes one, and who bears it."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.edge.body import ArrivedBody
from sluice.engine.cache_rules import LARGEST_BYTES
from sluice.engine.caching import finished, given
from sluice.engine.collected import Collected, Replayed
from sluice.engine.flights import Asking, Flights, Given
from sluice.engine.head_tokens import HEAD_TOKENS_IN
from sluice.engine.recorder import Record, Recorder
from sluice.metrics import Metrics
from sluice.spool.writer import SpoolWriter
from sluice.values.caching import KeptReply, Place
from sluice.values.limits import Reservation
from sluice.values.reply import Part, Reply, WholeBody
from sluice.values.request import DEFAULT_OPTIONS, Request, Step
from sluice.values.settings import SpoolSettings
from sluice.values.tenancy import Admission, Gateway

FIELDS = {b"content-type": b"application/json", b"content-length": b"2", HEAD_TOKENS_IN: b"7"}
PLACE = Place(b"k" * 32, b"g", 0)
STEP = Step(0, "openai", b"x", b"", b"POST", [], b"", b"", ArrivedBody(b"{}"), DEFAULT_OPTIONS)
REQUEST = Request("acme", "default", None, "provider", b"", DEFAULT_OPTIONS, (STEP,))
ADMISSION = Admission(Gateway(bytes(16), "acme", "default", False, True), False)


class Field:
    """Flights whose look into the cache, and whose calls, wait for the test."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.found, self.answer = asyncio.Event(), asyncio.Event()
        self.callers: list[Record] = []
        self.kept: list[Any] = []
        self.content_type, self.body = b"application/json", lambda: WholeBody(b"{}")
        self.flights = Flights(self._make, self, finished, True, Metrics.unseen())

    def at_hand(self, key: bytes) -> None:
        """Nothing is."""

    async def find(self, key: bytes) -> None:
        await self.found.wait()

    def keep(self, place: Place, reply: Any) -> None:
        self.kept.append(reply.body)

    async def _make(self, step: Step, record: Record) -> Reply:
        self.callers.append(record)
        record.answered(200, {**FIELDS, b"content-type": self.content_type}, b"")
        record.reservation = record.reservation or Reservation(5, ())
        await self.answer.wait()
        return Reply(200, b"OK", [], 2, self.body())

    async def join(self, count: int) -> list[tuple[Asking, asyncio.Task[Any]]]:
        all_of_them = [self._asking() for _ in range(count)]
        tasks = [asyncio.create_task(self.flights.join(one)) for one in all_of_them]
        await asyncio.sleep(0)
        return list(zip(all_of_them, tasks, strict=True))

    def _asking(self) -> Asking:
        trace = self._recorder.open(REQUEST)
        trace.admitted = ADMISSION
        target: Any = SimpleNamespace(endpoint="v1/x", provider=SimpleNamespace(terminal_line=b""))
        return Asking(STEP, trace.begin(STEP), target, PLACE, 60, False)


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    with closing(SpoolWriter.open(tmp_path, SpoolSettings(), Metrics.unseen())) as spool:
        yield Field(Recorder(spool, 400, waits_for_sync=False))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_whoever_left_before_the_call_does_not_make_it(field: Field):
    (first, leaving), (second, staying) = await field.join(2)
    leaving.cancel()
    await settle()
    field.found.set()
    field.answer.set()
    assert isinstance(await staying, Reply)
    assert field.callers == [second.record]
    assert (first.record.reservation, second.record.reservation) == (None, Reservation(5, ()))
    await field.flights.close()


async def test_what_was_set_aside_and_what_the_head_tells_go_to_the_one_who_pays(field: Field):
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
    payer = second.record
    assert HEAD_TOKENS_IN not in payer.reply_fields
    payer.cached = True
    given(second.step, payer, second.target, outcome.reply, outcome)
    assert payer.cached is False
    assert payer.reply_fields[HEAD_TOKENS_IN] == b"7"
    await field.flights.close()


async def test_the_last_who_leaves_takes_what_was_set_aside(field: Field):
    field.found.set()
    (first, leading), (second, waiting) = await field.join(2)
    await settle()
    first.record.attempts = 1
    for task in (leading, waiting):
        task.cancel()
        await settle()
    assert [one.record.reservation for one in (first, second)] == [None, Reservation(5, ())]
    assert second.record.attempts == first.record.attempts == 1
    await field.flights.close()


async def test_a_reply_too_long_to_be_kept_leaves_nothing_behind_when_it_is_read(field: Field):
    field.found.set()
    field.answer.set()
    half = LARGEST_BYTES // 2
    field.body = lambda: Replayed(bytes(4 * half), (half, 2 * half, 3 * half, 4 * half))
    ((_, leading),) = await field.join(1)
    body = (await leading).body
    sizes, last = [], False
    while not last:
        part = body.poll() or await body.read()
        last = part.last
        sizes.append(len(part.data))
    assert (sizes, field.kept) == ([half] * 4, [])
    assert field.flights.collected_bytes == 0
    await field.flights.close()


@pytest.mark.parametrize("others", [0, 1])
async def test_a_client_that_leaves_behind_the_last_event_has_paid_and_the_stream_is_kept(field: Field, others: int):
    source = Collected(lambda complete: None)
    field.content_type, field.body = b"text/event-stream", lambda: source
    field.found.set()
    field.answer.set()
    (_, leading), *waiting = await field.join(1 + others)
    body = (await leading).body
    source.add(Part(b"data: [DONE]\n\n", False))
    assert (await body.read()).data == b"data: [DONE]\n\n"
    body.close(complete=True)
    source.add(Part(b"", True))
    assert [(await task).cached for _, task in waiting] == [True] * others
    await settle()
    assert field.kept == [b"data: [DONE]\n\n"]
    assert field.flights.collected_bytes == 0
    await field.flights.close()


async def test_a_stream_that_goes_on_behind_its_last_event_has_a_moment_to_end(field: Field):
    ended = asyncio.Event()
    source = Collected(lambda complete: ended.set())
    field.content_type, field.body = b"text/event-stream", lambda: source
    field.found.set()
    field.answer.set()
    ((_, leading),) = await field.join(1)
    body = (await leading).body
    source.add(Part(b"data: [DONE]\n\n", False))
    await body.read()
    body.close(complete=True)
    async with asyncio.timeout(5):
        await ended.wait()
    assert (field.kept, field.flights.collected_bytes) == ([], 0)
    await field.flights.close()


def test_the_lines_of_a_kept_head_are_given_one_by_one(field: Field):
    """So that who tells the reply in other words finds those that it replaces."""
    kept = KeptReply(429, b"", b"text/plain", b"", b"Retry-After: 3\r\nContent-Length: 2\r\n", b"no", 0.0)
    asking = field._asking()
    reply = given(asking.step, asking.record, asking.target, kept)
    assert reply.lines == [b"Retry-After: 3\r\n", b"Content-Length: 2\r\n"]
