"""The console's two apps over real stores; test_serve.py puts them on their sockets."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import msgspec
import pytest

from sluice.console.app import create_app
from sluice.console.commands import SpooledCommands
from sluice.console.desk import Desk
from sluice.keeper.account_manager import AccountManager
from sluice.keeper.addresses import Addresses
from sluice.keeper.keeper import Keeper
from sluice.keeper.metering import Meter
from sluice.keeper.retention import Retention
from sluice.metrics import Metrics
from sluice.spool.reader import SpoolReader
from sluice.storage.embedded.bootstrap import bootstrap
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.generations import MappedGenerations
from sluice.storage.embedded.usage import EmbeddedUsageStore
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import NewToken
from sluice.values.ids import Mint, wall_ms
from sluice.values.log import Blob, LogEntry, NewLog, Position, ShardKey, Usage
from sluice.values.settings import LogSettings, ServerSettings, Settings
from sluice.values.tenancy import Permission
from sluice.wiring.console import commands_to_keeper
from sluice.wiring.desk import opened_desk

BASE = "http://console/client/v4/accounts/local/ai-gateway"


class Console:
    """What a test holds of a console."""

    def __init__(self, desk: Desk, control: EmbeddedControlStore, generations: MappedGenerations, admin: str) -> None:
        self.desk = desk
        self.control = control
        self.generations = generations
        self.admin = admin
        self.operator = self._client({}, operator=True)
        """As through the socket that only the operator can open."""

    def relayed(self, token: str | None, **headers: str) -> httpx.AsyncClient:
        """As workers relay clients."""
        return self._client(headers if token is None else {"authorization": f"Bearer {token}", **headers})

    def token(self, *permissions: Permission, account: str = "local", gateway: str | None = None) -> str:
        new = NewToken(account, frozenset(permissions), gateway=gateway)
        return self.control.create_token(new)[1].reveal()

    def _client(self, headers: dict[str, str], *, operator: bool = False) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(create_app(self.desk, operator=operator))
        return httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data=tmp_path,
        server=ServerSettings(public_url="https://ai.example.com/"),
        logs=LogSettings(rollup_metadata=("team",)),
    )


@pytest.fixture
def admin(tmp_path: Path) -> str:
    text = bootstrap(tmp_path)
    assert text is not None
    return text.reveal()


@pytest.fixture
def generations(tmp_path: Path, admin: str) -> Iterator[MappedGenerations]:
    with closing(MappedGenerations.open(tmp_path / "generations.map", writable=True)) as opened:
        yield opened


@pytest.fixture
def control(settings: Settings, generations: MappedGenerations) -> Iterator[EmbeddedControlStore]:
    with closing(EmbeddedControlStore.open_for_writing(settings.data / "control.db", generations)) as opened:
        yield opened


@pytest.fixture
def metrics() -> Metrics:
    return Metrics.unseen()


@pytest.fixture
def commands(settings: Settings, metrics: Metrics) -> Iterator[SpooledCommands]:
    with closing(commands_to_keeper(settings, metrics)) as opened:
        yield opened


@pytest.fixture
def desk(settings: Settings, control: EmbeddedControlStore, commands: SpooledCommands) -> Iterator[Desk]:
    with opened_desk(settings, control, commands) as opened:
        yield opened


@pytest.fixture
def keeper(settings: Settings, control: EmbeddedControlStore, generations: MappedGenerations) -> Iterator[None]:
    """A keeper at work beside the console, with a store of its own: the test writes its logs before it asks."""
    stop = threading.Event()
    with (
        closing(EmbeddedLogWriter.open(settings.data / "shards")) as writer,
        closing(EmbeddedUsageStore.open(settings.data / "usage.db")) as usage,
        closing(EmbeddedControlReader.open(settings.data / "control.db")) as reader,
    ):
        accounts = AccountManager(reader, generations, writer, usage)
        kept = Keeper(
            settings.logs,
            settings.data,
            SpoolReader(settings.data / "spool"),
            writer,
            Meter(reader.rates),
            Addresses(reader, generations),
            accounts,
            Retention(reader, accounts, writer, Metrics.unseen(), wall_ms),
            Metrics.unseen(),
        )
        thread = threading.Thread(target=kept.run, args=(stop.wait,))
        thread.start()
        yield
        stop.set()
        thread.join()


@pytest.fixture
def console(desk: Desk, control: EmbeddedControlStore, generations: MappedGenerations, admin: str) -> Console:
    return Console(desk, control, generations, admin)


class Problem(msgspec.Struct):
    code: int
    message: str
    path: list[str | int] = []


class Refused(msgspec.Struct, forbid_unknown_fields=True):
    """The whole of an error reply (contract 9.1)."""

    success: bool
    errors: list[Problem]
    messages: list[Problem]
    result: None


@pytest.fixture
def problem():
    """Checks the shape of a refusal and returns its one problem with the status."""

    def of(response: httpx.Response) -> tuple[int, int, str, list[str | int]]:
        refused = msgspec.json.decode(response.content, type=Refused)
        assert refused.success is False
        assert not refused.messages or response.status_code == 403
        assert response.headers["content-type"] == "application/json"
        (one,) = refused.errors
        return response.status_code, one.code, one.message, one.path

    return of


@pytest.fixture
def store(settings: Settings) -> Iterator[EmbeddedLogWriter]:
    keys = settings.logs.rollup_metadata
    with closing(EmbeddedLogWriter.open(settings.data / "shards", rollup_metadata=keys)) as opened:
        yield opened


@pytest.fixture
def write_logs(store: EmbeddedLogWriter, control: EmbeddedControlStore) -> Callable[..., None]:
    """Stores logs for a gateway of the account `local`, as the keeper does."""
    written = [0]

    def write(*logs: NewLog, gateway: str = "default") -> None:
        found = control.gateway("local", gateway)
        assert found is not None
        written[0] += 1
        store.append(ShardKey("local", found.id.hex()), logs, {"0": Position(1, written[0])})

    return write


@pytest.fixture
def log(entry_of: Callable[..., LogEntry]) -> Callable[..., NewLog]:
    """A log with two bodies; what a test does not name is as in sample B.4."""
    mint = Mint(3)

    def make(request: Blob = b'{"model":"gpt-4o"}', response: Blob = b'{"id":"1"}', **changes: object) -> NewLog:
        plain = {"event_id": "e-1", "created_ms": 1_767_323_045_678, "usage": Usage(12, 34)}
        sizes = {
            "request_bytes": len(request) if isinstance(request, bytes) else 0,
            "response_bytes": len(response) if isinstance(response, bytes) else 0,
        }
        return NewLog(entry_of(mint.mint(), **{**plain, **sizes, **changes}), request, response)

    return make
