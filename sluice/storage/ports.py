"""What each store promises, once, for every backend."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from sluice.storage.push_progress import Pushed
from sluice.values.command import Change
from sluice.values.entitlement import Plan, Quota
from sluice.values.gateway import GatewayConfig, GatewayRecord
from sluice.values.log import LogEntry, NewLog, Position, Price, ShardKey
from sluice.values.log_filter import Filter
from sluice.values.rates import Rates
from sluice.values.rollup import Rollup, RollupQuery
from sluice.values.secret import Secret
from sluice.values.tenancy import Account, Gateway, Permission, Token, TokenRecord

NumberOrder = Literal["cost", "tokens_in", "tokens_out", "duration", "feedback"]
OrderBy = Literal["created_at", "provider", "model", "model_type", "success", "cached"] | NumberOrder


class StoreFault(Exception):
    """A store could not do what was asked: disk full, damaged file, lock not had in time."""


class Keep(msgspec.Struct, frozen=True):
    """What retention leaves of a shard; None is no limit."""

    rows: int | None = None
    bytes: int | None = None
    """Of bodies. Whole segments go for it, so up to a sixteenth less may be left."""
    since_ms: int | None = None
    """Logs whose time is before it go."""


class LogWriter(Protocol):
    """The single writer of logs. Rows and spool positions commit together, so a replay stores nothing twice."""

    def positions(self, shard: ShardKey) -> Mapping[str, Position]:
        """How far each spool (by its folder's name) is stored in this shard; empty for a new one."""
        ...

    def wanted(self, shard: ShardKey) -> Set[str]:
        """Stored logs whose bodies a power loss took: whoever still has them appends them again. Mostly none."""
        ...

    def append(self, shard: ShardKey, logs: Sequence[NewLog], positions: Mapping[str, Position]) -> int:
        """Stores the logs and moves the positions in one transaction; returns how many were new.

        A log whose id is stored already is skipped, but for bodies that it has lost. Raises StoreFault with nothing
        stored, where a later try may succeed, and ValueError, nothing stored either, for a log that no store can take
        (no ULID, a number past 64 bits, text that is no Unicode).
        """
        ...

    def begin_sync(self) -> None:
        """Everything appended so far is to survive a power loss, which it will when `sync_some` has said so."""
        ...

    def sync_some(self) -> bool:
        """Goes on with it for a moment, between appends; whether all of it is done. Raises StoreFault: begin again."""
        ...

    def sync(self) -> None:
        """Makes everything appended so far survive a power loss."""
        ...

    def tend(self) -> None:
        """Puts into place what was prepared in the background meanwhile: to be called now and then."""
        ...

    def change(
        self, shard: ShardKey, log_ids: Sequence[str], change: Change, positions: Mapping[str, Position]
    ) -> set[str]:
        """Gives logs the fields of `change` and, where all of them are there, moves the positions: one transaction.

        Returns which of them are there. Raises StoreFault with nothing changed.
        """
        ...

    def reprice(
        self, shard: ShardKey, log_ids: Sequence[str], price: Price, positions: Mapping[str, Position]
    ) -> set[str]:
        """Gives logs, and the roll-ups that count them, the cost that `price` names, unless that is None, likewise."""
        ...

    def delete(self, shard: ShardKey, log_ids: Sequence[str], positions: Mapping[str, Position]) -> set[str]:
        """Deletes logs with their bodies likewise; returns which of them there were.

        A few hundred at once hold up nobody for long.
        """
        ...

    def rows(self, shard: ShardKey) -> int:
        """How many logs are stored."""
        ...

    def bytes(self, shard: ShardKey) -> int:
        """What bodies take on the disk: a removed log's too, until the last one of its segment goes."""
        ...

    def trim(self, shard: ShardKey, keep: Keep) -> int:
        """Removes the oldest logs past these limits, at once for every reader; returns how many.

        The shard's segments are sized for the limits from then on: a log that is removed leaves the disk with the last
        one of its segment.
        """
        ...

    def drop(self, shard: ShardKey) -> None:
        """Removes the shard and all it holds."""
        ...

    def close(self) -> None: ...


class LogQuery(msgspec.Struct, frozen=True):
    """One page of a gateway's logs; `page` counts from 1.

    Among equals the newest comes first in either direction; what has no number is less than any.
    """

    page: int = 1
    per_page: int = 20
    order_by: OrderBy = "created_at"
    descending: bool = True
    filters: tuple[Filter, ...] = ()
    """All of them must fit."""
    search: str = ""
    """An id, a metadata value, or a part of the metadata."""
    cursor: int | None = None
    """Pages count from the log behind this one, in the order of `created_at`. Other orders have no cursors."""
    count: bool = True
    """Whether `total` is wanted, which may take longer than the page."""


class LogPage(NamedTuple):
    """`total` is exact, or as far as the time for it went; likewise `entries`, where `complete` is false."""

    entries: list[LogEntry]
    total: int
    total_exact: bool
    cursor: int | None = None
    """Where the next page begins, whatever is stored or removed meanwhile; None at the end, and in other orders."""
    complete: bool = True


class Extremes(msgspec.Struct, frozen=True):
    """Least and most of some logs; None where none has a value, or where the time for it was up. Cost is nano-USD."""

    min_cost: int | None = None
    max_cost: int | None = None
    min_duration: int | None = None
    max_duration: int | None = None
    min_tokens_in: int | None = None
    max_tokens_in: int | None = None
    min_tokens_out: int | None = None
    max_tokens_out: int | None = None
    min_total_tokens: int | None = None
    max_total_tokens: int | None = None


Side = Literal["request", "response"]


class Matches(NamedTuple):
    """Logs with a text in their bodies, as far as the time for looking went."""

    entries: list[LogEntry]
    cursor: int | None
    """Behind which to go on; None once all was looked through."""
    looked_through: int
    """How many logs' bodies."""


LAST_ARRIVAL: Final = (1 << 63) - 1
"""No ingest sequence comes after it."""


class LogReader(Protocol):
    """Reads logs while the writer goes on, from any process. A shard that was never written is an empty one."""

    def page(self, shard: ShardKey, query: LogQuery) -> LogPage: ...

    def ids(self, shard: ShardKey, query: LogQuery, timeout_s: float) -> list[str]:
        """The ids of a page's logs alone, in its order. It may be a long one; past the time StoreFault is raised."""
        ...

    def extremes(self, shard: ShardKey, query: LogQuery) -> Extremes:
        """Of all logs that fit the query, whatever page it asks for."""
        ...

    def matching(self, shard: ShardKey, query: LogQuery, text: str, timeout_s: float) -> Matches:
        """Of the logs that fit the query, in the order of `created_at`, up to a page with this text in a body.

        Looks behind the query's cursor for so long; what was found by then is told with where to go on. The case of
        ASCII letters does not matter.
        """
        ...

    def get(self, shard: ShardKey, log_id: str) -> LogEntry | None: ...

    def body(self, shard: ShardKey, log_id: str, side: Side) -> Iterator[bytes] | None:
        """The stored body piece by piece, decompressed, as it went over the wire; None where none is kept.

        None too for one that was lost, or is damaged at its very beginning. Raises StoreFault where it lies in a store
        of objects that cannot be asked; so do the pieces where damage shows only after the first of them.
        """
        ...

    def is_kept(self, shard: ShardKey, log_id: str, side: Side) -> bool:
        """Whether there should be such a body: it was kept, and is not marked as lost."""
        ...

    def head(self, shard: ShardKey, log_id: str, side: Side, limit: int) -> bytes | None:
        """The body's first `limit` bytes without reading the rest."""
        ...

    def tail(self, shard: ShardKey, after: int, limit: int, up_to: int = LAST_ARRIVAL) -> tuple[list[LogEntry], int]:
        """Logs in the order they were stored, past the ingest sequence `after`, and the sequence reached.

        A negative `after` begins that many logs before the end: -10 with the last ten.
        """
        ...

    def synced(self, shard: ShardKey) -> int:
        """The ingest sequence up to which all survives a power loss: past it another log may have that place then.

        It may lag behind what the writer has synced, until more is stored.
        """
        ...

    def close(self) -> None: ...


class TooFine(Exception):
    """Asked for by the minute, for a time of which only hours are left."""

    def __init__(self, since_ms: int) -> None:
        super().__init__(f"minutes are kept since {since_ms}")
        self.since_ms = since_ms


class TooManyGroups(Exception):
    """A question of which the answer would be longer than anybody reads."""

    def __init__(self, most: int) -> None:
        super().__init__(str(most))
        self.most = most


class AnalyticsReader(Protocol):
    """Reads roll-ups while the writer goes on, from any process. Never reads logs, so it tells of removed ones too."""

    def groups(self, shards: Mapping[str, ShardKey], query: RollupQuery) -> Rollup:
        """Counts the requests of these shards, each by what the dimension `gateway` calls it.

        Minutes are there as long as the segment that its logs went to, hours for good: without a step of minutes the
        edges of a time are widened to whole hours where need be. Raises TooFine, and TooManyGroups.
        """
        ...

    def close(self) -> None: ...


class ControlReader(Protocol):
    """What workers and the keeper read of accounts, gateways, tokens and prices. Never blocks on a writer."""

    def account_exists(self, account: str) -> bool: ...

    def gateway(self, account: str, name: str) -> Gateway | None: ...

    def gateway_by_id(self, gateway_id: bytes) -> Gateway | None:
        """The gateway with this immutable id, None once it is deleted."""
        ...

    def token(self, digest: bytes) -> Token | None:
        """The token with this SHA-256, expired or not."""
        ...

    def rates(self, provider: str, model: str) -> Rates | None:
        """Resolved prices, None where the model was never resolved. Rates of nothing but None: the list has none."""
        ...

    def prices_version(self) -> str:
        """Which version of the price list was loaded last."""
        ...

    def listed_models(self) -> list[tuple[str, str]]:
        """Every provider's models that the price list names, in the order of their names."""
        ...

    def quota(self, gateway_id: bytes) -> Quota | None:
        """How much may be stored for the gateway with this immutable id, None where there is none."""
        ...

    def shards(self, account: str) -> list[ShardKey]:
        """Those of all gateways of an account."""
        ...

    def deleted_gateways(self) -> list[ShardKey]:
        """Gateways whose logs are to be dropped. Only what is listed here may be: a missing row proves nothing."""
        ...

    def retained_shards(self) -> Sequence[ShardKey]:
        """Of gateways that lose logs, by number or by age. The same object for as long as nothing has changed."""
        ...

    def pushed_gateways(self, account: str) -> list[Pushed]:
        """Gateways of an account whose logs are pushed."""
        ...

    def close(self) -> None: ...


class NotThere(Exception):
    """The account, gateway or token that a change names does not exist."""


class AlreadyThere(Exception):
    """The account or gateway to be made exists."""


class TooMany(Exception):
    """The account has as many gateways as it is entitled to."""

    def __init__(self, most: int) -> None:
        super().__init__(str(most))
        self.most = most


class NewToken(msgspec.Struct, frozen=True):
    """A token to be made."""

    account: str
    permissions: frozenset[Permission]
    gateway: str | None = None
    name: str = ""
    expires_ms: int | None = None


class Slice(NamedTuple):
    """Which rows of a list."""

    offset: int
    limit: int


class ControlStore(ControlReader, Protocol):
    """Control data, written by one process alone.

    A change is durable, and the generation of its account bumped, when its method returns. Lists come in the order
    of making, with the number of all that there are.
    """

    def account(self, account: str) -> Account | None: ...
    def accounts(self, slice: Slice) -> tuple[list[Account], int]: ...

    def create_account(self, account: str, plan: Plan) -> Account: ...

    def change_account(self, account: str, change: Callable[[Account], Account]) -> Account:
        """Stores what `change` makes of plan and entitlement."""
        ...

    def delete_account(self, account: str) -> Account:
        """Its gateways and tokens go with it."""
        ...

    def gateway_record(self, account: str, name: str) -> GatewayRecord | None: ...

    def gateways(self, account: str, slice: Slice, search: str = "") -> tuple[list[GatewayRecord], int]:
        """Those whose name contains `search`."""
        ...

    def create_gateway(self, account: str, name: str, config: GatewayConfig) -> GatewayRecord:
        """Raises TooMany where the account is not entitled to one more."""
        ...

    def change_gateway(
        self, account: str, name: str, change: Callable[[GatewayConfig], GatewayConfig]
    ) -> GatewayRecord:
        """Stores what `change` makes of the present fields; what it raises passes, with nothing stored."""
        ...

    def clear_cache(self, account: str, name: str | None) -> int:
        """Puts what is kept of a gateway's replies out of reach, None for all of the account; returns of how many."""
        ...

    def delete_gateway(self, account: str, name: str) -> GatewayRecord:
        """Tokens scoped to it go with it, lest they open a later gateway of the same name."""
        ...

    def ensure_default(self, account: str) -> GatewayRecord:
        """The gateway `default`, made if it is missing."""
        ...

    def tokens(self, account: str, slice: Slice) -> tuple[list[TokenRecord], int]: ...

    def create_token(self, new: NewToken) -> tuple[TokenRecord, Secret]:
        """The token and its text, which is kept nowhere."""
        ...

    def rotate_token(
        self, account: str, token_id: str, grace_ms: int, vouch: Callable[[Token], None]
    ) -> tuple[TokenRecord, Secret]:
        """Its new text; `vouch` raises where nobody may have it. With grace the old one is a token that ends then."""
        ...

    def delete_token(self, account: str, token_id: str) -> TokenRecord: ...

    def asked_prices(self) -> list[tuple[str, str]]:
        """Provider and model of what `put_rates` keeps, to be resolved anew for `load_prices`."""
        ...

    def load_prices(
        self, version: str, listed: Iterable[tuple[str, str, Rates]], asked: Iterable[tuple[str, str, Rates | None]]
    ) -> None:
        """Replaces the listed prices, and renews those that were asked for."""
        ...

    def put_rates(self, asked: Iterable[tuple[str, str, Rates | None]]) -> None:
        """Keeps the prices of models that were asked for, of a bounded number; None: the list does not know it."""
        ...


class GatewayUsage(NamedTuple):
    """What one gateway has stored, and how many logs were not stored because of its quota."""

    shard: ShardKey
    rows: int
    bytes: int
    refused: int


class UsageStore(Protocol):
    """Keeps what the keeper reports, for people to see. Nothing is decided by it."""

    def report(self, usage: Sequence[GatewayUsage]) -> None:
        """Replaces rows and bytes, adds what was refused since the last report."""
        ...

    def forget(self, shard: ShardKey) -> None: ...

    def close(self) -> None: ...


class UsageReader(Protocol):
    """Reads what was reported, from any process."""

    def of(self, account: str) -> Mapping[str, GatewayUsage]:
        """By the gateway's immutable id in 32 hex digits."""
        ...

    def close(self) -> None: ...


class Generations(Protocol):
    """A number per account that grows with every change of it. Read it before a query, keep it with the answer."""

    def of(self, account: str) -> int: ...
    def bump(self, account: str) -> None: ...
    def bump_all(self) -> None: ...


class ObjectFault(StoreFault):
    """The store of objects cannot be reached, or refuses."""


class ObjectMissing(ObjectFault):
    """It has no such object."""


class Objects(Protocol):
    """A store of objects, by names that are paths. Threads may share it. All raise ObjectFault."""

    def put(self, name: str, data: bytes) -> None:
        """Stores it whole or not at all, in place of one that is there."""
        ...

    def put_file(self, name: str, path: Path) -> None:
        """Likewise, of any length in little memory."""
        ...

    def read(self, name: str, start: int, length: int) -> bytes:
        """These bytes of it, fewer at its end. Raises ObjectMissing."""
        ...

    def size(self, name: str) -> int | None:
        """In bytes; None where there is none of this name."""
        ...

    def delete(self, name: str) -> None:
        """Where there is none, nothing."""
        ...

    def names(self, prefix: str) -> Iterator[str]:
        """All below this path."""
        ...
