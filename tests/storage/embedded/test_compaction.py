"""Dead bytes leave the disk, and nothing else does: whatever happens meanwhile, and whoever dies when."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sluice.storage.embedded import compaction
from sluice.storage.embedded.compaction import LEAVE_MS, Compaction
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.sweeping import SWEEP_MS
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import LogQuery
from sluice.values.log import NewLog, Position, ShardKey

AT = {"0": Position(1, 100)}
Logs = Callable[..., NewLog]
Writers = Callable[..., EmbeddedLogWriter]
HOUR_MS = 3_600_000


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


def settle(writer: EmbeddedLogWriter) -> None:
    """What the clock asks for is begun, done, and put into place; which leaves something to be done."""
    for _ in range(4):
        writer.tend()
        writer._tools.housekeeping._thread.submit(lambda: None).result()
    writer.tend()


def body(log: NewLog) -> bytes:
    assert isinstance(log.request, bytes)
    return log.request


def read(reader: EmbeddedLogReader, shard: ShardKey, log: NewLog) -> bytes | None:
    pieces = reader.body(shard, log.entry.id, "request")
    return None if pieces is None else b"".join(pieces)


def on_disk(folder: Path, text: bytes) -> bool:
    """Bodies in these tests do not compress: they stand in the packs as they are."""
    return any(text in path.read_bytes() for path in folder.iterdir())


def some(log: Logs, count: int, seed: int = 1) -> list[NewLog]:
    chance = random.Random(seed)
    return [log(chance.randbytes(300), b"", metadata={"who": f"{chance.getrandbits(200):x}"}) for _ in range(count)]


def test_a_deleted_log_is_off_the_disk_within_a_day_and_its_neighbours_stay(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs, clock: Clock
) -> None:
    logs = some(log, 10)
    writer = opened(clock_ms=clock)
    settle(writer)
    writer.append(shard, logs, AT)
    writer.delete(shard, [logs[3].entry.id], {})
    settle(writer)
    assert on_disk(folder, body(logs[3])[:100])
    clock.now_ms += LEAVE_MS + SWEEP_MS
    settle(writer)
    assert not on_disk(folder, body(logs[3])[:100])
    assert not on_disk(folder, str(logs[3].entry.metadata["who"]).encode())
    assert [read(reader, shard, each) for each in logs] == [
        None if n == 3 else body(each) for n, each in enumerate(logs)
    ]
    writer.append(shard, later := some(log, 5, 2), AT)
    writer.close()
    writer = opened(clock_ms=clock)
    writer.append(shard, more := some(log, 5, 3), AT)
    assert all(read(reader, shard, each) == body(each) for each in [*later, *more, *logs[4:]])
    assert LEAVE_MS + SWEEP_MS < 24 * HOUR_MS


@pytest.mark.parametrize("rows", [4, 100])
def test_bodies_of_logs_that_come_a_second_time_leave_the_disk_too(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs, clock: Clock, rows: int
) -> None:
    logs = some(log, 9)
    writer = opened(clock_ms=clock, bounds=BOUNDS._replace(rows=rows))
    assert [writer.append(shard, [each], AT) for each in (*logs, *logs)] == [1] * 9 + [0] * 9
    settle(writer)
    for _ in range(2):
        clock.now_ms += LEAVE_MS + SWEEP_MS
        settle(writer)
    held = b"".join(path.read_bytes() for path in folder.glob("*.pack"))
    assert [held.count(body(each)) for each in logs] == [1] * 9
    assert [read(reader, shard, each) for each in logs] == [body(each) for each in logs]


def test_a_sweep_leaves_nothing_beside_the_files_of_idle_shards(
    opened: Writers, shard: ShardKey, folder: Path, log: Logs, clock: Clock
) -> None:
    writer = opened(clock_ms=clock)
    writer.append(shard, some(log, 3), AT)
    writer.close()
    files = sorted(folder.iterdir())
    writer = opened(clock_ms=clock)
    settle(writer)
    assert sorted(folder.iterdir()) == files


def test_a_shard_that_nobody_has_opened_since_is_swept_too(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs, clock: Clock
) -> None:
    logs = some(log, 9)
    writer = opened(clock_ms=clock, bounds=BOUNDS._replace(rows=4))
    for each in logs:
        writer.append(shard, [each], AT)
    settle(writer)
    writer.delete(shard, [logs[0].entry.id, logs[5].entry.id], {})
    writer.close()
    clock.now_ms += 2 * LEAVE_MS
    writer = opened(clock_ms=clock)
    settle(writer)
    assert not any(on_disk(folder, body(logs[number])[:100]) for number in (0, 5))
    gone = (None if number in (0, 5) else body(each) for number, each in enumerate(logs))
    assert [read(reader, shard, each) for each in logs] == list(gone)
    packs = sum(path.stat().st_size for path in folder.glob("*.pack"))
    assert writer.bytes(shard) == packs


def test_a_full_pack_with_many_dead_bytes_is_compacted_at_once(
    opened: Writers,
    reader: EmbeddedLogReader,
    shard: ShardKey,
    folder: Path,
    log: Logs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compaction, "WASTE_BYTES", 1_000)
    logs = some(log, 40)
    writer = opened(bounds=BOUNDS._replace(rows=20))
    settle(writer)
    writer.append(shard, logs[:20], AT)
    writer.append(shard, logs[20:], AT)
    settle(writer)
    before = writer.bytes(shard)
    writer.delete(shard, [each.entry.id for each in logs[:7]], {})
    settle(writer)
    assert writer.bytes(shard) <= before - 7 * 300
    assert all(read(reader, shard, each) == body(each) for each in logs[7:])


STEPS = ["_copied", "_repoint", "datasync", "sync_path", "_bodies", "_copy"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True])
def test_a_compaction_that_dies_anywhere_loses_nothing_and_is_done_by_the_next(
    opened: Writers,
    reader: EmbeddedLogReader,
    shard: ShardKey,
    folder: Path,
    log: Logs,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    after: bool,
) -> None:
    class Died(OSError):
        pass

    owner: Any = Compaction if step in ("_copied", "_repoint") else compaction
    real = getattr(owner, step)

    def dies(*given: Any) -> Any:
        if after:
            real(*given)
        raise Died

    logs = some(log, 12)
    writer = opened(clock_ms=clock)
    settle(writer)
    writer.append(shard, logs, AT)
    writer.delete(shard, [each.entry.id for each in logs[::4]], {})
    clock.now_ms += LEAVE_MS + SWEEP_MS
    with monkeypatch.context() as dying:
        dying.setattr(owner, step, dies)
        settle(writer)
    kept = [each for number, each in enumerate(logs) if number % 4]
    assert all(read(reader, shard, each) == body(each) for each in kept)
    writer.append(shard, more := some(log, 3, 9), AT)
    writer.close()
    writer = opened(clock_ms=clock)
    settle(writer)
    assert all(read(reader, shard, each) == body(each) for each in [*kept, *more])
    assert not any(on_disk(folder, body(each)[:100]) for each in logs[::4])
    with apsw.Connection(str(folder / "00000001.db")) as db:
        known = {pack for (pack,) in db.execute("SELECT id FROM pack WHERE state NOT IN (3, 4)")}
        assert list(db.execute("SELECT id FROM pack WHERE state = 4")) == []
    assert {int(path.stem.partition("-")[2]) for path in folder.glob("*.pack")} == known


def test_what_is_deleted_and_read_while_a_pack_is_copied_is_neither_lost_nor_kept(
    opened: Writers,
    reader: EmbeddedLogReader,
    shard: ShardKey,
    folder: Path,
    log: Logs,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logs = some(log, 12)
    writer = opened(clock_ms=clock)
    settle(writer)
    writer.append(shard, logs, AT)
    writer.delete(shard, [logs[0].entry.id], {})
    clock.now_ms += LEAVE_MS + SWEEP_MS
    real, copied = Compaction._copied, []

    def then_deletes(self: Compaction, *given: Any) -> int:
        copied.append(real(self, *given))
        writer.delete(shard, [logs[1].entry.id], {})  # the keeper's thread waits for this one in the test
        return copied[0]

    monkeypatch.setattr(Compaction, "_copied", then_deletes)
    place = reader._stored(shard, logs[2].entry.id, "request").place
    settle(writer)
    assert copied
    assert reader._stored(shard, logs[2].entry.id, "request").place != place
    assert [read(reader, shard, each) for each in logs] == [None, None, *map(body, logs[2:])]
    stale = iter([reader._stored(shard, logs[2].entry.id, "request")._replace(place=place)])
    fresh = reader._stored
    monkeypatch.setattr(reader, "_stored", lambda *given: next(stale, None) or fresh(*given))
    assert read(reader, shard, logs[2]) == body(logs[2])
    monkeypatch.undo()
    with apsw.Connection(str(folder / "00000001.db")) as db:
        ((dead,),) = db.execute("SELECT dead FROM pack WHERE state = 1")
    assert dead > 300
    clock.now_ms += 2 * LEAVE_MS
    settle(writer)
    assert not on_disk(folder, body(logs[1])[:100])


@example(steps=[("a", 1), ("a", 0), ("a", 0), ("a", 0), ("a", 1), ("d", 0), ("t", 0), ("c", 0), ("d", 0), ("o", 0)])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from("aaadddcorts"), st.integers(0, 10**6)), min_size=5, max_size=30))
def test_every_body_is_its_own_through_appends_deletes_rolls_compactions_and_restarts(
    tmp_path_factory: Any, log: Logs, steps: list[tuple[str, int]]
) -> None:
    root, shard, clock = tmp_path_factory.mktemp("shards"), ShardKey("acme", "0123456789abcdef" * 2), Clock()
    small = BOUNDS._replace(rows=6)

    def opened() -> EmbeddedLogWriter:
        return EmbeddedLogWriter.open(root, bounds=small, clock_ms=clock)

    def apply(writer: EmbeddedLogWriter, step: str, number: int) -> Iterator[None]:
        if step == "a":
            for each in some(log, number % 4 + 1, number):
                writer.append(shard, [each], AT)
                kept[each.entry.id] = each
        elif step == "d" and kept:
            gone = sorted(kept)[number % len(kept) :][: number % 3 + 1]
            assert writer.delete(shard, gone, {}) == set(gone)
            for log_id in gone:
                del kept[log_id]
        elif step == "c":
            clock.now_ms += LEAVE_MS + SWEEP_MS
        elif step in "ts":
            settle(writer)
        yield

    kept: dict[str, NewLog] = {}
    writer, reader = opened(), EmbeddedLogReader(root)
    for step, number in steps:
        if step in "or":
            writer.close()
            writer = opened()
        list(apply(writer, step, number))
    clock.now_ms += LEAVE_MS + SWEEP_MS
    settle(writer)
    settle(writer)
    assert {entry.id for entry in reader.tail(shard, 0, 1000)[0]} == set(kept)
    assert reader.page(shard, LogQuery()).total == len(kept)
    assert all(read(reader, shard, each) == body(each) for each in kept.values())
    folder = root / "acme" / shard.gateway
    assert writer.bytes(shard) == sum(path.stat().st_size for path in folder.glob("*.pack"))
    writer.close()
    reader.close()
