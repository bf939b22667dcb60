"""Provider keys at rest: sealed with AES-256-GCM under the master key of the data folder.

A sealed text is one byte of version, 12 random bytes (the nonce), then the ciphertext with its tag of 16 bytes. The
associated data names the row that it belongs to, so that a seal copied to another row does not open.
"""

import hmac
import importlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Self

from sluice.storage.ports import StoreFault
from sluice.values.secret import Secret

MASTER_KEY: Final = "master.key"

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_AEAD: Final = "cryptography.hazmat.primitives.ciphers.aead"
_FAULTS: Final = "cryptography.exceptions"
"""Loaded with the first seal: they take 0.1 s and 8 MB, which processes without stored keys do without."""
_WRITTEN: Final = re.compile(rb"[0-9a-f]{64}\n?")


class Vault:
    """Seals texts and opens them."""

    def __init__(self, master: bytes) -> None:
        self._key = _derived(master, b"provider keys")
        self.check = _derived(master, b"check").hex()
        """Tells whether this is the master key that something was sealed under, and nothing else of it."""
        self._cipher: _Cipher | None = None

    @classmethod
    def of(cls, data: Path) -> Self:
        """That of a data folder. Raises StoreFault where its master key is missing or damaged."""
        return cls(read_master_key(data / MASTER_KEY))

    @property
    def is_warm(self) -> bool:
        """Whether sealing and opening take microseconds from now on."""
        return self._cipher is not None

    def warm_up(self) -> None:
        self._ready()

    def seal(self, text: Secret, place: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._ready().encrypt(nonce, text.reveal().encode(), place.encode())

    def open(self, sealed: bytes, place: str) -> Secret:
        """Raises StoreFault for what was sealed under another key, for another place, or is damaged."""
        cipher = self._ready()
        nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        if sealed[:1] != _VERSION or len(nonce) < _NONCE_BYTES:
            raise StoreFault(f"{place} is of no known seal")
        try:
            return Secret(cipher.decrypt(nonce, rest, place.encode()).decode())
        except cipher.invalid:
            raise StoreFault(f"{place} does not open under this master key") from None

    def _ready(self) -> "_Cipher":
        if self._cipher is None:
            cipher = importlib.import_module(_AEAD).AESGCM(self._key)
            invalid = importlib.import_module(_FAULTS).InvalidTag
            self._cipher = _Cipher(cipher.encrypt, cipher.decrypt, invalid)
        return self._cipher


class _Cipher(NamedTuple):
    """What is used of the library."""

    encrypt: Callable[[bytes, bytes, bytes], bytes]
    """Nonce, text, associated data."""
    decrypt: Callable[[bytes, bytes, bytes], bytes]
    invalid: type[Exception]


def read_master_key(path: Path) -> bytes:
    """32 bytes. Raises StoreFault where the file is missing or damaged."""
    try:
        written = path.read_bytes()
    except FileNotFoundError:
        raise StoreFault(f"{path} is missing: it is the key that provider keys are sealed under") from None
    if not _WRITTEN.fullmatch(written):
        raise StoreFault(f"{path} is damaged: it must have 64 hexadecimal digits")
    return bytes.fromhex(written.decode())


def write_master_key(path: Path) -> None:
    """A new one. A key half written would be worse than none: it gets its name when it is whole and on disk."""
    draft = path.with_name(f"{path.name}.draft")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, secrets.token_hex(32).encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    os.rename(draft, path)


def _derived(master: bytes, purpose: bytes) -> bytes:
    """A key for one purpose alone: what is said with it tells nothing of the others."""
    return hmac.digest(master, b"sluice " + purpose, "sha256")
