from sluice.simulator.call import BodyKeeper
from sluice.simulator.journal import KEPT_BODY_BYTES, KEPT_BYTES, KEPT_ENTRIES, Journal
from sluice.values.request import Header


def test_a_journal_is_bounded_in_entries_and_in_bytes() -> None:
    journal = Journal()
    for _ in range(KEPT_ENTRIES + 5):
        journal.open(1, 1, "GET", "/", [])
    assert [entry.serial for entry in journal.entries(None, 10_000)][:1] == [6]
    long: list[Header] = [(b"x", b"x", b"y" * 100_000)]
    for _ in range(200):
        journal.open(1, 1, "GET", "/", long)
    assert len(journal.entries(None, 10_000)) < 90


def test_only_the_first_end_of_a_request_counts() -> None:
    journal = Journal()
    entry = journal.open(1, 1, "GET", "/", [])
    journal.end(entry, "complete")
    journal.end(entry, "client gone")
    assert entry.ended == "complete"
    assert journal.ends == {"complete": 1}


def test_the_last_entries_with_a_marker_are_found() -> None:
    journal = Journal()
    for marker in (b"a", b"b", b"a", b"a"):
        journal.open(1, 1, "GET", "/", [(b"x-sluice-marker", b"X-Sluice-Marker", marker)])
    assert [entry.serial for entry in journal.entries("a", 2)] == [3, 4]
    assert journal.entries("a", 0) == []


async def test_waiting_for_what_does_not_come_ends_with_its_time() -> None:
    journal = Journal()
    journal.open(1, 1, "GET", "/", [])
    await journal.ended(None, 1, 0.01)
    assert journal.entries(None, 1)[0].ended == "running"


def test_bodies_are_kept_within_the_same_bounds() -> None:
    journal = Journal()
    keeper = BodyKeeper()
    keeper.add(b"x" * KEPT_BODY_BYTES)
    for _ in range(KEPT_ENTRIES):
        journal.received(journal.open(1, 1, "POST", "/", []), keeper.body(), "openai")
    kept = journal.entries(None, KEPT_ENTRIES)
    assert len(kept) == KEPT_BYTES // (KEPT_BODY_BYTES + 501)
    assert all(entry.body is not None for entry in kept)
    keeper.add(b"x")
    entry = journal.open(1, 1, "POST", "/", [])
    journal.received(entry, keeper.body(), "openai")
    assert (entry.body, entry.digest) == (None, keeper.body().sha256)
