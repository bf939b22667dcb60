"""What becomes of a request that ends by a bug, or whose log cannot be written."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from sluice.edge.body import ArrivedBody
from sluice.engine.recorder import Recorder
from sluice.metrics import Metrics
from sluice.spool.frames import decode_log_frame
from sluice.spool.reader import SpoolTail
from sluice.spool.writer import SpoolWriter
from sluice.values.exchange import Exchange
from sluice.values.limits import Reservation
from sluice.values.request import DEFAULT_OPTIONS, Request, Step
from sluice.values.settings import SpoolSettings
from sluice.values.tenancy import Admission, Gateway

ADMISSION = Admission(Gateway(bytes(16), "acme", "default", False, True), False)
STEP = Step(0, "openai", b"models", b"", b"GET", [], b"", b"", ArrivedBody(b""), DEFAULT_OPTIONS)
REQUEST = Request("acme", "default", None, "provider", b"", DEFAULT_OPTIONS, (STEP,))


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    with closing(SpoolWriter.open(tmp_path, SpoolSettings(), Metrics.unseen())) as writer:
        yield writer


def logged(root: Path) -> list[Exchange]:
    with closing(SpoolTail(root / "0")) as tail:
        return [decode_log_frame(found.data).exchange for found in tail.take()]


def crash(recorder: Recorder, admission: Admission = ADMISSION) -> None:
    with suppress(ZeroDivisionError), recorder.open(REQUEST) as trace:
        trace.admitted = admission
        trace.begin(STEP)
        raise ZeroDivisionError("with a secret")


def test_a_bug_is_named_in_the_process_log_with_the_id_of_its_request(
    spool: SpoolWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    crash(Recorder(spool, 400, waits_for_sync=False))
    (exchange,) = logged(tmp_path)
    assert (exchange.ending, exchange.status, exchange.error) == ("refused", 500, 2005)
    (line,) = caplog.records
    assert line.__dict__["fields"] == {"request_id": exchange.id, "error": "ZeroDivisionError"}


def test_a_log_that_a_bug_keeps_from_its_spool_is_named_by_its_id(
    spool: SpoolWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    nameless: Any = None  # of which no frame can be made
    with caplog.at_level(logging.ERROR):
        crash(
            Recorder(spool, 400, waits_for_sync=False),
            Admission(Gateway(nameless, "acme", "default", False, True), False),
        )
    assert logged(tmp_path) == []
    crashed, lost = caplog.records
    assert lost.message == "log not written"
    assert lost.__dict__["fields"] == {"log_id": crashed.__dict__["fields"]["request_id"]}


def test_what_is_set_aside_after_its_client_has_left_is_for_whoever_pays_in_its_place(
    spool: SpoolWriter, tmp_path: Path
):
    recorder = Recorder(spool, 400, waits_for_sync=False)
    reservation = Reservation(5, ((b"b" * 16, 60, 1),))
    early, late = recorder.open(REQUEST), recorder.open(REQUEST)
    early.admitted = late.admitted = ADMISSION
    records = [early.begin(STEP), late.begin(STEP)]
    records[0].reservation = reservation
    for record in records:
        record.crash(asyncio.CancelledError())
        record.reservation = reservation
    assert [record.hand_over() for record in records] == [None, reservation]
    assert [exchange.reservation for exchange in logged(tmp_path)] == [reservation, None]
