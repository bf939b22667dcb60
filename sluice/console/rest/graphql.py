"""POST /client/v4/graphql: Cloudflare's GraphQL Analytics API for what this gateway counts (contract 8.5)."""

import asyncio
import importlib
import time
from typing import Any, Final

import msgspec
from starlette.responses import Response

from sluice.console.call import Call
from sluice.console.envelope import ApiError
from sluice.console.parsing import parse_body, read_body
from sluice.console.rest.analytics import MOST_GATEWAYS
from sluice.storage.ports import Slice
from sluice.values.gateway import GatewayRecord

LARGEST_BODY: Final = 64 * 1024
_ANSWER: Final = "sluice.console.graphql.answer"
_GROUPS: Final = "sluice.console.graphql.groups"
"""Loaded with the first query: their library takes 0.1 s that a console's start need not wait for."""


class GraphQuery(msgspec.Struct, frozen=True):
    query: str
    variables: dict[str, Any] | None = None
    operation: str | None = msgspec.field(default=None, name="operationName")


class GraphProblem(msgspec.Struct, frozen=True):
    message: str
    extensions: dict[str, int]


class GraphRefusal(msgspec.Struct, frozen=True):
    errors: tuple[GraphProblem, ...]
    data: None = None


def refusal(error: ApiError) -> Response:
    """As GraphQL tells errors."""
    problem = GraphProblem(error.problem.message, {"code": error.problem.code})
    return _json(GraphRefusal((problem,)), error.status)


async def query(call: Call) -> Response:
    asked = parse_body(await read_body(call.request, LARGEST_BODY), GraphQuery)
    loop = asyncio.get_running_loop()
    control, budget_s = call.desk.control, call.desk.settings.console.query_timeout_s

    def gateways(account: str) -> list[GatewayRecord]:
        """Asked of the control store's own thread, by way of the loop."""
        listing = call.desk.ask(_gateways, account)
        return asyncio.run_coroutine_threadsafe(listing, loop).result(budget_s)

    def _gateways(account: str) -> list[GatewayRecord]:
        return control.gateways(account, Slice(0, MOST_GATEWAYS))[0] if control.account_exists(account) else []

    def run() -> tuple[dict[str, Any], bool]:
        answer, groups = importlib.import_module(_ANSWER), importlib.import_module(_GROUPS)
        context = groups.Context(
            call.caller, gateways, call.desk.analytics, call.desk.usage, time.monotonic() + budget_s
        )
        found: tuple[dict[str, Any], bool] = answer.answer(asked.query, asked.variables, asked.operation, context)
        return found

    body, failed = await call.desk.read(run)
    return _json(body, 500 if failed else 200)


def _json(content: object, status: int) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
