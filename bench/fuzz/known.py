"""What a fuzzed call had better name to come further than a 404: ids of what is there, values that no schema tells."""

import random
import re
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any, Final

import msgspec

PART: Final = re.compile(r"\{(\w+)\}")
KEPT: Final = 20
"""Ids remembered of each kind, the latest."""
MADE_AT: Final = {
    "gateways": "gateway",
    "logs": "log",
    "provider_configs": "config",
    "tokens": "token",
    "custom-providers": "provider",
    "costs": "cost",
}
"""By the last part of the path at which a thing is made or listed, the part that names it in others."""
LIKELY: Final = 0.9
"""How often a thing is named that is there."""
VALUES: Final[dict[str, tuple[str, ...]]] = {
    "base_url": ("https://example.com/v1", "https://api.example.org"),
    "provider_slug": ("openai", "anthropic", "OpenAI"),
    "secret": ("sk-a", "sk-another"),
    "headers": ("{}", '{"x-a": "b"}'),
    "from": ("2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
    "to": ("2040-01-01T00:00:00Z",),
    "query": (
        '{viewer{accounts(filter:{accountTag:"local"}){aiGatewayRequestsAdaptiveGroups(limit:9){count}}}}',
        "{__typename}",
    ),
}
FOREVER: Final = ("default",)
"""Gateways that are not deleted: calls of models go through them."""


class Known:
    """Learns from replies, and makes a case name what it has learnt."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._ids: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._ids["account"].append("local")
        self._ids["provider_part"] += ("openai", "universal")

    def learn(self, method: str, path: str, body: bytes) -> None:
        """Remembers the ids of what a reply of 200 shows."""
        kind = MADE_AT.get(path.rpartition("/")[2])
        if kind is None or (kind == "token" and method != "POST"):
            return  # the tokens of others, ours among them, stay as they are
        for one in _things_in(body):
            if one not in self._ids[kind]:
                self._ids[kind].append(one)

    def parts(self, method: str, path: str) -> dict[str, str]:
        """Parts of a path that are not to be made up: known ones, but for a few."""
        known = {name: self._choices(path, method, name) for name in PART.findall(path)}
        return {name: self._dice.choice(ids) for name, ids in known.items() if ids and self._dice.random() < LIKELY}

    def guide(self, body: dict[str, Any]) -> None:
        """Puts likely values into a body."""
        for name in body:
            if self._dice.random() < LIKELY and (values := self._values(name)):
                body[name] = self._dice.choice(values)

    def _values(self, name: str) -> tuple[str, ...]:
        return tuple(self._ids["provider"]) if name == "account_provider_id" else VALUES.get(name, ())

    def _choices(self, path: str, method: str, name: str) -> list[str]:
        if name == "gateway":
            lasts = method == "DELETE" and path.endswith("{gateway}")
            return [one for one in (*self._ids[name], *FOREVER) if not (lasts and one in FOREVER)]
        return list(self._ids["provider_part" if path.endswith("/url/{provider}") else name])


def _things_in(body: bytes) -> Iterator[str]:
    result = msgspec.json.decode(body).get("result")
    for one in result if isinstance(result, list) else [result]:
        if isinstance(one, dict) and isinstance(one.get("id"), str):
            yield one["id"]
