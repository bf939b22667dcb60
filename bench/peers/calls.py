"""How each gateway is asked for the same, in each of the ways that it has; and whether it answered with the same."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.exchange import reply_body, request_body
from bench.machine import BenchFault

Mode = Literal["native", "universal", "compat", "cached"]
"""The provider's own API passed through; steps that are tried in order, of which the first does; OpenAI's chat schema
for every provider, the provider told by a name; the same with a cache that has the reply."""
MODES: tuple[Mode, ...] = ("native", "universal", "compat", "cached")
Query = Mapping[str, object]


def as_it_is(query: Query) -> str:
    return json.dumps(query)


@dataclass(frozen=True, slots=True)
class Call:
    """A way to ask a gateway for a chat completion."""

    path: str
    headers: Mapping[str, str]
    write: Callable[[Query], str] = as_it_is
    """The body that asks for what a query to the provider itself would."""
    verbatim: bool = True
    """Whether the reply is the upstream's to the byte; else the gateway writes it anew."""
    mark: str = ""
    """In the head of a second reply, in small letters: that it came out of a cache."""


def plain() -> Query:
    """The request that all parts send."""
    query: Query = json.loads(request_body())
    return query


def naming(model: str, **more: object) -> Callable[[Query], str]:
    """The same query to another model, with more fields."""
    return lambda query: json.dumps({**query, "model": model, **more})


def steps(query: Query) -> str:
    """Sluice's universal request."""
    return json.dumps([{"provider": "openai", "endpoint": "chat/completions", "query": query}] * 2)


def judge_completion(reply: bytes, contender: str) -> None:
    """Whether a whole reply says what the upstream said. Raises BenchFault."""
    given, expected = _said(reply), _said(reply_body().encode())
    if given is None or given != expected:
        raise BenchFault(f"{contender} gave a wrong reply: {reply[:1000]!r}")


def _said(reply: bytes) -> tuple[object, ...] | None:
    """What must be the same whoever writes it: text, the reason of its end, usage."""
    try:
        decoded: Mapping[str, Any] = json.loads(reply)
        choice, usage = decoded["choices"][0], decoded["usage"]
        tokens = [usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
        return choice["message"]["content"], choice["finish_reason"], *tokens
    except (ValueError, KeyError, IndexError, TypeError):
        return None


PIECES = (
    json.dumps(json.loads(reply_body())["choices"][0]["message"]["content"]),
    '"finish_reason":"stop"',
    '"prompt_tokens":41',
    '"completion_tokens":87',
    '"total_tokens":128',
)
"""What `judge_completion` looks at, as those write it who write replies anew: for a client without time to parse."""
