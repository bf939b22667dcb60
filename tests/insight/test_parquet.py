"""Logs as Parquet: what is in the file, and how much of it is in memory at once."""

import io
import itertools
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sluice.insight.logs import log_row
from sluice.insight.parquet import COLUMNS, GROUP_BYTES, GROUP_ROWS, Body, parquet
from sluice.insight.portable import Unfit
from sluice.storage.ports import StoreFault
from sluice.values.ids import text_of
from sluice.values.log import LogEntry, Usage
from sluice.values.settings import MB

LOG_ID = "01JC3R94FRD97JBCBX3S0ZAXKW"


def read(sink: io.BytesIO) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(sink.getvalue())).to_pylist()
    return rows


def write(sink: io.BytesIO, *logs: tuple[LogEntry, Body, Body], bodies: bool = True) -> None:
    with parquet(sink, bodies=bodies) as add:
        for log in logs:
            add(*log)


def written(*logs: tuple[LogEntry, Body, Body], bodies: bool = True) -> io.BytesIO:
    sink = io.BytesIO()
    write(sink, *logs, bodies=bodies)
    return sink


def test_a_log_reads_back_as_the_api_shows_it(entry_of: Any) -> None:
    entry = entry_of(LOG_ID, usage=Usage(12, 34, 46, audio_in=5), metadata={"team": "a", "n": 2.5}, score=0.5)
    (row,) = read(written((entry, [b'{"a', b'":1}'], [b"\xff\x00"])))
    shown = log_row(entry)
    for name in row.keys() & (shown.keys() - {"created_at", "metadata"}):
        assert row[name] == shown[name], name
    assert shown.keys() - row.keys() == {"timings", "usage_metadata", "dlp_action"}
    assert row["created_at"] == datetime.fromtimestamp(entry.created_ms / 1000, UTC)
    assert msgspec.json.decode(row["metadata"]) == entry.metadata
    assert (row["cost_nano"], row["latency"], row["input_audio_tokens"]) == (entry.cost_nano, entry.latency_ms, 5)
    assert (row["request"], row["response"]) == (b'{"a":1}', b"\xff\x00")


def other_than(value: Any) -> Any:
    """A value of the same kind that is not the same."""
    if isinstance(value, bool):
        return not value
    return {"other": 1} if isinstance(value, dict) else "other" if isinstance(value, str) else 977


def changed(entry: LogEntry) -> Iterator[tuple[str, LogEntry]]:
    """Each field in turn with another value, those of the usage too."""
    texts = ("connection_id", "detail", "priced", "request_encoding", "response_encoding")
    for field in msgspec.structs.fields(LogEntry):
        if field.name != "usage":
            other = "other" if field.name in texts else other_than(getattr(entry, field.name))
            yield field.name, msgspec.structs.replace(entry, **{field.name: other})
    for field in msgspec.structs.fields(Usage):
        usage = msgspec.structs.replace(entry.usage, **{field.name: 977})
        yield field.name, msgspec.structs.replace(entry, usage=usage)


def test_every_field_of_a_log_is_in_a_column_of_its_own(entry_of: Any) -> None:
    plain = entry_of(LOG_ID)
    names, entries = zip(*changed(plain), strict=True)
    before, *after = read(written(*((entry, None, None) for entry in (plain, *entries))))
    differing = {name: [key for key in row if row[key] != before[key]] for name, row in zip(names, after, strict=True)}
    assert differing.pop("cost_nano") == ["cost", "cost_nano"]
    assert {name: columns for name, columns in differing.items() if len(columns) != 1} == {}
    assert {name for columns in differing.values() for name in columns} | {
        "cost",
        "cost_nano",
        "request",
        "response",
    } == set(before)


def test_a_body_that_was_not_kept_is_null_and_an_empty_one_is_empty(entry_of: Any) -> None:
    rows = read(written((entry_of(LOG_ID), None, []), (entry_of(LOG_ID), [b"a"], None)))
    assert [(row["request"], row["response"]) for row in rows] == [(None, b""), (b"a", None)]


def test_without_bodies_there_are_no_columns_for_them(entry_of: Any) -> None:
    (row,) = read(written((entry_of(LOG_ID), None, None), bodies=False))
    assert list(row) == [*(column.name for column in COLUMNS), "metadata"]


def test_nothing_to_write_is_a_file_without_rows() -> None:
    assert read(written()) == []


def test_row_groups_are_bounded_by_rows(entry_of: Any) -> None:
    entry = entry_of(LOG_ID)
    logs = ((msgspec.structs.replace(entry, id=text_of(number)), None, None) for number in range(GROUP_ROWS * 2 + 1))
    found = pq.ParquetFile(pa.BufferReader(written(*logs).getvalue()))
    groups = [found.metadata.row_group(number) for number in range(found.num_row_groups)]
    assert [group.num_rows for group in groups] == [GROUP_ROWS, GROUP_ROWS, 1]
    assert {group.column(0).compression for group in groups} == {"ZSTD"}
    assert found.read(["id"]).column(0).to_pylist() == [text_of(number) for number in range(GROUP_ROWS * 2 + 1)]


def test_row_groups_are_bounded_by_the_bytes_of_bodies(entry_of: Any) -> None:
    sizes = [MB] * 70 + [GROUP_BYTES + MB] + [MB, 2 * MB]
    logs = ((entry_of(LOG_ID, request_bytes=size, metadata={}), [b"x" * size], None) for size in sizes)
    sink = written(*logs)
    found = pq.ParquetFile(pa.BufferReader(sink.getvalue()))
    held = [
        [len(body) for body in found.read_row_group(number, ["request"]).column(0).to_pylist()]
        for number in range(found.num_row_groups)
    ]
    assert list(itertools.chain(*held)) == sizes
    assert all(sum(group) <= GROUP_BYTES or len(group) == 1 for group in held)
    assert len(held) == math.ceil(70 / 31) + 2


def test_a_body_that_parquet_has_no_room_for_is_named(entry_of: Any) -> None:
    with pytest.raises(Unfit, match=f"the response of log {LOG_ID} is over 2 GB"):
        written((entry_of(LOG_ID), [b"{}"], [bytes(2**31)]))


def cut() -> Iterator[bytes]:
    """A body whose rest cannot be read."""
    yield b"{"
    raise StoreFault("damaged")


def test_what_was_given_up_is_no_parquet_file(entry_of: Any) -> None:
    sink = io.BytesIO()
    whole = msgspec.structs.replace(entry_of(LOG_ID), request_bytes=GROUP_BYTES), [b"{}"], None
    with pytest.raises(StoreFault):
        write(sink, whole, whole, (entry_of(LOG_ID), [b"{}"], cut()))
    assert sink.getvalue()
    with pytest.raises(pa.ArrowInvalid):
        pq.read_table(pa.BufferReader(sink.getvalue()))
