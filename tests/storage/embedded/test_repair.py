"""Damage to the log store is named and mended: whatever it hit, all that can be read is there after it."""

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from sluice.storage.embedded.inspection import Look, inspect_shard
from sluice.storage.embedded.open import database_path
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.repair import repair_shard
from sluice.storage.embedded.shard import Bounds
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import LogQuery
from sluice.values.finding import Finding
from sluice.values.log import NewLog, Position, ShardKey

Open = Callable[..., EmbeddedLogWriter]
LOGS = 1_200
SMALL = Bounds(rows=500, pack_bytes=1 << 30, age_ms=1 << 50)
ACTIVE, FULL = 3, 1


def body(number: int) -> bytes:
    return b'{"messages": [{"role": "user", "content": "%d"}]}' % number * 3


@pytest.fixture
def stored(opened: Open, shard: ShardKey, log: Callable[..., NewLog]) -> dict[str, bytes]:
    """Logs in three segments, none sealed; their requests by their ids."""
    logs = [log(body(number), b"", metadata={"n": number}) for number in range(LOGS)]
    writer = opened(bounds=SMALL)
    for start in range(0, LOGS, 100):
        writer.append(shard, logs[start : start + 100], {"1": Position(1, start + 100)})
    writer.close()
    return {each.entry.id: body(number) for number, each in enumerate(logs)}


def found_in(folder: Path) -> list[Finding]:
    return list(inspect_shard(folder, Look(bodies=True)))


def read(shard: ShardKey, root: Path) -> dict[str, bytes | None]:
    """What lists and bodies tell now."""
    with closing(EmbeddedLogReader(root)) as reader:
        ids = reader.ids(shard, LogQuery(per_page=LOGS + 1), 30)
        assert reader.page(shard, LogQuery()).total == len(ids)
        bodies = {log_id: reader.body(shard, log_id, "request") for log_id in ids}
        return {log_id: None if pieces is None else b"".join(pieces) for log_id, pieces in bodies.items()}


def goes_on(opened: Open, shard: ShardKey, log: Callable[..., NewLog], root: Path) -> None:
    writer = opened(bounds=SMALL)
    new = log(b"new", b"")
    assert writer.append(shard, [new], {"1": Position(2, 0)}) == 1
    writer.close()
    assert read(shard, root)[new.entry.id] == b"new"


def pages_of(path: Path, table: str) -> list[int]:
    with closing(apsw.Connection(str(path))) as db:
        return [
            page for (page,) in db.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf'", (table,))
        ]


def overwrite(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)


def segment_file(folder: Path, number: int) -> Path:
    sealed = database_path(folder, number, sealed=True)
    return sealed if sealed.exists() else database_path(folder, number)


def test_a_sound_shard_has_no_findings(stored: dict[str, bytes], folder: Path):
    assert found_in(folder) == []
    assert list(repair_shard(folder)) == []
    assert found_in(folder) == []


@pytest.mark.parametrize("number", [FULL, ACTIVE])
@pytest.mark.parametrize("table", ["log", "det", "name", "term", "meta", "earlier"])
def test_a_damaged_page_costs_the_logs_on_it_and_no_others(
    stored: dict[str, bytes],
    opened: Open,
    shard: ShardKey,
    log: Callable[..., NewLog],
    root: Path,
    folder: Path,
    number: int,
    table: str,
):
    path = segment_file(folder, number)
    pages = pages_of(path, table)
    if not pages:
        assert (number, table) == (FULL, "earlier")
        return
    overwrite(path, pages[len(pages) // 2])
    (finding, *_) = found_in(folder)
    assert (finding.path, finding.mendable) == (str(path), True)
    assert str(path) in [each.path for each in repair_shard(folder)]
    assert found_in(folder) == []
    left = read(shard, root)
    assert left.items() <= stored.items()
    assert len(left) > LOGS - 150 if table in ("log", "det") else left == stored
    assert (folder / "damaged" / path.name).exists()
    goes_on(opened, shard, log, root)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_pages_are_damaged_a_sound_shard_is_left(
    stored: dict[str, bytes],
    opened: Open,
    shard: ShardKey,
    log: Callable[..., NewLog],
    root: Path,
    folder: Path,
    seed: int,
):
    chance = random.Random(seed)
    for number in (1, 2, 3):
        path = segment_file(folder, number)
        for _ in range(chance.randrange(1, 5)):
            overwrite(path, chance.randrange(1, path.stat().st_size // 4096 + 1))
    assert len(found_in(folder)) >= 1
    list(repair_shard(folder))
    assert found_in(folder) == []
    assert read(shard, root).items() <= stored.items()
    goes_on(opened, shard, log, root)


def test_a_missing_segment_is_named_and_struck_from_the_catalogue(
    stored: dict[str, bytes], opened: Open, shard: ShardKey, log: Callable[..., NewLog], root: Path, folder: Path
):
    path = segment_file(folder, 1)
    path.unlink()
    (finding,) = found_in(folder)
    assert finding.path == str(path)
    assert "is missing" in finding.what
    list(repair_shard(folder))
    assert found_in(folder) == []
    assert read(shard, root) == dict(list(stored.items())[500:])
    goes_on(opened, shard, log, root)


def test_damaged_and_missing_bodies_are_named_and_marked_as_lost(
    stored: dict[str, bytes], opened: Open, shard: ShardKey, log: Callable[..., NewLog], root: Path, folder: Path
):
    cut, hit, gone = sorted(folder.glob("*.pack"))
    with cut.open("r+b") as file:
        file.truncate(cut.stat().st_size - 10)
    with hit.open("r+b") as file:
        file.seek(hit.stat().st_size // 2)
        file.write(b"\xa5" * 4)
    gone.unlink()
    assert {Path(finding.path) for finding in found_in(folder)} == {cut, hit, gone}
    assert {Path(finding.path) for finding in repair_shard(folder)} == {
        segment_file(folder, each) for each in (1, 2, 3)
    }
    assert found_in(folder) == []
    left = read(shard, root)
    assert left.keys() == stored.keys()
    assert {kept for log_id, kept in left.items() if kept != stored[log_id]} == {None}
    assert sum(kept is None for kept in left.values()) in range(202, 205)
    goes_on(opened, shard, log, root)


def test_wrong_counts_and_a_damaged_stats_db_are_mended(stored: dict[str, bytes], folder: Path, opened: Open):
    with closing(apsw.Connection(str(segment_file(folder, 2)))) as db:
        db.execute("UPDATE meta SET v = v + 5 WHERE key = 'rows'")
    (folder / "stats.db").write_bytes(b"x" * 4096)
    counts, stats = found_in(folder)
    assert "505 logs are counted, 500 are there" in counts.what
    assert stats.path.endswith("stats.db")
    list(repair_shard(folder))
    assert found_in(folder) == []


def test_a_folder_without_a_segment_is_told_of(folder: Path):
    folder.mkdir(parents=True)
    assert found_in(folder) == []
    (folder / "00000001-0001.pack").write_bytes(b"x")
    (finding,) = found_in(folder)
    assert not finding.mendable
