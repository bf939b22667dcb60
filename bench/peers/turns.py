"""Contenders in turn, round after round; one that fails is out of the comparison, and the others go on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.machine import BenchFault
from bench.peers.roster import Faults, tell

Row = dict[str, object]


class Turn(NamedTuple):
    """What one contender does in each round, and once before the first, uncounted."""

    name: str
    warm_up: Callable[[], object]
    run: Callable[[], Mapping[str, object]]


@dataclass(slots=True)
class Comparison:
    """What was measured of whom under the same conditions, as it goes to JSON."""

    part: str
    mode: str
    at: float
    """Connections, streams or sockets."""
    rate: float = 0
    """Requests per second, where the load has a fixed one."""
    rows: list[Row] = field(default_factory=list)
    faults: Faults = field(default_factory=dict)
    """Who has no rows, though it could be asked, and why."""

    def measure(self, turns: Sequence[Turn], rounds: int) -> None:
        """Each begins a round as often as another. One wrong reply takes all figures from who gave it."""
        for turn in turns:
            with self._forgiving(turn.name):
                turn.warm_up()
        for number in range(rounds):
            first = number % max(1, len(turns))
            for turn in (*turns[first:], *turns[:first]):
                if turn.name not in self.faults:
                    with self._forgiving(turn.name):
                        self.rows.append({"round": number, **turn.run()})
        self.rows = [row for row in self.rows if row["contender"] not in self.faults]

    @contextmanager
    def _forgiving(self, name: str) -> Iterator[None]:
        try:
            yield
        except BenchFault as fault:
            tell(self.faults, name, fault)
