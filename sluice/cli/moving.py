"""`sluice logs search` and `import`: logs found and brought in, and what an export reads by too."""

import gzip
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Final, cast, get_args

import click
import msgspec

from sluice.cli.following import gateway_of, line_of
from sluice.cli.options import account_option, common, folder_settings, gateway_option
from sluice.insight import litellm, portable
from sluice.insight.logs import log_row
from sluice.insight.portable import WrongLine
from sluice.metrics import Metrics
from sluice.spool.frames import FrameError
from sluice.spool.layout import IMPORTS
from sluice.spool.writer import SpoolRefuses, SpoolTaken, SpoolWriter
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.ports import LogQuery, OrderBy, StoreFault
from sluice.values.log import NewLog, ShardKey
from sluice.values.log_filter import KEYS, OPERATORS, Filter, FilterValue, WrongFilter, filter_of
from sluice.values.settings import Settings
from sluice.wiring.stores import log_reader

READERS: Final[dict[str, Callable[[bytes], NewLog]]] = {"sluice": portable.read, "litellm": litellm.read}
_SEARCH_S: Final = 30.0
_STORED_S: Final = 120.0
_TOLD_EVERY_S: Final = 1.0
_ORDERS: Final = [name for group in get_args(OrderBy) for name in get_args(group) or [group]]

filter_option = click.option(
    "--filter",
    "filters",
    nargs=3,
    multiple=True,
    metavar="KEY OPERATOR VALUE",
    help=f"Only logs that fit; VALUE may be a JSON list. Operators: {', '.join(OPERATORS)}. Keys: {', '.join(KEYS)}.",
)


@click.command()
@account_option
@gateway_option
@filter_option
@click.option("--search", default="", help="An id, or a part of the metadata.")
@click.option("--order-by", default="created_at", type=click.Choice(_ORDERS), show_default=True, help="The order.")
@click.option("--asc/--desc", default=False, help="The direction.  [default: desc]")
@click.option("-n", "--lines", default=20, show_default=True, type=click.IntRange(1, 10_000), help="How many.")
@common
def search(
    account: str,
    gateway: str,
    filters: tuple[tuple[str, str, str], ...],
    search: str,
    order_by: str,
    asc: bool,
    lines: int,
    data: Path | None,
    as_json: bool,
) -> None:
    """Print logs that fit, by the filters of the API (docs/logs.md). With --json, one object a line."""
    settings = folder_settings(data)
    shard = gateway_of(settings, account, gateway)
    query = LogQuery(1, lines, cast(OrderBy, order_by), not asc, filters_of(filters), search.strip(), None, count=False)
    with reading(settings) as reader:
        page = reader.page(shard, query)
    for entry in page.entries:
        click.echo(msgspec.json.encode(log_row(entry)).decode() if as_json else line_of(entry))
    if not page.complete:
        click.echo(f"Not all was looked through within {_SEARCH_S:.0f} s.", err=True)
    elif not page.entries:
        click.echo("No log fits.", err=True)


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@account_option
@gateway_option
@click.option(
    "--from", "kind", type=click.Choice(list(READERS)), default="sluice", show_default=True, help="Whose logs."
)
@common
def bring(file: Path, account: str, gateway: str, kind: str, data: Path | None, as_json: bool) -> None:
    """Store the logs of a file of lines of JSON (.gz too) as its records say, without those that are stored already.

    Needs a running server. Twice does what once does: after an interruption begin again. Lines that are no logs go
    to FILE.rejected, and the exit status is 1.
    """
    settings = folder_settings(data)
    shard = gateway_of(settings, account, gateway)
    importing = _Importing(settings, shard, READERS[kind], file)
    importing.run()


class _Importing:
    """Hands the logs of a file to the keeper, through a spool of its own."""

    def __init__(self, settings: Settings, shard: ShardKey, read: Callable[[bytes], NewLog], file: Path) -> None:
        self._settings, self._shard, self._read, self._file = settings, shard, read, file
        self._rejects = file.with_name(f"{file.name}.rejected")
        self._rejected = 0
        self._last = ""
        self._progress = Progress("read")

    def run(self) -> None:
        try:
            spool = SpoolWriter.open(
                self._settings.data / "spool", self._settings.spool, Metrics.unseen(), numbers=IMPORTS
            )
        except SpoolTaken:
            raise click.ClickException("As many imports as may be are under way.") from None
        self._rejects.unlink(missing_ok=True)
        count = 0
        with closing(spool), _opened(self._file) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip() and self._bring(spool, number, line):
                    count += 1
                self._progress.tell(number)
        self._await_last()
        rejected = f", {self._rejected} lines rejected: see {self._rejects}" if self._rejected else ""
        self._progress.end(f"{count} logs are stored{rejected}")
        if self._rejected:
            raise click.exceptions.Exit(1)

    def _bring(self, spool: SpoolWriter, number: int, line: bytes) -> bool:
        try:
            log = self._read(line)
            while True:
                try:
                    spool.bring(bytes.fromhex(self._shard.gateway), self._shard.account, log)
                except SpoolRefuses:
                    time.sleep(0.1)  # the keeper makes room
                    spool.measure()
                else:
                    self._last = log.entry.id
                    return True
        except (WrongLine, FrameError) as error:
            self._rejected += 1
            with self._rejects.open("ab") as rejects:
                rejects.write(line if line.endswith(b"\n") else line + b"\n")
            if self._rejected <= 10:
                click.echo(f"line {number}: {error}", err=True)
            return False

    def _await_last(self) -> None:
        """They are stored in the order of the file."""
        give_up_at = time.monotonic() + _STORED_S
        with reading(self._settings) as reader:
            while self._last and reader.get(self._shard, self._last) is None:
                if time.monotonic() > give_up_at:
                    raise click.ClickException(
                        "All logs are in the spool, but the last one is not stored yet: does a server run on this"
                        " folder, and may the gateway store more?"
                    )
                time.sleep(0.1)


class Progress:
    """A line on standard error, renewed once a second, where a person may see it."""

    def __init__(self, done: str) -> None:
        self._done = done
        self._began_s = self._told_s = time.monotonic()

    def tell(self, count: int) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= _TOLD_EVERY_S and sys.stderr.isatty():
            self._told_s = now_s
            click.echo(f"\r{count:,} {self._done}, {count / (now_s - self._began_s):,.0f}/s ", err=True, nl=False)

    def end(self, said: str) -> None:
        click.echo(f"{chr(13) if sys.stderr.isatty() else ''}{said}.", err=True)


def filters_of(asked: tuple[tuple[str, str, str], ...]) -> tuple[Filter, ...]:
    try:
        return tuple([filter_of(key, operator, _values(value)) for key, operator, value in asked])
    except WrongFilter as wrong:
        raise click.BadParameter(str(wrong), param_hint="--filter") from None


def _values(text: str) -> list[FilterValue]:
    if text.startswith("["):
        try:
            return msgspec.json.decode(text, type=list[FilterValue])
        except msgspec.DecodeError:
            pass  # a text that begins so
    return [text]


class Reading(closing[EmbeddedLogReader]):
    """What cannot be read ends the command with the reason."""

    def __exit__(self, *about: object) -> None:
        super().__exit__(*about)
        if isinstance(fault := about[1], StoreFault):
            raise click.ClickException(f"The logs cannot be read: {fault}") from fault


def reading(settings: Settings) -> Reading:
    return Reading(log_reader(settings, _SEARCH_S))


def _opened(file: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")
