"""Shards on disk: crashes, losses, full disks, bounds."""

import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from sluice.storage.embedded.open import segment_name
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import LogQuery, StoreFault
from sluice.values.log import NewLog, Position, ShardKey, SideFile

AT = {"0": Position(1, 100)}
SEGMENT = segment_name(1)
Logs = Callable[..., NewLog]
Writers = Callable[..., EmbeddedLogWriter]

WRITE_UNTIL_KILLED = """
import random, sys
from pathlib import Path
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import Keep
from sluice.values.ids import Mint, key_of, text_of
from sluice.values.log import LogEntry, NewLog, Position, ShardKey, Usage

root, account, gateway, rows, kept = sys.argv[1:]
shard = ShardKey(account, gateway)
writer = EmbeddedLogWriter.open(Path(root), bounds=BOUNDS._replace(rows=int(rows)))
number = writer.positions(shard).get("0", Position(0, 0)).offset
while True:
    logs = []
    for _ in range(random.randrange(1, 200)):
        log_id = text_of((1_760_000_000_000 + number << 80) + 7)
        entry = LogEntry(
            log_id, log_id, log_id, key_of(log_id) >> 21, 1, 1, "openai", f"m{number % 7}", None, "p", "provider",
            None, None, 200, True, False, False, "complete", 0, 0, 1, Usage(), None, False, {"n": number}, None,
            True, False, False, False, True, 0, 0,
        )
        logs.append(NewLog(entry, b"%d" % number, random.randbytes(number % 3000)))
        number += 1
    writer.append(shard, logs, {"0": Position(0, number)})
    print(number, flush=True)
    writer.tend()
    if int(kept):
        writer.trim(shard, Keep(rows=int(kept)))
"""


def body(reader: EmbeddedLogReader, shard: ShardKey, log: NewLog, side: str = "request") -> bytes | None:
    pieces = reader.body(shard, log.entry.id, "request" if side == "request" else "response")
    return None if pieces is None else b"".join(pieces)


def packs(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.glob("*.pack"))}


def lose_with_the_power(folder: Path, size: int) -> None:
    """The first segment's rows came to disk before any sync, and so much of its pack."""
    os.truncate(folder / f"{SEGMENT}-0001.pack", size)
    with closing(apsw.Connection(str(folder / f"{SEGMENT}.db"))) as db:
        db.execute("UPDATE meta SET v = 0 WHERE key = 'synced'")


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """The kernel refuses to let any file grow past it: what a full disk does, at will."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("rows", "kept"), [(1_000_000, 0), (200, 0), (200, 600)])
def test_a_killed_writer_leaves_every_acknowledged_log_once_with_its_bodies(
    root: Path, shard: ShardKey, rows: int, kept: int
) -> None:
    for kills in range(4):
        command = [sys.executable, "-c", WRITE_UNTIL_KILLED, str(root), *shard, str(rows), str(kept)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": ":".join(sys.path)}
        ) as p:
            assert p.stdout
            acknowledged = [int(p.stdout.readline()) for _ in range(random.randrange(1, 20))][-1]
            p.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *(int(line) for line in p.stdout if line.endswith(b"\n"))])
        with closing(EmbeddedLogReader(root)) as reader:  # before any writer has opened it again
            entries, reached = reader.tail(shard, 0, 1_000_000)
            numbers = [entry.metadata["n"] for entry in entries]
            assert numbers == list(range(reached - len(entries), reached))
            assert reached >= acknowledged, f"after {kills} kills"
            assert len(entries) == reached if not kept else len(entries) >= min(kept, reached)
            assert reader.page(shard, LogQuery()).total == len(entries)
            for entry in entries:
                assert b"".join(reader.body(shard, entry.id, "request") or ()) == b"%d" % entry.metadata["n"]
                assert len(b"".join(reader.body(shard, entry.id, "response") or ())) == int(entry.metadata["n"]) % 3000
    with closing(EmbeddedLogWriter.open(root)) as writer:
        assert writer.positions(shard) == {"0": Position(0, reached)}
        assert writer.rows(shard) == len(entries)


def test_bodies_go_on_after_the_orphaned_bytes_of_a_crash(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    first, second = log(b"one"), log(b"two")
    writer = opened()
    writer.append(shard, [first], AT)
    writer.close()
    pack = folder / f"{SEGMENT}-0001.pack"
    with pack.open("ab") as file:
        file.write(b"never committed")
    orphan = folder / f"{SEGMENT}-0002.pack"
    orphan.write_bytes(b"nor this one")
    opened().append(shard, [second], AT)
    assert (body(reader, shard, first), body(reader, shard, second)) == (b"one", b"two")
    assert b"never committed" in pack.read_bytes()
    assert not orphan.exists()


def test_bodies_lost_with_the_power_are_never_another_logs_and_a_replay_brings_them_back(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    kept, lost = log(b"kept" * 10, b"kept too"), log(b"lost" * 10, b"lost too")
    writer = opened()
    writer.append(shard, [kept], AT)
    size = packs(folder)[f"{SEGMENT}-0001.pack"]
    writer.append(shard, [lost], AT)
    writer.close()
    lose_with_the_power(folder, size + 3)
    assert body(reader, shard, lost) is None
    later = log(b"more" * 10, b"more too")
    writer = opened()
    assert (writer.positions(shard), writer.wanted(shard)) == (AT, {lost.entry.id})
    writer.append(shard, [later], AT)
    assert (body(reader, shard, lost), body(reader, shard, lost, "response")) == (None, None)
    assert reader.get(shard, lost.entry.id) == lost.entry
    assert writer.append(shard, [kept, lost], AT) == 0
    assert writer.wanted(shard) == set()
    for found in (kept, lost, later):
        assert (body(reader, shard, found), body(reader, shard, found, "response")) == found[1:]


def test_a_replay_into_a_full_segment_brings_lost_bodies_back(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    logs = [log(b"%d" % number * 10) for number in range(3)]
    writer = opened(bounds=BOUNDS._replace(rows=3))
    writer.append(shard, logs, AT)
    writer.close()
    lose_with_the_power(folder, 3)
    writer = opened(bounds=BOUNDS._replace(rows=3))
    another = log(b"of another worker, first")
    assert writer.append(shard, [another], AT) == 1
    assert writer.append(shard, logs, AT) == 0
    assert (writer.wanted(shard), [*folder.glob("00000002*")]) == (set(), [])
    assert writer.append(shard, [log(b"next")], AT) == 1
    assert (folder / "00000002.db").exists()
    assert [body(reader, shard, each) for each in (*logs, another)] == [each.request for each in (*logs, another)]


def test_lost_bodies_that_no_replay_brings_keep_a_segment_from_ending_for_a_while_alone(
    opened: Writers, shard: ShardKey, folder: Path, log: Logs
) -> None:
    writer = opened()
    writer.append(shard, [log(b"lost")], AT)
    writer.close()
    lose_with_the_power(folder, 3)
    writer = opened(bounds=BOUNDS._replace(rows=3))
    for _ in range(6):
        assert not (folder / "00000002.db").exists()
        writer.append(shard, [log()], AT)
    assert (folder / "00000002.db").exists()


def test_a_pack_that_is_gone_costs_its_bodies_and_nothing_else(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    gone, later = log(b"gone"), log(b"later")
    writer = opened()
    writer.append(shard, [gone], AT)
    writer.close()
    (folder / f"{SEGMENT}-0001.pack").unlink()
    assert body(reader, shard, gone) is None
    opened().append(shard, [later], AT)
    assert (body(reader, shard, gone), body(reader, shard, later)) == (None, b"later")


def test_a_full_disk_stores_nothing_by_half_and_the_next_try_succeeds(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    writer = opened()
    writer.append(shard, [log()], AT)
    before, at = packs(folder), {"0": Position(9, 9)}
    noise = random.randbytes(600_000)
    too_much = {
        "small bodies": [log(noise, noise), log(noise, noise)],
        "a streamed one": [log(random.randbytes(3_000_000))],
        "one in a pack of its own": [log(b"small"), log(random.randbytes(17_000_000))],
        "rows": [log(None, None, user_agent=f"{number}" * 1_000) for number in range(1_000)],
    }
    for what, logs in too_much.items():
        with files_no_larger_than(1_000_000), pytest.raises(StoreFault):
            writer.append(shard, logs, at)
        assert packs(folder) == before, what
        assert reader.page(shard, LogQuery()).total == 1, what
        assert writer.positions(shard) == AT, what
        writer.sync()
    for logs in too_much.values():
        assert writer.append(shard, logs, at) == len(logs)
        assert [body(reader, shard, each) for each in logs] == [each.request for each in logs]


def test_a_shard_that_cannot_be_made_is_a_fault_and_not_a_half_made_one(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, root: Path, log: Logs
) -> None:
    writer = opened()
    with files_no_larger_than(10_000), pytest.raises(StoreFault):
        writer.append(shard, [log()], AT)
    assert reader.page(shard, LogQuery()).total == 0
    (root / "file").write_bytes(b"")
    with pytest.raises(StoreFault):
        writer.append(ShardKey("file", shard.gateway), [log()], AT)
    assert writer.append(shard, [log()], AT) == 1


def test_large_bodies_get_packs_of_their_own_and_full_packs_a_successor(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs, tmp_path: Path
) -> None:
    noise = random.randbytes(15_500_000)
    side = tmp_path / "side"
    side.write_bytes(noise + noise)
    logs = [log(b"first", b"x" * 16 * 1024 * 1024), *(log(noise) for _ in range(5)), log(SideFile(side, 31_000_000))]
    writer = opened()
    for each in logs:
        writer.append(shard, [each], AT)
        writer.sync()
    writer.close()
    last = log(b"last")
    opened().append(shard, [last], AT)
    sizes = packs(folder)
    assert len(sizes) == 4
    assert max(sizes.values()) <= 64 * 1024 * 1024
    assert body(reader, shard, logs[0], "response") == logs[0].response
    assert all(body(reader, shard, each) == noise for each in logs[1:-1])
    assert body(reader, shard, logs[-1]) == noise + noise
    assert (body(reader, shard, logs[0]), body(reader, shard, last)) == (b"first", b"last")


def test_sixty_megabyte_bodies_pass_through_little_memory(root: Path, shard: ShardKey, tmp_path: Path) -> None:
    (tmp_path / "side").write_bytes(random.randbytes(1_000_000) * 60)
    program = """
import resource, sys
from pathlib import Path
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.values.ids import Mint
from sluice.values.log import LogEntry, NewLog, ShardKey, SideFile, Usage

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

root, account, gateway, side = sys.argv[1:]
shard, side = ShardKey(account, gateway), SideFile(Path(side), 60_000_000)
writer, reader, log_id = EmbeddedLogWriter.open(Path(root)), EmbeddedLogReader(Path(root)), Mint(0).mint()
entry = LogEntry(
    log_id, log_id, log_id, 1, 1, 1, "openai", "m", None, "p", "provider", None, None, 200, True, False, False,
    "complete", 0, 0, 1, Usage(), None, False, {}, None, True, False, False, False, True, 0, 0,
)
before = peak()
writer.append(shard, [NewLog(entry, side, side)], {})
assert sum(map(len, reader.body(shard, log_id, "response"))) == 60_000_000
print(peak() - before)
"""
    command = [sys.executable, "-c", program, str(root), *shard, str(tmp_path / "side")]
    done = subprocess.run(command, capture_output=True, check=True, env=os.environ | {"PYTHONPATH": ":".join(sys.path)})
    assert int(done.stdout) < 24 * 1024  # KB


def test_shards_past_the_bound_are_closed_synced_and_opened_again(
    opened: Writers, reader: EmbeddedLogReader, log: Logs
) -> None:
    writer = opened(open_shards=3)
    shards = [ShardKey("acme", f"{number:032x}") for number in range(10)]
    before = len(os.listdir("/dev/fd"))
    logs = {shard: [log(b"%d" % turn) for turn in range(3)] for shard in shards}
    for turn in range(3):
        for shard in shards:
            writer.append(shard, [logs[shard][turn]], {"0": Position(turn, 0)})
    assert len(os.listdir("/dev/fd")) - before <= 3 * 4
    for shard in shards:
        assert writer.positions(shard) == {"0": Position(2, 0)}
        assert [body(reader, shard, each) for each in logs[shard]] == [b"0", b"1", b"2"]


def test_a_shard_that_finds_no_room_is_not_left_open(
    opened: Writers, root: Path, shard: ShardKey, log: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shard._replace(gateway="f" * 32)
    writer = opened(open_shards=1)
    writer.append(other, [log()], AT)
    writer.append(shard, [log()], AT)

    def fail(path: Path) -> None:
        raise OSError(f"{path} cannot be synced")

    with monkeypatch.context() as broken:
        broken.setattr("sluice.storage.embedded.shard.sync_path", fail)
        with pytest.raises(StoreFault) as held:
            writer.append(other, [log()], AT)
    assert "cannot be synced" in str(held.value)
    open_files = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    assert not [path for path in open_files if f"/{other.gateway}/" in path]
    assert writer.append(other, [log()], AT) == 1


def test_what_a_drop_left_behind_is_cleared_away_at_the_next_start(
    opened: Writers, shard: ShardKey, root: Path, log: Logs
) -> None:
    writer = opened()
    writer.append(shard, [log()], AT)
    writer.close()
    (root / shard.account).rename(root / ".trash-0123")
    writer = opened()
    assert os.listdir(root) == []
    writer.append(shard, [log()], AT)
    writer.drop(shard)
    assert os.listdir(root) == ["acme"]
    assert os.listdir(root / "acme") == []


def test_a_segment_half_made_by_a_crash_is_made_anew(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    folder.mkdir(parents=True)
    for name in (f".{SEGMENT}.db.tmp", f".{SEGMENT}.db.tmp-wal"):
        (folder / name).write_bytes(b"half" * 1_000)
    assert opened().positions(shard) == {}
    assert reader.page(shard, LogQuery()).total == 0
    opened().append(shard, [log()], AT)
    assert reader.page(shard, LogQuery()).total == 1
    assert not list(folder.glob(".*"))


def test_a_segment_of_another_format_or_no_segment_at_all_is_a_fault(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs
) -> None:
    writer = opened()
    writer.append(shard, [log()], AT)
    writer.close()
    database = folder / f"{SEGMENT}.db"
    with closing(apsw.Connection(str(database))) as db:
        db.execute("UPDATE meta SET v = 99 WHERE key = 'format'")
    for use in (lambda: opened().append(shard, [log()], AT), lambda: reader.page(shard, LogQuery())):
        with pytest.raises(StoreFault, match="format 99"):
            use()
    database.write_bytes(b"no database " * 1_000)
    for use in (lambda: opened().append(shard, [log()], AT), lambda: reader.page(shard, LogQuery())):
        with pytest.raises(StoreFault):
            use()


def test_what_the_store_writes_is_for_its_owner_alone(opened: Writers, root: Path, shard: ShardKey, log: Logs) -> None:
    opened().append(shard, [log()], AT)
    assert not [path for path in [root, *root.rglob("*")] if path.stat().st_mode & 0o077]
