"""Commands: each finds its log, holds once, and holds up nobody."""

import itertools
import json
import os
import socket
import time
from contextlib import closing, suppress

from sluice.keeper import commands
from sluice.spool.layout import CONSOLES, file_seqs
from sluice.storage.ports import StoreFault
from sluice.values.command import Change
from sluice.values.entitlement import OwnEntitlement
from sluice.values.exchange import Exchange
from sluice.values.ids import wall_ms
from sluice.values.log import ShardKey
from sluice.values.rates import Rates
from sluice.values.settings import LogSettings

GOOD, BAD = Change(feedback=1), Change(feedback=-1)


def feedback(house, gateway=None) -> dict[str, int | None]:
    return {entry.id: entry.feedback for entry in house.logs(gateway)}


def console_spool(house):
    return house.data / "spool" / str(CONSOLES[0])


def test_a_stored_log_is_changed_and_deleted_and_its_neighbours_are_not(house):
    first, second, third = [house.put() for _ in range(3)]
    house.keep()
    house.order(first, change=Change(feedback=-1, score=12.5, metadata={"a": 1}))
    house.order(third)
    house.keep()
    changed, untouched = house.logs()
    assert (changed.id, changed.feedback, changed.score, changed.metadata) == (first, -1, 12.5, {"a": 1})
    assert (untouched.id, untouched.feedback, untouched.metadata) == (second, None, {})
    assert house.count("sluice_logs_deleted_total", "Stored logs deleted by commands.") == 1
    assert house.count("sluice_logs_changed_total", "Stored logs given other fields.") == 1
    assert house.count("sluice_commands_done_total", "Commands run to their end.") == 2


def test_a_command_given_right_after_a_reply_finds_its_log_always(house):
    with house.kept():
        for _ in range(100):
            log_id = house.put()
            assert house.outcome(house.order(log_id, change=GOOD)) == 1
    assert list(feedback(house).values()) == [1] * 100


def test_it_finds_its_log_behind_everything_that_the_keeper_has_not_read(house):
    neighbour = house.gateway_named("second")
    flood = [house.put(neighbour, request=os.urandom(30_000)) for _ in range(300)]
    log_id = house.put()
    doomed = house.put()
    orders = [house.order(log_id, change=GOOD), house.order(doomed), house.order(doomed, change=GOOD)]
    with house.kept():
        assert [house.outcome(order) for order in orders] == [1, 1, 0]
    assert feedback(house) == {log_id: 1}
    assert house.ids(neighbour) == flood


def test_a_command_about_a_stored_log_does_not_wait_for_the_store_of_others(house, monkeypatch):
    """The keeper is far behind: nothing that was put since is stored, but the log it is about is."""
    old = house.put()
    house.keep()
    new = house.put()
    order = house.order(old, change=GOOD)
    keeper = house.keeper()
    monkeypatch.setattr(keeper._writer, "append", fail_to_store)
    rounds = itertools.count()
    told: list[dict[str, int | None]] = []

    def stop(wait_s: float) -> bool:
        told.append(feedback(house))
        return next(rounds) > 3

    monkeypatch.setattr("sluice.keeper.keeper.DRAIN_S", 0.0)
    keeper.run(stop)
    assert told[1] == {old: 1}
    house.keep()
    assert (house.ids(), order) == ([old, new], order)


def fail_to_store(*_: object) -> int:
    raise StoreFault("disk full")


def test_an_unknown_log_is_waited_for_a_second_and_holds_up_no_other(house):
    known = house.put()
    nobody = house.worker.mint.mint()
    with house.kept():
        house.outcome(house.order(known, change=BAD))
        begun_s = time.monotonic()
        orders = [
            house.order(nobody, change=BAD),
            house.order(known, change=GOOD),
            house.order(nobody, change=GOOD),
            house.order(house.worker.mint.mint()),
        ]
        assert house.outcome(orders[1]) == 1
        assert feedback(house) == {known: 1}
        assert house.outcome(orders[3]) == 0
        house.put(log_id=nobody)  # its exchange has ended
        assert [house.outcome(orders[0]), house.outcome(orders[2])] == [1, 1]
        assert feedback(house) == {known: 1, nobody: 1}
        again = house.order(house.worker.mint.mint(), change=GOOD)
        assert house.outcome(again) == 0
        assert time.monotonic() - begun_s >= commands.UNKNOWN_S


def test_the_last_of_many_changes_holds(house):
    ids = [house.put() for _ in range(20)]
    with house.kept():
        last = ""
        for number in range(200):
            last = house.order(ids[number % 20], change=Change(score=float(number % 100)))
        house.outcome(last)
    assert [entry.score for entry in house.logs()] == [float(80 + number) for number in range(20)]


def test_many_logs_are_deleted_in_steps_between_which_others_have_their_turn(house, monkeypatch):
    monkeypatch.setattr(commands, "STEP", 10)
    monkeypatch.setattr(commands, "TURN_S", 0.0)
    house.settings = LogSettings(flush_ms=1, sync_s=0.05)
    other = house.gateway_named("second")
    ids = [house.put() for _ in range(100)]
    house.keep()
    house.order(*ids)
    house.put(other)
    seen: list[tuple[int, int]] = []

    def stop(wait_s: float) -> bool:
        seen.append((len(house.ids()), len(house.ids(other))))
        return len(seen) == 11

    house.keeper().run(stop)
    assert [left for left, _ in seen] == list(range(100, -1, -10))
    assert (10, 1) in seen


def test_a_command_of_a_deleted_gateway_does_nothing(house):
    gateway = house.gateway_named("second")
    log_id = house.put(gateway)
    house.keep()
    house.control.delete_gateway("local", "second")
    with house.kept():
        assert house.outcome(house.order(log_id, change=GOOD, gateway=gateway)) == 0
    assert not (house.data / "shards" / "local" / gateway.id.hex()).exists()


def test_a_command_waits_for_a_store_that_fails(house, monkeypatch):
    monkeypatch.setattr(commands, "RETRY_S", 0.01)
    log_id = house.put()
    house.keep()
    keeper = house.keeper()
    change, failures = keeper._writer.change, iter(range(3))

    def fail_at_first(*given: object) -> set[str]:
        if next(failures, None) is not None:
            raise StoreFault("disk full")
        return change(*given)

    monkeypatch.setattr(keeper._writer, "change", fail_at_first)
    order = house.order(log_id, change=GOOD)
    monkeypatch.setattr(house, "keeper", lambda price=None: keeper)
    with house.kept():
        assert house.outcome(order) == 1
    assert feedback(house) == {log_id: 1}
    assert house.count("sluice_log_store_faults_total", "Calls of the log store that failed.") == 3


def test_a_command_that_cannot_be_run_is_put_aside_and_the_next_one_is_run(house, monkeypatch):
    log_id = house.put()
    house.keep()
    poison = house.order(log_id, change=Change(score=13.0))
    order = house.order(log_id, change=GOOD)
    keeper = house.keeper()
    change = keeper._writer.change

    def run(shard: ShardKey, log_ids: list[str], wanted: Change, positions: object) -> set[str]:
        if wanted.score == 13.0:
            raise RuntimeError("a bug")
        return change(shard, log_ids, wanted, positions)

    monkeypatch.setattr(keeper._writer, "change", run)
    keeper.run(lambda wait_s: True)
    assert [entry.score for entry in house.logs()] == [None]
    assert feedback(house) == {log_id: 1}
    (kept,) = console_spool(house).glob("bad/*.bad")
    assert poison.encode() in kept.read_bytes()
    assert order.encode() not in kept.read_bytes()


def test_spools_of_commands_go_once_they_have_run(house):
    log_id = house.put()
    for number in range(2_000):
        house.order(log_id, change=Change(score=float(number % 100)))
    assert len(file_seqs(console_spool(house))) > 2
    house.keep()
    assert len(file_seqs(console_spool(house))) == 1
    assert [entry.score for entry in house.logs()] == [99.0]


def test_a_log_that_was_deleted_does_not_come_back_when_marks_are_lost(house):
    ids = [house.put() for _ in range(5)]
    house.keep()
    house.order(*ids[:2])
    house.order(ids[2], change=GOOD)
    house.keep()
    for path in house.data.glob("keeper.*"):
        path.unlink()
    house.keep()
    assert feedback(house) == {ids[2]: 1, ids[3]: None, ids[4]: None}


def test_a_replayed_change_does_not_undo_a_later_one(house):
    log_id = house.put()
    house.keep()
    for change in (GOOD, BAD):
        house.order(log_id, change=change)
        house.keep()
    for path in house.data.glob("keeper.*"):
        path.unlink()
    seen: list[int | None] = []

    def stop(wait_s: float) -> bool:
        seen.append(house.logs()[0].feedback)
        return len(seen) > 3

    house.keeper().run(stop)
    assert seen == [-1] * 4


def test_room_freed_by_a_delete_is_room_for_new_logs(house):
    house.entitle(OwnEntitlement(account_rows=3))
    ids = [house.put() for _ in range(5)]
    house.keep()
    assert house.ids() == ids[:3]
    with house.kept():
        assert house.outcome(house.order(*ids[:2])) == 2
        house.put()
    assert len(house.ids()) == 2


def test_an_exchange_that_goes_on_is_changed_once_it_has_ended(house):
    log_id = house.worker.mint.mint()
    exchange = Exchange(
        log_id, "local", "openai", "v1/chat/completions", "POST", "provider", wall_ms(), None, 0, 200, "complete", 0,
        0, 1, True, True, b"", b"", b"", b"", b"", b"", b"", 0, 0,
    )  # fmt: skip
    house.worker.announce(house.gateway, exchange)
    with house.kept():
        order = house.order(log_id, change=GOOD)
        house.put(log_id=log_id)
        assert house.outcome(order) == 1


def test_whoever_asks_nonsense_is_hung_up_on_and_others_are_answered(house):
    log_id = house.put()
    with house.kept():
        assert house.outcome(house.order(log_id, change=GOOD)) == 1
        for nonsense in (b"x" * 1_000, b"one\ntwo\n"):
            with closing(socket.socket(socket.AF_UNIX)) as asker:
                asker.settimeout(20)
                asker.connect(str(house.data / "keeper.sock"))
                asker.sendall(nonsense)
                with suppress(ConnectionResetError):
                    assert asker.recv(100) == b""
        silent = socket.socket(socket.AF_UNIX)
        silent.connect(str(house.data / "keeper.sock"))
        assert house.outcome(house.order(log_id, change=BAD)) == 1
        silent.close()
        assert house.outcome(house.order(log_id, change=GOOD)) == 1
    assert not (house.data / "keeper.sock").exists()


def test_the_sockets_of_a_keeper_are_its_owners_alone(house):
    with house.kept():
        house.outcome(house.order(house.put(), change=GOOD))
        assert (house.data / "keeper.sock").stat().st_mode & 0o777 == 0o600


def test_logs_are_priced_anew_by_the_prices_of_today_and_nobody_elses(house):
    first = house.put()
    house.keep(price=lambda provider, model: Rates(1_000_000_000, 1_000_000_000, edition="old"))
    second = house.put()
    house.keep(price=lambda provider, model: None)
    dear = Rates(2_000_000_000, 2_000_000_000, edition="new")
    before = {entry.id: entry for entry in house.logs()}
    house.order(first, second, change=Change(reprice=True))
    house.keep(price=lambda provider, model: dear)
    for _ in range(2):
        after = {entry.id: entry for entry in house.logs()}
        assert after[first].cost_nano == 2 * before[first].cost_nano > 0
        assert after[second].cost_nano == after[first].cost_nano
        assert json.loads(after[first].priced) == {"edition": "new", "input": 2_000_000_000, "output": 2_000_000_000}
        house.order(first, second, change=Change(reprice=True))
        house.keep(price=lambda provider, model: dear)
    house.order(first, change=Change(reprice=True))
    house.keep(price=lambda provider, model: None)  # not known any more: what was known stays
    assert house.logs()[0].cost_nano == after[first].cost_nano
