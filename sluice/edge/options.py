"""`cf-aig-*` request headers to Options: a table, not a ladder (contract 13)."""

from collections.abc import Callable
from typing import Final

import msgspec

from sluice.engine.custom_providers import HOPS
from sluice.engine.retry import LONGEST_DELAY_MS
from sluice.values.caching import clamped_ttl_s
from sluice.values.request import DEFAULT_OPTIONS, Backoff, Options

MOST_RAW_BYTES: Final = 16 * 1024
MOST_ATTEMPTS: Final = 5
MOST_KNOWN: Final = 1024
LONGEST_KNOWN: Final = 512
EVER_NEW: Final = frozenset((b"cf-aig-event-id", b"cf-aig-metadata"))
"""Header fields that mostly differ from one request to the next."""
BACKOFFS: Final[dict[bytes, Backoff]] = {
    b"constant": "constant",
    b"linear": "linear",
    b"exponential": "exponential",
}


def parse_bool(value: bytes) -> bool | None:
    """`true`, `false`, `1` or `0`; None, which changes nothing, for anything else."""
    return {b"true": True, b"1": True, b"false": False, b"0": False}.get(value.strip().lower())


def parse_tightening(value: bytes) -> bool | None:
    """True or nothing: what is forbidden once is not allowed again further in (contract 3.3)."""
    return parse_bool(value) or None


def parse_ms(value: bytes) -> int | None:
    """A whole number of milliseconds above zero; None for anything else."""
    text = value.strip()
    return int(text) or None if text.isdigit() and len(text) < 10 else None


def parse_attempts(value: bytes) -> int | None:
    """A number of tries, brought within 1 to 5 (contract 2.5)."""
    text = value.strip()
    return min(max(int(text), 1), MOST_ATTEMPTS) if text.isdigit() and len(text) < 10 else None


def parse_delay_ms(value: bytes) -> int | None:
    """Milliseconds up to a minute; more is a minute."""
    text = value.strip()
    return min(int(text), LONGEST_DELAY_MS) if text.isdigit() and len(text) < 10 else None


def parse_hops(value: bytes) -> int | None:
    """What a gateway says to the next one (engine/custom_providers.py)."""
    text = value.strip()
    return int(text) if text.isdigit() and len(text) < 10 else None


def parse_backoff(value: bytes) -> Backoff | None:
    return BACKOFFS.get(value.strip().lower())


def parse_ttl_s(value: bytes) -> int | None:
    """Whole seconds, brought within what may be; 0 is no caching, None, for anything else, what holds already."""
    text = value.strip()
    return clamped_ttl_s(int(text)) if text.isdigit() and len(text) < 20 else None


def parse_raw(value: bytes) -> bytes | None:
    """JSON as it came: the keeper applies the rules of contract 7.5. Too large a one is as good as none."""
    return value if len(value) <= MOST_RAW_BYTES else None


def parse_text(value: bytes) -> str | None:
    return value.decode("utf-8", "replace").strip() or None


def as_it_came(value: bytes) -> bytes:
    return value


OPTION_HEADERS: Final[dict[bytes, tuple[str, Callable[[bytes], object]]]] = {
    b"cf-cache-ttl": ("cache_ttl_s", parse_ttl_s),
    b"cf-skip-cache": ("skip_cache", parse_bool),
    b"cf-aig-cache-ttl": ("cache_ttl_s", parse_ttl_s),
    b"cf-aig-skip-cache": ("skip_cache", parse_bool),
    b"cf-aig-cache-key": ("cache_key", as_it_came),
    b"cf-aig-collect-log": ("collect_log", parse_bool),
    b"cf-aig-collect-log-payload": ("collect_payload", parse_bool),
    b"cf-aig-event-id": ("event_id", as_it_came),
    b"cf-aig-metadata": ("metadata", parse_raw),
    b"cf-aig-custom-cost": ("custom_cost", parse_raw),
    b"cf-aig-request-timeout": ("request_timeout_ms", parse_ms),
    b"cf-aig-byok-alias": ("key_alias", parse_text),
    b"cf-aig-no-wholesale": ("no_wholesale", parse_tightening),
    b"cf-aig-max-attempts": ("max_attempts", parse_attempts),
    b"cf-aig-retry-delay": ("retry_delay_ms", parse_delay_ms),
    b"cf-aig-backoff": ("backoff", parse_backoff),
    HOPS: ("hops", parse_hops),
}
"""Of two rows for one option the later one holds: old names come first."""


def parse_options(fields: dict[bytes, bytes], inherited: Options = DEFAULT_OPTIONS) -> Options:
    """What the client asks for, over what holds already.

    A value that cannot be read is ignored, not refused (contract 2.5).
    """
    given = {
        name: value
        for header, (name, parse) in OPTION_HEADERS.items()
        if header in fields and (value := parse(fields[header])) is not None
    }
    return msgspec.structs.replace(inherited, **given) if given else inherited


class KnownOptions:
    """Remembers what headers came to: clients ask for the same over and over, but for what names a request."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, ...], Options] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, fields: dict[bytes, bytes]) -> Options:
        """What these headers ask for."""
        if not EVER_NEW.isdisjoint(fields):
            return parse_options(fields)
        said = tuple([part for name in fields if name in OPTION_HEADERS for part in (name, fields[name])])
        options = self._known.get(said)
        if options is None:
            options = parse_options(fields)
            if sum(map(len, said)) <= LONGEST_KNOWN:
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[said] = options
        return options
