"""`sluice logs search`: logs that fit, and how commands read logs by filters."""

from contextlib import closing
from pathlib import Path
from typing import Final, cast, get_args

import click
import msgspec

from sluice.cli.following import gateway_of, line_of
from sluice.cli.options import account_option, common, folder_settings, gateway_option
from sluice.cli.printing import Progress
from sluice.insight.logs import log_row
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.ports import LogQuery, OrderBy, StoreFault
from sluice.values.log import LogEntry, ShardKey
from sluice.values.log_filter import KEYS, OPERATORS, Filter, FilterValue, WrongFilter, filter_of
from sluice.values.settings import Settings
from sluice.wiring.stores import log_reader

_SEARCH_S: Final = 30.0
_LOOK_S: Final = 2.0
_SHORTEST_TEXT: Final = 3
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
@click.option("--body", default="", help="A text in the request's or the reply's body; of 3 characters at least.")
@click.option("--order-by", default="created_at", type=click.Choice(_ORDERS), show_default=True, help="The order.")
@click.option("--asc/--desc", default=False, help="The direction.  [default: desc]")
@click.option("-n", "--lines", default=20, show_default=True, type=click.IntRange(1, 10_000), help="How many.")
@common
def search(
    account: str,
    gateway: str,
    filters: tuple[tuple[str, str, str], ...],
    search: str,
    body: str,
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
    if body:
        _search_bodies(settings, shard, query, body, as_json=as_json)
        return
    with reading(settings) as reader:
        page = reader.page(shard, query)
    for entry in page.entries:
        _print(entry, as_json=as_json)
    if not page.complete:
        click.echo(f"Not all was looked through within {_SEARCH_S:.0f} s.", err=True)
    elif not page.entries:
        click.echo("No log fits.", err=True)


def _search_bodies(settings: Settings, shard: ShardKey, query: LogQuery, text: str, *, as_json: bool) -> None:
    """Prints what is found as it is found, until it is enough, all was looked through, or the person ends it."""
    if len(text) < _SHORTEST_TEXT or query.order_by != "created_at":
        raise click.BadParameter("needs 3 characters, and the order of created_at", param_hint="--body")
    found, looked, progress = 0, 0, Progress("looked through")
    with reading(settings) as reader:
        while True:
            some = reader.matching(shard, query, text, _LOOK_S)
            for entry in some.entries:
                _print(entry, as_json=as_json)
            found, looked = found + len(some.entries), looked + some.looked_through
            if some.cursor is None or len(some.entries) == query.per_page:
                break
            progress.tell(looked)
            query = msgspec.structs.replace(query, cursor=some.cursor, per_page=query.per_page - len(some.entries))
    progress.end(f"{found} found in {looked} logs" + ("" if some.cursor is None else ", and there are more to look at"))


def _print(entry: LogEntry, *, as_json: bool) -> None:
    click.echo(msgspec.json.encode(log_row(entry)).decode() if as_json else line_of(entry))


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
