"""`sluice serve`: the gateway, and what a person is told when it is ready."""

import contextlib
import importlib
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
import msgspec

from sluice import __version__, journal
from sluice.cli.options import common, read_settings, settings_of
from sluice.config import Tree
from sluice.dumps import forbid_dumps
from sluice.providers.registry import PROVIDERS
from sluice.storage.embedded.bootstrap import bootstrap
from sluice.storage.embedded.control_file import edition_problem
from sluice.storage.ports import StoreFault
from sluice.supervisor.serve import CannotStart, Hooks, Started, serve
from sluice.values.secret import Secret
from sluice.values.settings import Settings

DEFAULT_DATA = Path("sluice-data")
_CHECK_S: Final = 30.0
_TOLD: Final = 1000


@click.command("serve")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A TOML file with settings.  [default: SLUICE_CONFIG, or none]",
)
@click.option("--host", help="The address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="The port; 0 takes a free one.  [default: 8787]")
@click.option("--tls-cert", help="A PEM file with the certificate to serve https with.  [default: none, plain http]")
@click.option("--tls-key", help="A PEM file with its key.  [default: it is in the same file]")
@click.option("--workers", type=int, help="How many processes carry traffic.  [default: one less than the cores]")
@click.option("--simulate", is_flag=True, help="Answer with the provider simulator: no key is needed.")
@click.option("--check", is_flag=True, help="Say whether a server of these settings could start, and start none.")
@common
def command(
    config: Path | None,
    host: str | None,
    port: int | None,
    tls_cert: str | None,
    tls_key: str | None,
    workers: int | None,
    simulate: bool,
    check: bool,
    data: Path | None,
    as_json: bool,
) -> None:
    """Start the gateway and stay until SIGINT or SIGTERM.

    SIGHUP reads the settings anew. SIGUSR2 goes on as the Sluice that is installed by then, and cuts no request.

    Settings come from --config, then SLUICE_SECTION__NAME in the environment, then these options.
    The process log, JSON lines, goes to stderr.
    """
    given: dict[str, str | int | None] = {
        "host": host,
        "port": port,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "workers": workers,
    }
    flags: Tree = {"server": {name: value for name, value in given.items() if value is not None}}
    if data is not None:
        flags["data"] = data
    if simulate:
        flags["simulate"] = True
    forbid_dumps()
    settings = settings_of(flags, config)
    if check:
        return _check(settings)
    journal.begin("supervisor")
    sys.exit(_serve(settings, flags, config, _Front(as_json)))


def _serve(settings: Settings, flags: Tree, config: Path | None, front: "_Front") -> int:
    """The exit status, once all is over."""
    hooks = Hooks(
        load=lambda: read_settings(flags, config),
        prepare=front.prepare,
        announce=front.announce,
        say=lambda text: click.echo(text, err=True),
        providers=tuple(PROVIDERS),
        check=_successor_problem,
    )
    try:
        return serve(settings, hooks)
    except (CannotStart, StoreFault) as error:
        raise click.ClickException(str(error)) from error
    finally:
        front.tell_token()


def _check(settings: Settings) -> None:
    """Reads what a start would: settings, the code of every process, the edition of the database."""
    for module, _ in importlib.import_module("sluice.processes").ROLES.values():
        importlib.import_module(module)
    control = settings.data / "control.db"
    try:
        if control.exists() and (problem := edition_problem(control)):
            raise click.ClickException(problem)
    except StoreFault as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Sluice {__version__} can serve {settings.data.absolute()} with these settings.")


def _successor_problem() -> str:
    """Why what is installed now would not start as this process was started."""
    try:
        done = subprocess.run(
            [sys.executable, *sys.orig_argv[1:], "--check"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_CHECK_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    *_, last = ["", *done.stderr.splitlines()]
    return "" if done.returncode == 0 else last[:_TOLD] or f"it ends with {done.returncode}"


@dataclass(slots=True)
class _Front:
    """What the person at the terminal sees."""

    as_json: bool
    token: Secret | None = field(default=None)

    def prepare(self, data: Path) -> None:
        self.token = bootstrap(data)

    def announce(self, started: Started) -> None:
        token, self.token = self.token, None
        if self.as_json:
            facts = {"url": started.url, "data": str(started.data.absolute()), "simulator": started.simulator_url}
            facts["token"] = token.reveal() if token else None
            self._print(msgspec.json.encode(facts).decode())
        else:
            self._print(_welcome(started, token.reveal() if token else None))

    def tell_token(self) -> None:
        """The first start made it and then failed: it is said all the same, for it is shown only once."""
        if self.token:
            click.echo(f"The admin token that was made: {self.token.reveal()}", err=True)

    def _print(self, text: str) -> None:
        with contextlib.suppress(OSError):  # whoever started us may not listen any more; the gateway serves on
            click.echo(text)


def _welcome(started: Started, token: str | None) -> str:
    sluice, simulated = _program(), started.simulator_url is not None
    folder = "" if started.data == DEFAULT_DATA else f" --data {shlex.quote(str(started.data))}"
    lines = [f"Sluice serves at {started.url}, with its data in {started.data.absolute()}", ""]
    if token:
        lines += ["Admin token, shown this once:", "", f"  {token}", ""]
    else:
        lines += ["With a token in SLUICE_TOKEN, or a new one:", ""]
        lines += [f"  export SLUICE_TOKEN=$({sluice} token create --permissions run,read,edit{folder})", ""]
    lines += ["Try it; the simulator answers, no key is needed:" if simulated else "Try it with a key of OpenAI's:", ""]
    bearer = token or "$SLUICE_TOKEN"
    lines += [
        f"  curl {started.url}/v1/local/default/openai/v1/chat/completions \\",
        f'    -H "cf-aig-authorization: Bearer {bearer}" \\',
        *([] if simulated else ['    -H "authorization: Bearer $OPENAI_API_KEY" \\']),
        '    -H "content-type: application/json" \\',
        """    -d '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}'""",
        "",
        f"Then see it go by:      {sluice} logs tail{folder}",
        f"Use it from an SDK:     base_url = {started.url}/v1/local/default/openai, as README.md shows",
        'Try a failure:          "model": "gpt-4o-mini~status-429", and more in docs/simulator.md'
        if simulated
        else f"Try it without a key:   {sluice} serve --simulate{folder}",
    ]
    return "\n".join([*lines, "Stop it:                Ctrl-C", "", "ready"])


def _program() -> str:
    """What to write for `sluice` in the shell that we were started from: a checkout's is not on its path."""
    called = Path(sys.argv[0])
    found = shutil.which("sluice")
    if called.name != "sluice" or not called.exists() or (found and called.samefile(found)):
        return "sluice"
    with contextlib.suppress(ValueError):
        called = called.absolute().relative_to(Path.cwd())
    return shlex.quote(str(called))
