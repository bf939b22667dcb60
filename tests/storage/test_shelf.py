"""Replies in memory: bounded in bytes, and none past its time."""

from hypothesis import given
from hypothesis import strategies as st

from sluice.storage.shelf import Shelf
from sluice.values.caching import KeptReply


def reply(size: int = 10, expires_s: float = 100.0) -> KeptReply:
    return KeptReply(200, None, b"text/plain", b"", b"", b"x" * size, expires_s)


def test_a_reply_is_given_until_its_time_is_over():
    shelf = Shelf(100_000)
    shelf.put(b"a", reply(expires_s=100))
    assert shelf.get(b"a", 99.9) == reply(expires_s=100)
    assert shelf.get(b"a", 100.0) is None
    assert (len(shelf), shelf.bytes) == (0, 0)


def test_what_was_put_too_long_ago_is_kept_and_not_told():
    shelf = Shelf(100_000)
    shelf.put(b"a", reply(), 10.0)
    assert shelf.get(b"a", 15.0, 10.0) is None
    assert shelf.get(b"a", 15.0, 9.9) == shelf.get(b"a", 99.0) == reply()


def test_what_was_asked_for_longest_ago_goes_first():
    shelf = Shelf(4 * reply().size)
    for key in (b"a", b"b", b"c", b"d"):
        shelf.put(key, reply())
    assert shelf.get(b"a", 0)
    shelf.put(b"e", reply())
    assert [key for key in (b"a", b"b", b"c", b"d", b"e") if shelf.get(key, 0)] == [b"a", b"c", b"d", b"e"]


def test_a_reply_that_would_drive_all_else_out_is_not_taken():
    shelf = Shelf(100_000)
    shelf.put(b"a", reply())
    shelf.put(b"a", reply(30_000))
    assert (shelf.get(b"a", 0), shelf.bytes) == (None, 0)


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 3000), st.integers(0, 20))))
def test_the_bytes_are_those_of_what_is_there(puts: list[tuple[bytes, int, int]]):
    shelf = Shelf(8_000)
    for now_s, (key, size, lasts_s) in enumerate(puts):
        shelf.put(key, reply(size, now_s + lasts_s))
        shelf.get(b"b", now_s)
        there = [found for name in (b"a", b"b", b"c") if (found := shelf._replies.get(name))]
        assert shelf.bytes == sum(found.size for found, _ in there) <= 8_000
