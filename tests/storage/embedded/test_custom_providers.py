"""Custom providers in control.db, and how an older one comes to have them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sluice.storage.embedded.bootstrap import bootstrap
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.custom_providers import EmbeddedCustomProviderReader, EmbeddedCustomProviderStore
from sluice.storage.embedded.generations import MappedGenerations
from sluice.values.custom_config import CustomCostConfig, CustomProviderConfig
from tests.storage.embedded.older import make_older

OURS = CustomProviderConfig(name="Ours", slug="Ours", base_url="https://a.example", enable=True, headers='{"X-A": "b"}')


@pytest.fixture
def generations(tmp_path: Path) -> Iterator[MappedGenerations]:
    bootstrap(tmp_path)
    with closing(MappedGenerations.open(tmp_path / "generations.map", writable=True)) as opened:
        yield opened


@pytest.fixture
def control(tmp_path: Path, generations: MappedGenerations) -> Iterator[EmbeddedControlStore]:
    with closing(EmbeddedControlStore.open_for_writing(tmp_path / "control.db", generations)) as opened:
        yield opened


def test_readers_see_what_is_enabled(control: EmbeddedControlStore, tmp_path: Path):
    store = EmbeddedCustomProviderStore(control)
    made = store.create_provider("local", OURS)
    store.create_cost("local", CustomCostConfig(account_provider_id=made.id, model="a", cost_in=1.0))
    store.create_cost("local", CustomCostConfig(account_provider_id=made.id, model="b", cost_in=1.0, enable=False))
    with closing(EmbeddedControlReader.open(tmp_path / "control.db")) as opened:
        reader = EmbeddedCustomProviderReader(opened.db)
        found = reader.enabled("local", "custom-ours")
        assert found is not None
        assert (found.id, found.name, found.headers) == (made.id, "custom-ours", ((b"x-a", b"X-A", b"b"),))
        assert reader.enabled("other", "custom-ours") is None
        assert [price.model for price in reader.prices("local", "custom-ours")] == ["a"]


def test_they_go_with_their_account(control: EmbeddedControlStore):
    store = EmbeddedCustomProviderStore(control)
    control.create_account("acme", "free")
    made = store.create_provider("acme", OURS)
    store.create_cost("acme", CustomCostConfig(account_provider_id=made.id, model="a", cost_in=1.0))
    control.delete_account("acme")
    assert (store.providers("acme"), store.costs("acme")) == ([], [])


@pytest.mark.parametrize("edition", [1, 2, 3])
def test_an_older_database_is_brought_up_with_all_it_holds(
    control: EmbeddedControlStore, generations: MappedGenerations, tmp_path: Path, edition: int
):
    control.close()
    make_older(tmp_path / "control.db", edition)
    with closing(EmbeddedControlStore.open_for_writing(tmp_path / "control.db", generations)) as opened:
        assert opened.account("local") is not None
        assert EmbeddedCustomProviderStore(opened).create_provider("local", OURS).config == OURS
