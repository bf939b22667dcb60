"""Reading beside a living writer, from another process."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import LogQuery, StoreFault
from sluice.values.log import NewLog, Position, ShardKey

AT = {"0": Position(1, 100)}
Logs = Callable[..., NewLog]
Writers = Callable[..., EmbeddedLogWriter]

ANSWER = """
import sys
from pathlib import Path
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.ports import LogQuery
from sluice.values.log import ShardKey

root, account, gateway = sys.argv[1:]
reader, shard = EmbeddedLogReader(Path(root)), ShardKey(account, gateway)
for _ in sys.stdin:
    page = reader.page(shard, LogQuery(per_page=1))
    body = b"".join(reader.body(shard, page.entries[0].id, "request")).decode() if page.entries else "nothing"
    print(page.total, body, flush=True)
"""


def test_another_process_sees_each_log_as_soon_as_it_is_stored(
    opened: Writers, shard: ShardKey, root: Path, log: Logs
) -> None:
    command = [sys.executable, "-c", ANSWER, str(root), *shard]
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdin
        assert process.stdout

        def seen() -> str:
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            return process.stdout.readline()

        assert seen() == "0 nothing\n"
        writer = opened()
        for number in range(1, 30):
            writer.append(shard, [log(b"body %d" % number)], AT)
            assert seen() == f"{number} body {number}\n"
            if number % 10 == 0:
                writer.sync()
        writer.close()
        assert seen() == "29 body 29\n"
        writer = opened()
        writer.drop(shard)
        assert seen() == "0 nothing\n"
        writer.append(shard, [log(b"anew")], AT)
        assert seen() == "1 anew\n"


def test_a_log_is_found_by_its_id_without_a_walk_through_all_before_it(
    opened: Writers, root: Path, shard: ShardKey, log: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = [log(b"%d" % number) for number in range(3_000)]
    writer = opened()
    writer.append(shard, logs, AT)
    writer.close()  # it walks, in the background
    steps: list[tuple[int, str]] = []

    def count(db: apsw.Connection) -> None:
        db.trace_v2(
            apsw.SQLITE_TRACE_PROFILE,
            lambda told: steps.append((told["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"], told["sql"])),
        )

    monkeypatch.setattr(apsw, "connection_hooks", [*apsw.connection_hooks, count])
    with closing(EmbeddedLogReader(root)) as reader:
        assert reader.get(shard, logs[-1].entry.id) == logs[-1].entry
    assert steps
    assert max(steps) < (1_000, "")


def test_threads_may_share_a_reader(opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, log: Logs) -> None:
    logs = [log(b"%d" % number) for number in range(200)]
    opened().append(shard, logs, AT)
    wrong: list[object] = []

    def read_all() -> None:
        for each in logs:
            found = reader.get(shard, each.entry.id)
            body = b"".join(reader.body(shard, each.entry.id, "request") or ())
            if (found, body) != (each.entry, each.request):
                wrong.append((found, body))

    threads = [threading.Thread(target=read_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_query_past_its_budget_is_ended_with_a_fault_and_the_next_one_served(
    opened: Writers, root: Path, shard: ShardKey, log: Logs
) -> None:
    opened().append(shard, [log(None, None) for _ in range(5_000)], AT)
    with closing(EmbeddedLogReader(root, query_timeout_s=0.0)) as hurried:
        for _ in range(2):
            with pytest.raises(StoreFault, match="longer"):
                hurried.page(shard, LogQuery(order_by="model_type", per_page=50))
        assert hurried.tail(shard, 0, 1)[1] == 1


def test_a_reader_keeps_few_connections_however_many_shards_it_reads(
    opened: Writers, reader: EmbeddedLogReader, log: Logs
) -> None:
    shards = [ShardKey("acme", f"{number:032x}") for number in range(100)]
    writer = opened()
    for shard in shards:
        writer.append(shard, [log()], AT)
    writer.close()
    before = len(os.listdir("/dev/fd"))
    for shard in shards:
        assert reader.page(shard, LogQuery()).total == 1
    assert len(os.listdir("/dev/fd")) - before <= 64 * 3
