"""A text looked for in bodies, across segments, packs near and away, and in pieces of time."""

import gzip
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import brotli
import msgspec
import pytest

from sluice.storage.embedded import body_search, walking
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.folder_objects import FolderObjects
from sluice.storage.ports import LogQuery, Matches, ObjectFault, StoreFault
from sluice.values.log import NewLog, Position, ShardKey
from sluice.values.log_filter import filter_of


class Unreachable(FolderObjects):
    def read(self, name: str, start: int, length: int) -> bytes:
        raise ObjectFault(f"{name}: out of reach")


AT = {"0": Position(1, 100)}
SMALL = BOUNDS._replace(rows=10)
Logs = Callable[..., NewLog]
Writers = Callable[..., EmbeddedLogWriter]


def found(matches: Matches) -> list[str]:
    return [entry.id for entry in matches.entries]


def wanted(logs: list[NewLog], *numbers: int) -> list[str]:
    return [logs[number].entry.id for number in numbers]


def test_logs_are_found_newest_first_across_segments_by_either_body(
    opened: Writers, shard: ShardKey, log: Logs, reader: EmbeddedLogReader
) -> None:
    writer = opened(bounds=SMALL)
    logs = [log(b"ask %d" % number, b"tell %d" % number) for number in range(35)]
    logs[3] = log(b"the Needle", b"tell")
    logs[17] = log(b"ask", b"a needle of steel")
    logs[33] = log(b"ask", gzip.compress(b"packed needle"), response_encoding="gzip")
    logs[34] = log(b"ask 34", brotli.compress(gzip.compress(b"needle packed twice")), response_encoding="gzip, br")
    for start in range(0, 35, 5):
        writer.append(shard, logs[start : start + 5], AT)
    all_found = reader.matching(shard, LogQuery(), "needle", 10)
    assert found(all_found) == wanted(logs, 34, 33, 17, 3)
    assert (all_found.cursor, all_found.looked_through) == (None, 35)
    assert found(reader.matching(shard, LogQuery(descending=False), "NEEDLE", 10)) == wanted(logs, 3, 17, 33, 34)
    assert found(reader.matching(shard, LogQuery(), "ask 3", 10)) == wanted(logs, 34, 32, 31, 30)
    assert reader.matching(shard, LogQuery(), "nowhere", 10).entries == []


def test_a_page_ends_with_enough_and_goes_on_from_its_cursor(
    opened: Writers, shard: ShardKey, log: Logs, reader: EmbeddedLogReader
) -> None:
    writer = opened(bounds=SMALL)
    logs = [log(b"needle", b"x") for _ in range(25)]
    writer.append(shard, logs, AT)
    query, pages = LogQuery(per_page=10), []
    while query.cursor is not None or not pages:
        page = reader.matching(shard, query, "needle", 10)
        pages.append(found(page))
        if page.cursor is None:
            break
        query = msgspec.structs.replace(query, cursor=page.cursor)
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [log_id for page in pages for log_id in page] == wanted(logs, *range(24, -1, -1))


def test_without_time_nothing_is_passed_over(
    opened: Writers, shard: ShardKey, log: Logs, reader: EmbeddedLogReader
) -> None:
    opened().append(shard, logs := [log(b"needle", b"x"), log(b"needle", b"x")], AT)
    page = reader.matching(shard, LogQuery(), "needle", -1)
    assert (found(page), page.looked_through) == (wanted(logs, 1), 1)
    assert page.cursor is not None
    assert found(reader.matching(shard, LogQuery(cursor=page.cursor), "needle", 10)) == wanted(logs, 0)


def test_where_all_logs_are_deleted_none_is_found(
    opened: Writers, shard: ShardKey, log: Logs, reader: EmbeddedLogReader
) -> None:
    writer = opened()
    writer.append(shard, logs := [log(b"needle", b"x")], AT)
    writer.delete(shard, wanted(logs, 0), {})
    assert reader.matching(shard, LogQuery(), "needle", 10) == ([], None, 0)


def test_filters_go_first(opened: Writers, shard: ShardKey, log: Logs, reader: EmbeddedLogReader) -> None:
    logs = [log(b"needle", b"x", model="rare" if number == 5 else "common") for number in range(9)]
    opened().append(shard, logs, AT)
    query = LogQuery(filters=(filter_of("model", "eq", ["rare"]),))
    page = reader.matching(shard, query, "needle", 10)
    assert (found(page), page.looked_through) == (wanted(logs, 5), 1)


@pytest.mark.parametrize("descending", [True, False])
def test_a_rare_filter_is_followed_to_the_end_in_calls_that_have_no_time(
    opened: Writers,
    shard: ShardKey,
    log: Logs,
    reader: EmbeddedLogReader,
    monkeypatch: pytest.MonkeyPatch,
    descending: bool,
) -> None:
    """Each call passes one window, and says so, though no log in it fits: SQLite would end sooner."""
    monkeypatch.setattr(walking, "FIRST_WINDOW", 500)
    numbers = (412, 413, 2100)
    logs = [log(b"needle", b"x", duration_ms=7 if number in numbers else 1) for number in range(2_500)]
    writer = opened(bounds=BOUNDS._replace(rows=1_000))
    for start in range(0, 2_500, 500):
        writer.append(shard, logs[start : start + 500], AT)
    fits = reversed(numbers) if descending else numbers
    query, all_found = LogQuery(filters=(filter_of("duration", "eq", [7]),), descending=descending), []
    cursors: list[int] = []
    for _ in range(20):
        page = reader.matching(shard, query, "needle", -1)
        all_found += found(page)
        if page.cursor is None:
            break
        cursors.append(page.cursor)
        query = msgspec.structs.replace(query, cursor=page.cursor)
    assert all_found == wanted(logs, *fits)
    assert cursors == sorted(set(cursors), reverse=descending)
    assert len(cursors) >= 5


def test_a_text_across_the_pieces_of_a_long_body_is_found(
    opened: Writers, shard: ShardKey, log: Logs, reader: EmbeddedLogReader
) -> None:
    filling = os.urandom(256 * 1024 - 3)
    long = filling + b"needle" + os.urandom(2 * 1024 * 1024)
    opened().append(shard, logs := [log(long, b"x"), log(b"x", gzip.compress(long), response_encoding="gzip")], AT)
    assert found(reader.matching(shard, LogQuery(), "needle", 10)) == wanted(logs, 1, 0)


def test_a_damaged_body_hides_no_other(
    opened: Writers, shard: ShardKey, log: Logs, reader: EmbeddedLogReader, root: Path
) -> None:
    opened().append(shard, logs := [log(b"needle" * 20, b""), log(b"needle" * 30, b"")], AT)
    (pack,) = root.glob("*/*/*.pack")
    pack.write_bytes(b"\0" * 8 + pack.read_bytes()[8:])
    assert found(reader.matching(shard, LogQuery(), "needle", 10)) == wanted(logs, 1)


def test_packs_away_are_read_too_so_many_a_call(
    opened: Writers, shard: ShardKey, log: Logs, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = FolderObjects.open(tmp_path / "objects")
    writer = opened(bounds=SMALL, objects=objects)
    logs = [log(b"needle %d" % number * 40, b"told" * 40) for number in range(35)]
    for start in range(0, 35, 5):
        writer.append(shard, logs[start : start + 5], AT)
    for _ in range(6):
        writer.tend()
        writer._tools.housekeeping._thread.submit(lambda: None).result()
    assert len(list(root.glob("*/*/*.pack"))) == 1
    with closing(EmbeddedLogReader(root, objects=objects)) as reader:
        assert found(reader.matching(shard, LogQuery(per_page=50), "needle", 30)) == wanted(logs, *range(34, -1, -1))
        monkeypatch.setattr(body_search, "MOST_FETCHED", 4)
        page = reader.matching(shard, LogQuery(per_page=50), "nowhere", 30)
        assert page.looked_through == 5 + 2
        assert page.cursor is not None
    monkeypatch.undo()
    with (
        closing(EmbeddedLogReader(root, objects=Unreachable.open(tmp_path / "objects"))) as far,
        pytest.raises(StoreFault, match="out of reach"),
    ):
        far.matching(shard, LogQuery(), "nowhere", 30)


def test_a_body_that_takes_longer_than_a_search_holds_up_none(
    opened: Writers, shard: ShardKey, log: Logs, reader: EmbeddedLogReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = [log(b"needle", b"x"), log(os.urandom(3 * 1024 * 1024), b"x")]
    opened().append(shard, logs, AT)
    monkeypatch.setattr(body_search.BodySearch, "_is_over", lambda search: not search._first)
    page = reader.matching(shard, LogQuery(), "needle", 0.0)
    assert (page.entries, page.looked_through) == ([], 1)
    assert found(reader.matching(shard, LogQuery(cursor=page.cursor), "needle", 10)) == wanted(logs, 0)
