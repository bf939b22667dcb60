"""`sluice logs tail` and `show`: logs as they come, and one in full."""

import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

import click
import msgspec

from sluice.cli.gateway import gateways_path, missing_gateway
from sluice.cli.operator import Answer, Operator, decoded
from sluice.cli.options import account_option, common, folder_settings, gateway_option, print_json
from sluice.cli.printing import metered, price, printable
from sluice.insight.logs import log_row
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.ports import StoreFault
from sluice.values.log import LogEntry, ShardKey
from sluice.values.settings import Settings

_BATCH = 500
_LOOK_S = 0.1


class KnownGateway(msgspec.Struct):
    internal_id: str


def gateway_of(settings: Settings, account: str, gateway: str) -> ShardKey:
    """Where a gateway's logs lie; one that is not there ends the command."""
    path, missing = gateways_path(account, gateway), missing_gateway(account, gateway)
    found = Operator(settings).result("GET", path, missing=missing)
    return ShardKey(account, UUID(msgspec.json.decode(found, type=KnownGateway).internal_id).hex)


@click.command()
@account_option
@gateway_option
@click.option("-n", "--lines", default=10, show_default=True, type=click.IntRange(0), help="How many to begin with.")
@click.option("--follow/--no-follow", default=True, show_default=True, help="Whether to wait for more.")
@common
def tail(account: str, gateway: str, lines: int, follow: bool, data: Path | None, as_json: bool) -> None:
    """Print logs in the order they are stored, and go on as they come. With --json, one object a line."""
    settings = folder_settings(data)
    operator = Operator(settings)
    shard = gateway_of(settings, account, gateway)
    if follow and not operator.serves:
        click.echo("No server runs on this data folder: logs will come once one does. Ctrl-C ends this.", err=True)
    with closing(EmbeddedLogReader(settings.data / "shards")) as reader:
        try:
            _follow(reader, shard, lines, follow=follow, as_json=as_json)
        except StoreFault as fault:
            raise click.ClickException(f"The logs cannot be read: {fault}") from fault
        except KeyboardInterrupt:
            pass  # the ordinary end of a tail


def _follow(reader: EmbeddedLogReader, shard: ShardKey, lines: int, *, follow: bool, as_json: bool) -> None:
    entries, after = reader.tail(shard, -lines, max(lines, 1)) if lines else ([], _end(reader, shard))
    if not entries and not after:
        click.echo("No logs yet.", err=True)
    while True:
        for entry in entries:
            click.echo(msgspec.json.encode(log_row(entry)).decode() if as_json else line_of(entry))
        if not entries:
            if not follow:
                return
            time.sleep(_LOOK_S)
        entries, after = reader.tail(shard, after, _BATCH)


def _end(reader: EmbeddedLogReader, shard: ShardKey) -> int:
    return reader.tail(shard, -1, 1)[1]


@click.command(short_help="Print one log in full, with its bodies.")
@click.argument("log_id")
@account_option
@gateway_option
@common
def show(log_id: str, account: str, gateway: str, data: Path | None, as_json: bool) -> None:
    """Print one log in full, then the bodies of its request and its reply as they were sent."""
    operator = Operator(folder_settings(data))
    path = f"{gateways_path(account, gateway)}/logs/{quote(log_id, safe='')}"
    missing = f"There is no log {log_id} in gateway {gateway} of account {account}: see --gateway and --account."
    detail = decoded(operator.result("GET", path, missing=missing))
    bodies = {side: operator.content(f"{path}/{side}") for side in ("request", "response")}
    if as_json:
        texts = {f"{side}_body": body.body.decode(errors="replace") if body else None for side, body in bodies.items()}
        print_json({**detail, **texts} if isinstance(detail, dict) else detail)
        return
    if isinstance(detail, dict):
        detail = {name: value for name, value in detail.items() if not name.endswith(("_head", "_head_complete"))}
    print_json(detail)
    for side, body in bodies.items():
        _print_body(side, body)


def _print_body(side: str, body: Answer | None) -> None:
    if body is None:
        click.echo(f"\n--- {side}: not kept")
        return
    if not body.body:
        click.echo(f"\n--- {side}: empty")
        return
    kind = body.headers.get("content-type", "")
    coding = body.headers.get("content-encoding", "")
    click.echo(f"\n--- {side}: {len(body.body)} bytes, {kind} {coding}".rstrip())
    textual = not coding and (kind.startswith("text/") or any(word in kind for word in ("json", "xml", "urlencoded")))
    if not sys.stdout.isatty():
        click.echo(body.body)
    elif textual:
        click.echo(printable(body.body.decode(errors="replace"), "\n\t"))
    else:
        click.echo("(not text: send the output to a file or a pipe to have it)")


def line_of(entry: LogEntry) -> str:
    """One log for a person, with what may be of any length at the end, so that columns stand below each other."""
    clock = time.strftime("%H:%M:%S", time.localtime(entry.created_ms / 1000))
    status = click.style(str(entry.status_code), fg="green" if entry.success else "red")
    tokens = metered(entry.usage.tokens_in, entry.usage.tokens_out)
    cost = price(entry.cost_nano, tokens)
    ending = ("  cached" if entry.cached else "") if entry.ending == "complete" else f"  {entry.ending}"
    reason = f": {printable(entry.detail)}" if ending and entry.detail else ""
    what = printable(f"{entry.provider}/{entry.model or entry.path}")
    return f"{clock}  {status}  {tokens:18}  {cost:12}  {entry.duration_ms:>6} ms  {entry.id}  {what}{ending}{reason}"
