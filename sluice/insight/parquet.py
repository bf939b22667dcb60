"""Logs as a Parquet file: what `sluice logs export --format parquet` writes.

Whoever uses it loads this file only where it is asked for: the library is an extra, and takes 50 ms and 50 MB.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from operator import attrgetter
from typing import IO, Any, Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from sluice.insight.portable import Unfit
from sluice.values.log import NANO, LogEntry
from sluice.values.settings import MB

GROUP_ROWS: Final = 10_000
GROUP_BYTES: Final = 32 * MB
"""Of bodies and metadata in a row group, or a single log's that are more."""
_MOST_BYTES: Final = 2047 * MB
"""Of one value: a page has less than 2 GB."""
_VALUES_A_PAGE: Final = 64
"""After so many values it is looked whether a page is full, so that one is little more than a megabyte or a body."""

Body = Iterable[bytes] | None
_TEXT, _COUNT, _FLAG = pa.string(), pa.int64(), pa.bool_()


class Column(NamedTuple):
    """What a log has under a name; a text for `read` is the attribute's."""

    name: str
    kind: pa.DataType
    read: str | Callable[[LogEntry], object]
    repeats: bool = True
    """Whether few different values are to be expected, so that a dictionary of them is worth it."""

    def of(self, entries: Iterable[LogEntry]) -> "pa.Array[Any]":
        read = attrgetter(self.read) if isinstance(self.read, str) else self.read
        return pa.array([read(entry) for entry in entries], self.kind)


def _cost(entry: LogEntry) -> float | None:
    return None if entry.cost_nano is None else entry.cost_nano / NANO


COLUMNS: Final = (
    Column("id", _TEXT, "id", repeats=False),
    Column("created_at", pa.timestamp("ms", tz="UTC"), "created_ms", repeats=False),
    Column("provider", _TEXT, "provider"),
    Column("model", _TEXT, "model"),
    Column("model_type", _TEXT, "model_type"),
    Column("path", _TEXT, "path"),
    Column("request_type", _TEXT, "request_type"),
    Column("request_content_type", _TEXT, "request_content_type"),
    Column("response_content_type", _TEXT, "response_content_type"),
    Column("status_code", _COUNT, "status_code"),
    Column("success", _FLAG, "success"),
    Column("cached", _FLAG, "cached"),
    Column("duration", _COUNT, "duration_ms"),
    Column("latency", _COUNT, "latency_ms"),
    Column("tokens_in", _COUNT, "usage.tokens_in"),
    Column("tokens_out", _COUNT, "usage.tokens_out"),
    Column("total_tokens", _COUNT, "usage.total"),
    Column("output_reasoning_tokens", _COUNT, "usage.reasoning"),
    Column("input_cached_tokens", _COUNT, "usage.cached_in"),
    Column("input_cache_write_tokens", _COUNT, "usage.cache_write"),
    Column("input_cache_write_1h_tokens", _COUNT, "usage.cache_write_1h"),
    Column("input_audio_tokens", _COUNT, "usage.audio_in"),
    Column("output_audio_tokens", _COUNT, "usage.audio_out"),
    Column("input_image_tokens", _COUNT, "usage.image_in"),
    Column("output_image_tokens", _COUNT, "usage.image_out"),
    Column("input_audio_ms", _COUNT, "usage.audio_in_ms"),
    Column("input_characters", _COUNT, "usage.characters_in"),
    Column("input_cached_audio_tokens", _COUNT, "usage.cached_audio_in"),
    Column("cost", pa.float64(), _cost),
    Column("cost_nano", _COUNT, "cost_nano"),
    Column("custom_cost", _FLAG, "custom_cost"),
    Column("pricing", _TEXT, "priced"),
    Column("step", _COUNT, "step"),
    Column("attempts", _COUNT, "attempts"),
    Column("event_id", _TEXT, "event_id", repeats=False),
    Column("request_id", _TEXT, "request_id", repeats=False),
    Column("connection_id", _TEXT, "connection_id"),
    Column("feedback", _COUNT, "feedback"),
    Column("score", pa.float64(), "score"),
    Column("user_agent", _TEXT, "user_agent"),
    Column("authentication", _FLAG, "authentication"),
    Column("wholesale", _FLAG, "wholesale"),
    Column("byok", _FLAG, "byok"),
    Column("compatibilityMode", _FLAG, "compat"),
    Column("ending", _TEXT, "ending"),
    Column("incomplete", _FLAG, "incomplete"),
    Column("error_code", _COUNT, lambda entry: entry.error or None),
    Column("error_message", _TEXT, "detail"),
    Column("payload", _FLAG, "payload"),
    Column("request_size", _COUNT, "request_bytes"),
    Column("request_truncated", _FLAG, "request_truncated"),
    Column("request_encoding", _TEXT, "request_encoding"),
    Column("response_size", _COUNT, "response_bytes"),
    Column("response_truncated", _FLAG, "response_truncated"),
    Column("response_encoding", _TEXT, "response_encoding"),
)
"""By the names of the management API (sluice/insight/logs.py) where it has one; then metadata and bodies."""
_REPEATING: Final[Any] = [column.name for column in COLUMNS if column.repeats]
"""The library's stubs know no list there."""


@contextmanager
def parquet(sink: IO[bytes], *, bodies: bool) -> Iterator[Callable[[LogEntry, Body, Body], None]]:
    """Gives what adds a log with its bodies, each of them read piece by piece; without `bodies` they are None."""
    logs = _Logs(sink, bodies=bodies)
    try:
        yield logs.add
    except BaseException:
        logs.give_up()
        raise
    logs.end()


class _Logs:
    """Logs into a file, row group by row group: of what was added no more than one is in memory."""

    def __init__(self, sink: IO[bytes], *, bodies: bool) -> None:
        long = {"metadata": _TEXT} | ({"request": pa.binary(), "response": pa.binary()} if bodies else {})
        self._schema = pa.schema([*((column.name, column.kind) for column in COLUMNS), *long.items()])
        self._sink = _Sink(sink)
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._sink, mode="w"),
            self._schema,
            compression="zstd",
            use_dictionary=_REPEATING,
            write_statistics=[column.name for column in COLUMNS],
            write_batch_size=_VALUES_A_PAGE,
        )
        self._entries: list[LogEntry] = []
        self._long = {name: _Long(kind) for name, kind in long.items()}

    def add(self, entry: LogEntry, request: Body, response: Body) -> None:
        """Raises Unfit."""
        metadata = msgspec.json.encode(entry.metadata)
        bodies = {"request": (request, entry.request_bytes), "response": (response, entry.response_bytes)}
        sizes = [size for pieces, size in bodies.values() if pieces is not None]
        if len(self._entries) >= GROUP_ROWS or self._held() + len(metadata) + sum(sizes) > GROUP_BYTES:
            self._write()
        self._entries.append(entry)
        for name, long in self._long.items():
            if not long.add([metadata] if name == "metadata" else bodies[name][0]):
                raise Unfit(f"the {name} of log {entry.id} is over 2 GB, for which Parquet has no room: --no-bodies")

    def end(self) -> None:
        self._write()
        self._writer.close()

    def give_up(self) -> None:
        """What is written so far must not look like a whole file."""
        self._sink.give_up()
        self._writer.close()

    def _held(self) -> int:
        return sum(long.size for long in self._long.values())

    def _write(self) -> None:
        """What was added becomes a row group."""
        if not self._entries:
            return
        plain = [column.of(self._entries) for column in COLUMNS]
        long = [each.take() for each in self._long.values()]
        self._writer.write_table(pa.Table.from_arrays([*plain, *long], schema=self._schema), len(self._entries))
        self._entries = []


class _Long:
    """Values of any length, one behind the other as Arrow has them in memory: they are copied no more."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._begin()

    @property
    def size(self) -> int:
        return len(self._data)

    def add(self, pieces: Iterable[bytes] | None) -> bool:
        """Whether there was room for it."""
        for piece in pieces or ():
            if len(self._data) + len(piece) > _MOST_BYTES:
                return False
            self._data += piece
        self._there.append(pieces is not None)
        self._ends.append(len(self._data))
        return True

    def take(self) -> "pa.Array[Any]":
        """All that was added; then it is empty again."""
        there = pa.array(self._there, _FLAG).buffers()[1]
        buffers = [there, pa.py_buffer(self._ends), pa.py_buffer(self._data)]
        taken = pa.Array.from_buffers(self._kind, len(self._there), buffers)
        self._begin()
        return taken

    def _begin(self) -> None:
        self._data, self._ends, self._there = bytearray(), array("i", [0]), list[bool]()


class _Sink(BufferedIOBase):
    """A file that need not tell where it is, as stdout, and that gets no more once it was given up."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._written = 0
        self._given_up = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if not self._given_up:
            self._file.write(data)
        self._written += size
        return size

    def tell(self) -> int:
        return self._written

    def give_up(self) -> None:
        self._given_up = True
