"""`sluice run`: a universal request from a file, its reply, and what became of each of its steps."""

import base64
import sys
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit

import click
import msgspec

from sluice.cli.options import account_option, common, gateway_option, print_json, print_table
from sluice.cli.printing import metered, price, printable
from sluice.cli.sending import Body, LogRow, Reply, Server, logs_of, send, server_at, server_of_folder
from sluice.formats.sse import EventSplitter, parse_event
from sluice.formats.text import piece_of, text_of

REFUSED: Final = 1
FAILED: Final = 3
BROKEN: Final = 4
_HEADER: Final = ("step", "provider and model", "status", "tries", "ms", "tokens", "cost", "log", "")


def _origin(ctx: click.Context, parameter: click.Parameter, url: str | None) -> str | None:
    if url is not None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or parts.query:
            raise click.BadParameter(f"{url!r}: write the server's address alone, as https://aig.example.com")
    return url


@click.command("run", short_help="Send a universal request from a file.")
@click.argument("file", type=click.File("rb"))
@click.option("--url", callback=_origin, help="Another server.  [default: the one that runs on the data folder]")
@account_option
@gateway_option
@click.option("--token", envvar="SLUICE_TOKEN", default="", help="Lets the request in.  [default: SLUICE_TOKEN]")
@common
def command(
    file: BinaryIO, url: str | None, account: str, gateway: str, token: str, data: Path | None, as_json: bool
) -> None:
    """Send the universal request in FILE (- for stdin), print the reply, then what the log tells of each step.

    The reply goes to stdout, a stream's words as they come; all else goes to stderr. With --json one object has both.

    Exit status: 0 answered, 1 refused or not sent, 3 answered with an error, 4 the reply broke off.
    """
    server = server_at(url, account, gateway, token) if url else server_of_folder(data, account, gateway, token)
    click.echo(f"Asking {server.url}", err=True)
    reply = send(server, file.read())
    if as_json:
        reply.body.whole()
    else:
        _print_reply(reply)
    if reply.body.broken:
        click.echo(f"The reply broke off: {reply.body.broken}", err=True)
    attempts = _attempts(server, reply) if reply.attempted else []
    if as_json:
        print_json(_as_object(reply, attempts))
    elif reply.attempted:
        _print_attempts([msgspec.json.decode(row, type=LogRow) for row in attempts])
    if reply.status == 401 and not reply.attempted:
        which = "Another token" if token else "A token"
        click.echo(f"{which} is needed: --token, or SLUICE_TOKEN=$(sluice token create).", err=True)
    sys.exit(_exit_status(reply))


def _attempts(server: Server, reply: Reply) -> list[msgspec.Raw]:
    try:
        return logs_of(server, reply, lambda: click.echo("Waiting for the logs", err=True))
    except click.ClickException as error:
        click.echo(f"The logs cannot be read: {error.message}", err=True)
        return []


def _exit_status(reply: Reply) -> int:
    if not reply.attempted:
        return REFUSED
    if reply.body.broken:
        return BROKEN
    return FAILED if reply.status >= 400 else 0


def _print_reply(reply: Reply) -> None:
    if reply.kind != "text/event-stream" or reply.headers.get("content-encoding"):
        _print_whole(reply, reply.body.whole())
    elif not _print_words(reply.body):
        click.echo(printable(text_of(reply.kind, reply.body.whole()), "\n\t"))


def _as_object(reply: Reply, attempts: list[msgspec.Raw]) -> dict[str, object]:
    return {
        "status": reply.status,
        "content_type": reply.headers.get("content-type"),
        "headers": {name: value for name, value in reply.headers.items() if name.startswith("cf-aig-")},
        "complete": not reply.body.broken,
        "reply": _value(reply.body.whole()),
        "attempts": attempts,
    }


def _value(body: bytes) -> object:
    """JSON as it is, other text as text, anything else in base64."""
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _print_words(body: Body) -> bool:
    """The words of a stream as they come; whether there were any."""
    splitter, found = EventSplitter(), False
    for piece in body:
        for block in splitter.feed(piece):
            event = parse_event(block)
            words = piece_of(event.data) if event else None
            if words:
                found = True
                click.echo(printable(words, "\n\t"), nl=False)
    if found:
        click.echo()
    return found


def _print_whole(reply: Reply, body: bytes) -> None:
    if reply.kind.endswith("json") and not reply.headers.get("content-encoding"):
        try:
            click.echo(msgspec.json.format(body, indent=2))
        except (ValueError, RecursionError):
            click.echo(printable(body.decode(errors="replace"), "\n\t"))
    elif reply.kind.startswith("text/"):
        click.echo(printable(body.decode(errors="replace"), "\n\t"))
    elif sys.stdout.isatty():
        click.echo(f"({len(body)} bytes, {reply.kind}: send the output to a file or a pipe to have them)", err=True)
    else:
        click.echo(body, nl=False)


def _print_attempts(rows: list[LogRow]) -> None:
    cells = [_cells(row) for row in rows]
    print_table(cells, _HEADER, empty="No step of it is in the log.", err=True)


def _cells(row: LogRow) -> tuple[str, ...]:
    tokens = metered(row.tokens_in, row.tokens_out)
    cost = price(None if row.cost is None else round(row.cost * 1e9), tokens)
    ending = "" if row.ending == "complete" and not row.error_message else row.ending
    reason = f"{ending}: {row.error_message}" if row.error_message else ending
    what = f"{row.provider}/{row.model or row.path}"
    told = (
        str(row.step),
        what,
        str(row.status_code),
        str(row.attempts),
        str(row.duration),
        tokens,
        cost,
        row.id,
        reason,
    )
    return tuple(map(printable, told))
