"""A directory over a control store of the test's own."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sluice.engine.directory import Directory
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.generations import MappedGenerations, create_generations
from sluice.values.request import DEFAULT_OPTIONS, Request


@pytest.fixture
def generations(tmp_path: Path) -> Iterator[MappedGenerations]:
    create_generations(tmp_path / "generations.map")
    with closing(MappedGenerations.open(tmp_path / "generations.map", writable=True)) as opened:
        yield opened


@pytest.fixture
def control(tmp_path: Path, generations: MappedGenerations) -> Iterator[EmbeddedControlStore]:
    with closing(EmbeddedControlStore.open_for_writing(tmp_path / "control.db", generations)) as store:
        store.create_account("acme", "paid")
        yield store


@pytest.fixture
def directory(tmp_path: Path, control: EmbeddedControlStore, generations: MappedGenerations) -> Iterator[Directory]:
    async def create_default(account: str) -> None:
        control.ensure_default(account)

    with closing(EmbeddedControlReader.open(tmp_path / "control.db")) as reader:
        yield Directory(reader, generations, create_default)


@pytest.fixture
def request_to() -> Callable[..., Request]:
    """`request_to("gateway", token)`: what a client asks, as far as the directory looks at it."""

    def make(gateway: str, token: bytes | None = None, account: str = "acme") -> Request:
        return Request(account, gateway, token, "provider", b"", DEFAULT_OPTIONS, ())

    return make
