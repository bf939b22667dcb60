"""Counting requests and money: the arithmetic against counting by hand, and the table under many processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice.storage.embedded.cells import Cells, rebinned, words_for
from sluice.storage.embedded.reserved import CELL_US, LASTS, Reserved
from sluice.storage.embedded.reserved import WORDS as RESERVED_WORDS
from sluice.storage.embedded.stamps import WORDS, Stamps
from sluice.storage.embedded.windows import MappedWindows
from sluice.storage.embedded.windows_file import put_aside_if_damaged
from sluice.storage.ports import StoreFault
from sluice.values.limits import RateLimit, SpendLimit

S = 1_000_000
EPOCH = 1_790_000_400 * S
"""A multiple of 600 s."""
PAUSES = st.lists(st.integers(0, 400_000), min_size=1, max_size=60)


def words(count: int) -> memoryview:
    return memoryview(bytearray(count * 8)).cast("q")


def times(pauses: list[int]) -> Iterator[int]:
    now_us = EPOCH
    for pause in pauses:
        now_us += pause
        yield now_us


@given(PAUSES, st.integers(1, 12))
def test_stamps_count_exactly(pauses: list[int], limit: int):
    stamps, seen = Stamps(words(WORDS), 0, S), list[int]()
    for now_us in times(pauses):
        live = [then for then in seen if then > now_us - S]
        permit = stamps.take(limit, now_us)
        assert permit.allowed == (len(live) < limit)
        if permit.allowed:
            seen.append(now_us)
            live.append(now_us)
        assert (permit.limit, permit.remaining) == (limit, limit - len(live))
        assert permit.reset_us == live[0] + S - now_us


@given(PAUSES, st.integers(1, 12))
def test_fixed_windows_are_aligned_to_the_epoch(pauses: list[int], limit: int):
    cells, seen = Cells(words(words_for(1)), 0, 1, S, sliding=False), list[int]()
    for now_us in times(pauses):
        live = [then for then in seen if then // S == now_us // S]
        permit = cells.take(limit, now_us)
        assert permit.allowed == (len(live) < limit)
        if permit.allowed:
            seen.append(now_us)
            live.append(now_us)
        assert (permit.remaining, permit.reset_us) == (limit - len(live), S - now_us % S)


@given(PAUSES, st.integers(1, 12), st.sampled_from([1, 7, 100]))
def test_cells_are_never_over_the_limit_and_at_most_a_cell_late(pauses: list[int], limit: int, span: int):
    width_us = S // span
    interval_us = span * width_us
    cells, seen = Cells(words(words_for(span)), 0, span, width_us, sliding=True), list[int]()
    for now_us in times(pauses):
        counted = [then for then in seen if (then // width_us + 1) * width_us > now_us - interval_us]
        permit = cells.take(limit, now_us)
        assert permit.allowed == (len(counted) < limit)
        if permit.allowed:
            seen.append(now_us)
            counted.append(now_us)
        assert permit.remaining == limit - len(counted)
        assert permit.reset_us == (counted[0] // width_us + 1) * width_us + interval_us - now_us
        assert len([then for then in seen if then > now_us - interval_us]) <= limit


@given(st.lists(st.tuples(st.integers(0, 20 * CELL_US), st.integers(0, 5), st.booleans()), max_size=40))
def test_what_is_set_aside_ends_by_itself_or_is_given_back_once(events: list[tuple[int, int, bool]]):
    reserved, held, now_us = Reserved(words(RESERVED_WORDS), 0), list[tuple[int, int]](), EPOCH
    for pause, amount, gives_back in events:
        now_us += pause
        held = [(much, until) for much, until in held if until >= now_us // CELL_US]
        if gives_back and held:
            much, until = held.pop()
            reserved.remove(much, until, now_us)
        else:
            until = reserved.add(amount, now_us)
            assert until == now_us // CELL_US + LASTS
            held.append((amount, until))
        assert reserved.sum(now_us) == sum(much for much, _ in held)


@pytest.mark.parametrize("technique", ["fixed", "sliding"])
@pytest.mark.parametrize("limit", [10, 2000])
def test_the_worked_example(at: Any, technique: Any, limit: int):
    rate = RateLimit(limit, 600, technique)
    at.now_us = EPOCH + 9 * 60 * S
    assert all(at.windows.take(b"b" * 16, rate).allowed for _ in range(limit))
    at.now_us = EPOCH + 11 * 60 * S
    assert [at.windows.take(b"b" * 16, rate).allowed for _ in range(limit)] == [technique == "fixed"] * limit


@pytest.mark.parametrize("rate", [RateLimit(2, 60), RateLimit(2, 60, "sliding"), RateLimit(2000, 60, "sliding")])
@pytest.mark.parametrize("back_s", [1, 59])
def test_a_clock_that_is_set_back_gives_no_permit_twice(at: Any, rate: RateLimit, back_s: int):
    at.now_us = EPOCH + 65 * S
    for _ in range(rate.limit):
        assert at.windows.take(b"b" * 16, rate).allowed
    at.now_us -= back_s * S
    assert not at.windows.take(b"b" * 16, rate).allowed


@pytest.mark.parametrize("rate", [RateLimit(2, 60), RateLimit(2, 60, "sliding"), RateLimit(2000, 60, "sliding")])
def test_a_clock_that_was_years_ahead_shuts_nobody_out(at: Any, rate: RateLimit):
    at.now_us = EPOCH + 10**9 * S
    for _ in range(rate.limit):
        assert at.windows.take(b"b" * 16, rate).allowed
    at.now_us = EPOCH
    assert at.windows.take(b"b" * 16, rate).allowed


def test_counts_survive_the_end_of_all_processes_and_a_change_of_the_limit(at: Any):
    rate = RateLimit(3, 3600, "sliding")
    assert [at.windows.take(b"b" * 16, rate).allowed for _ in range(3)] == [True] * 3
    at.reopen()
    assert not at.windows.take(b"b" * 16, rate).allowed
    more, less = RateLimit(5, 3600, "sliding"), RateLimit(1, 3600, "sliding")
    assert at.windows.take(b"b" * 16, more) == (True, 5, 1, 3600 * S)
    assert not at.windows.take(b"b" * 16, less).allowed


def test_a_refusal_says_when_there_is_room_also_after_the_limit_was_lowered(at: Any):
    """3,000 came in three moments of a minute: under 1,500, the first two of them have to leave."""
    many, few = RateLimit(5000, 60, "sliding"), RateLimit(1500, 60, "sliding")
    for second in (0, 10, 20):
        at.now_us = EPOCH + second * S
        assert all(at.windows.take(b"b" * 16, many).allowed for _ in range(1000))
    refused = at.windows.take(b"b" * 16, few)
    assert (refused.allowed, refused.reset_us // S) == (False, 50)
    at.now_us += refused.reset_us
    assert at.windows.take(b"b" * 16, few).allowed


@given(st.dictionaries(st.integers(0, 300), st.integers(1, 100)), st.integers(1, 900), st.integers(1, 900))
@example({0: 5, 1: 6}, 10, 20)
def test_another_window_takes_all_amounts_over_and_none_before_its_time(
    amounts: dict[int, int], old_us: int, new_us: int
):
    found = rebinned(amounts, old_us, new_us)
    assert sum(found.values()) == sum(amounts.values())
    for cell in amounts:
        there = ((cell + 1) * old_us - 1) // new_us
        assert there in found
        assert (there + 1) * new_us >= (cell + 1) * old_us


def rule(limit_nano: int, window_s: int = 60, technique: Any = "sliding") -> SpendLimit:
    return SpendLimit("r", limit_nano, "?", window_s, technique)


def test_money_set_aside_counts_until_it_is_given_back_and_what_is_spent_until_its_window_is_over(at: Any):
    bucket = b"m" * 16
    until = at.windows.reserve(bucket, rule(100), 60)
    assert until is not None
    assert at.windows.reserve(bucket, rule(100), 60) is not None  # something was left
    assert at.windows.reserve(bucket, rule(100), 0) is None
    at.windows.release(bucket, 60, until)
    at.windows.publish(bucket, 60, [(at.now_us, 39)])
    assert at.windows.reserve(bucket, rule(100), 1) is not None
    assert at.windows.reserve(bucket, rule(100), 1) is None
    at.windows.publish(bucket, 60, [(at.now_us, 38)])
    at.windows.publish(bucket, 60, [(at.now_us, 38)])
    assert at.windows.reserve(bucket, rule(100), 1) is not None
    at.now_us += 61 * S
    assert at.windows.reserve(bucket, rule(63), 0) is not None
    assert at.windows.reserve(bucket, rule(62), 0) is None
    at.now_us += 16 * 60 * S
    assert at.windows.reserve(bucket, rule(1), 0) is not None


def test_a_rule_keeps_its_sum_with_another_limit_window_and_technique(at: Any):
    bucket = b"m" * 16
    at.windows.reserve(bucket, rule(100), 0)
    at.windows.publish(bucket, 60, [(at.now_us - 10 * S, 70)])
    assert at.windows.reserve(bucket, rule(70, 7200), 0) is None
    assert at.windows.reserve(bucket, rule(70, 60), 0) is None
    assert at.windows.reserve(bucket, rule(70, 3600), 0) is None
    assert at.windows.reserve(bucket, rule(71, 3600), 0) is not None
    at.windows.publish(bucket, 60, [(at.now_us - 10 * S, 70)])  # of a call begun under the old rule
    at.now_us += 120 * S
    assert at.windows.reserve(bucket, rule(70, 3600, "fixed"), 0) is None
    at.now_us += 3600 * S
    assert at.windows.reserve(bucket, rule(1, 3600, "fixed"), 0) is not None


def test_a_full_table_says_so_and_gives_places_of_what_is_over_to_others(at: Any):
    at.reopen(64 * 1024)
    rate = RateLimit(1, 60, "sliding")
    for number in range(3):
        assert at.windows.take(number.to_bytes(16, "little"), rate).allowed
    with pytest.raises(StoreFault, match=r"no room: see limits\.table_bytes"):
        at.windows.take(b"b" * 16, rate)
    at.now_us += 200 * S
    for number in range(3):
        assert at.windows.take((100 + number).to_bytes(16, "little"), rate).allowed
    assert not at.windows.take((102).to_bytes(16, "little"), rate).allowed


def test_a_table_that_was_removed_is_made_anew_and_all_count_in_that_one(at: Any, monkeypatch: pytest.MonkeyPatch):
    """Not in two: one that those have who knew the old one, and one of those who came later."""
    rate = RateLimit(2, 60)
    assert at.windows.take(b"b" * 16, rate).allowed
    at.path.unlink()
    monkeypatch.setattr(at.windows, "_look_s", 0.0)
    with closing(MappedWindows(at.path, 1 << 20, lambda: at.now_us)) as other:
        taken = [one.take(b"b" * 16, rate).allowed for one in (at.windows, other, at.windows, other)]
    assert taken == [True, True, False, False]


def test_a_sum_in_which_nothing_is_spent_is_kept_no_longer_than_calls_run(at: Any):
    at.reopen(64 * 1024)
    for number in range(100):
        until = at.windows.reserve(sum_of(number), rule(10, 86_400), 1)
        at.windows.release(sum_of(number), 1, until)
    at.windows.publish(sum_of(0), 86_400, [(at.now_us, 10)])
    evicted, at.now_us = at.windows.evicted, at.now_us + 16 * 60 * S
    assert evicted > 0
    for number in range(1000, 1010):
        assert at.windows.reserve(sum_of(number), rule(10, 86_400), 1) is not None
    assert at.windows.evicted == evicted
    assert at.windows.reserve(sum_of(0), rule(10, 86_400), 1) is None


def test_the_least_sum_without_a_running_call_makes_room_in_a_full_table(at: Any):
    at.reopen(64 * 1024)
    known = [sum_of(number) for number in range(2)]
    at.windows.reserve(known[0], rule(10, 86_400), 1)  # runs
    at.windows.publish(known[1], 86_400, [(at.now_us, 10)])
    for number in range(100, 300):
        at.windows.publish(sum_of(number), 86_400, [(at.now_us, 1)])
    assert at.windows.evicted > 100
    assert at.windows.reserve(known[0], rule(1, 86_400), 0) is None
    assert at.windows.reserve(known[1], rule(10, 86_400), 0) is None
    for number in range(300, 400):
        with suppress(StoreFault):
            at.windows.reserve(sum_of(number), rule(10, 86_400), 1)
    with pytest.raises(StoreFault, match="no room"):
        at.windows.reserve(sum_of(400), rule(10, 86_400), 1)


def sum_of(number: int) -> bytes:
    return blake2b(b"%d" % number, digest_size=16).digest()


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 600])
def test_a_damaged_table_is_told_of(at: Any, damage: bytes):
    at.path.write_bytes(damage)
    with pytest.raises(StoreFault, match="damaged"):
        at.windows.take(b"b" * 16, RateLimit(1, 60))
    with pytest.raises(StoreFault, match="cannot be opened"):
        at.windows.take(b"b" * 16, RateLimit(1, 60))
    put_aside_if_damaged(at.path)
    assert at.path.with_name("limits.map.damaged").read_bytes() == damage
    at.reopen()
    assert at.windows.take(b"b" * 16, RateLimit(1, 60)).allowed
    unfinished = at.path.with_name(".limits.map.killed")
    unfinished.touch()
    put_aside_if_damaged(at.path)
    assert at.path.exists()
    assert not unfinished.exists()


@pytest.mark.parametrize("rate", [RateLimit(2**53, 2**53), RateLimit(2**53, 2**53, "sliding"), RateLimit(1, 2**53)])
def test_the_largest_numbers_are_counted(at: Any, rate: RateLimit):
    assert at.windows.take(b"b" * 16, rate).remaining == rate.limit - 1
    assert at.windows.reserve(b"m" * 16, rule(1 << 60, 2**40), 1 << 60) is not None
    assert at.windows.reserve(b"m" * 16, rule(1 << 60, 2**40), 1 << 60) is None


PROGRAM = """
import sys
from pathlib import Path
from sluice.storage.embedded.windows import MappedWindows
from sluice.values.limits import RateLimit

windows = MappedWindows(Path(sys.argv[1]), 1 << 20)
print(flush=True)
for line in sys.stdin:
    technique, limit, number, count = line.split()
    rate, bucket = RateLimit(int(limit), 86_400, technique), int(number).to_bytes(16, "little")
    for _ in range(int(count)):
        print(int(windows.take(bucket, rate).allowed), flush=True)
    print("end", flush=True)
"""


class Taker:
    """A process that takes permits, and writes down each before it takes the next."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", PROGRAM, str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin
        assert self.process.stdout
        self.orders, self.said = self.process.stdin, self.process.stdout

    def begin(self, *order: object) -> None:
        self.orders.write(" ".join(map(str, order)) + "\n")
        self.orders.flush()

    def taken(self) -> int:
        return sum(int(line) for line in iter(self.said.readline, "end\n") if line.endswith("\n"))

    def close(self) -> None:
        self.orders.close()
        self.process.wait()
        self.said.close()


@pytest.fixture(scope="module")
def takers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Taker]]:
    """Four processes at one table."""
    path = tmp_path_factory.mktemp("windows") / "limits.map"
    made = [Taker(path) for _ in range(4)]
    for taker in made:
        taker.said.readline()
    yield made
    for taker in made:
        taker.close()


@pytest.mark.parametrize("technique", ["fixed", "sliding"])
@pytest.mark.parametrize("limit", [100, 1500])
def test_four_processes_at_once_take_exactly_the_limit(takers: list[Taker], technique: str, limit: int):
    for number in range(5):
        for taker in takers:
            taker.begin(technique, limit, 10 * limit + number, limit // 2)
        assert sum(taker.taken() for taker in takers) == limit


@pytest.mark.parametrize("technique", ["fixed", "sliding"])
@pytest.mark.parametrize("limit", [100, 1500])
def test_a_process_that_is_killed_takes_at_most_one_permit_with_it(tmp_path: Path, technique: str, limit: int):
    takers = [Taker(tmp_path / "limits.map") for _ in range(3)]
    victim, *others = takers
    for taker in takers:
        taker.said.readline()
        taker.begin(technique, limit, 1, limit)
    before = int(victim.said.readline())
    victim.process.kill()
    taken = before + sum(int(line) for line in victim.said if line.strip().isdigit())
    taken += sum(taker.taken() for taker in others)
    assert limit - 1 <= taken <= limit
    for taker in takers:
        with suppress(BrokenPipeError):
            taker.close()


class At:
    """A table at a time."""

    def __init__(self, path: Path) -> None:
        self.path, self.now_us = path, EPOCH
        self.windows = self._opened(1 << 20)

    def _opened(self, length: int) -> MappedWindows:
        return MappedWindows(self.path, length, lambda: self.now_us)

    def reopen(self, length: int = 1 << 20) -> None:
        self.windows.close()
        self.windows = self._opened(length)


@pytest.fixture
def at(tmp_path: Path) -> Iterator[At]:
    made = At(tmp_path / "limits.map")
    yield made
    made.windows.close()
