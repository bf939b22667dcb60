"""The cache keys of what was asked lately, found by the request as it came: reading it is most of a key's cost."""

from hashlib import sha256
from typing import Final

from sluice.metrics import Metrics
from sluice.values.caching import ENTRY_BYTES
from sluice.values.request import Step
from sluice.values.tenancy import Gateway

MOST_BYTES: Final = 4 * 1024 * 1024
"""Of all letters, in a worker."""
LONGEST: Final = 32 * 1024
"""A longer letter is not remembered."""

Letter = tuple[str | bytes | int, ...]


def letter_of(gateway: Gateway, step: Step, body: bytes) -> Letter:
    """All that a key, and whether a kept reply may be asked for, depends on.

    Requests with one letter have one key. Header fields and query, in which credentials are, go in as a digest.
    """
    options, credential = step.options, step.credential
    fields = [part for header in step.headers for part in header]  # no line break is in any of them
    return (
        gateway.id,
        gateway.cache_epoch,
        step.method,
        step.provider,
        "" if credential is None else credential.id,
        step.endpoint,
        sha256(b"\n".join((step.query, *fields))).digest(),
        options.cache_key,
        options.cache_ttl_s is None,
        body,
    )


def letter_bytes(letter: Letter) -> int:
    """What remembering a letter takes, about."""
    return ENTRY_BYTES + sum([len(part) for part in letter if isinstance(part, str | bytes)])


class KnownKeys:
    """Keys by letter, bounded in bytes: what was put first goes first."""

    def __init__(self, metrics: Metrics) -> None:
        self._keys: dict[Letter, bytes] = {}
        self.bytes = 0
        self._shown = metrics.gauge("sluice_cache_letters_bytes", "Requests whose cache keys are remembered.")

    def get(self, letter: Letter) -> bytes | None:
        return self._keys.get(letter)

    def put(self, letter: Letter, key: bytes) -> None:
        size = letter_bytes(letter)
        if size > LONGEST or letter in self._keys:
            return
        self._keys[letter] = key
        self.bytes += size
        while self.bytes > MOST_BYTES:
            oldest = next(iter(self._keys))
            del self._keys[oldest]
            self.bytes -= letter_bytes(oldest)
        self._shown.set(self.bytes)
