"""`sluice logs export`: logs taken out, into a file or to another program."""

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Final, Protocol

import click
import msgspec

from sluice.cli.following import gateway_of
from sluice.cli.options import account_option, common, folder_settings, gateway_option
from sluice.cli.output import written
from sluice.cli.printing import Progress
from sluice.cli.searching import filter_option, filters_of, reading
from sluice.insight import portable
from sluice.insight.portable import Unfit
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.ports import LogQuery, Side, StoreFault
from sluice.values.ids import key_of
from sluice.values.log import LogEntry, ShardKey
from sluice.values.log_filter import Filter

FORMATS: Final = ("jsonl", "parquet")
_PARQUET: Final = "sluice.insight.parquet"
"""Loaded where it is asked for."""
_PAGE: Final = 200
_TOLD: Final = 3
"""Bodies of which it is said why they could not be read."""

Body = Iterable[bytes] | None
Add = Callable[[LogEntry, Body, Body], None]


class Opening(Protocol):
    """Begins what a format writes into a file, and ends it unless there was an error."""

    def __call__(self, sink: IO[bytes], *, bodies: bool) -> AbstractContextManager[Add]: ...


@click.command("export")
@account_option
@gateway_option
@filter_option
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    default="jsonl",
    show_default=True,
    help="Lines of JSON, or Parquet.",
)
@click.option("-o", "--output", default="-", help="The file; .gz at its end compresses lines.  [default: stdout]")
@click.option("--bodies/--no-bodies", default=True, show_default=True, help="Whether bodies go with them.")
@click.option("--after", default="", metavar="LOG_ID", help="Go on behind this log, the last one of an earlier export.")
@common
def export(
    account: str,
    gateway: str,
    filters: tuple[tuple[str, str, str], ...],
    kind: str,
    output: str,
    bodies: bool,
    after: str,
    data: Path | None,
    as_json: bool,
) -> None:
    """Write logs, the oldest first, as lines of JSON for `sluice logs import`, or as Parquet for analysis.

    A server may run meanwhile, or none. A file has its name when it is whole. Where a body cannot be read, its log is
    written without it, and the exit status is 1.
    """
    opened = _format(kind, output)
    settings = folder_settings(data)
    shard = gateway_of(settings, account, gateway)
    chosen, behind = filters_of(filters), _key(after)
    count, last = 0, after
    with reading(settings) as reader, written(output) as sink, opened(sink, bodies=bodies) as add:
        progress, taken = Progress("exported"), _Bodies(reader, shard)
        for entry in _walk(reader, shard, chosen, behind):
            try:
                add(entry, *(taken.of(entry.id) if bodies else (None, None)))
            except Unfit as unfit:
                raise click.ClickException(str(unfit)) from None
            count, last = count + 1, entry.id
            progress.tell(count)
    progress.end(f"{count} logs exported" + (f", the last one is {last}" if last else ""))
    if taken.unread:
        click.echo(f"{taken.unread} bodies could not be read, and are not in it.", err=True)
        raise click.exceptions.Exit(1)


class _Bodies:
    """Reads the bodies of logs, and counts those that cannot be read though they should be there."""

    def __init__(self, reader: EmbeddedLogReader, shard: ShardKey) -> None:
        self._reader, self._shard = reader, shard
        self.unread = 0

    def of(self, log_id: str) -> tuple[Body, Body]:
        return self._read(log_id, "request"), self._read(log_id, "response")

    def _read(self, log_id: str, side: Side) -> Body:
        """Whole, for damage may show at its end. None where none was kept, it was lost, or cannot be read."""
        try:
            pieces = self._reader.body(self._shard, log_id, side)
            if pieces is not None:
                return (b"".join(pieces),)
            if self._reader.is_kept(self._shard, log_id, side):
                self._tell(log_id, side, "it is damaged or gone: `sluice doctor` says more")
        except StoreFault as fault:
            self._tell(log_id, side, str(fault))
        return None

    def _tell(self, log_id: str, side: Side, why: str) -> None:
        self.unread += 1
        if self.unread <= _TOLD:
            click.echo(f"log {log_id}: the {side} cannot be read: {why}", err=True)


def _format(kind: str, output: str) -> Opening:
    """What cannot be written ends the command before it has read or written anything."""
    if kind == "jsonl":
        return _json_lines
    if output.endswith(".gz"):
        raise click.BadParameter("Parquet is compressed by itself: without .gz", param_hint="--output")
    if output == "-" and sys.stdout.isatty():
        raise click.BadParameter("Parquet is nothing for a terminal: name a file", param_hint="--output")
    try:
        opening: Opening = importlib.import_module(_PARQUET).parquet
    except ImportError as error:
        raise click.ClickException(
            f"Parquet needs the library pyarrow ({error}): pip install 'sluice-gateway[parquet]',"
            " in a clone .venv/bin/pip install -e '.[parquet]'"
        ) from None
    return opening


@contextmanager
def _json_lines(sink: IO[bytes], *, bodies: bool) -> Iterator[Add]:
    """Without `bodies` there are none to be added."""

    def add(entry: LogEntry, request: Body, response: Body) -> None:
        sink.write(portable.written(entry, _whole(request), _whole(response)))

    yield add


def _whole(pieces: Body) -> bytes | None:
    return None if pieces is None else b"".join(pieces)


def _walk(
    reader: EmbeddedLogReader, shard: ShardKey, filters: tuple[Filter, ...], after: int | None
) -> Iterator[LogEntry]:
    """In the order of their keys, whatever is stored meanwhile."""
    query = LogQuery(1, _PAGE, "created_at", False, filters, "", after, count=False)
    while True:
        page = reader.page(shard, query)
        yield from page.entries
        if page.cursor is None:
            if not page.complete:
                raise click.ClickException("Not all logs could be looked through in time: choose fewer by --filter.")
            return
        query = msgspec.structs.replace(query, cursor=page.cursor)


def _key(log_id: str) -> int | None:
    try:
        return key_of(log_id) if log_id else None
    except ValueError:
        raise click.BadParameter(f"{log_id} is no log's id", param_hint="--after") from None
