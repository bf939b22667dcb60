"""`cache.db`: bounded, swept, shared, and set aside when it is damaged."""

import asyncio
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from sluice.metrics import Metrics
from sluice.storage.embedded import reply_cache
from sluice.storage.embedded.cache_file import CacheFault, CacheFile
from sluice.storage.embedded.reply_cache import CHECKED_S, EmbeddedReplyCache
from sluice.values.caching import KeptReply, Place
from sluice.values.settings import MB, CacheSettings

GATEWAY = b"g" * 16


def place(name: bytes, gateway: bytes = GATEWAY, epoch: int = 0) -> Place:
    return Place(name.ljust(32, b"."), gateway, epoch)


def reply(text: bytes = b"hello", expires_s: float = 1000.0) -> KeptReply:
    return KeptReply(200, b"OK", b"text/plain", b"", b"Content-Type: text/plain\r\n", text, expires_s, (2, len(text)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def file(path: Path) -> Iterator[CacheFile]:
    with closing(CacheFile(path, 64 * MB)) as opened:
        yield opened


def test_what_was_put_is_got_as_it_was_until_its_time_is_over(file: CacheFile, path: Path):
    file.put([(place(b"a"), reply())])
    assert file.get(place(b"a").key, 999.9) == reply()
    assert file.get(place(b"a").key, 1000.0) is None
    assert file.get(place(b"b").key, 0) is None
    file.put([(place(b"a"), reply(b"newer"))])
    with closing(CacheFile(path, MB)) as other:
        assert other.get(place(b"a").key, 0) == reply(b"newer")
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_file_stays_within_its_bytes_and_the_oldest_go_first(path: Path):
    with closing(CacheFile(path, MB)) as file:
        for number in range(300):
            file.put([(place(b"%d" % number), reply(b"x" * 20_000))])
        there = [number for number in range(300) if file.get(place(b"%d" % number).key, 0)]
    assert there == list(range(there[0], 300))
    assert 20 < len(there) < 60
    assert path.stat().st_size < 1.2 * MB


def test_a_sweep_removes_what_nobody_can_be_given(file: CacheFile):
    file.put([(place(b"old"), reply(expires_s=10)), (place(b"new"), reply())])
    file.put([(place(b"cleared", epoch=1), reply()), (place(b"deleted", b"d" * 16), reply())])
    asked: list[tuple[bytes, int]] = []

    def is_current(gateway: bytes, epoch: int) -> bool:
        asked.append((gateway, epoch))
        return (gateway, epoch) == (GATEWAY, 0)

    assert file.sweep(500.0, is_current) == 3
    assert sorted(asked) == [(b"d" * 16, 0), (GATEWAY, 0), (GATEWAY, 1)]
    assert file.get(place(b"new").key, 0) == reply()
    file.put([(place(b"old"), reply(expires_s=10))])
    assert file.sweep(510.0, is_current) == 0  # another worker did just now
    assert file.sweep(600.0, is_current) == 1


def test_a_byte_that_changed_on_disk_is_no_reply(file: CacheFile, path: Path):
    file.put([(place(b"a"), reply())])
    db = apsw.Connection(str(path))
    db.execute("UPDATE replies SET reply = CAST(replace(CAST(reply AS TEXT), 'hello', 'jello') AS BLOB)")
    db.close()
    with pytest.raises(CacheFault):
        file.get(place(b"a").key, 0)


@pytest.mark.parametrize("damage", [b"no database at all" * 300, b""], ids=["garbage", "empty"])
def test_a_file_that_is_no_database_is_replaced(path: Path, damage: bytes):
    path.write_bytes(damage)
    with closing(CacheFile(path, MB)) as file:
        file.put([(place(b"a"), reply())])
        assert file.get(place(b"a").key, 0) == reply()
    aside = path.with_name("cache.db.damaged")
    assert (aside.read_bytes() if aside.exists() else b"") == damage


def test_damage_within_is_found_in_use_and_all_go_on_with_the_new_file(path: Path):
    with closing(CacheFile(path, 64 * MB)) as one, closing(CacheFile(path, 64 * MB)) as other:
        one.put([(place(b"%d" % number), reply(b"x" * 3000)) for number in range(200)])
        other.get(place(b"0").key, 0)
        one.close()
        other.close()
        data = bytearray(path.read_bytes())
        data[4096:] = b"\xff" * (len(data) - 4096)
        path.write_bytes(data)
        with pytest.raises(CacheFault):
            one.get(place(b"0").key, 0)
        one.put([(place(b"a"), reply())])
        assert other.get(place(b"a").key, 0) == reply()
    assert path.with_name("cache.db.damaged").exists()


def test_workers_write_and_read_beside_each_other(path: Path):
    faults: list[Exception] = []

    def work(number: int) -> None:
        try:
            with closing(CacheFile(path, 64 * MB)) as file:
                for turn in range(30):
                    file.put([(place(b"%d-%d" % (number, turn)), reply())])
                    file.get(place(b"%d-%d" % (1 - number, turn)).key, 0)
        except CacheFault as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with closing(CacheFile(path, MB)) as file:
        keys = [place(b"%d-%d" % (number, turn)).key for number in range(2) for turn in range(30)]
        assert all(file.get(key, 0) for key in keys)


async def test_a_worker_finds_what_another_has_written(path: Path):
    def open_one() -> EmbeddedReplyCache:
        return EmbeddedReplyCache(path, CacheSettings(), Metrics.unseen(), lambda *_: True, lambda: 0.0)

    with closing(open_one()) as one:
        one.keep(place(b"a"), reply())
        assert one.at_hand(place(b"a").key) == reply()
    with closing(open_one()) as other:
        assert other.at_hand(place(b"a").key) is None
        assert await other.find(place(b"a").key) == reply()
        assert other.at_hand(place(b"a").key) == reply()


async def test_a_reply_that_another_worker_has_renewed_is_given_soon(path: Path):
    now_s = 0.0

    def open_one() -> EmbeddedReplyCache:
        return EmbeddedReplyCache(path, CacheSettings(), Metrics.unseen(), lambda *_: True, lambda: now_s)

    key = place(b"a").key
    with closing(open_one()) as one:
        with closing(open_one()) as other:
            other.keep(place(b"a"), reply(b"old"))
        assert await one.find(key) == reply(b"old")
        with closing(open_one()) as other:
            other.keep(place(b"a"), reply(b"new"))
        now_s = CHECKED_S - 1
        assert one.at_hand(key) == reply(b"old")
        now_s = CHECKED_S
        assert one.at_hand(key) is None
        assert await one.find(key) == reply(b"new")
        assert one.at_hand(key) == reply(b"new")


async def test_a_renewed_reply_that_was_not_written_stands_over_the_one_in_the_file(path: Path):
    now_s = 0.0
    settings = CacheSettings()
    with closing(EmbeddedReplyCache(path, settings, Metrics.unseen(), lambda *_: True, lambda: now_s)) as one:
        one.keep(place(b"a"), reply(b"old", 500.0))
    with closing(EmbeddedReplyCache(path, settings, Metrics.unseen(), lambda *_: True, lambda: now_s)) as one:
        one._put(place(b"a").key, reply(b"new", 600.0))  # as where the queue to the disk is full
        now_s = CHECKED_S
        assert await one.find(place(b"a").key) == reply(b"new", 600.0)
        assert one.at_hand(place(b"a").key) == reply(b"new", 600.0)


def test_of_two_replies_for_one_key_in_a_batch_the_later_one_is_kept_and_the_others_too(file: CacheFile):
    file.put([(place(b"a"), reply(b"first")), (place(b"b"), reply(b"other")), (place(b"a"), reply(b"second"))])
    assert [file.get(place(name).key, 0) for name in (b"a", b"b")] == [reply(b"second"), reply(b"other")]


async def test_what_the_file_has_lost_is_still_given_from_memory(path: Path):
    now_s = 0.0
    with closing(EmbeddedReplyCache(path, CacheSettings(), Metrics.unseen(), lambda *_: True, lambda: now_s)) as one:
        one.keep(place(b"a"), reply())
        for later_s in (CHECKED_S, CHECKED_S + 1):
            now_s = later_s
            for file in path.parent.glob("cache.db*"):
                file.unlink(missing_ok=True)  # the journal comes and goes
            assert await one.find(place(b"a").key) == reply()
            assert one.at_hand(place(b"a").key) == reply()


@pytest.mark.parametrize("settings", [CacheSettings(disk_bytes=0), CacheSettings(memory_bytes=0)])
async def test_either_of_memory_and_disk_may_be_left_out(path: Path, settings: CacheSettings):
    with closing(EmbeddedReplyCache(path, settings, Metrics.unseen(), lambda *_: True, lambda: 0.0)) as cache:
        cache.keep(place(b"a"), reply())
        for _ in range(500):
            if found := await cache.find(place(b"a").key):
                break
            await asyncio.sleep(0.01)  # until it is written
        assert found == reply()
    assert path.exists() is (settings.disk_bytes > 0)


async def test_a_cache_that_fails_is_a_miss_and_is_counted(tmp_path: Path):
    path = tmp_path / "cache.db"
    path.mkdir()
    metrics = Metrics.unseen()
    with closing(EmbeddedReplyCache(path, CacheSettings(memory_bytes=0), metrics, lambda *_: True)) as cache:
        cache.keep(place(b"a"), reply())
        assert await cache.find(place(b"a").key) is None
    faults = metrics.counter("sluice_cache_faults_total", "Uses of cache.db that failed: misses instead.")
    assert faults.value >= 1


async def test_a_disk_that_does_not_answer_is_a_miss_too(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Somebody holds the lock under which the file is opened: what reads of it waits, and nobody waits for that."""
    monkeypatch.setattr(reply_cache, "FIND_S", 0.1)
    metrics = Metrics.unseen()
    faults = metrics.counter("sluice_cache_faults_total", "Uses of cache.db that failed: misses instead.")
    lock = os.open(path.with_name("cache.db.lock"), os.O_RDWR | os.O_CREAT)
    with (
        closing(EmbeddedReplyCache(path, CacheSettings(memory_bytes=0), metrics, lambda *_: True)) as cache,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = await asyncio.gather(*(cache.find(place(b"%d" % number).key) for number in range(20)))
        os.close(lock)
        assert (found, faults.value) == ([None] * 20, 20)
        assert await cache.find(place(b"a").key) is None
    assert faults.value == 20
