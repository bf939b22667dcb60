"""The keeper with its real neighbours: spool, meter, control data, log store. Every log once, whatever dies."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from sluice.keeper.rate_book import PricePending
from sluice.spool.layout import file_path, file_seqs, side_files
from sluice.spool.reader import SpoolReader
from sluice.values.log import ShardKey
from sluice.values.rates import Rates
from sluice.values.settings import LogSettings
from sluice.values.tenancy import Gateway

QUESTION = b'{"model":"gpt-4o-mini","messages":[]}'
ANSWER = b'{"id":"chatcmpl-1","model":"gpt-4o-mini","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}'
Price = Callable[[str, str], Rates | None]


def shard_of(gateway: Gateway) -> ShardKey:
    return ShardKey(gateway.account, gateway.id.hex())


def test_what_a_worker_appended_is_in_the_log_with_usage_and_bodies(house):
    ids = [house.put() for _ in range(20)]
    house.keep()
    entries = house.logs()
    assert [entry.id for entry in entries] == ids
    assert (entries[0].model, entries[0].usage.tokens_in, entries[0].usage.tokens_out) == ("gpt-4o-mini", 3, 4)
    assert (house.body(ids[7], "request"), house.body(ids[7], "response")) == (QUESTION, ANSWER)
    assert house.count("sluice_logs_stored_total", "Logs stored.") == 20


def test_a_log_waits_for_its_price_and_delays_only_its_own_gateway(house):
    second = house.gateway_named("second")
    waiting = [house.put(), house.put(request=QUESTION.replace(b"gpt-4o-mini", b"new")), house.put()]
    passing = house.put(second)
    stored_meanwhile: list[list[str]] = []

    def price(provider: str, model: str) -> Rates:
        if model == "new" and len(stored_meanwhile) < 3:
            stored_meanwhile.append(house.ids(second))
            raise PricePending
        return Rates(input=10**15, output=0)

    house.keep(price=price)
    assert house.ids() == waiting
    assert [entry.cost_nano for entry in house.logs()] == [3 * 10**9] * 3
    assert house.ids(second) == [passing]
    assert stored_meanwhile[-1] == [passing]


def test_all_prices_that_a_batch_lacks_are_asked_for_at_once(house):
    for number in range(5):
        house.put(request=QUESTION.replace(b"gpt-4o-mini", b"new-%d" % number))
    asked: list[str] = []

    def price(provider: str, model: str) -> Rates:
        asked.append(model)
        if len(asked) <= 5:
            raise PricePending
        return Rates(input=0, output=0)

    house.keep(price=price)
    assert asked == [f"new-{number}" for number in range(5)] * 2
    assert len(house.logs()) == 5


def test_nothing_is_stored_twice_even_if_the_marks_are_lost(house):
    ids = [house.put() for _ in range(30)]
    house.keep()
    for path in house.data.glob("keeper.*"):
        path.unlink()
    ids += [house.put() for _ in range(5)]
    house.keep()
    house.keep()
    assert house.ids() == ids


def test_damaged_marks_cost_a_replay_and_no_log(house):
    ids = [house.put() for _ in range(30)]
    house.keep()
    (house.data / "keeper.db").write_bytes(b"no database" * 1000)
    ids.append(house.put())
    house.keep()
    assert house.ids() == ids
    assert (house.data / "keeper.db.damaged").exists()


def test_spool_files_go_once_they_are_stored_and_the_newest_stays(house):
    for _ in range(300):
        house.put(request=QUESTION + b" " * 1000)
    before = file_seqs(house.spool)
    assert len(before) > 3
    house.keep()
    assert file_seqs(house.spool) == before[-1:]


def test_spool_files_of_a_dead_worker_go_though_they_could_not_at_first(house, monkeypatch: pytest.MonkeyPatch):
    for _ in range(300):
        house.put(request=QUESTION + b" " * 1000)
    house.worker_ends()
    before = file_seqs(house.spool)

    def fail(*_: object) -> None:
        raise OSError("the disk is read-only")

    with monkeypatch.context() as broken:
        broken.setattr(SpoolReader, "remove_files", fail)
        house.keep()
    assert file_seqs(house.spool) == before
    house.keep()
    assert file_seqs(house.spool) == before[-1:]


def test_large_bodies_are_stored_whole_and_their_side_files_go(house):
    request, response = random.randbytes(300_000), random.randbytes(2_000_000)
    log_id = house.put(request=request, response=response)
    assert len(side_files(house.spool)) == 2
    house.keep()
    assert (house.body(log_id, "request"), house.body(log_id, "response")) == (request, response)
    assert side_files(house.spool) == []


def test_side_files_whose_log_never_came_go_when_their_worker_is_dead(house):
    house.put()
    orphan = house.spool / "big" / f"{house.worker.mint.mint()}.req"
    orphan.write_bytes(b"half a body")
    house.keep()
    assert orphan.exists()
    house.worker_ends()
    house.keep()
    assert not orphan.exists()


def test_a_body_lost_with_its_side_file_does_not_take_the_log_along(house):
    lost, short = house.put(request=b"q" * 100_000), house.put(response=b"r" * 100_000)
    (house.spool / "big" / f"{lost}.req").unlink()
    os.truncate(house.spool / "big" / f"{short}.res", 5000)
    house.keep()
    assert house.ids() == [lost, short]
    assert house.body(lost, "request") is None
    assert house.body(lost, "response") == ANSWER
    assert house.body(short, "response") is None
    assert house.count("sluice_spool_lost_bodies_total", "Bodies whose side file is missing or short.") == 2


def test_bodies_that_may_not_be_stored_are_read_for_usage_alone(house):
    small, large = house.put(payload=False), house.put(payload=False, request=QUESTION + b" " * 100_000)
    house.keep()
    assert [entry.usage.tokens_out for entry in house.logs()] == [4, 4]
    assert [house.body(log_id, "request") for log_id in (small, large)] == [None, None]
    assert side_files(house.spool) == []


def test_a_deleted_gateways_frames_are_dropped_and_counted_and_its_logs_go(house):
    doomed = house.gateway_named("doomed")
    house.put(doomed)
    house.keep()
    assert len(house.ids(doomed)) == 1
    house.put(doomed, request=b"q" * 100_000)
    house.put(doomed)
    house.control.delete_gateway("local", "doomed")
    kept = house.put()
    house.keep()
    assert (house.ids(doomed), house.ids()) == ([], [kept])
    labels = {"account": "local", "gateway": doomed.id.hex(), "reason": "gateway_deleted"}
    assert house.count("sluice_logs_dropped_total", "Logs that were lost, by gateway and reason.", **labels) == 2
    assert side_files(house.spool) == []


def test_a_gateway_that_is_missing_but_was_not_deleted_keeps_its_logs(house):
    restored = Gateway(b"r" * 16, "local", "of a restored backup", True, True)
    log_id = house.put(restored)
    house.keep()
    assert house.ids(restored) == [log_id]


def test_a_store_that_fails_is_tried_until_it_works_and_holds_up_nobody_else(house):
    other = house.gateway_named("other")
    ids = [house.put() for _ in range(5)]
    others = [house.put(other) for _ in range(5)]
    obstacle = house.data / "shards" / "local" / house.gateway.id.hex()
    obstacle.parent.mkdir(parents=True)
    obstacle.write_bytes(b"in the way")
    stop = threading.Event()
    thread = threading.Thread(target=house.keeper().run, args=(stop.wait,))
    thread.start()
    wait_until(lambda: house.ids(other) == others)
    wait_until(lambda: house.count("sluice_log_store_faults_total", "Calls of the log store that failed.") >= 2)
    obstacle.unlink()
    wait_until(lambda: house.ids() == ids)
    stop.set()
    thread.join()
    assert house.bad == 0


def test_a_store_that_goes_on_failing_leaves_its_logs_in_the_spool(house, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sluice.keeper.keeper.DRAIN_S", 0.2)
    ids = [house.put() for _ in range(500)]
    obstacle = house.data / "shards" / "local" / house.gateway.id.hex()
    obstacle.parent.mkdir(parents=True)
    obstacle.write_bytes(b"in the way")
    house.keep()
    assert len(file_seqs(house.spool)) > 1
    obstacle.unlink()
    house.keep()
    assert house.ids() == ids


def test_a_log_that_no_store_can_take_is_put_aside_and_costs_no_other(house):
    ids = [house.put() for _ in range(3)]
    house.put(log_id="not a ULID")
    ids += [house.put() for _ in range(3)]
    house.keep()
    assert house.ids() == ids
    assert house.bad == 1
    assert b"not a ULID" in next(house.spool.glob("bad/*.bad")).read_bytes()


def test_a_damaged_frame_is_counted_once_and_the_others_are_stored(house):
    ids = [house.put() for _ in range(3)]
    path = file_path(house.spool, file_seqs(house.spool)[0])
    data = bytearray(path.read_bytes())
    data[data.index(ids[1].encode()) + 3] ^= 1
    path.write_bytes(data)
    house.keep()
    assert house.ids() == [ids[0], ids[2]]
    assert house.bad == 1


def test_more_than_fits_into_memory_is_read_again_when_its_turn_comes(house):
    house.settings = LogSettings(pending_bytes=20_000, flush_rows=10)
    ids = [house.put() for _ in range(500)]
    house.keep(rounds=3)
    assert house.ids() == ids


def test_logs_of_many_gateways_and_workers_find_their_shards(house):
    gateways = [house.gateway_named(f"gateway-{number}") for number in range(5)]
    ids: dict[str, list[str]] = {gateway.name: [] for gateway in gateways}
    for _ in range(3):
        for gateway in gateways * 20:
            ids[gateway.name].append(house.put(gateway))
        house.keep(rounds=1)
        house.worker_ends()
    assert {gateway.name: house.ids(gateway) for gateway in gateways} == ids


def test_a_log_can_be_read_within_half_a_second_of_its_reply(house):
    stop = threading.Event()
    thread = threading.Thread(target=house.keeper().run, args=(stop.wait,))
    thread.start()
    house.put()
    wait_until(lambda: len(house.ids()) == 1)
    lags = []
    for _ in range(10):
        log_id, appended_s = house.put(), time.monotonic()
        wait_until(lambda log_id=log_id: house.reader.get(shard_of(house.gateway), log_id) is not None)
        lags.append(time.monotonic() - appended_s)
    stop.set()
    thread.join()
    assert max(lags) < 0.5


def test_there_is_one_keeper_at_a_time(house):
    log_id = house.put()
    stop_first, stop_second = threading.Event(), threading.Event()
    first = threading.Thread(target=house.keeper().run, args=(stop_first.wait,))
    first.start()
    wait_until(lambda: house.ids() == [log_id])
    second = threading.Thread(target=house.keeper().run, args=(stop_second.wait,))
    second.start()
    stop_second.set()
    second.join()  # it never had the lock
    later = house.put()
    stop_first.set()
    first.join()
    assert house.ids() == [log_id, later]


KEEPER = """
import os, sys, threading
from pathlib import Path
from sluice.keeper.account_manager import AccountManager
from sluice.keeper.addresses import Addresses
from sluice.keeper.keeper import Keeper
from sluice.keeper.metering import Meter
from sluice.keeper.retention import Retention
from sluice.keeper.rate_book import PricePending
from sluice.metrics import Metrics
from sluice.spool.reader import SpoolReader
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.generations import MappedGenerations
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.usage import EmbeddedUsageStore
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.values.ids import wall_ms
from sluice.values.settings import LogSettings
data, poison = Path(sys.argv[1]), sys.argv[2]
control = EmbeddedControlReader.open(data / "control.db")
generations = MappedGenerations.open(data / "generations.map")
writer = EmbeddedLogWriter.open(data / "shards", bounds=BOUNDS._replace(rows=200))
usage = EmbeddedUsageStore.open(data / "usage.db")
accounts, metrics = AccountManager(control, generations, writer, usage), Metrics.unseen()
def price(provider, model):
    if model == poison:
        os._exit(9)
    return control.rates(provider, model)
keeper = Keeper(LogSettings(flush_rows=20, flush_ms=5, poll_ms=2, sync_s=0.02), data, SpoolReader(data / "spool"),
                writer, Meter(price), Addresses(control, generations),
                accounts, Retention(control, accounts, writer, metrics, wall_ms), metrics)
print("started", flush=True)
keeper.run(threading.Event().wait)
"""


def start_keeper(house, poison: str = "none") -> subprocess.Popen[str]:
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(house.data), poison], stdout=subprocess.PIPE, text=True
    )
    assert keeper.stdout is not None
    assert keeper.stdout.readline() == "started\n"
    keeper.stdout.close()
    return keeper


def test_a_log_that_kills_the_keeper_is_put_aside_and_costs_no_other(house):
    ids = [house.put() for _ in range(10)]
    house.put(request=QUESTION.replace(b"gpt-4o-mini", b"poison"))
    ids += [house.put() for _ in range(10)]
    deaths = 0
    while deaths < 10:
        keeper = start_keeper(house, poison="poison")
        try:
            keeper.wait(0.7)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()
            break
        deaths += 1
    house.keep()
    assert house.ids() == ids
    assert deaths <= 3  # in the batch, then twice alone
    assert b"poison" in next(house.spool.glob("bad/*.bad")).read_bytes()


def test_every_log_is_stored_once_however_often_the_keeper_is_killed(house):
    gateways = [house.gateway, house.gateway_named("second"), house.gateway_named("third")]
    put: dict[str, tuple[Gateway, bytes]] = {}

    def stored_so_far() -> int:
        return sum(len(house.ids(gateway)) for gateway in gateways)

    for life in range(12):
        before = stored_so_far()
        keeper = start_keeper(house)
        until_s = time.monotonic() + random.uniform(0.02, 0.15)
        while time.monotonic() < until_s:
            gateway = random.choice(gateways)
            request = random.randbytes(100_000 if random.random() < 0.02 else random.randrange(500))
            put[house.put(gateway, request=request)] = (gateway, request)
        if life % 3 == 2:  # or a slow machine kills it over the same frame so often that this is put aside
            wait_until(lambda before=before: stored_so_far() > before)
        os.kill(keeper.pid, signal.SIGKILL)
        keeper.wait()
        if life % 4 == 3:
            house.worker_ends()
    house.keep()
    stored = {gateway.name: house.ids(gateway) for gateway in gateways}
    for gateway in gateways:
        expected = {log_id for log_id, (where, _) in put.items() if where is gateway}
        assert len(stored[gateway.name]) == len(expected)
        assert set(stored[gateway.name]) == expected
    for log_id, (gateway, request) in put.items():
        pieces = house.reader.body(shard_of(gateway), log_id, "request")
        assert b"".join(pieces or ()) == request
    assert house.bad == 0
    house.worker_ends()
    house.keep()
    assert side_files(house.spool) == []
    assert len(file_seqs(house.spool)) == 1


def wait_until(true: Callable[[], bool], deadline_s: float = 10.0) -> None:
    """Looks again and again: what is waited for happens in another thread's files."""
    until_s = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < until_s, "it never came true"
        time.sleep(0.002)
