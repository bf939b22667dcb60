"""Exchanges that go on for long are in the log once: as they ended, or broken where their worker died first."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sluice.keeper.account_manager import AccountManager
from sluice.keeper.addresses import Addresses
from sluice.keeper.keeper import Keeper
from sluice.keeper.metering import Meter
from sluice.keeper.retention import Retention
from sluice.metrics import Metrics
from sluice.spool.layout import file_seqs, side_path
from sluice.spool.reader import SpoolReader
from sluice.spool.writer import SpoolWriter
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.generations import MappedGenerations, create_generations
from sluice.storage.embedded.marks import Marks
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.usage import EmbeddedUsageStore
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.values.exchange import Exchange
from sluice.values.gateway import DEFAULT_GATEWAY_CONFIG
from sluice.values.ids import wall_ms
from sluice.values.log import LogEntry, ShardKey
from sluice.values.settings import LogSettings, SpoolSettings
from sluice.values.tenancy import Gateway

DETAIL = "The gateway's process that served it died"


def exchange_of(log_id: str, status: int = 200, path: str = "v1/chat/completions") -> Exchange:
    return Exchange(
        log_id, "local", "openai", path, "POST", "provider", wall_ms(), 0, 5_000_000, status, "complete", 0, 0, 1, True,
        True, b"application/json", b"", b"text/event-stream", b"", b"tests", b'{"team":"blue"}', b"", 10, 20,
    )  # fmt: skip


class House:
    """A data folder, workers of it, and as many lives of a keeper as it takes."""

    def __init__(self, data: Path) -> None:
        self.data, self.spool = data, data / "spool"
        create_generations(data / "generations.map")
        self.generations = MappedGenerations.open(data / "generations.map", writable=True)
        self.control = EmbeddedControlStore.open_for_writing(data / "control.db", self.generations)
        self.control.first_start()
        self.metrics = Metrics.unseen()
        self.reader = EmbeddedLogReader(data / "shards", query_timeout_s=30)
        self.gateway = self.gateway_named("default")

    def gateway_named(self, name: str) -> Gateway:
        if self.control.gateway("local", name) is None:
            self.control.create_gateway("local", name, DEFAULT_GATEWAY_CONFIG)
        gateway = self.control.gateway("local", name)
        assert gateway is not None
        return gateway

    def worker(self) -> SpoolWriter:
        return SpoolWriter.open(self.spool, SpoolSettings(file_bytes=4_000), self.metrics)

    def announce(self, worker: SpoolWriter, gateway: Gateway | None = None, status: int = 200) -> Exchange:
        exchange = exchange_of(worker.mint.mint(), status)
        worker.announce(gateway or self.gateway, exchange)
        return exchange

    def end(self, worker: SpoolWriter, exchange: Exchange, gateway: Gateway | None = None) -> None:
        asked, told = worker.tape(exchange.id, "request"), worker.tape(exchange.id, "response")
        worker.append(gateway or self.gateway, exchange, asked, told)

    def keeper(self) -> Keeper:
        settings = LogSettings(flush_rows=5, flush_ms=5, poll_ms=2, sync_s=0.01)
        writer, usage = EmbeddedLogWriter.open(self.data / "shards"), EmbeddedUsageStore.open(self.data / "usage.db")
        accounts = AccountManager(self.control, self.generations, writer, usage)
        return Keeper(
            settings, self.data, SpoolReader(self.spool), writer, Meter(self.control.rates),
            Addresses(self.control, self.generations), accounts,
            Retention(self.control, accounts, writer, self.metrics, wall_ms), self.metrics,
        )  # fmt: skip

    def keep(self) -> None:
        """One life of a keeper, which is told to drain at once."""
        self.keeper().run(lambda wait_s: True)

    def logs(self, gateway: Gateway | None = None) -> list[LogEntry]:
        found = gateway or self.gateway
        entries, _ = self.reader.tail(ShardKey("local", found.id.hex()), 0, 10_000)
        return entries

    def endings(self, gateway: Gateway | None = None) -> dict[str, str]:
        """Endings by id, each of which must be there once."""
        logs = self.logs(gateway)
        assert len({log.id for log in logs}) == len(logs)
        return {log.id: log.ending for log in logs}

    @property
    def still_open(self) -> set[str]:
        """What the keeper has written down as going on."""
        with closing(Marks.open(self.data / "keeper.db")) as marks:
            return set(marks.open_exchanges())

    def close(self) -> None:
        self.reader.close()
        self.control.close()
        self.generations.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def test_one_whose_worker_lives_is_no_log_yet_and_one_that_ends_is_that_log(house: House):
    with closing(house.worker()) as worker:
        ended, going_on = house.announce(worker), house.announce(worker)
        house.keep()
        assert (house.endings(), house.still_open) == ({}, {ended.id, going_on.id})
        house.end(worker, ended)
        house.keep()
        assert (house.endings(), house.still_open) == ({ended.id: "complete"}, {going_on.id})


def test_one_whose_worker_is_gone_is_broken_with_what_was_known(house: House):
    with closing(house.worker()) as worker:
        known = house.announce(worker)
        headless = house.announce(worker, status=0)
    at_s = known.started_ms / 1000 + 7
    os.utime(house.spool / "0" / "lock", (at_s, at_s))  # when it was seen last
    house.keep()
    assert house.still_open == set()
    logs = {log.id: log for log in house.logs()}
    assert set(logs) == {known.id, headless.id}
    log = logs[known.id]
    assert (log.ending, log.incomplete, log.success, log.error, log.detail) == ("broken", True, False, 2005, DETAIL)
    assert (log.status_code, log.provider, log.path, log.metadata) == (200, "openai", known.path, {"team": "blue"})
    assert (log.request_bytes, log.response_bytes, log.usage.tokens_in, log.cost_nano) == (10, 20, None, None)
    assert abs(log.duration_ms - 7_000) <= 1
    assert logs[headless.id].status_code == 500


def test_what_is_told_last_counts(house: House):
    with closing(house.worker()) as worker:
        first = house.announce(worker, status=0)
        worker.announce(house.gateway, exchange_of(first.id, 201))
    house.keep()
    assert [(log.id, log.status_code) for log in house.logs()] == [(first.id, 201)]


def test_the_next_holder_of_the_spool_tells_when_the_last_one_was_seen(house: House):
    with closing(house.worker()) as worker:
        orphan = house.announce(worker)
    at_s = orphan.started_ms / 1000 + 60
    os.utime(house.spool / "0" / "lock", (at_s, at_s))
    for _ in range(2):  # the second of them tells of the first
        with closing(house.worker()) as worker:
            own = house.announce(worker)
            house.end(worker, own)
    with closing(house.worker()) as worker:
        running = house.announce(worker)
        house.keep()
        assert house.still_open == {running.id}
        broken = next(log for log in house.logs() if log.ending == "broken")
        assert (broken.id, len(house.logs())) == (orphan.id, 3)
        assert 58_000 < broken.duration_ms <= 60_000


def test_those_that_have_not_ended_are_broken_within_a_moment_of_their_workers_death(house: House):
    stop = threading.Event()
    thread = threading.Thread(target=house.keeper().run, args=(stop.wait,))
    thread.start()
    try:
        with closing(house.worker()) as worker:
            opened = [house.announce(worker) for _ in range(40)]
            assert len(file_seqs(house.spool / "0")) > 1
            for exchange in opened[::2]:
                house.end(worker, exchange)
            wait_until(lambda: len(house.logs()) == 20)
        wait_until(lambda: len(house.logs()) == 40)
    finally:
        stop.set()
        thread.join()
    assert house.endings() == {each.id: "broken" if at % 2 else "complete" for at, each in enumerate(opened)}
    assert (house.still_open, len(file_seqs(house.spool / "0"))) == (set(), 1)


def test_side_files_of_one_that_is_broken_go(house: House):
    with closing(house.worker()) as worker:
        exchange = house.announce(worker)
        transcript = side_path(house.spool / "0", exchange.id, "response")
        transcript.write_bytes(b"half of it")
    house.keep()
    assert house.endings() == {exchange.id: "broken"}
    assert not transcript.exists()


def test_one_of_a_deleted_gateway_is_dropped_and_counted(house: House):
    gone = house.gateway_named("gone")
    with closing(house.worker()) as worker:
        house.announce(worker, gone)
        ended = house.announce(worker, gone)
        house.keep()
        house.control.delete_gateway("local", "gone")
        house.end(worker, ended, gone)
    house.keep()
    assert (house.still_open, house.logs(gone)) == (set(), [])
    labels = {"account": "local", "gateway": gone.id.hex(), "reason": "gateway_deleted"}
    help = "Logs that were lost, by gateway and reason."
    assert house.metrics.counter("sluice_logs_dropped_total", help, **labels).value == 2


def test_a_lost_database_of_the_keepers_doubles_none(house: House):
    with closing(house.worker()) as worker:
        ended, orphan = house.announce(worker), house.announce(worker)
        house.end(worker, ended)
    house.keep()
    (house.data / "keeper.db").write_bytes(b"damaged")
    house.keep()
    assert house.endings() == {ended.id: "complete", orphan.id: "broken"}


PREAMBLE = """
import random, sys, threading
from pathlib import Path
data = Path(sys.argv[1])
from sluice.metrics import Metrics
from sluice.values.settings import LogSettings, SpoolSettings
"""

WORKER = f"""{PREAMBLE}
from sluice.spool.writer import SpoolWriter
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.values.exchange import Exchange
from sluice.values.ids import wall_ms
writer = SpoolWriter.open(data / "spool", SpoolSettings(file_bytes=4_000), Metrics.unseen())
gateway = EmbeddedControlReader.open(data / "control.db").gateway("local", "default")
running = []
while True:
    log_id = writer.mint.mint()
    exchange = Exchange(log_id, "local", "openai", "p", "POST", "provider", wall_ms(), 0, 1, 200, "complete", 0, 0, 1,
                        True, True, *[b""] * 7, 0, 0)
    writer.announce(gateway, exchange)
    print("opened", log_id, flush=True)
    running.append(exchange)
    if len(running) > 8:
        ended = running.pop(random.randrange(8))
        print("ending", ended.id, flush=True)
        writer.append(gateway, ended, writer.tape(ended.id, "request"), writer.tape(ended.id, "response"))
        print("ended", ended.id, flush=True)
    threading.Event().wait(0.001)
"""

KEEPER = f"""{PREAMBLE}
from sluice.keeper.account_manager import AccountManager
from sluice.keeper.addresses import Addresses
from sluice.keeper.keeper import Keeper
from sluice.keeper.metering import Meter
from sluice.keeper.retention import Retention
from sluice.spool.reader import SpoolReader
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.generations import MappedGenerations
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.usage import EmbeddedUsageStore
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.values.ids import wall_ms
control = EmbeddedControlReader.open(data / "control.db")
generations = MappedGenerations.open(data / "generations.map")
writer = EmbeddedLogWriter.open(data / "shards", bounds=BOUNDS._replace(rows=40))
usage = EmbeddedUsageStore.open(data / "usage.db")
accounts, metrics = AccountManager(control, generations, writer, usage), Metrics.unseen()
keeper = Keeper(LogSettings(flush_rows=5, flush_ms=2, poll_ms=1, sync_s=0.005), data, SpoolReader(data / "spool"),
                writer, Meter(control.rates), Addresses(control, generations),
                accounts, Retention(control, accounts, writer, metrics, wall_ms), metrics)
print("started", flush=True)
keeper.run(threading.Event().wait)
"""


class Program:
    """A process that says what it does, until it is killed."""

    def __init__(self, text: str, data: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", text, str(data)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        self._first = self._process.stdout.readline()

    def killed(self) -> list[list[str]]:
        """All it said, by words, up to `kill -9`."""
        self._process.send_signal(signal.SIGKILL)
        said, _ = self._process.communicate()
        lines = (self._first + said).splitlines(keepends=True)
        return [line.split() for line in lines if line.endswith("\n")]


def test_each_is_stored_once_however_often_worker_and_keeper_are_killed_in_any_order(house: House):
    said: dict[str, str] = {}
    for _ in range(6):
        programs = [Program(text, house.data) for text in random.sample([WORKER, KEEPER], 2)]
        random.shuffle(programs)
        for program in programs:
            pause(random.uniform(0.0, 0.2))
            for what, *log_id in program.killed():
                if log_id:
                    said[log_id[0]] = what
    house.keep()
    endings = house.endings()
    assert len(said) > 50
    assert set(said) <= set(endings)
    assert len(set(endings) - set(said)) <= 6  # a worker may die between an opening and its word of it
    for log_id, what in said.items():
        if what != "ending":
            assert endings[log_id] == {"opened": "broken", "ended": "complete"}[what], log_id
    assert {"complete", "broken"} == set(endings.values())
    assert house.still_open == set()


def test_a_keeper_that_dies_before_it_writes_down_what_it_broke_breaks_it_once(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    with closing(house.worker()) as worker:
        orphan = house.announce(worker)
        house.keep()
    with monkeypatch.context() as patch:
        patch.setattr(Marks, "move", dies)
        with pytest.raises(SystemError):
            house.keep()
    assert (house.endings(), house.still_open) == ({orphan.id: "broken"}, {orphan.id})
    house.keep()
    assert (house.endings(), house.still_open) == ({orphan.id: "broken"}, set())


def dies(*_: object) -> None:
    raise SystemError("the process ends here")


def wait_until(true: Callable[[], bool], deadline_s: float = 10.0) -> None:
    """Looks again and again: what is waited for happens in another thread's files."""
    until_s = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < until_s, "it never came true"
        time.sleep(0.002)


def pause(seconds: float) -> None:
    """Lets the programs work for a while that is nobody's to know."""
    threading.Event().wait(seconds)
