"""Copies of a shard that is written, sealed, compacted, changed, deleted from and trimmed while it is copied."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from sluice.storage.embedded.backup_target import BackupTarget, Former
from sluice.storage.embedded.inspection import Look, inspect_shards
from sluice.storage.embedded.open import open_idle_segment
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.shard import Bounds
from sluice.storage.embedded.shard_backup import back_up_shard
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import Keep, LogQuery, StoreFault
from sluice.values.command import Change
from sluice.values.ids import Mint
from sluice.values.log import LogEntry, NewLog, Position, ShardKey

SHARD = ShardKey("local", "ab" * 16)
NAME = f"shards/local/{SHARD.gateway}"
EntryOf = Callable[..., LogEntry]


def writer_of(root: Path, rows: int) -> EmbeddedLogWriter:
    return EmbeddedLogWriter.open(root, bounds=Bounds(rows, 1 << 30, 1 << 40))


def logs_of(mint: Mint, count: int, entry_of: EntryOf) -> list[NewLog]:
    return [NewLog(entry_of(mint.mint()), os.urandom(300), b"told %d" % number) for number in range(count)]


def copied(root: Path, made: Path, former: Former | None = None) -> BackupTarget:
    made.mkdir()
    target = BackupTarget(made, former) if former else BackupTarget(made)
    back_up_shard(root / "local" / SHARD.gateway, NAME, target)
    return target


def ids_in(root: Path) -> list[str]:
    with closing(EmbeddedLogReader(root, query_timeout_s=60)) as reader:
        found: list[str] = []
        page = 1
        while entries := reader.page(SHARD, LogQuery(page=page, per_page=500)).entries:
            found += [entry.id for entry in entries]
            page += 1
        assert reader.page(SHARD, LogQuery(page=1, per_page=1)).total == len(found)
    return found


class Busy:
    """The keeper's life in small: it stores, changes, deletes and trims, and its segments hold 200 logs each."""

    def __init__(self, root: Path, entry_of: EntryOf) -> None:
        self.stored: list[str] = []
        self.deleted: set[str] = set()
        self.failures: list[BaseException] = []
        self._root, self._entry_of = root, entry_of
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guarded)

    def start(self) -> None:
        self._thread.start()
        while len(self.stored) < 500:
            assert not self.failures
            time.sleep(0.01)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        assert not self.failures

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.failures.append(error)

    def _run(self) -> None:
        writer, mint, turn = writer_of(self._root, 200), Mint(0), 0
        while not self._stop.is_set():
            turn += 1
            logs = logs_of(mint, 40, self._entry_of)
            writer.append(SHARD, logs, {"0": Position(1, turn)})
            self.stored += [log.entry.id for log in logs]
            old = self.stored[-400:-390]
            writer.change(SHARD, old[:5], Change(feedback=1), {})
            going = [each for each in old[5:7] if turn % 3 == 0]
            self.deleted.update(going)
            writer.delete(SHARD, going, {})
            if turn % 10 == 0:
                writer.trim(SHARD, Keep(rows=1_500))
            writer.sync()
            writer.tend()
        writer.close()


def test_every_copy_of_a_busy_shard_is_sound_and_has_all_that_was_stored(tmp_path: Path, entry_of: EntryOf):
    root, busy, former = tmp_path / "shards", Busy(tmp_path / "shards", entry_of), None
    busy.start()
    try:
        for number in range(8):
            before = busy.stored[-1_000:]
            made = tmp_path / f"copy {number}"
            target = copied(root, made, former)
            former = Former(made, target.files)
            assert list(inspect_shards(made / "shards", Look(bodies=True))) == []
            found = ids_in(made / "shards")
            assert len(found) == len(set(found))
            trimmed = busy.stored[:-1_400]
            assert set(before) - set(found) <= busy.deleted | set(trimmed)
            assert set(found) <= set(busy.stored)
    finally:
        busy.stop()
    assert target.linked_bytes + target.kept_bytes > 0
    resumed = writer_of(made / "shards", 200)
    resumed.append(SHARD, logs_of(Mint(1), 1, entry_of), {})
    assert resumed.rows(SHARD) == len(found) + 1
    resumed.close()


def test_packs_that_are_full_are_linked_and_nothing_else_is(tmp_path: Path, entry_of: EntryOf):
    root, mint = tmp_path / "shards", Mint(0)
    with closing(writer_of(root, 10)) as writer:
        for _ in range(3):
            writer.append(SHARD, logs_of(mint, 10, entry_of), {})
    copied(root, tmp_path / "copy")
    folder = tmp_path / "copy" / NAME
    shared = {path.name for path in folder.iterdir() if path.stat().st_nlink > 1}
    assert shared == {"00000001-0001.pack", "00000002-0001.pack"}
    assert {path.name for path in folder.glob("*.pack")} == {*shared, "00000003-0001.pack"}


def test_a_delete_between_two_files_is_told_in_the_copy(tmp_path: Path, entry_of: EntryOf):
    root, mint = tmp_path / "shards", Mint(0)
    with closing(writer_of(root, 10)) as writer:
        first = logs_of(mint, 10, entry_of)
        writer.append(SHARD, first, {})
        writer.append(SHARD, logs_of(mint, 5, entry_of), {})

        class Between(BackupTarget):
            def database(self, source: Path, name: str) -> None:
                super().database(source, name)
                if source.name == "00000002.db":
                    writer.delete(SHARD, [first[3].entry.id], {})

        (tmp_path / "copy").mkdir()
        back_up_shard(root / "local" / SHARD.gateway, NAME, Between(tmp_path / "copy"))
    assert len(ids_in(tmp_path / "copy" / "shards")) == 14
    with closing(open_idle_segment(tmp_path / "copy" / NAME / "00000002.db")) as db:
        assert db.execute("SELECT rows FROM earlier").get == 9


def test_a_roll_in_between_is_waited_out(tmp_path: Path, entry_of: EntryOf):
    """Else the sums of the copy would hold a segment that takes logs, and those to come would be in none."""
    root, mint = tmp_path / "shards", Mint(0)
    with closing(writer_of(root, 10)) as writer:
        for _ in range(2):
            writer.append(SHARD, logs_of(mint, 10, entry_of), {})
        stats = root / "local" / SHARD.gateway / "stats.db"

        def folded(number: int) -> bool:
            writer.tend()
            with closing(apsw.Connection(str(stats), flags=apsw.SQLITE_OPEN_READONLY)) as db:
                return bool(db.execute("SELECT count(*) FROM folded WHERE segment = ?", (number,)).get)

        while not (stats.exists() and folded(1)):
            time.sleep(0.01)
        rolled = []

        class Between(BackupTarget):
            def database(self, source: Path, name: str) -> None:
                if source.name == "stats.db" and not rolled:
                    rolled.append(writer.append(SHARD, logs_of(mint, 1, entry_of), {}))
                    while not folded(2):
                        time.sleep(0.01)
                super().database(source, name)

        (tmp_path / "copy").mkdir()
        back_up_shard(root / "local" / SHARD.gateway, NAME, Between(tmp_path / "copy"))
    assert rolled == [1]
    assert len(ids_in(tmp_path / "copy" / "shards")) == 21
    assert (tmp_path / "copy" / NAME / "00000003.db").exists()


def test_a_shard_that_went_is_not_in_it_and_one_with_a_hole_is_refused(tmp_path: Path, entry_of: EntryOf):
    root = tmp_path / "shards"
    with closing(writer_of(root, 10)) as writer:
        mint = Mint(0)
        for _ in range(2):
            writer.append(SHARD, logs_of(mint, 10, entry_of), {})
    (root / "local" / SHARD.gateway / "00000001-0001.pack").unlink()
    with pytest.raises(StoreFault, match=r"00000001-0001\.pack.*sluice doctor"):
        copied(root, tmp_path / "copy")

    class Going(BackupTarget):
        def database(self, source: Path, name: str) -> None:
            super().database(source, name)
            if source.parent.exists():
                source.parent.rename(root / ".trash-1")

    (tmp_path / "other").mkdir()
    back_up_shard(root / "local" / SHARD.gateway, NAME, Going(tmp_path / "other"))
    assert [path for path in (tmp_path / "other").rglob("*") if path.is_file()] == []
