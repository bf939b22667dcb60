"""What a store promises that keeps how far Logpush has come."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from sluice.values.log import ShardKey


class PushProgress(NamedTuple):
    """How far a gateway's logs were pushed: past this ingest sequence they are still to be."""

    after: int
    name: str = ""
    """Of the object that may have been sent since, and is to be sent again."""
    until: int = 0
    """The ingest sequence that this object reaches."""


class Pushed(NamedTuple):
    """A gateway whose logs are pushed."""

    shard: ShardKey
    name: str
    public_key: str | None
    """PEM; without one neither bodies nor metadata go out."""


class PushStore(Protocol):
    """Keeps how far each job has come with each gateway, by its immutable id in hex. Durable when a method returns."""

    def progress(self, job: str) -> Mapping[str, PushProgress]: ...

    def note(self, job: str, gateway: str, progress: PushProgress) -> None: ...

    def forget(self, job: str, gateway: str) -> None: ...

    def close(self) -> None: ...
