"""Adds rows of roll-ups up to the groups that a question asks for."""

from collections.abc import Iterable
from typing import Final

from sluice.storage.embedded.rollups import Labels, Sums
from sluice.storage.embedded.sketch import Buckets, add_sketch, percentiles
from sluice.storage.ports import TooManyGroups
from sluice.values.rollup import (
    CACHED,
    ERROR,
    GATEWAY,
    METADATA,
    MODEL,
    PROVIDER,
    STATUS_CODE,
    Group,
    Label,
    Percentiles,
    RollupQuery,
    Step,
    fits,
)

MOST_GROUPS: Final = 20_000
MOST_WITH_PERCENTILES: Final = 5_000
_SHARES: Final = (0.5, 0.95, 0.99)
_STEP_MS: Final[dict[Step, int]] = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}

Key = tuple[int | None, tuple[Label, ...]]


class _Adding:
    """A group in the making."""

    __slots__ = ("counts", "duration", "latency")

    def __init__(self) -> None:
        self.counts = [0] * 8
        """Requests, errors, cached, tokens in and out, of those from the cache in and out, cost."""
        self.duration: Buckets = {}
        self.latency: Buckets = {}


class Tally:
    def __init__(self, query: RollupQuery) -> None:
        self._query = query
        self._most = MOST_WITH_PERCENTILES if query.percentiles else MOST_GROUPS
        self._step_ms = _STEP_MS.get(query.step)
        self._groups: dict[Key, _Adding] = {}

    def add(
        self, gateway: str, series: Iterable[tuple[int, Labels]], rows: Iterable[tuple[int, int, Sums]], unit_ms: int
    ) -> None:
        """Adds rows whose time counts in so many milliseconds."""
        wanted = self._wanted(gateway, series)
        for time, number, sums in rows:
            if found := wanted.get(number):
                labels, cached, error = found
                start_ms = None if self._step_ms is None else time * unit_ms // self._step_ms * self._step_ms
                self._add(self._group((start_ms, labels)), sums, cached, error)

    def add_all(self, other: "Tally") -> None:
        """Adds what another one of the same question counted."""
        for key, theirs in other._groups.items():
            ours = self._group(key)
            ours.counts = [mine + more for mine, more in zip(ours.counts, theirs.counts, strict=True)]
            for mine, more in ((ours.duration, theirs.duration), (ours.latency, theirs.latency)):
                for bucket, count in more.items():
                    mine[bucket] = mine.get(bucket, 0) + count

    def groups(self) -> list[Group]:
        """By time, then by requests, most first."""
        ranked = sorted(self._groups.items(), key=lambda item: (item[0][0] or 0, -item[1].counts[0]))
        return [
            Group._make((*key, *group.counts, _told(group.duration), _told(group.latency))) for key, group in ranked
        ]

    def _wanted(
        self, gateway: str, series: Iterable[tuple[int, Labels]]
    ) -> dict[int, tuple[tuple[Label, ...], int, int]]:
        """The series that fit, with their labels in the question's order."""
        wanted = {}
        for number, labels in series:
            named = self._named(gateway, labels)
            if fits(self._query.where, named):
                picked = tuple(named[dimension] for dimension in self._query.group_by)
                wanted[number] = (picked, labels.cached, labels.error)
        return wanted

    def _named(self, gateway: str, labels: Labels) -> dict[str, Label]:
        named: dict[str, Label] = {GATEWAY: gateway, CACHED: bool(labels.cached), ERROR: bool(labels.error)}
        if labels.key:
            return {**named, METADATA + labels.key: labels.value}
        return {**named, PROVIDER: labels.provider, MODEL: labels.model, STATUS_CODE: labels.status}

    def _group(self, key: Key) -> _Adding:
        found = self._groups.get(key)
        if found is None:
            if len(self._groups) >= self._most:
                raise TooManyGroups(self._most)
            found = self._groups[key] = _Adding()
        return found

    def _add(self, group: _Adding, sums: Sums, cached: int, error: int) -> None:
        counts = group.counts
        counts[0] += sums.n
        counts[1] += sums.n * error
        counts[2] += sums.n * cached
        counts[3] += sums.tokens_in
        counts[4] += sums.tokens_out
        counts[5] += sums.tokens_in * cached
        counts[6] += sums.tokens_out * cached
        counts[7] += sums.cost
        if self._query.percentiles:
            add_sketch(group.duration, sums.duration)
            add_sketch(group.latency, sums.latency)


def _told(buckets: Buckets) -> Percentiles | None:
    found = percentiles(buckets, _SHARES)
    return None if found is None else Percentiles(*found)
