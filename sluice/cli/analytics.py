"""`sluice analytics`: what went through, counted: requests, errors, tokens, cost and speed."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

import click
import msgspec

from sluice.cli.gateway import gateways_path, missing_gateway
from sluice.cli.operator import Operator, decoded
from sluice.cli.options import account_option, common, folder_settings, missing_account, print_json, print_table
from sluice.cli.printing import dollars, printable
from sluice.values.log import NANO

_SPAN: Final = re.compile(r"(\d{1,6})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


class Percentiles(msgspec.Struct):
    p50: int
    p95: int
    p99: int


class Group(msgspec.Struct):
    dimensions: dict[str, str | int | bool]
    requests: int
    errors: int
    cached: int
    tokens_in: int
    tokens_out: int
    cost: float
    duration: Percentiles | None


class Counted(msgspec.Struct):
    complete: bool
    groups: list[Group]


def _span(ctx: click.Context, parameter: click.Parameter, text: str) -> timedelta:
    found = _SPAN.fullmatch(text)
    if not found or not int(found[1]):
        raise click.BadParameter(f"{text!r}: a number with m, h or d behind it, as 90m, 24h or 30d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.command("analytics")
@account_option
@click.option("--gateway", help="One gateway.  [default: all of the account]")
@click.option(
    "--by",
    default="model",
    show_default=True,
    metavar="NAMES",
    help="What to tell apart, with commas between: provider, model, status_code, cached, gateway, or metadata.KEY.",
)
@click.option(
    "--since", default="24h", show_default=True, metavar="SPAN", callback=_span, help="How far back: 90m, 24h, 30d."
)
@common
def command(account: str, gateway: str | None, by: str, since: timedelta, data: Path | None, as_json: bool) -> None:
    """Count what went through: requests, errors, tokens, cost, and how long replies took, in ms."""
    operator = Operator(folder_settings(data))
    now = datetime.now(UTC)
    try:
        begun = now - since
    except OverflowError:
        begun = datetime.fromtimestamp(0, UTC)
    query = urlencode({"from": begun.isoformat(), "to": now.isoformat(), "step": "none", "group_by": by})
    if gateway is None:
        path, missing = f"/client/v4/accounts/{quote(account, safe='')}/ai-gateway", missing_account(account)
    else:
        path, missing = gateways_path(account, gateway), missing_gateway(account, gateway)
    result = operator.result("GET", f"{path}/analytics?{query}", missing=missing)
    if as_json:
        print_json(decoded(result))
        return
    counted = msgspec.json.decode(result, type=Counted)
    names = [name for name in by.split(",") if name]
    header = (*(name.upper().replace("_", " ") for name in names), *_HEADER)
    print_table([_row(names, group) for group in counted.groups], header, empty="No requests in this time.")
    if not counted.complete:
        click.echo("The time was up before all was counted: there is more.", err=True)


_HEADER: Final = ("REQUESTS", "ERRORS", "CACHED", "TOKENS IN", "TOKENS OUT", "COST", "P50", "P95", "P99")


def _label(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _row(names: list[str], group: Group) -> tuple[str, ...]:
    labels = [printable(_label(group.dimensions[name])) or "-" for name in names]
    counts = (group.requests, group.errors, group.cached, group.tokens_in, group.tokens_out)
    speed = group.duration
    times = ("-", "-", "-") if speed is None else tuple(map(str, (speed.p50, speed.p95, speed.p99)))
    return (*labels, *(f"{count:,}" for count in counts), dollars(round(group.cost * NANO)), *times)
