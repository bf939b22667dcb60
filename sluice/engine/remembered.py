"""What a store says of the things of accounts, at hand."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from sluice.storage.ports import Generations

V = TypeVar("V")

LONGEST_KEY: Final = 512
"""Characters of what is remembered; what is longer is some stranger's, and is looked up anew."""


class Remembered(Generic[V]):
    """A bounded memory in front of a query by account and name, out of which the oldest goes first.

    An entry keeps its account's generation as read before its query, so a change made meanwhile is never missed. What
    does not exist is remembered too.
    """

    def __init__(self, ask: Callable[[str, str], V], generations: Generations, most_entries: int) -> None:
        self._ask, self._generations, self._most_entries = ask, generations, most_entries
        self._entries: dict[tuple[str, str], tuple[int, V]] = {}

    def of(self, account: str, name: str) -> V:
        """The same object for as long as nothing of the account has changed. Raises what asking raises."""
        key, generation = (account, name), self._generations.of(account)
        entry = self._entries.get(key)
        if entry is None or entry[0] != generation:
            entry = (generation, self._ask(account, name))
            if len(account) + len(name) > LONGEST_KEY:
                return entry[1]
            self._entries.pop(key, None)
            if len(self._entries) >= self._most_entries:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = entry
        return entry[1]
