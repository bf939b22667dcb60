"""What deploy/ names is there: files, commands, settings; and its times and limits fit the server's."""

import configparser
import fnmatch
import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from sluice.cli.main import COMMANDS, main
from sluice.config import load_settings
from sluice.processes import FILES
from sluice.supervisor.patience import Patience
from sluice.values.settings import Settings

ROOT = Path(__file__).parent.parent
STAGES = re.split(r"^FROM ", (ROOT / "deploy" / "Containerfile").read_text(), flags=re.MULTILINE)[1:]


def instructions(stage: str) -> list[tuple[str, str]]:
    """Of a stage of the image: each word in capitals with what follows it."""
    lines = re.sub(r"^#.*\n", "", stage, flags=re.MULTILINE).replace("\\\n", " ").splitlines()[1:]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


def final(word: str) -> list[str]:
    return [rest for name, rest in instructions(STAGES[-1]) if name == word]


def options_of(words: list[str]) -> dict[str, Any]:
    """What a command line of ours says. Raises where it has no such command or option."""
    command = main.get_command(click.Context(main), words[0])  # type: ignore[attr-defined]  # it is a group by the class that its decorator is given
    assert isinstance(command, click.Command)
    return command.make_context(words[0], words[1:], resilient_parsing=True).params


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment]  # as the library says to
    parser.read(ROOT / "deploy" / "sluice.service")
    return parser


def test_what_is_copied_into_the_image_is_there_and_not_left_out():
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [rest.split()[:-1] for stage in STAGES for word, rest in instructions(stage) if word == "COPY"]
    sources = [name for names in copied for name in names if not names[0].startswith("--from=")]
    assert set(sources) >= {"sluice", "stubs", "requirements.lock"}
    assert [name for name in sources if not (ROOT / name).exists()] == []
    assert [name for name in sources if not any(fnmatch.fnmatch(name, pattern) for pattern in let_in)] == []
    assert [pattern for pattern in let_in if not (ROOT / pattern).exists()] == []


def test_the_image_serves_without_root_on_settings_that_there_are():
    (user,) = final("USER")
    assert all(int(number) > 0 for number in user.split(":"))
    environment = dict(pair.split("=", 1) for pair in shlex.split(final("ENV")[0]))
    settings = load_settings(None, {name: text for name, text in environment.items() if name.startswith("SLUICE_")}, {})
    assert settings.server.host == "0.0.0.0"
    assert [str(settings.data)] == final("VOLUME")
    assert final("EXPOSE") == [str(Settings().server.port)]
    assert final("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(final("ENTRYPOINT")[0]) == ["sluice"]
    assert options_of(json.loads(final("CMD")[0]))["port"] is None
    (check,) = final("HEALTHCHECK")
    program, name = json.loads(check.partition("CMD ")[2])
    assert (program, name in COMMANDS) == ("sluice", True)


def test_the_unit_starts_reloads_and_stops_the_server_as_it_wants_to_be(unit: configparser.ConfigParser):
    service = unit["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert Path(program).name == "sluice"
    assert str(options_of(words)["config"]) == "/etc/sluice/sluice.toml"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert (service["Type"], service["NotifyAccess"], service["KillMode"]) == ("notify", "main", "mixed")
    name, _, folder = service["Environment"].partition("=")
    assert str(load_settings(None, {name: folder}, {}).data) == f"/var/lib/{service['StateDirectory']}"
    patience, settings = Patience(), Settings()
    drains_s = settings.server.drain_timeout_s + settings.console.request_timeout_s + patience.keeper_drain_s
    assert int(service["TimeoutStopSec"]) >= drains_s + 2 * patience.grace_s
    assert int(service["TimeoutStartSec"]) > patience.start_s + settings.server.drain_timeout_s
    assert int(service["WatchdogSec"]) / 2 > 1.0, "the supervisor tells at least once a second that it lives"
    assert int(service["LimitNOFILE"]) >= FILES


def test_the_unit_gives_the_server_nothing_that_it_does_not_need(unit: configparser.ConfigParser):
    service = unit["Service"]
    assert service["User"] not in ("", "root")
    assert (service["NoNewPrivileges"], service["ProtectSystem"]) == ("yes", "strict")
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == ""
    assert set(service["RestrictAddressFamilies"].split()) == {"AF_UNIX", "AF_INET", "AF_INET6"}


def test_a_server_that_serves_is_ready_and_one_that_is_not_there_is_not(gateway: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLUICE_SERVER__PORT", str(gateway.port))
    done = CliRunner().invoke(main, ["ready"])
    assert (done.exit_code, done.stdout[:4]) == (0, "200 "), done.output
    monkeypatch.setenv("SLUICE_SERVER__PORT", "1")
    done = CliRunner().invoke(main, ["ready", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "ready": False,
        "said": "127.0.0.1 port 1 does not answer: [Errno 111] Connection refused",
    }
