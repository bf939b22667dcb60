"""Long exchanges are announced in the spool, those of relayed connections at once, short ones never."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sluice.edge.body import ArrivedBody
from sluice.engine.recorder import Record, Recorder
from sluice.engine.watch import AT_ONCE, LONG_S
from sluice.metrics import Metrics
from sluice.spool.frames import decode_log_frame, tells_of_opening
from sluice.spool.reader import SpoolTail
from sluice.spool.writer import SpoolWriter
from sluice.values.request import DEFAULT_OPTIONS, Request, Step
from sluice.values.settings import SpoolSettings
from sluice.values.tenancy import Admission, Gateway

STEP = Step(0, "openai", b"models", b"", b"GET", [], b"", b"", ArrivedBody(b""), DEFAULT_OPTIONS)
REQUEST = Request("acme", "default", None, "provider", b"", DEFAULT_OPTIONS, (STEP,))


class House:
    """A recorder, and what it leaves in the spool."""

    def __init__(self, spool: SpoolWriter, tail: SpoolTail) -> None:
        self.recorder, self._tail = Recorder(spool, 400, waits_for_sync=False), tail

    def record(self, collect: bool = True) -> Record:
        trace = self.recorder.open(REQUEST)
        trace.admitted = Admission(Gateway(bytes(16), "acme", "default", False, collect), False)
        record = trace.begin(STEP)
        record.called("v1/models", STEP.body)
        return record

    def look(self) -> None:
        """What `Deadlines` does each tick."""
        self.recorder.watch.expired()

    def left(self) -> list[tuple[str, bool, int]]:
        """New frames: id, whether it goes on, status."""
        frames = [(tells_of_opening(found.data), decode_log_frame(found.data).exchange) for found in self._tail.take()]
        return [(exchange.id, opening, exchange.status) for opening, exchange in frames]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with (
        closing(SpoolWriter.open(tmp_path, SpoolSettings(), Metrics.unseen())) as spool,
        closing(SpoolTail(tmp_path / "0")) as tail,
    ):
        yield House(spool, tail)


def age(record: Record) -> None:
    record.started_s -= LONG_S


async def test_what_lasts_is_announced_once_and_again_when_its_head_comes(house: House):
    record = house.record()
    record.answered(103, {}, b"")
    house.look()
    assert house.left() == []
    age(record)
    house.look()
    house.look()
    assert house.left() == [(record.id, True, 103)]
    record.answered(200, {}, b"")
    await record.settle()
    assert house.left() == [(record.id, True, 200), (record.id, False, 200)]
    assert house.recorder.watch.young == set()


async def test_what_ended_in_time_is_not_announced(house: House):
    record = house.record()
    age(record)
    await record.settle()
    house.look()
    assert [opening for _, opening, _ in house.left()] == [False]
    assert house.recorder.watch.young == set()


def test_a_relayed_connection_is_announced_with_its_first_moment(house: House):
    record = house.record()
    record.answered(101, {}, b"")
    assert record.transcribe() is not None
    assert house.left() == [(record.id, True, 101)]


def test_what_is_not_logged_is_not_announced(house: House):
    record = house.record(collect=False)
    age(record)
    house.look()
    assert record.transcribe() is None
    assert house.left() == []


def test_very_many_are_announced_a_part_at_a_time(house: House):
    for record in [house.record() for _ in range(AT_ONCE + 1)]:
        age(record)
    house.look()
    assert len(house.left()) == AT_ONCE
    house.look()
    assert len(house.left()) == 1


def test_one_that_cannot_be_announced_goes_on(house: House, caplog: pytest.LogCaptureFixture):
    record = house.record()
    record.found("\ud800")
    record.announce()
    assert house.left() == []
    assert [line.message for line in caplog.records] == ["opening not written"]
