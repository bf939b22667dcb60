"""Provider keys in control.db: whose they are, which is the default, and what they were sealed under."""

import os
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from sluice.storage.embedded import provider_keys
from sluice.storage.embedded.bootstrap import bootstrap, reseal
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.generations import MappedGenerations
from sluice.storage.embedded.provider_keys import EmbeddedProviderKeys
from sluice.storage.ports import NotThere, Slice, StoreFault, TooMany
from sluice.storage.provider_keys import AliasTaken, DefaultTaken, NewProviderKey, ProviderKeyChange
from sluice.storage.sealing import MASTER_KEY, Vault, write_master_key
from sluice.values.credential import KeyLimit
from sluice.values.gateway import GatewayConfig
from sluice.values.secret import Secret
from tests.storage.embedded.older import make_older

TEXT = "sk-0123456789-0123456789-abcd"


@pytest.fixture
def generations(tmp_path: Path) -> Iterator[MappedGenerations]:
    bootstrap(tmp_path)
    with closing(MappedGenerations.open(tmp_path / "generations.map", writable=True)) as opened:
        yield opened


@pytest.fixture
def control(tmp_path: Path, generations: MappedGenerations) -> Iterator[EmbeddedControlStore]:
    with closing(EmbeddedControlStore.open_for_writing(tmp_path / "control.db", generations, lambda: 1000)) as store:
        yield store


@pytest.fixture
def keys(tmp_path: Path, control: EmbeddedControlStore) -> EmbeddedProviderKeys:
    return control.provider_keys(lambda: Vault.of(tmp_path))


@pytest.fixture
def reader(tmp_path: Path, control: EmbeddedControlStore) -> Iterator[EmbeddedControlReader]:
    with closing(EmbeddedControlReader.open(tmp_path / "control.db")) as opened:
        yield opened


def new(alias: str = "default", provider: str = "openai", **fields: Any) -> NewProviderKey:
    return NewProviderKey(
        **{"provider": provider, "alias": alias, "is_default": False, "secret": Secret(TEXT), **fields}
    )


def opened(reader: EmbeddedControlReader, data: Path, key_id: str) -> str:
    found = reader.sealed_key(key_id)
    assert found is not None
    return Vault.of(data).open(found.sealed, found.place).reveal()


def test_a_key_is_in_its_gateways_ring_from_its_making_to_its_end(
    keys: EmbeddedProviderKeys, reader: EmbeddedControlReader, generations: MappedGenerations, tmp_path: Path
):
    seen = [generations.of("local")]
    made = keys.create("local", "default", new(is_default=True, rate_limit=10))
    seen.append(generations.of("local"))
    gateway = reader.gateway("local", "default")
    assert gateway is not None
    assert gateway.keyring is not None
    [key] = gateway.keyring.keys
    assert (key.id, key.alias, key.is_default, key.version) == (made.id, "default", True, 1)
    assert key.limit == KeyLimit(made.id, 10, 60)
    assert opened(reader, tmp_path, made.id) == TEXT
    changed = keys.change("local", "default", made.id, ProviderKeyChange(Secret("sk-another")))
    seen.append(generations.of("local"))
    assert (changed.preview, made.preview) == ("****", "****abcd")
    assert opened(reader, tmp_path, made.id) == "sk-another"
    again = reader.gateway("local", "default")
    assert again is not None
    assert again.keyring is not None
    assert again.keyring.keys[0].version == 2
    keys.delete("local", "default", made.id)
    seen.append(generations.of("local"))
    gone = reader.gateway("local", "default")
    assert gone is not None
    assert gone.keyring is None
    assert reader.sealed_key(made.id) is None
    assert seen == sorted(set(seen))


def test_aliases_and_defaults_are_one_per_provider_and_gateway(
    keys: EmbeddedProviderKeys, control: EmbeddedControlStore
):
    control.create_gateway("local", "other", GatewayConfig())
    first = keys.create("local", "default", new("a", is_default=True))
    for gateway, key in (("default", new("a", "anthropic", is_default=True)), ("other", new("a", is_default=True))):
        keys.create("local", gateway, key)
    with pytest.raises(AliasTaken):
        keys.create("local", "default", new("a"))
    with pytest.raises(DefaultTaken) as raised:
        keys.create("local", "default", new("b", is_default=True))
    assert raised.value.alias == "a"
    second = keys.create("local", "default", new("b"))
    keys.change("local", "default", second.id, ProviderKeyChange(make_default=True))
    configs, total = keys.listed("local", "default", Slice(0, 10))
    assert [(one.provider, one.alias, one.is_default) for one in configs] == [
        ("openai", "a", False),
        ("anthropic", "a", True),
        ("openai", "b", True),
    ]
    assert (total, configs[0].id) == (3, first.id)
    for wrong in (("local", "other"), ("local", "nothing"), ("nobody", "default")):
        with pytest.raises(NotThere):
            keys.change(*wrong, first.id, ProviderKeyChange(Secret("stolen")))
        with pytest.raises(NotThere):
            keys.delete(*wrong, first.id)


def test_keys_go_with_their_gateway_and_are_of_a_bounded_number(
    keys: EmbeddedProviderKeys, control: EmbeddedControlStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(provider_keys, "MOST_KEYS", 3)
    control.create_gateway("local", "other", GatewayConfig())
    for number in range(3):
        keys.create("local", "other", new(f"n{number}"))
    with pytest.raises(TooMany):
        keys.create("local", "other", new("one more"))
    control.delete_gateway("local", "other")
    assert control.seals.there_are is False


def test_a_seal_in_another_row_does_not_open(keys: EmbeddedProviderKeys, reader: EmbeddedControlReader, tmp_path: Path):
    mine, theirs = (keys.create("local", "default", new(alias)) for alias in ("mine", "theirs"))
    with closing(apsw.Connection(str(tmp_path / "control.db"))) as db:
        db.execute(
            "UPDATE provider_configs SET sealed = (SELECT sealed FROM provider_configs WHERE id = ?) WHERE id = ?",
            (theirs.id, mine.id),
        )
    with pytest.raises(StoreFault):
        opened(reader, tmp_path, mine.id)
    assert opened(reader, tmp_path, theirs.id) == TEXT


def test_a_server_does_not_start_under_a_wrong_or_missing_master_key(
    keys: EmbeddedProviderKeys, control: EmbeddedControlStore, tmp_path: Path
):
    made = keys.create("local", "default", new())
    path = tmp_path / MASTER_KEY
    right = path.read_bytes()
    path.write_text(secrets.token_hex(32))
    with pytest.raises(StoreFault, match="not the key that the stored provider keys were sealed under"):
        bootstrap(tmp_path)
    with pytest.raises(StoreFault, match="not the key"):
        keys.create("local", "default", new("under the wrong one"))
    path.unlink()
    with pytest.raises(StoreFault, match="is missing"):
        bootstrap(tmp_path)
    assert not path.exists()
    path.write_bytes(right)
    assert bootstrap(tmp_path) is None
    path.unlink()
    keys.delete("local", "default", made.id)  # nothing is sealed any more: a new key does
    assert bootstrap(tmp_path) is None
    assert path.read_bytes() != right


def test_a_database_of_the_edition_before_gets_its_table(tmp_path: Path):
    bootstrap(tmp_path)
    make_older(tmp_path / "control.db", 2)
    write_master_key(tmp_path / MASTER_KEY)
    assert bootstrap(tmp_path) is None
    with closing(EmbeddedControlReader.open(tmp_path / "control.db")) as reader:
        assert reader.sealed_key("a") is None


def test_keys_are_sealed_under_a_new_master_key_or_stay_under_the_old_wherever_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bootstrap(tmp_path)
    with (
        closing(MappedGenerations.open(tmp_path / "generations.map", writable=True)) as generations,
        closing(EmbeddedControlStore.open_for_writing(tmp_path / "control.db", generations)) as control,
    ):
        made = control.provider_keys(lambda: Vault.of(tmp_path)).create("local", "default", new())

    def opens() -> bool:
        with closing(EmbeddedControlReader.open(tmp_path / "control.db")) as reader:
            return opened(reader, tmp_path, made.id) == TEXT

    masters = [(tmp_path / MASTER_KEY).read_text()]
    assert reseal(tmp_path) == 1
    assert opens()
    masters.append((tmp_path / MASTER_KEY).read_text())
    for killed_in in ("storage.embedded.seals.Seals.renew", "storage.embedded.bootstrap.os.rename"):
        with monkeypatch.context() as patched:  # before the change, and right after it
            patched.setattr(f"sluice.{killed_in}", _killed)
            with pytest.raises(KeyboardInterrupt):
                reseal(tmp_path)
        assert bootstrap(tmp_path) is None
        assert opens()
        masters.append((tmp_path / MASTER_KEY).read_text())
    assert not (tmp_path / "master.next").exists()
    assert masters[1] == masters[2]
    assert len(set(masters)) == 3


RENAME = os.rename


def _killed(*given: Any) -> None:
    if str(given[-1]).endswith("master.next"):
        RENAME(*given)
    else:
        raise KeyboardInterrupt
