"""A supervisor over the test's roles: `serve.py DATA PORT SETTINGS_FILE`."""

import logging
import sys
from pathlib import Path

import msgspec

from sluice import journal
from sluice.supervisor.patience import Patience
from sluice.supervisor.serve import CannotStart, Hooks, Started, serve
from sluice.values.settings import Settings

data, port, file = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])


class Plan(msgspec.Struct):
    settings: Settings = Settings()
    patience: Patience = msgspec.field(default_factory=Patience)
    simulate: bool = False
    refused: str = ""
    """Why no other program may take over."""


def plan() -> Plan:
    return msgspec.json.decode(file.read_bytes(), type=Plan)


def load() -> Settings:
    settings = plan().settings
    server = msgspec.structs.replace(settings.server, port=port)
    return msgspec.structs.replace(settings, data=data, server=server)


def announce(started: Started) -> None:
    print("ready", started.url, started.simulator_url, flush=True)


journal.begin("supervisor", logging.DEBUG)
program = [sys.executable, str(Path(__file__).with_name("role.py"))]
hooks = Hooks(
    load=load,
    prepare=lambda _: None,
    announce=announce,
    say=lambda text: print(text, flush=True),
    providers=("openai",),
    patience=plan().patience,
    check=lambda: plan().refused,
    programs=dict.fromkeys(("worker", "keeper", "console", "simulator"), program),
)
try:
    sys.exit(serve(load(), hooks))
except CannotStart as error:
    print(error, flush=True)
    sys.exit(2)
