"""A seal opens under its master key and in its place alone."""

import stat
from pathlib import Path

import pytest

from sluice.storage.ports import StoreFault
from sluice.storage.sealing import MASTER_KEY, Vault, write_master_key
from sluice.values.secret import Secret

TEXT = Secret("sk-a-key-of-a-provider")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    write_master_key(tmp_path / MASTER_KEY)
    return Vault.of(tmp_path)


def test_a_text_comes_back_and_is_nowhere_in_its_seal(vault: Vault):
    sealed = vault.seal(TEXT, "here")
    assert vault.open(sealed, "here") == TEXT
    assert TEXT.reveal().encode() not in sealed
    assert vault.seal(TEXT, "here") != sealed  # each has a nonce of its own


def test_a_seal_opens_nowhere_else_and_never_changed(vault: Vault, tmp_path: Path):
    sealed = vault.seal(TEXT, "here")
    write_master_key(tmp_path / MASTER_KEY)
    others = [(Vault.of(tmp_path), sealed, "here"), (vault, sealed, "there"), (vault, b"", "here")]
    others += [(vault, sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :], "here") for at in range(len(sealed))]
    others += [(vault, sealed[:length], "here") for length in range(len(sealed))]
    for one, changed, place in others:
        with pytest.raises(StoreFault) as raised:
            one.open(changed, place)
        assert TEXT.reveal() not in str(raised.value)


def test_the_check_tells_master_keys_apart_and_not_what_they_are(vault: Vault, tmp_path: Path):
    written = (tmp_path / MASTER_KEY).read_text().strip()
    assert Vault.of(tmp_path).check == vault.check
    assert written not in vault.check
    write_master_key(tmp_path / MASTER_KEY)
    assert Vault.of(tmp_path).check != vault.check


def test_only_its_owner_reads_the_master_key(vault: Vault, tmp_path: Path):
    assert stat.S_IMODE((tmp_path / MASTER_KEY).stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"0" * 63, b"0" * 65, b"g" * 64, b"\xff" * 64])
def test_a_damaged_master_key_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / MASTER_KEY).write_bytes(content)
    with pytest.raises(StoreFault, match="damaged"):
        Vault.of(tmp_path)
    (tmp_path / MASTER_KEY).unlink()
    with pytest.raises(StoreFault, match="missing"):
        Vault.of(tmp_path)
