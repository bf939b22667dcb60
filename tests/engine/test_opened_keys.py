"""Stored keys are opened once for each rotation, of a bounded number, and shown by no repr."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sluice.engine import opened_keys
from sluice.engine.opened_keys import OpenedKeys
from sluice.metrics import Metrics
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.provider_keys import NewProviderKey, ProviderKeyChange
from sluice.storage.sealing import Vault
from sluice.values.credential import StoredKey
from sluice.values.gateway import GatewayConfig
from sluice.values.request import DEFAULT_OPTIONS, BytesBody, Step
from sluice.values.secret import Secret

TEXT = "sk-0123456789"


async def test_a_key_is_opened_once_for_each_rotation(control: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opened_keys, "MOST_OPENED", 2)
    control.create_gateway("acme", "g", GatewayConfig())
    vault = Vault(b"m" * 32)
    keys = control.provider_keys(lambda: vault)
    made = [keys.create("acme", "g", NewProviderKey("openai", alias, False, Secret(TEXT + alias))) for alias in "abc"]
    with closing(EmbeddedControlReader.open(tmp_path / "control.db")) as reader:
        opened = OpenedKeys(reader, vault, Metrics.unseen())
        stored: list[StoredKey] = list(reader.gateway("acme", "g").keyring.keys)
        for key in stored:
            assert opened.known(key) is None
            credential = await opened.open(key)
            assert credential is not None
            assert credential.secret.reveal() == TEXT + key.alias
            assert opened.known(key) is credential
            assert TEXT not in repr(credential)
        assert [opened.known(key) is not None for key in stored] == [False, True, True]
        keys.change("acme", "g", made[2].id, ProviderKeyChange(Secret("sk-rotated")))
        rotated = reader.gateway("acme", "g").keyring.keys[2]
        assert opened.known(rotated) is None
        again = await opened.open(rotated)
        assert again is not None
        assert again.secret.reveal() == "sk-rotated"
        assert [opened.known(key) is not None for key in (*stored, rotated)] == [False, True, False, True]
        keys.delete("acme", "g", made[0].id)
        assert await opened.open(stored[0]) is None


def test_no_repr_shows_a_key():
    header = (b"authorization", b"Authorization", b"Bearer " + TEXT.encode())
    step = Step(
        0, "openai", b"v1", b"key=" + TEXT.encode(), b"POST", [header], b"", b"", BytesBody(b""), DEFAULT_OPTIONS
    )
    assert repr(step) == "Step(0, 'openai')"
