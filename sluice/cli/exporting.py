"""`sluice logs export`: logs taken out, into a file or to another program."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

import click
import msgspec

from sluice.cli.following import gateway_of
from sluice.cli.moving import Progress, filter_option, filters_of, reading
from sluice.cli.options import account_option, common, folder_settings, gateway_option
from sluice.insight import portable
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.ports import LogQuery
from sluice.values.ids import key_of
from sluice.values.log import LogEntry, ShardKey
from sluice.values.log_filter import Filter

_PAGE: Final = 200


@click.command("export")
@account_option
@gateway_option
@filter_option
@click.option("-o", "--output", default="-", help="The file; .gz at its end compresses it.  [default: stdout]")
@click.option("--bodies/--no-bodies", default=True, show_default=True, help="Whether bodies go with them.")
@click.option("--after", default="", metavar="LOG_ID", help="Go on behind this log, the last one of an earlier export.")
@common
def export(
    account: str,
    gateway: str,
    filters: tuple[tuple[str, str, str], ...],
    output: str,
    bodies: bool,
    after: str,
    data: Path | None,
    as_json: bool,
) -> None:
    """Write logs as lines of JSON, the oldest first, for `sluice logs import`. A server may run meanwhile, or none."""
    settings = folder_settings(data)
    shard = gateway_of(settings, account, gateway)
    count = 0
    last = after
    with reading(settings) as reader, _written(output) as sink:
        progress = Progress("exported")
        for entry in _walk(reader, shard, filters_of(filters), _key(after)):
            request = _whole(reader, shard, entry, "request") if bodies else None
            response = _whole(reader, shard, entry, "response") if bodies else None
            sink.write(portable.written(entry, request, response))
            count, last = count + 1, entry.id
            progress.tell(count)
    progress.end(f"{count} logs exported" + (f", the last one is {last}" if last else ""))


def _walk(
    reader: EmbeddedLogReader, shard: ShardKey, filters: tuple[Filter, ...], after: int | None
) -> Iterator[LogEntry]:
    """In the order of their keys, whatever is stored meanwhile."""
    query = LogQuery(1, _PAGE, "created_at", False, filters, "", after, count=False)
    while True:
        page = reader.page(shard, query)
        yield from page.entries
        if page.cursor is None:
            return
        query = msgspec.structs.replace(query, cursor=page.cursor)


def _whole(reader: EmbeddedLogReader, shard: ShardKey, entry: LogEntry, side: str) -> bytes | None:
    pieces = reader.body(shard, entry.id, "request" if side == "request" else "response")
    return None if pieces is None else b"".join(pieces)


def _key(log_id: str) -> int | None:
    try:
        return key_of(log_id) if log_id else None
    except ValueError:
        raise click.BadParameter(f"{log_id} is no log's id", param_hint="--after") from None


@contextmanager
def _written(output: str) -> Iterator[IO[bytes]]:
    if output == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif output.endswith(".gz"):
        with gzip.open(output, "wb") as packed:
            yield cast(IO[bytes], packed)
    else:
        with Path(output).open("wb") as file:
            yield file
