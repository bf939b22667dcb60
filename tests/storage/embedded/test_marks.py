"""The marks of the keeper: durable when moved, never a reason not to start."""

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from sluice.storage.embedded.marks import Marks, OpenExchange
from sluice.storage.ports import StoreFault
from sluice.values.log import Position


def test_marks_are_read_again_as_they_were_moved_last(tmp_path: Path):
    marks = Marks.open(tmp_path / "keeper.db")
    assert marks.read() == {}
    marks.move({"0": Position(1, 64), "12": Position(7, 0)})
    marks.move({"0": Position(2, 4096)})
    marks.close()
    again = Marks.open(tmp_path / "keeper.db")
    assert again.read() == {"0": Position(2, 4096), "12": Position(7, 0)}
    again.close()


def test_what_goes_on_is_kept_until_it_ends_and_commits_with_the_marks(tmp_path: Path):
    marks = Marks.open(tmp_path / "keeper.db")
    first, second = OpenExchange("0", b"g" * 16, b"meta"), OpenExchange("12", b"h" * 16, b"more")
    marks.move({"0": Position(1, 64)}, {"a": first, "b": second})
    marks.move({}, {"b": second._replace(meta=b"later")}, ["a", "never there"])
    other = apsw.Connection(str(tmp_path / "keeper.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreFault):
        marks.move({"0": Position(9, 9)}, {"c": first}, ["b"])
    other.execute("ROLLBACK")
    other.close()
    marks.close()
    with closing(Marks.open(tmp_path / "keeper.db")) as again:
        assert again.open_exchanges() == {"b": OpenExchange("12", b"h" * 16, b"later")}
        assert again.read() == {"0": Position(1, 64)}


def test_a_file_of_before_there_were_open_exchanges_is_gone_on_with(tmp_path: Path):
    old = apsw.Connection(str(tmp_path / "keeper.db"))
    old.execute("CREATE TABLE mark (spool TEXT PRIMARY KEY, seq INT, off INT) WITHOUT ROWID, STRICT")
    old.execute("INSERT INTO mark VALUES ('3', 7, 64)")
    old.close()
    with closing(Marks.open(tmp_path / "keeper.db")) as marks:
        assert (marks.read(), marks.open_exchanges()) == ({"3": Position(7, 64)}, {})


@pytest.mark.parametrize("content", [b"this is no database" * 500, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_damaged_file_is_put_aside(tmp_path: Path, content: bytes):
    (tmp_path / "keeper.db").write_bytes(content)
    marks = Marks.open(tmp_path / "keeper.db")
    marks.move({"0": Position(1, 64)})
    assert marks.read() == {"0": Position(1, 64)}
    marks.close()
    assert (tmp_path / "keeper.db.damaged").read_bytes() == content


def test_a_failure_is_a_store_fault_and_moves_nothing(tmp_path: Path):
    marks = Marks.open(tmp_path / "keeper.db")
    marks.move({"0": Position(1, 64)})
    other = apsw.Connection(str(tmp_path / "keeper.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreFault):
        marks.move({"0": Position(9, 9)})
    other.execute("ROLLBACK")
    other.close()
    assert marks.read() == {"0": Position(1, 64)}
    marks.close()
    with pytest.raises(StoreFault):
        Marks.open(tmp_path / "missing" / "keeper.db")
