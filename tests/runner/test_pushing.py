"""Logpush over real stores: what is stored is pushed, in order, each log in one object, whatever ends the process."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from sluice.metrics import Metrics
from sluice.runner import pushing
from sluice.runner.pushing import Job, Pushing, Tools
from sluice.storage.embedded.pushes import EmbeddedPushStore
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.folder_objects import FolderObjects
from sluice.storage.ports import ObjectFault
from sluice.storage.push_progress import Pushed
from sluice.values.ids import Mint
from sluice.values.log import LogEntry, NewLog, Position, ShardKey

ONE, OTHER = (Pushed(ShardKey("acme", digit * 32), name, None) for digit, name in (("1", "one"), ("2", "other")))
GO_ON = threading.Event()


class Failing(FolderObjects):
    """One that takes an object and then says that it did not, or takes none."""

    taken_but_failed = down = False

    def put(self, name: str, data: bytes) -> None:
        if self.down:
            raise ObjectFault("out of reach")
        super().put(name, data)
        if self.taken_but_failed:
            raise ObjectFault("the connection broke")


class House:
    """Stores, a destination, and jobs at work on them."""

    def __init__(self, folder: Path, entry_of: Callable[..., LogEntry]) -> None:
        self.folder = folder
        self.writer = EmbeddedLogWriter.open(folder / "shards")
        self.logs = EmbeddedLogReader(folder / "shards")
        self.store = EmbeddedPushStore.open(folder / "logpush.db")
        self.objects = Failing.open(folder / "objects")
        self.gateways = [ONE]
        self._entry_of, self._mint, self._written = entry_of, Mint(1), 0

    def job(self) -> Pushing:
        """As a process that has just started."""
        tools = Tools(lambda _: self.gateways, self.logs, self.objects, self.store)
        job = Pushing(Job("archive", "acme", 1.0), tools, Metrics.unseen())
        job.look()
        return job

    def write(self, count: int = 1, gateway: Pushed = ONE, *, synced: bool = True) -> list[str]:
        entries = [self._entry_of(self._mint.mint()) for _ in range(count)]
        self._written += 1
        logs = [NewLog(entry, b"asked", b"told") for entry in entries]
        self.writer.append(gateway.shard, logs, {"0": Position(1, self._written)})
        if synced:
            self.writer.sync()
        return [entry.id for entry in entries]

    def names(self) -> list[str]:
        return sorted(self.objects.names(""))

    def lines(self, name: str) -> int:
        return gzip.decompress(self.objects.read(name, 0, self.objects.size(name) or 0)).count(b"\n")

    def pushed(self, gateway: str = "one") -> list[str]:
        """Ids of all logs in the gateway's objects, in the order of their names."""
        found = []
        for name in self.names():
            if name.startswith(f"{gateway}/"):
                size = self.objects.size(name)
                assert size
                lines = gzip.decompress(self.objects.read(name, 0, size)).splitlines()
                found += [json.loads(line)["LogID"] for line in lines]
        return found

    def close(self) -> None:
        for part in (self.writer, self.logs, self.store):
            part.close()


@pytest.fixture
def house(tmp_path: Path, entry_of: Callable[..., LogEntry]) -> Iterator[House]:
    with closing(House(tmp_path, entry_of)) as house:
        yield house


def test_what_is_stored_from_the_beginning_on_is_pushed_once(house: House) -> None:
    house.write(3)
    job = house.job()
    assert job.push(GO_ON)
    assert house.names() == []
    ids = house.write(3)
    assert job.push(GO_ON)
    ids += house.write(2)
    assert job.push(GO_ON)
    assert job.push(GO_ON)
    assert house.pushed() == ids
    assert len(house.names()) == 2


def test_what_a_power_loss_may_take_waits_for_its_sync(house: House) -> None:
    before = house.write(2, synced=False)
    job = house.job()
    assert house.store.progress("archive")["1" * 32].after == 0
    house.writer.sync()
    assert job.push(GO_ON)
    assert house.pushed() == before
    ids = house.write(3)
    late = house.write(2, synced=False)
    assert job.push(GO_ON)
    assert house.pushed() == before + ids
    house.writer.sync()
    assert job.push(GO_ON)
    assert house.pushed() == before + ids + late


def test_a_new_process_goes_on_where_the_last_one_came_to(house: House) -> None:
    house.job().push(GO_ON)
    ids = house.write(3)
    house.job().push(GO_ON)
    ids += house.write(3)
    house.job().push(GO_ON)
    assert house.pushed() == ids


def test_an_object_that_came_though_it_failed_is_sent_again_under_its_name(house: House) -> None:
    job = house.job()
    ids = house.write(3)
    house.objects.taken_but_failed = True
    assert not job.push(GO_ON)
    house.objects.taken_but_failed = False
    (name,) = house.names()
    ids += house.write(3)
    house.job().push(GO_ON)
    assert house.pushed() == ids
    assert len(house.names()) == 2
    assert house.names()[0] == name
    assert house.lines(name) == 3


def test_a_destination_out_of_reach_loses_nothing(house: House) -> None:
    house.gateways = [ONE, OTHER]
    job = house.job()
    house.objects.down = True
    ids, others = house.write(3), house.write(2, OTHER)
    assert not job.push(GO_ON)
    house.objects.down = False
    assert job.push(GO_ON)
    assert (house.pushed(), house.pushed("other")) == (ids, others)


def test_much_goes_in_objects_of_a_bounded_size(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "OBJECT_LOGS", 200)
    job = house.job()
    ids = house.write(500)
    job.push(GO_ON)
    assert house.pushed() == ids
    assert len(house.names()) == 3


def test_a_gateway_that_pushes_no_more_is_forgotten_and_begins_anew(house: House) -> None:
    job = house.job()
    house.write(2)
    house.gateways = []
    job.look()
    house.write(2)
    house.gateways = [ONE]
    job.look()
    ids = house.write(2)
    job.push(GO_ON)
    assert house.pushed() == ids


def test_a_job_that_begins_while_another_makes_the_file_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "logpush.db"
    with closing(apsw.Connection(str(path))) as making, ThreadPoolExecutor() as threads:
        making.execute("BEGIN IMMEDIATE; CREATE TABLE other (x)")
        opening = threads.submit(EmbeddedPushStore.open, path)
        with pytest.raises(TimeoutError):
            opening.result(timeout=0.1)
        making.execute("COMMIT")
        opening.result().close()


def test_a_key_that_seals_nothing_sends_nothing_in_clear_and_holds_up_nobody(house: House) -> None:
    house.gateways = [ONE._replace(public_key="no key that seals"), OTHER]
    job = house.job()
    house.write(2)
    others = house.write(2, OTHER)
    assert not job.push(GO_ON)
    assert (house.pushed(), house.pushed("other")) == ([], others)
