"""Packs of sealed segments in a store of objects: reads are unchanged, nothing is lost, and what should go goes."""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from sluice.storage.embedded import away, compaction
from sluice.storage.embedded.away import RETRY_MS
from sluice.storage.embedded.compaction import LEAVE_MS
from sluice.storage.embedded.inspection import Look, inspect_shard
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.repair import repair_shard
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.folder_objects import FolderObjects
from sluice.storage.objects import ObstoreObjects
from sluice.storage.ports import Keep, LogQuery, ObjectFault, StoreFault
from sluice.values.log import NewLog, Position, ShardKey, SideFile
from sluice.values.settings import ObjectSettings

AT = {"0": Position(1, 100)}
SMALL = BOUNDS._replace(rows=10)
Logs = Callable[..., NewLog]
Writers = Callable[..., EmbeddedLogWriter]


class Failing(FolderObjects):
    """One that can be out of reach."""

    down = False

    def put_file(self, name: str, path: Path) -> None:
        if self.down:
            raise ObjectFault("out of reach")
        super().put_file(name, path)


class Clock:
    now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def objects(tmp_path: Path) -> Failing:
    return Failing.open(tmp_path / "objects")


@pytest.fixture
def reader(root: Path, objects: Failing) -> Iterator[EmbeddedLogReader]:
    with closing(EmbeddedLogReader(root, objects=objects)) as reader:
        yield reader


def settle(writer: EmbeddedLogWriter) -> None:
    """All that is asked for is begun, done, and put into place; which leaves something to be done."""
    for _ in range(6):
        writer.tend()
        writer._tools.housekeeping._thread.submit(lambda: None).result()
    writer.tend()


def local(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.pack"))


def names(objects: Failing, folder: Path) -> list[str]:
    return sorted(name.rpartition("/")[2] for name in objects.names(f"{folder.parent.name}/{folder.name}/"))


def fill(writer: EmbeddedLogWriter, shard: ShardKey, log: Logs, count: int = 35) -> list[NewLog]:
    logs = [log(b"asked %d" % number * 50, b"told %d" % number * 500) for number in range(count)]
    for start in range(0, count, 5):
        writer.append(shard, logs[start : start + 5], AT)
    settle(writer)
    return logs


def check(reader: EmbeddedLogReader, shard: ShardKey, logs: list[NewLog]) -> None:
    for each in logs:
        for side, body in (("request", each.request), ("response", each.response)):
            pieces = reader.body(shard, each.entry.id, side)
            assert pieces is not None
            assert b"".join(pieces) == body
        assert isinstance(each.response, bytes)
        assert reader.head(shard, each.entry.id, "response", 7) == each.response[:7]


def test_sealed_packs_go_and_are_read_as_before(
    opened: Writers, reader: EmbeddedLogReader, objects: Failing, shard: ShardKey, folder: Path, log: Logs
) -> None:
    writer = opened(bounds=SMALL, objects=objects)
    logs = fill(writer, shard, log)
    assert local(folder) == ["00000004-0001.pack"]
    assert names(objects, folder) == ["00000001-0001.pack", "00000002-0001.pack", "00000003-0001.pack"]
    check(reader, shard, logs)
    writer.close()
    assert list(inspect_shard(folder, Look(True, objects=objects))) == []
    assert list(repair_shard(folder)) == []
    check(reader, shard, logs)


def test_a_large_body_is_read_from_an_object_in_pieces(
    opened: Writers, reader: EmbeddedLogReader, objects: Failing, shard: ShardKey, folder: Path, log: Logs
) -> None:
    writer = opened(bounds=SMALL, objects=objects)
    large = log(b"".join(number.to_bytes(4, "big") for number in range(4_200_000)), b"")
    writer.append(shard, [large, *(log() for _ in range(10))], AT)
    writer.append(shard, [log()], AT)
    settle(writer)
    assert "00000001-0001.pack" in names(objects, folder)
    pieces = reader.body(shard, large.entry.id, "request")
    assert pieces is not None
    assert b"".join(pieces) == large.request


def test_a_store_that_is_out_of_reach_is_tried_again_and_costs_nothing(
    opened: Writers, reader: EmbeddedLogReader, objects: Failing, shard: ShardKey, folder: Path, log: Logs, clock: Clock
) -> None:
    objects.down = True
    writer = opened(bounds=SMALL, objects=objects, clock_ms=clock)
    logs = fill(writer, shard, log)
    assert len(local(folder)) == 4
    check(reader, shard, logs)
    objects.down = False
    settle(writer)
    assert names(objects, folder) == []
    clock.now_ms += RETRY_MS
    settle(writer)
    assert len(local(folder)) == 1
    check(reader, shard, logs)


def test_deleted_bodies_leave_the_store_of_objects_too(
    opened: Writers,
    reader: EmbeddedLogReader,
    objects: Failing,
    shard: ShardKey,
    folder: Path,
    log: Logs,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = opened(bounds=SMALL, objects=objects, clock_ms=clock)
    logs = fill(writer, shard, log)
    writer.delete(shard, [each.entry.id for each in logs[:10]], AT)
    settle(writer)
    assert names(objects, folder) == ["00000002-0001.pack", "00000003-0001.pack"]
    monkeypatch.setattr(compaction, "WASTE_BYTES", 1)
    writer.delete(shard, [each.entry.id for each in logs[10:15]], AT)
    clock.now_ms += LEAVE_MS
    settle(writer)
    assert names(objects, folder) == ["00000002-10000001.pack", "00000003-0001.pack"]
    check(reader, shard, logs[15:])
    writer.trim(shard, Keep(rows=5))
    settle(writer)
    assert names(objects, folder) == []
    check(reader, shard, logs[30:])


def test_a_gateway_that_is_dropped_takes_its_objects_along(
    opened: Writers, objects: Failing, shard: ShardKey, folder: Path, root: Path, log: Logs
) -> None:
    writer = opened(bounds=SMALL, objects=objects)
    fill(writer, shard, log)
    writer.drop(shard)
    writer._tools.housekeeping._thread.submit(lambda: None).result()
    assert names(objects, folder) == []
    assert list(root.glob(".trash*")) == []


class Died(BaseException):
    pass


@pytest.mark.parametrize("step", range(8))
def test_whoever_dies_while_packs_are_sent_away_loses_none(
    opened: Writers,
    reader: EmbeddedLogReader,
    objects: Failing,
    shard: ShardKey,
    folder: Path,
    log: Logs,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    """Dies before the so manieth of what changes anything."""
    left = iter(range(step))

    def dying(call: Callable[..., object]) -> Callable[..., object]:
        def called(*given: object, **named: object) -> object:
            if next(left, None) is None:
                raise Died
            return call(*given, **named)

        return called

    writer = opened(bounds=SMALL)
    logs = fill(writer, shard, log)
    writer.close()
    moving = away.Moving(folder, objects)
    with monkeypatch.context() as patched, suppress(Died):
        for name in ("create_away", "sync_path", "writing"):
            patched.setattr(away, name, dying(getattr(away, name)))
        patched.setattr(Failing, "put_file", dying(Failing.put_file))
        patched.setattr(Path, "unlink", dying(Path.unlink))
        moving.run()
    check(reader, shard, logs)
    away.Moving(folder, objects).run()
    assert len(local(folder)) == 1
    assert len(names(objects, folder)) == 3
    check(reader, shard, logs)


def test_an_object_that_is_gone_is_named_and_its_bodies_are_none(
    opened: Writers, reader: EmbeddedLogReader, objects: Failing, shard: ShardKey, folder: Path, log: Logs
) -> None:
    logs = fill(opened(bounds=SMALL, objects=objects), shard, log)
    objects.delete(f"{folder.parent.name}/{folder.name}/00000001-0001.pack")
    (finding,) = inspect_shard(folder, Look(True, objects=objects))
    assert "has 0 of" in finding.what
    assert reader.body(shard, logs[0].entry.id, "request") is None
    check(reader, shard, logs[10:])


def test_the_same_in_a_real_bucket(
    opened: Writers, root: Path, s3: ObjectSettings, shard: ShardKey, folder: Path, log: Logs
) -> None:
    objects = ObstoreObjects.open(s3)
    writer = opened(bounds=SMALL, objects=objects)
    logs = fill(writer, shard, log)
    assert len(local(folder)) == 1
    with closing(EmbeddedLogReader(root, objects=objects)) as reader:
        check(reader, shard, logs)
    writer.drop(shard)
    writer._tools.housekeeping._thread.submit(lambda: None).result()
    assert list(objects.names(f"{folder.parent.name}/")) == []


def test_who_cannot_reach_the_store_is_told_so(
    root: Path, opened: Writers, objects: Failing, shard: ShardKey, log: Logs
):
    logs = fill(opened(bounds=SMALL, objects=objects), shard, log)
    nowhere = ObstoreObjects.open(ObjectSettings("s3://none", "http://127.0.0.1:1", "us-east-1"))
    with closing(EmbeddedLogReader(root, objects=nowhere)) as reader, pytest.raises(StoreFault):
        reader.body(shard, logs[0].entry.id, "request")


def test_who_does_not_know_of_the_store_is_told_so(
    root: Path, opened: Writers, objects: Failing, shard: ShardKey, log: Logs
):
    writer = opened(bounds=SMALL, objects=objects)
    logs = [log(SideFile(Path("/nowhere/at-all"), 100), b"told"), *fill(writer, shard, log)]
    writer.append(shard, logs[:1], AT)
    with closing(EmbeddedLogReader(root)) as reader:
        for ask in (reader.body, lambda *named: reader.head(*named, 7)):
            with pytest.raises(StoreFault, match=r"packs\.url is not set"):
                ask(shard, logs[1].entry.id, "request")
        with pytest.raises(StoreFault, match=r"packs\.url is not set"):
            reader.matching(shard, LogQuery(), "nowhere", 30)
        assert reader.body(shard, logs[0].entry.id, "request") is None
        kept = [reader.is_kept(shard, each.entry.id, "request") for each in logs[:2]]
    assert kept == [False, True]
