"""Fuzzes the management API of a server of its own, and looks whether it came through."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from requests import Session

from bench.contenders import FAMILY, SLUICE, build, make_token
from bench.fuzz.account import DEADLINE_S, Account
from bench.machine import BenchFault, Program, free_port

LEAST_DONE: Final = 0.1
"""Of all calls at least so many must come as far as a 200, lest only refusals be tried."""


class Caller(Protocol):
    """Calls one gateway."""

    def run(self, calls: int, between: Callable[[], None]) -> Account: ...


def fuzz_served(data: Path, calls: int, caller: Callable[[str, Mapping[str | None, int]], Caller]) -> Account:
    """`caller` is given the URL, and how often which token is to be offered.

    Raises BenchFault for whatever is not as the description has it, and where a process failed or died.
    """
    port = free_port()
    command = [*SLUICE, "serve", "--data", str(data), "--port", str(port), "--simulate"]
    log = data.with_suffix(".log")
    with Program(command, None, log, build()) as program, Session() as session:
        program.wait_for_port(port)
        program.wait_for_family(FAMILY)
        before = {title: program.family()[title] for title in FAMILY}
        session.trust_env = False
        url, admin = f"http://127.0.0.1:{port}", make_token(data)
        calling = caller(url, _tokens(session, url, admin))
        _talk(session, url, admin)
        account = calling.run(calls, lambda: _talk(session, url, admin))
        after = program.family()
    died = [title for title, pid in before.items() if after.get(title) != pid]
    faults = list(_faults(log.read_text(errors="replace").splitlines()))
    if account.wrong or died or faults:
        raise BenchFault(f"{account}\ndied: {died}\nfaults in the process log: {len(faults)}, as {faults[:3]}")
    if account.statuses[200] < calls * LEAST_DONE:
        raise BenchFault(f"too few calls came through to prove anything: {account}")
    return account


def _tokens(session: Session, url: str, admin: str) -> dict[str | None, int]:
    """How often each of several callers calls."""
    made = [_token(session, url, admin, permission) for permission in ("read", "metadata_read", "run")]
    return {admin: 20, **dict.fromkeys(made, 1), "sluice_unknown": 1, None: 1}


def _token(session: Session, url: str, admin: str, permission: str) -> str:
    answer = session.post(
        f"{url}/client/v4/accounts/local/ai-gateway/tokens",
        json={"permissions": [permission]},
        headers={"authorization": f"Bearer {admin}"},
        timeout=DEADLINE_S,
    )
    if answer.status_code != 200:
        raise BenchFault(f"no token could be made: HTTP {answer.status_code}")
    token: str = answer.json()["result"]["token"]
    return token


def _talk(session: Session, url: str, admin: str) -> None:
    """A call of a model, so that there is a log again."""
    session.post(
        f"{url}/v1/local/default/openai/v1/chat/completions",
        json={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]},
        headers={"cf-aig-authorization": f"Bearer {admin}"},
        timeout=DEADLINE_S,
    )


def _faults(lines: list[str]) -> Iterator[str]:
    """What the processes say that they should never have to say."""
    for line in lines:
        said: Any = json.loads(line) if line.startswith("{") else {}
        if "Traceback" in line or said.get("level") in ("error", "critical"):
            yield line[:300]
