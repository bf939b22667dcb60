"""The worker's end of the spool: what append returned from is on disk, whatever happens next."""

import asyncio
import logging
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sluice.metrics import Metrics
from sluice.spool.frames import FILE_HEADER_BYTES, decode_file_header, decode_log_frame, log_id_of, tells_of_opening
from sluice.spool.layout import file_path, file_seqs, lock, spool_bytes, touched_s
from sluice.spool.reader import SpoolTail
from sluice.spool.writer import SpoolWriter
from sluice.values.exchange import Exchange
from sluice.values.ids import Mint, key_of
from sluice.values.settings import SpoolSettings
from sluice.values.tenancy import Gateway

OpenWriter = Callable[..., SpoolWriter]
Put = Callable[..., str]


def logs_in(folder: Path) -> dict[str, tuple[bytes | int, bytes | int]]:
    """All logs of one spool, by id, with their bodies; a log that is there twice is an error."""
    tail, logs = SpoolTail(folder), {}
    while found := tail.take():
        for frame in map(decode_log_frame, (each.data for each in found)):
            assert frame.exchange.id not in logs
            logs[frame.exchange.id] = (frame.request, frame.response)
    tail.close()
    return logs


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Within the block no file can grow past `size`: the write that crosses it is short, the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def dropped(metrics: Metrics, reason: str) -> int:
    labels = {"account": "local", "gateway": "default", "reason": reason}
    return metrics.counter("sluice_logs_dropped_total", "Logs that were lost, by gateway and reason.", **labels).value


def test_an_append_is_in_the_file_when_it_returns(open_writer: OpenWriter, put: Put, root: Path):
    writer = open_writer()
    log_id = put(writer, b"question", b"reply")
    assert logs_in(root / "0") == {log_id: (b"question", b"reply")}


def test_an_announcement_is_in_the_file_when_it_returns_and_is_no_log(
    open_writer: OpenWriter,
    put: Put,
    root: Path,
    gateway: Gateway,
    exchange_of: Callable[..., Exchange],
    metrics: Metrics,
):
    writer = open_writer(SpoolSettings(file_bytes=700))
    exchange = exchange_of(writer.mint.mint())
    writer.announce(gateway, exchange)
    log_id = put(writer)
    writer.announce(gateway, exchange)
    tail, frames = SpoolTail(root / "0"), []
    while found := tail.take():
        frames += [each.data for each in found]
    tail.close()
    assert [(log_id_of(frame), tells_of_opening(frame)) for frame in frames] == [
        (exchange.id, True),
        (log_id, False),
        (exchange.id, True),
    ]
    assert len(file_seqs(root / "0")) > 1
    assert metrics.counter("sluice_spool_frames_total", "Log frames appended to the spool.").value == 1


def test_what_cannot_be_announced_costs_nothing_but_that(
    open_writer: OpenWriter, root: Path, gateway: Gateway, exchange_of: Callable[..., Exchange]
):
    writer = open_writer(SpoolSettings(max_bytes=1))
    writer.measure()
    writer.announce(gateway, exchange_of(writer.mint.mint()))
    roomy = open_writer()
    roomy.announce(gateway, exchange_of("\ud800"))
    with largest_file(100):
        roomy.announce(gateway, exchange_of(roomy.mint.mint()))
    assert roomy.writable is False
    assert [logs_in(root / name) for name in ("0", "1")] == [{}, {}]


def test_a_holder_tells_when_the_one_before_it_was_seen_last(
    open_writer: OpenWriter, put: Put, root: Path, metrics: Metrics
):
    first = SpoolWriter.open(root, SpoolSettings(), metrics)
    put(first)
    first.close()
    os.utime(root / "0" / "lock", (1_750_000_000, 1_750_000_000))
    second = open_writer()
    headers = [decode_file_header(file_path(root / "0", seq).read_bytes()) for seq in file_seqs(root / "0")]
    assert [header.former_s for header in headers] == [0, 1_750_000_000]
    assert touched_s(root / "0") > 1_750_000_000
    assert second.number == 0
    assert touched_s(root / "9") == 0


def test_each_writer_takes_the_lowest_free_number(open_writer: OpenWriter, root: Path):
    first, second = open_writer(), open_writer()
    assert (first.number, second.number) == (0, 1)
    held = lock(root / "0")
    assert held is None
    assert key_of(second.mint.mint()) >> 14 & 127 == 1


def test_a_new_holder_opens_a_new_file_and_never_uses_a_number_again(
    root: Path, metrics: Metrics, put: Put, open_writer: OpenWriter
):
    for _ in range(2):
        writer = SpoolWriter.open(root, SpoolSettings(), metrics)
        put(writer)
        writer.close()
    open_writer()
    seqs = file_seqs(root / "0")
    assert seqs == list(range(seqs[0], seqs[0] + 3))
    headers = [decode_file_header(file_path(root / "0", seq).read_bytes()) for seq in seqs]
    assert [header.seq for header in headers] == seqs
    assert len({header.incarnation for header in headers}) == 3


def test_a_new_holder_mints_above_its_predecessor_even_if_the_clock_went_back(
    root: Path, metrics: Metrics, put: Put, open_writer: OpenWriter
):
    writer = SpoolWriter.open(root, SpoolSettings(), metrics)
    writer.mint = Mint(0, (4_000_000_000_000) << 21)  # as if the clock had been far ahead
    framed = put(writer)
    writer.close()
    unframed = Mint(0, key_of(framed)).mint()
    (root / "0" / "big" / f"{unframed}.req").write_bytes(b"a body whose frame never came")
    writer = open_writer()
    assert key_of(writer.mint.mint()) > key_of(unframed) > key_of(framed)
    assert decode_file_header(file_path(root / "0", file_seqs(root / "0")[-1]).read_bytes()).floor == key_of(unframed)


def test_files_rotate_and_nothing_is_lost_between_them(open_writer: OpenWriter, put: Put, root: Path):
    writer = open_writer(SpoolSettings(file_bytes=4096))
    ids = [put(writer, b"q" * 300, b"r" * 700) for _ in range(50)]
    assert len(file_seqs(root / "0")) > 10
    assert list(logs_in(root / "0")) == ids


async def test_a_large_body_goes_to_a_side_file_named_by_its_log(open_writer: OpenWriter, root: Path, gateway: Gateway,
                                                                 exchange_of: Callable[..., Exchange]):  # fmt: skip
    writer = open_writer()
    log_id = writer.mint.mint()
    request, response = writer.tape(log_id, "request"), writer.tape(log_id, "response")
    request.add(b"small")
    for _ in range(50):
        response.add(b"x" * 3000)
    await response.settle()
    writer.append(gateway, exchange_of(log_id), request, response)
    assert logs_in(root / "0") == {log_id: (b"small", 150_000)}
    assert (root / "0" / "big" / f"{log_id}.res").read_bytes() == b"x" * 150_000


async def test_an_append_before_the_thread_has_written_follows_it(open_writer: OpenWriter, root: Path, put: Put):
    writer = open_writer()
    log_id = put(writer, b"q", b"r" * 5_000_000)
    assert logs_in(root / "0") == {}
    await asyncio.to_thread(writer._sides.flush)
    await asyncio.sleep(0)
    assert logs_in(root / "0") == {log_id: (b"q", 5_000_000)}
    assert (root / "0" / "big" / f"{log_id}.res").stat().st_size == 5_000_000


async def test_closing_writes_what_waits(root: Path, metrics: Metrics, put: Put):
    writer = SpoolWriter.open(root, SpoolSettings(), metrics)
    log_id = put(writer, b"q" * 3_000_000, b"r")
    writer.close()
    assert logs_in(root / "0") == {log_id: (3_000_000, b"r")}


def test_what_comes_after_the_close_is_counted_and_touches_no_file(
    root: Path, metrics: Metrics, put: Put, tmp_path: Path
):
    writer = SpoolWriter.open(root, SpoolSettings(), metrics)
    writer.close()
    others = [(tmp_path / str(number)).open("wb") for number in range(20)]  # its descriptor's number has a new owner
    put(writer)
    for other in others:
        other.close()
    assert all((tmp_path / str(number)).stat().st_size == 0 for number in range(20))
    assert dropped(metrics, "spool_failed") == 1


async def test_under_power_durability_can_be_waited_for(open_writer: OpenWriter, put: Put, root: Path):
    writer = open_writer(SpoolSettings(durability="power"))
    async with asyncio.timeout(10):
        for _ in range(3):
            put(writer)
            await asyncio.gather(writer.durable(), writer.durable())
    assert len(logs_in(root / "0")) == 3


def test_a_torn_append_is_counted_and_a_new_file_goes_on(
    open_writer: OpenWriter, put: Put, root: Path, metrics: Metrics, caplog: pytest.LogCaptureFixture
):
    now = 0.0
    writer = open_writer(clock_s=lambda: now)
    before = [put(writer, b"q" * 1000) for _ in range(10)]
    with largest_file(spool_bytes(root) + 500), caplog.at_level(logging.ERROR):
        put(writer, b"secret question")
        put(writer, b"secret question")
    assert dropped(metrics, "spool_failed") == 1  # the first was whole, the second torn
    assert "secret" not in caplog.text
    assert not writer.refusing
    now = 1.0
    after = put(writer)
    assert writer.writable
    assert len(file_seqs(root / "0")) == 2
    logs = list(logs_in(root / "0"))
    assert (logs[:10], len(logs), logs[-1]) == (before, 12, after)


def test_a_disk_that_stays_full_does_not_litter_files(open_writer: OpenWriter, put: Put, root: Path, metrics: Metrics):
    now = 0.0
    writer = open_writer(clock_s=lambda: now)
    with largest_file(FILE_HEADER_BYTES):
        for _ in range(20):
            now += 1.0
            put(writer)
    assert dropped(metrics, "spool_failed") == 20
    assert len(file_seqs(root / "0")) == 1
    now += 1.0
    put(writer)
    assert len(logs_in(root / "0")) == 1


def test_a_writer_that_begins_on_a_full_disk_counts_what_it_loses_and_goes_on_once_there_is_room(
    open_writer: OpenWriter, put: Put, root: Path, metrics: Metrics
):
    now = 0.0
    with largest_file(0):
        writer = open_writer(clock_s=lambda: now)
        put(writer)
        assert not writer.writable
    assert (dropped(metrics, "spool_failed"), file_seqs(root / "0")) == (1, [])
    now = 1.0
    after = put(writer)
    assert list(logs_in(root / "0")) == [after]


def test_a_disk_that_is_full_when_a_file_is_new_refuses_until_there_is_room(
    open_writer: OpenWriter, put: Put, root: Path
):
    now = 0.0
    writer = open_writer(SpoolSettings(when_full="refuse"), clock_s=lambda: now)
    [first] = file_seqs(root / "0")
    with largest_file(FILE_HEADER_BYTES):
        put(writer)
    with largest_file(0):
        for _ in range(3):
            now += 1.0
            assert writer.refusing
        assert file_seqs(root / "0") == [first]
    now += 1.0
    assert not writer.refusing
    after = put(writer)
    assert first not in file_seqs(root / "0")
    assert list(logs_in(root / "0")) == [after]


def test_a_failed_spool_is_not_tried_again_at_once(open_writer: OpenWriter, put: Put, metrics: Metrics):
    writer = open_writer(clock_s=lambda: 0.0)
    with largest_file(FILE_HEADER_BYTES):
        put(writer)
        assert not writer.writable
        put(writer)
    assert metrics.counter("sluice_spool_failures_total", "Writes and syncs of the spool that failed.").value == 1
    assert dropped(metrics, "spool_failed") == 2


async def test_a_full_spool_drops_and_counts_per_gateway(open_writer: OpenWriter, put: Put, root: Path,
                                                         metrics: Metrics):  # fmt: skip
    writer = open_writer(SpoolSettings(max_bytes=20_000))
    for _ in range(40):
        put(writer, b"q" * 1000)
    kept = len(logs_in(root / "0"))
    assert 10 < kept < 30
    assert dropped(metrics, "spool_full") == 40 - kept
    assert writer.full
    assert not writer.refusing


async def test_side_files_count_and_a_dropped_log_leaves_none(root: Path, metrics: Metrics, put: Put):
    (root / "7" / "big").mkdir(parents=True)
    (root / "7" / "big" / "old.req").write_bytes(b"x" * 50_000)
    writer = SpoolWriter.open(root, SpoolSettings(max_bytes=40_000), metrics)
    assert writer.full
    put(writer, b"q" * 500_000)
    writer.close()
    assert dropped(metrics, "spool_full") == 1
    assert list((root / "0" / "big").iterdir()) == []


def test_when_it_must_not_drop_a_full_spool_refuses_and_still_writes_what_was_let_in(
    open_writer: OpenWriter, put: Put, root: Path
):
    writer = open_writer(SpoolSettings(max_bytes=2000, when_full="refuse"))
    assert not writer.refusing
    ids = [put(writer, b"q" * 1000) for _ in range(3)]
    assert writer.refusing
    assert list(logs_in(root / "0")) == ids


def test_room_made_by_the_keeper_is_noticed(open_writer: OpenWriter, put: Put, root: Path):
    ballast = root / "3"
    ballast.mkdir(parents=True)
    (ballast / "0000000001.sp").write_bytes(b"x" * 10_000)
    writer = open_writer(SpoolSettings(max_bytes=8000))
    assert writer.full
    (ballast / "0000000001.sp").unlink()
    writer.measure()
    assert not writer.full


def test_an_exchange_that_cannot_be_encoded_is_counted_and_not_raised(
    open_writer: OpenWriter, gateway: Gateway, exchange_of: Callable[..., Exchange], metrics: Metrics, root: Path
):
    writer = open_writer()
    log_id = writer.mint.mint()
    tapes = writer.tape(log_id, "request"), writer.tape(log_id, "response")
    writer.append(gateway, exchange_of(log_id, account="\udcff"), *tapes)
    assert dropped(metrics, "unwritable") == 1
    assert logs_in(root / "0") == {}


ENDLESS_WRITER = """
import sys
from pathlib import Path
from sluice.metrics import Metrics
from sluice.spool.writer import SpoolWriter
from sluice.values.exchange import Exchange
from sluice.values.settings import SpoolSettings
from sluice.values.tenancy import Gateway
writer = SpoolWriter.open(Path(sys.argv[1]), SpoolSettings(file_bytes=50_000), Metrics.unseen())
gateway = Gateway(b"g" * 16, "local", "default", True, True)
while True:
    log_id = writer.mint.mint()
    request, response = writer.tape(log_id, "request"), writer.tape(log_id, "response")
    request.add(log_id.encode() * 20)
    exchange = Exchange(log_id, "local", "openai", "p", "POST", "provider", 1, 2, 3, 200, "complete", 0, 0, 1,
                        True, True, b"", b"", b"", b"", b"", b"", b"", 520, 0)
    writer.append(gateway, exchange, request, response)
    print(log_id, flush=True)
"""


def test_every_acknowledged_append_survives_kill_9(root: Path):
    acknowledged: list[str] = []
    for _ in range(4):
        child = subprocess.Popen([sys.executable, "-c", ENDLESS_WRITER, str(root)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        enough = random.randrange(200, 2000)
        acknowledged += [child.stdout.readline().strip() for _ in range(enough)]
        os.kill(child.pid, signal.SIGKILL)
        acknowledged += child.stdout.read().split("\n")[:-1]
        child.stdout.close()
        child.wait()
    logs = logs_in(root / "0")
    assert set(acknowledged) <= set(logs)
    assert len(logs) <= len(acknowledged) + 4  # written, and killed before saying so
    assert all(request == log_id.encode() * 20 for log_id, (request, _) in logs.items())
