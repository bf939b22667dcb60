"""Custom providers in control.db, and how an older one comes to have them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from sluice.storage.embedded.bootstrap import bootstrap, reseal
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.custom_providers import EmbeddedCustomProviderReader, EmbeddedCustomProviderStore
from sluice.storage.embedded.generations import MappedGenerations
from sluice.storage.ports import Slice, StoreFault
from sluice.storage.provider_keys import NewProviderKey
from sluice.storage.sealing import MASTER_KEY, Vault, write_master_key
from sluice.values.custom_config import CustomCostConfig, CustomProviderConfig
from sluice.values.gateway import GatewayConfig
from sluice.values.secret import Secret
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


@pytest.fixture
def store(control: EmbeddedControlStore, tmp_path: Path) -> EmbeddedCustomProviderStore:
    return EmbeddedCustomProviderStore(control, lambda: Vault.of(tmp_path))


def test_readers_see_what_is_enabled(store: EmbeddedCustomProviderStore, tmp_path: Path):
    made = store.create_provider("local", OURS)
    store.create_cost("local", CustomCostConfig(account_provider_id=made.id, model="a", cost_in=1.0))
    store.create_cost("local", CustomCostConfig(account_provider_id=made.id, model="b", cost_in=1.0, enable=False))
    with closing(EmbeddedControlReader.open(tmp_path / "control.db")) as opened:
        reader = EmbeddedCustomProviderReader(opened.db, lambda: Vault.of(tmp_path))
        found = reader.enabled("local", "custom-ours")
        assert found is not None
        assert (found.id, found.name, found.headers) == (made.id, "custom-ours", ((b"x-a", b"X-A", b"b"),))
        assert reader.enabled("other", "custom-ours") is None
        assert [price.model for price in reader.prices("local", "custom-ours")] == ["a"]
        store.create_cost("local", CustomCostConfig(account_provider_id=made.id, model="a", cost_in=2.0))
        assert [price.cost_in for price in reader.prices("local", "custom-ours")] == [2.0, 1.0]


def test_their_keys_go_with_them(control: EmbeddedControlStore, store: EmbeddedCustomProviderStore, tmp_path: Path):
    made = store.create_provider("local", OURS)
    keys = control.provider_keys(lambda: Vault.of(tmp_path))
    control.create_account("acme", "free")
    control.create_gateway("acme", "default", GatewayConfig())
    for account, provider in (("local", "custom-ours"), ("local", "openai"), ("acme", "custom-ours")):
        keys.create(account, "default", NewProviderKey(provider, "a", True, Secret("sk-0123456789")))
    store.delete_provider("local", made.id)
    assert [key.provider for key in keys.listed("local", "default", Slice(0, 9))[0]] == ["openai"]
    assert [key.provider for key in keys.listed("acme", "default", Slice(0, 9))[0]] == ["custom-ours"]
    control.delete_account("acme")
    assert control.db.execute("SELECT count(*) FROM provider_configs").get == 1


def test_their_keys_keep_to_them_when_they_get_another_name(
    control: EmbeddedControlStore, store: EmbeddedCustomProviderStore, tmp_path: Path
):
    """Whoever takes the name next gets none of them; nor do they get those of whoever had theirs."""
    vault = Vault.of(tmp_path)
    keys = control.provider_keys(lambda: vault)
    made = store.create_provider("local", OURS)
    key = keys.create("local", "default", NewProviderKey("custom-ours", "a", True, Secret("sk-ours")))
    stale = keys.create("local", "default", NewProviderKey("custom-theirs", "a", True, Secret("sk-stale")))
    store.change_provider("local", made.id, lambda config: msgspec.structs.replace(config, slug="Theirs"))
    listed, _ = keys.listed("local", "default", Slice(0, 9))
    assert [(one.id, one.provider) for one in listed] == [(key.id, "custom-theirs")]
    with closing(EmbeddedControlReader.open(tmp_path / "control.db")) as reader:
        sealed = reader.sealed_key(key.id)
        assert sealed is not None
        assert vault.open(*sealed).reveal() == "sk-ours"
        assert reader.sealed_key(stale.id) is None
    store.change_provider("local", made.id, lambda config: msgspec.structs.replace(config, slug="theirs"))
    assert len(keys.listed("local", "default", Slice(0, 9))[0]) == 1


def test_they_go_with_their_account(control: EmbeddedControlStore, store: EmbeddedCustomProviderStore):
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
        store = EmbeddedCustomProviderStore(opened, lambda: Vault.of(tmp_path))
        assert store.create_provider("local", OURS).config == OURS


KEY = "sk-theirs-0123456789"
KEYED = msgspec.structs.replace(OURS, headers=msgspec.json.encode({"Authorization": f"Bearer {KEY}"}).decode())


def files_with_key(data: Path) -> list[str]:
    return [path.name for path in data.iterdir() if path.is_file() and KEY.encode() in path.read_bytes()]


def headers_of(data: Path) -> tuple[object, ...]:
    with closing(EmbeddedControlReader.open(data / "control.db")) as opened:
        found = EmbeddedCustomProviderReader(opened.db, lambda: Vault.of(data)).enabled("local", "custom-ours")
    assert found is not None
    return found.headers


def test_headers_are_in_no_file_in_clear_and_bound_to_their_row(
    store: EmbeddedCustomProviderStore, control: EmbeddedControlStore, tmp_path: Path
):
    made = store.create_provider("local", KEYED)
    changed = store.change_provider("local", made.id, lambda config: msgspec.structs.replace(config, name="Others"))
    other = store.create_provider("local", msgspec.structs.replace(KEYED, slug="other"))
    assert (made.config.headers, changed.config.headers) == (KEYED.headers, KEYED.headers)
    assert [one.config.headers for one in store.providers("local")] == [KEYED.headers] * 2
    assert KEY not in repr(store.providers("local"))
    assert files_with_key(tmp_path) == []
    control.db.execute(
        "UPDATE custom_providers SET config = (SELECT config FROM custom_providers WHERE id = ?) WHERE id = ?",
        (other.id, made.id),
    )
    with pytest.raises(StoreFault):
        headers_of(tmp_path)


def test_headers_that_an_earlier_version_left_in_clear_are_read_and_then_sealed(
    store: EmbeddedCustomProviderStore, control: EmbeddedControlStore, tmp_path: Path
):
    made = store.create_provider("local", KEYED)
    clear = msgspec.json.encode(KEYED)
    control.db.execute("UPDATE custom_providers SET config = ? WHERE id = ?", (clear, made.id))
    expected = ((b"authorization", b"Authorization", f"Bearer {KEY}".encode()),)
    assert files_with_key(tmp_path) != []
    assert headers_of(tmp_path) == expected
    assert store.delete_provider("local", made.id).config == KEYED
    made = store.create_provider("local", KEYED)
    control.db.execute("UPDATE custom_providers SET config = ? WHERE id = ?", (clear, made.id))
    control.close()
    assert bootstrap(tmp_path) is None
    assert files_with_key(tmp_path) == []
    assert headers_of(tmp_path) == expected


def test_headers_are_sealed_anew_and_insist_on_their_master_key(
    store: EmbeddedCustomProviderStore, control: EmbeddedControlStore, tmp_path: Path
):
    made = store.create_provider("local", KEYED)
    before = headers_of(tmp_path)
    assert reseal(tmp_path) == 1
    assert headers_of(tmp_path) == before
    right = (tmp_path / MASTER_KEY).read_bytes()
    (tmp_path / MASTER_KEY).unlink()
    with pytest.raises(StoreFault, match="is missing"):
        bootstrap(tmp_path)
    write_master_key(tmp_path / MASTER_KEY)
    assert (tmp_path / MASTER_KEY).read_bytes() != right
    with pytest.raises(StoreFault, match="is not the key"):
        bootstrap(tmp_path)
    with pytest.raises(StoreFault, match="is not the key"):
        store.change_provider("local", made.id, lambda config: config)
    [found] = store.providers("local")  # to be deleted, it must be found
    assert (found.id, found.config.headers) == (made.id, None)
    store.delete_provider("local", made.id)
    assert control.seals.there_are is False
    assert bootstrap(tmp_path) is None
