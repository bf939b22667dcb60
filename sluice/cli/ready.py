"""`sluice ready`: whether the server of these settings serves, for health checks of containers and scripts."""

import http.client
import ssl
from pathlib import Path
from typing import Final

import click

from sluice.cli.options import common, print_json, settings_of
from sluice.config import Tree
from sluice.values.settings import Settings

_TIMEOUT_S: Final = 2.0
_ANY: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


@click.command("ready")
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Settings in TOML.")
@common
def command(config: Path | None, data: Path | None, as_json: bool) -> None:
    """Ask the server at server.host and server.port whether it serves.

    Exits with 0 where a worker answers that it takes requests and can log them, within two seconds, else with 1.
    """
    flags: Tree = {"data": data} if data else {}
    ready, said = _asked(settings_of(flags, config))
    if as_json:
        print_json({"ready": ready, "said": said})
    else:
        click.echo(said, err=not ready)
    raise SystemExit(0 if ready else 1)


def _asked(settings: Settings) -> tuple[bool, str]:
    """On this machine, so whom the certificate names does not matter."""
    server = settings.server
    host = _ANY.get(server.host, server.host)
    if server.tls_cert:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, server.port, timeout=_TIMEOUT_S, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, server.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        reply = connection.getresponse()
        return reply.status == http.client.OK, f"{reply.status} {reply.read(1000).decode(errors='replace').strip()}"
    except (OSError, http.client.HTTPException) as error:
        return False, f"{host} port {server.port} does not answer: {str(error) or type(error).__name__}"
    finally:
        connection.close()
