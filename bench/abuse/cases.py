"""One bad input: what a client sends and how it behaves, what the provider says, and which answers are right."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

GATEWAY = "/v1/local/default"
CHAT = f"{GATEWAY}/openai/v1/chat/completions"
COMPAT = f"{GATEWAY}/compat/chat/completions"
HOSTILE = f"{GATEWAY}/groq/chat/completions"
ACCOUNT = "/client/v4/accounts/local/ai-gateway"
TARGETS = (CHAT, GATEWAY, COMPAT, "/healthz", f"{ACCOUNT}/gateways")
QUERY: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
STEP: dict[str, Any] = {"provider": "openai", "endpoint": "chat/completions", "query": QUERY}
BODY = json.dumps(QUERY).encode()
KEY_FIELD = "x-script"
"""Tells the hostile provider which of its scripts is meant."""

Behaviour = Literal["stays", "half-closes", "leaves", "resets", "reads late"]


@dataclass(frozen=True, slots=True)
class Aim:
    """What an input must know of the gateway it is for."""

    token: str


@dataclass(frozen=True, slots=True)
class Script:
    """What a hostile provider says to one request, and how it ends."""

    pieces: tuple[bytes, ...]
    pause_s: float = 0.0
    ends: Literal["closes", "resets", "stays"] = "closes"
    key: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One input. The answers are told in words: see replies.py."""

    sends: tuple[bytes, ...]
    right: str = ""
    """Which answers are right; of its family's where it is empty."""
    least: int = 1
    most: int = 1
    """How many replies there may be: after the last of them the client leaves, unless it waits for the end."""
    until_end: bool = False
    """Whether the gateway must close the connection, with nothing more said."""
    pause_s: float = 0.0
    goes: Behaviour = "stays"
    copies: int = 1
    """On so many connections at once."""
    upgrades: bool = False
    """Whether all but the first bytes are for behind a 101."""
    script: Script | None = None


Make = Callable[[Random, Aim], Case]


@dataclass(frozen=True, slots=True)
class Family:
    """A row of the table: a way to be bad, and what is a right answer to it."""

    name: str
    make: Make
    right: frozenset[str] = field(default_factory=frozenset)
    share: float = 1.0
    """Of the inputs, beside those of others."""
    slow: bool = False
    """Whether an input waits for a deadline of the gateway's."""


def family(name: str, make: Make, right: str, share: float = 1.0, *, slow: bool = False) -> Family:
    return Family(name, make, frozenset(right.split()), share, slow)


def request(
    target: str,
    body: bytes | None = None,
    fields: Iterable[tuple[str, str]] = (),
    *,
    method: str | None = None,
    aim: Aim | None = None,
    measured: bool = True,
) -> bytes:
    """A request as a plain client sends it, with a token if there is an aim, and a length if there is a body."""
    lines = [f"{method or ('GET' if body is None else 'POST')} {target} HTTP/1.1", "Host: gateway"]
    if aim is not None:
        name = "Authorization" if target.startswith("/client/") else "cf-aig-authorization"
        lines.append(f"{name}: Bearer {aim.token}")
    if body is not None:
        lines.append("Content-Type: application/json")
        if measured:
            lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def raw(target: str, lines: bytes, body: bytes = b"", method: str = "POST", aim: Aim | None = None) -> bytes:
    """A request with field lines that no client would send; each of them brings its own end."""
    return request(target, fields=(), method=method, aim=aim)[:-2] + lines + b"\r\n" + body


def encoded(fields: Mapping[str, Any] | list[Any]) -> bytes:
    return json.dumps(fields).encode()


def word(rng: Random, least: int = 1, most: int = 12, letters: str = "abcdefghijklmnopqrstuvwxyz0123456789-") -> str:
    return "".join(rng.choices(letters, k=rng.randint(least, most)))


def refused(data: bytes, right: str = "") -> Case:
    """Answered once, and then the connection is closed: nothing more on it is believed."""
    return Case((data,), right, until_end=True)


def asked(data: bytes, right: str = "") -> Case:
    """Answered once."""
    return Case((data,), right)
