"""Logs that come through a spool of imports: stored as they are, once, beside all others."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from sluice.spool.frames import FrameError
from sluice.spool.layout import IMPORTS
from sluice.spool.writer import SpoolRefuses, SpoolWriter
from sluice.values.entitlement import OwnEntitlement
from sluice.values.ids import Mint
from sluice.values.log import NewLog, ShardKey, SideFile, Usage
from sluice.values.settings import SpoolSettings


@pytest.fixture
def imports(house) -> Iterator[SpoolWriter]:
    settings = SpoolSettings(file_bytes=2_000)
    with closing(SpoolWriter.open(house.data / "spool", settings, house.metrics, numbers=IMPORTS)) as spool:
        yield spool


def bring(house, spool: SpoolWriter, *logs: NewLog) -> list[str]:
    for log in logs:
        spool.bring(house.gateway.id, house.gateway.account, log)
    return [log.entry.id for log in logs]


def test_imported_logs_are_stored_as_they_are_and_once(house, imports, entry_of):
    mint = Mint(5, clock_ms=lambda: 1_600_000_000_000)
    usage = Usage(1, 2, 3, reasoning=4)
    logs = [
        NewLog(entry_of(mint.mint(), cost_nano=7, usage=usage, feedback=1, score=2.5, detail="why"), b"?", b"!"),
        NewLog(entry_of(mint.mint(), model="of nobody's list", cost_nano=None), None, b""),
        NewLog(entry_of(mint.mint(), success=False, status_code=500, metadata={"a": True}), b"\xff" * 9_000, None),
    ]
    worker = house.put()
    bring(house, imports, *logs)
    house.keep()
    bring(house, imports, *logs)
    later = house.put()
    house.keep()
    assert {entry.id: entry for entry in house.logs()}.keys() == {worker, later, *(log.entry.id for log in logs)}
    for log in logs:
        assert house.reader.get(ShardKey("local", house.gateway.id.hex()), log.entry.id) == log.entry
        assert [house.body(log.entry.id, side) for side in ("request", "response")] == [log.request, log.response]


def test_imports_keep_to_the_quota_and_go_with_their_gateway(house, imports, entry_of):
    mint = Mint(5)
    house.entitle(OwnEntitlement(gateway_rows=2))
    ids = bring(house, imports, *(NewLog(entry_of(mint.mint()), None, None) for _ in range(3)))
    house.keep()
    assert house.ids() == ids[:2]
    house.control.delete_gateway("local", "default")
    bring(house, imports, NewLog(entry_of(mint.mint()), None, None))
    house.keep()
    gone = {"account": "local", "gateway": house.gateway.id.hex(), "reason": "gateway_deleted"}
    assert house.count("sluice_logs_dropped_total", "Logs that were lost, by gateway and reason.", **gone) == 1
    assert house.bad == 0


def test_what_no_frame_can_hold_is_refused_and_so_is_everything_while_the_spool_is_full(house, entry_of, tmp_path):
    entry = entry_of(Mint(5).mint())
    settings = SpoolSettings(max_bytes=100_000, file_bytes=50_000)
    with closing(SpoolWriter.open(house.data / "spool", settings, house.metrics, numbers=IMPORTS)) as spool:
        for body in (b"x" * 17_000_000, SideFile(tmp_path / "aside", 5)):
            with pytest.raises(FrameError):
                bring(house, spool, NewLog(entry, body, None))
        bring(house, spool, NewLog(entry, b"x" * 150_000, None))
        with pytest.raises(SpoolRefuses, match="full"):
            bring(house, spool, NewLog(entry, None, None))
        house.keep()
        spool.measure()
        bring(house, spool, NewLog(entry_of(Mint(6).mint()), None, None))
    house.keep()
    assert len(house.ids()) == 2
