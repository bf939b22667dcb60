"""`sluice logs reprice`: the costs of stored logs by the prices of today."""

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from sluice.cli.gateway import gateways_path, missing_gateway
from sluice.cli.operator import Operator
from sluice.cli.options import account_option, common, folder_settings, gateway_option, print_json
from sluice.cli.printing import Progress

_TIME = click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"))


class _Done(msgspec.Struct):
    count: int
    unpriced: int
    next_cursor: str | None


@click.command()
@account_option
@gateway_option
@click.option("--from", "since", type=_TIME, required=True, help="The first moment, in UTC.")
@click.option("--to", "until", type=_TIME, default=None, help="The moment after the last.  [default: now]")
@common
def reprice(
    account: str, gateway: str, since: datetime, until: datetime | None, data: Path | None, as_json: bool
) -> None:
    """Price the logs of a time anew, by the prices of today; analytics follow. To do it twice does what once does.

    Logs with a price of their own (cf-aig-custom-cost), of the cache, or of models whose price is not known stay as
    they are. What is broken off may be begun again.
    """
    operator = Operator(folder_settings(data))
    path = f"{gateways_path(account, gateway)}/logs/reprice"
    asked = {"from": _zoned(since), "to": _zoned(until or datetime.now(UTC))}
    count, unpriced, cursor, progress = 0, 0, None, Progress("logs gone through")
    while True:
        result = operator.result("POST", path, {**asked, "cursor": cursor}, missing=missing_gateway(account, gateway))
        done = msgspec.json.decode(result, type=_Done)
        count, unpriced, cursor = count + done.count, unpriced + done.unpriced, done.next_cursor
        if cursor is None:
            break
        progress.tell(count)
    if as_json:
        print_json({"count": count, "unpriced": unpriced})
    else:
        left = f"; {unpriced:,} of them stay as they are, for no price of their model is known" if unpriced else ""
        progress.end(f"{count:,} logs gone through{left}")


def _zoned(moment: datetime) -> str:
    return moment.replace(tzinfo=UTC).isoformat()
