"""What holds for a request over a WebSocket: the gateway's setting, over it what the upgrade asks for, over that the
request's headers, over them its `config` (contract 2.4, 4.1). Every option that there is has a row here."""

import json
from itertools import product
from typing import Any, NamedTuple

import pytest

from sluice.edge.native import Names
from sluice.edge.options import OPTION_HEADERS, parse_options
from sluice.edge.session import Create, Session
from sluice.engine.planning import compile_plan
from sluice.values.request import DEFAULT_OPTIONS, Request, RetryPolicy

STEP = {"provider": "openai", "endpoint": "chat/completions", "query": {"model": "m"}}


class Row(NamedTuple):
    """An option as the upgrade, a request's header and its `config` ask for it, and what each comes to."""

    session: str
    own: object
    config: tuple[str, object] | None
    values: tuple[object, object, object]


ROWS: dict[str, Row] = {
    "cf-aig-collect-log": Row("false", True, ("collectLog", False), (False, True, False)),
    "cf-aig-collect-log-payload": Row("false", True, None, (False, True, None)),
    "cf-aig-event-id": Row("session", "own", ("eventId", "configured"), (b"session", b"own", b"configured")),
    "cf-aig-metadata": Row('{"a":1}', {"b": 2}, ("metadata", {"c": 3}), (b'{"a":1}', b'{"b":2}', b'{"c": 3}')),
    "cf-aig-custom-cost": Row(
        '{"total_cost":1}',
        {"total_cost": 2},
        ("customCost", {"total_cost": 3}),
        (b'{"total_cost":1}', b'{"total_cost":2}', b'{"total_cost": 3}'),
    ),
    "cf-aig-request-timeout": Row("1000", 2000, ("requestTimeout", 3000), (1000, 2000, 3000)),
    "cf-aig-byok-alias": Row("session", "own", None, ("session", "own", None)),
    "cf-aig-no-wholesale": Row("true", True, None, (True, True, None)),
    "cf-aig-max-attempts": Row("2", 3, ("maxAttempts", 4), (2, 3, 4)),
    "cf-aig-retry-delay": Row("10", 20, ("retryDelay", 30), (10, 20, 30)),
    "cf-aig-cache-ttl": Row("100", 200, ("cacheTtl", 300), (100, 200, 300)),
    "cf-cache-ttl": Row("100", 200, ("cacheTtl", 300), (100, 200, 300)),
    "cf-aig-skip-cache": Row("true", False, ("skipCache", True), (True, False, True)),
    "cf-skip-cache": Row("true", False, ("skipCache", True), (True, False, True)),
    "cf-aig-cache-key": Row("session", "own", ("cacheKey", "configured"), (b"session", b"own", b"configured")),
    "cf-aig-backoff": Row("linear", "exponential", ("backoff", "constant"), ("linear", "exponential", "constant")),
    "cf-aig-hops": Row("1", 2, None, (1, 2, None)),
}
CASES = [
    (header, *said)
    for header, row in ROWS.items()
    for said in product((False, True), (False, True), (False, True) if row.config else (False,))
]


def test_every_option_has_a_row():
    assert {name.encode() for name in ROWS} == set(OPTION_HEADERS)


def created(header: str, by_session: bool, by_header: bool, by_config: bool, **more: str) -> Create:
    row = ROWS[header]
    asked = {**more, **({header: row.session} if by_session else {})}
    options = parse_options({name.encode(): value.encode() for name, value in asked.items()})
    opening = Request("local", "default", b"t", "websocket", b"agent", options, (), "connection")
    step: dict[str, Any] = dict(STEP)
    if by_header:
        step["headers"] = {header: row.own}
    if by_config and row.config:
        step["config"] = dict([row.config])
    message = {"type": "universal.create", "request": step}
    made = Session(opening, Names()).read(json.dumps(message).encode())
    assert isinstance(made, Create)
    assert made.fault is None
    return made


@pytest.mark.parametrize(("header", "by_session", "by_header", "by_config"), CASES)
def test_what_is_nearest_to_the_request_holds(header: str, by_session: bool, by_header: bool, by_config: bool):
    field, _ = OPTION_HEADERS[header.encode()]
    session, own, config = ROWS[header].values
    [step] = created(header, by_session, by_header, by_config).steps
    held = getattr(step.options, field)
    if by_config:
        assert held == config
    elif by_header:
        assert held == own
    elif by_session:
        assert held == session
    elif field == "event_id":
        assert held  # one was made
    else:
        assert held == getattr(DEFAULT_OPTIONS, field)


RETRIES = {
    "cf-aig-max-attempts": "max_attempts",
    "cf-aig-retry-delay": "delay_ms",
    "cf-aig-backoff": "backoff",
}
SETTING = RetryPolicy(5, 50, "exponential")
TWICE = {"cf-aig-max-attempts": "2"}
"""So that there is something to wait for: without a second try no delay and no backoff is left."""


@pytest.mark.parametrize(
    ("header", "by_session", "by_header", "by_config"), [case for case in CASES if case[0] in RETRIES]
)
def test_the_gateways_setting_holds_where_nothing_else_is_said(
    header: str, by_session: bool, by_header: bool, by_config: bool
):
    field = RETRIES[header]
    said = by_session or by_header or by_config
    made = created(header, by_session, by_header, by_config, **({} if header in TWICE else TWICE if said else {}))
    [policy] = compile_plan(
        Request("local", "default", b"t", "websocket", b"", made.request.options, made.steps), SETTING
    ).policies
    session, own, config = ROWS[header].values
    expected = config if by_config else own if by_header else session if by_session else getattr(SETTING, field)
    assert getattr(policy, field) == expected
