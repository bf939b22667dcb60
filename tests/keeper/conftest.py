"""A data folder with a gateway in it, and the keeper with its real neighbours."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from sluice.keeper.account_manager import AccountManager
from sluice.keeper.addresses import Addresses
from sluice.keeper.keeper import Keeper
from sluice.keeper.metering import Meter
from sluice.keeper.retention import Retention
from sluice.metrics import Metrics
from sluice.spool.layout import CONSOLES
from sluice.spool.reader import SpoolReader
from sluice.spool.writer import SpoolWriter
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.generations import MappedGenerations, create_generations
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.usage import EmbeddedUsageStore
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import Side
from sluice.values.command import Change, Command, Outcome
from sluice.values.entitlement import OwnEntitlement
from sluice.values.exchange import Exchange
from sluice.values.gateway import DEFAULT_GATEWAY_CONFIG
from sluice.values.ids import wall_ms
from sluice.values.log import LogEntry, ShardKey
from sluice.values.rates import Rates
from sluice.values.settings import LogSettings, SpoolSettings
from sluice.values.tenancy import Gateway

QUESTION = b'{"model":"gpt-4o-mini","messages":[]}'
ANSWER = b'{"id":"chatcmpl-1","model":"gpt-4o-mini","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}'

Price = Callable[[str, str], Rates | None]


def shard_of(gateway: Gateway) -> ShardKey:
    return ShardKey(gateway.account, gateway.id.hex())


class House:
    """A data folder with a gateway in it, a worker's end of the spool, and as many lives of a keeper as it takes."""

    def __init__(self, data: Path) -> None:
        self.data = data
        create_generations(data / "generations.map")
        self.generations = MappedGenerations.open(data / "generations.map", writable=True)
        self.control = EmbeddedControlStore.open_for_writing(data / "control.db", self.generations)
        self.control.first_start()
        self.gateway = self.gateway_named("default")
        self.metrics = Metrics.unseen()
        self.reader = EmbeddedLogReader(data / "shards", query_timeout_s=30)
        self.settings = LogSettings(sync_s=0.05)
        self._writer: SpoolWriter | None = None
        self._console: SpoolWriter | None = None

    def gateway_named(self, name: str) -> Gateway:
        if self.control.gateway("local", name) is None:
            self.control.create_gateway("local", name, DEFAULT_GATEWAY_CONFIG)
        gateway = self.control.gateway("local", name)
        assert gateway is not None
        return gateway

    def entitle(self, own: OwnEntitlement) -> None:
        self.control.change_account("local", lambda account: msgspec.structs.replace(account, own=own))

    @property
    def worker(self) -> SpoolWriter:
        if self._writer is None:
            self._writer = SpoolWriter.open(self.data / "spool", SpoolSettings(file_bytes=100_000), self.metrics)
        return self._writer

    def worker_ends(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @property
    def console(self) -> SpoolWriter:
        if self._console is None:
            settings = SpoolSettings(file_bytes=100_000)
            self._console = SpoolWriter.open(self.data / "spool", settings, self.metrics, numbers=CONSOLES)
        return self._console

    def console_ends(self) -> None:
        if self._console is not None:
            self._console.close()
            self._console = None

    def order(self, *log_ids: str, change: Change | None = None, gateway: Gateway | None = None) -> str:
        """Gives a command, without a change to delete the logs; returns its id."""
        gateway = gateway or self.gateway
        command = Command(self.console.mint.mint(), gateway.account, [*log_ids], change)
        self.console.order(gateway.id, command)
        return command.id

    def put(
        self,
        gateway: Gateway | None = None,
        request: bytes = QUESTION,
        response: bytes = ANSWER,
        payload: bool = True,
        log_id: str = "",
        provider: str = "openai",
    ) -> str:
        gateway = gateway or self.gateway
        log_id = log_id or self.worker.mint.mint()
        tapes = self.worker.tape(log_id, "request"), self.worker.tape(log_id, "response")
        for tape, body in zip(tapes, (request, response), strict=True):
            tape.add(body)
            if tape.file is not None:  # what `settle` awaits, for a test without a loop
                tape.hand_over()
        self.worker._sides.flush()
        exchange = self.exchange(log_id, provider, len(request), len(response), payload=payload)
        self.worker.append(gateway, exchange, *tapes)
        return log_id

    def exchange(
        self, log_id: str, provider: str = "openai", asked: int = 2, told: int = 2, *, payload: bool = True
    ) -> Exchange:
        """One of so many bytes, of a gateway of the account `local`."""
        return Exchange(
            log_id, "local", provider, "v1/chat/completions", "POST", "provider", wall_ms(),
            0, 0, 200, "complete", 0, 0, 1, True, payload, b"application/json", b"", b"application/json", b"", b"",
            b"", b"", asked, told,
        )  # fmt: skip

    def keeper(self, price: Price | None = None) -> Keeper:
        writer = EmbeddedLogWriter.open(self.data / "shards")
        usage = EmbeddedUsageStore.open(self.data / "usage.db")
        accounts = AccountManager(self.control, self.generations, writer, usage)
        return Keeper(
            self.settings,
            self.data,
            SpoolReader(self.data / "spool"),
            writer,
            Meter(price or self.control.rates),
            Addresses(self.control, self.generations),
            accounts,
            Retention(self.control, accounts, writer, self.metrics, wall_ms),
            self.metrics,
        )

    def keep(self, rounds: int = 0, price: Price | None = None) -> None:
        """One life of a keeper: so many rounds, then it is told to drain."""
        looks = iter(range(rounds))
        self.keeper(price).run(lambda wait_s: next(looks, None) is None)

    @contextmanager
    def kept(self, price: Price | None = None) -> Iterator[None]:
        """A keeper works beside the block, and reads the spools to their end after it."""
        stop = threading.Event()
        keeper = threading.Thread(target=self.keeper(price).run, args=(stop.wait,))
        keeper.start()
        try:
            yield
        finally:
            stop.set()
            keeper.join()

    def outcome(self, command_id: str) -> int:
        """How many of its logs the keeper says there were, once it does: asked as a console asks."""
        until_s = time.monotonic() + 20
        while time.monotonic() < until_s:
            with socket.socket(socket.AF_UNIX) as asker, suppress(FileNotFoundError, ConnectionRefusedError):
                asker.settimeout(20)
                asker.connect(str(self.data / "keeper.sock"))
                asker.sendall(f"{command_id}\n".encode())
                if line := asker.makefile("rb").readline():
                    outcome = msgspec.json.decode(line, type=Outcome)
                    assert outcome.id == command_id
                    return outcome.found
            time.sleep(0.01)  # the keeper is being replaced
        raise AssertionError("the keeper never told")

    def logs(self, gateway: Gateway | None = None) -> list[LogEntry]:
        """All logs of a gateway in the order they were stored."""
        entries: list[LogEntry] = []
        after = 0
        while True:
            some, after = self.reader.tail(shard_of(gateway or self.gateway), after, 1000)
            if not some:
                return entries
            entries += some

    def ids(self, gateway: Gateway | None = None) -> list[str]:
        return [entry.id for entry in self.logs(gateway)]

    def body(self, log_id: str, side: Side) -> bytes | None:
        pieces = self.reader.body(shard_of(self.gateway), log_id, side)
        return None if pieces is None else b"".join(pieces)

    def count(self, name: str, help: str, /, **labels: str) -> int:
        return self.metrics.counter(name, help, **labels).value

    @property
    def bad(self) -> int:
        return self.count("sluice_spool_bad_frames_total", "Frames and spans put aside as unreadable.")

    @property
    def spool(self) -> Path:
        return self.data / "spool" / "0"

    def close(self) -> None:
        self.worker_ends()
        self.console_ends()
        self.reader.close()
        self.control.close()
        self.generations.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()
