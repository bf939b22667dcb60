"""The console's paths, and the way every request goes: who asks, may they, the handler, one last resort."""

import logging
from collections import defaultdict
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from sluice.console import unbuilt
from sluice.console.access import Caller, offered_tokens
from sluice.console.call import Call, Handler, Path
from sluice.console.desk import Desk
from sluice.console.envelope import (
    ApiError,
    internal_error,
    no_route,
    not_built,
    not_found,
    refusal,
    unauthenticated,
)
from sluice.console.openapi.description import Description
from sluice.console.openapi.operations import OPERATIONS
from sluice.console.rest import (
    accounts,
    analytics,
    cache,
    custom_costs,
    custom_providers,
    gateways,
    graphql,
    internal,
    log_changes,
    logs,
    plain,
    provider_configs,
    spend,
    tokens,
)
from sluice.journal import fields
from sluice.storage.ports import StoreFault
from sluice.values.ids import wall_ms
from sluice.values.tenancy import Token, token_digest

_log = logging.getLogger(__name__)

_ACCOUNT: Final = "/client/v4/accounts/{account}/ai-gateway"
_CUSTOM: Final = f"{_ACCOUNT}/custom-providers"
_GATEWAY: Final = f"{_ACCOUNT}/gateways/{{gateway}}"

PATHS: Final = (
    Path("GET", "/", plain.front, "nothing"),
    Path("GET", "/metrics", plain.metrics, "nothing"),
    Path("GET", f"{_ACCOUNT}/gateways", gateways.listing, "read"),
    Path("POST", f"{_ACCOUNT}/gateways", gateways.create, "edit"),
    Path("GET", _GATEWAY, gateways.get, "read"),
    Path("PUT", _GATEWAY, gateways.update, "edit"),
    Path("DELETE", _GATEWAY, gateways.delete, "edit"),
    Path("GET", f"{_GATEWAY}/url/{{provider}}", gateways.provider_url, "read"),
    Path("GET", f"{_GATEWAY}/logs", logs.listing, "metadata_read"),
    Path("DELETE", f"{_GATEWAY}/logs", log_changes.delete, "edit"),
    Path("POST", f"{_GATEWAY}/logs/reprice", log_changes.reprice, "edit"),
    Path("GET", f"{_GATEWAY}/logs/{{log}}", logs.get, "metadata_read"),
    Path("PATCH", f"{_GATEWAY}/logs/{{log}}", log_changes.edit, "edit"),
    Path("GET", f"{_GATEWAY}/logs/{{log}}/request", logs.request_body, "read"),
    Path("GET", f"{_GATEWAY}/logs/{{log}}/response", logs.response_body, "read"),
    Path("GET", f"{_GATEWAY}/provider_configs", provider_configs.listing, "read"),
    Path("POST", f"{_GATEWAY}/provider_configs", provider_configs.create, "edit"),
    Path("PUT", f"{_GATEWAY}/provider_configs/{{config}}", provider_configs.update, "edit"),
    Path("DELETE", f"{_GATEWAY}/provider_configs/{{config}}", provider_configs.delete, "edit"),
    Path("GET", f"{_ACCOUNT}/tokens", tokens.listing, "edit"),
    Path("POST", f"{_ACCOUNT}/tokens", tokens.create, "edit"),
    Path("PUT", f"{_ACCOUNT}/tokens/{{token}}/value", tokens.rotate, "edit"),
    Path("DELETE", f"{_ACCOUNT}/tokens/{{token}}", tokens.delete, "edit"),
    Path("GET", _CUSTOM, custom_providers.listing, "read"),
    Path("POST", _CUSTOM, custom_providers.create, "edit"),
    Path("GET", f"{_CUSTOM}/costs", custom_costs.listing, "read"),
    Path("POST", f"{_CUSTOM}/costs", custom_costs.create, "edit"),
    Path("GET", f"{_CUSTOM}/costs/{{cost}}", custom_costs.get, "read"),
    Path("PATCH", f"{_CUSTOM}/costs/{{cost}}", custom_costs.update, "edit"),
    Path("DELETE", f"{_CUSTOM}/costs/{{cost}}", custom_costs.delete, "edit"),
    Path("GET", f"{_CUSTOM}/{{provider}}", custom_providers.get, "read"),
    Path("PATCH", f"{_CUSTOM}/{{provider}}", custom_providers.update, "edit"),
    Path("DELETE", f"{_CUSTOM}/{{provider}}", custom_providers.delete, "edit"),
    Path("GET", f"{_ACCOUNT}/usage", accounts.usage, "read"),
    Path("GET", f"{_GATEWAY}/spend", spend.spent, "metadata_read"),
    Path("GET", f"{_GATEWAY}/analytics", analytics.of_gateway, "metadata_read"),
    Path("GET", f"{_ACCOUNT}/analytics", analytics.of_account, "metadata_read"),
    Path("POST", "/client/v4/graphql", graphql.query, "token", graphql.refusal),
    Path("GET", "/internal/accounts", accounts.listing, "operator"),
    Path("POST", "/internal/accounts", accounts.create, "operator"),
    Path("GET", "/internal/accounts/{account}", accounts.get, "operator"),
    Path("PATCH", "/internal/accounts/{account}", accounts.update, "operator"),
    Path("DELETE", "/internal/accounts/{account}", accounts.delete, "operator"),
    Path("DELETE", "/internal/accounts/{account}/cache", cache.clear_account, "operator"),
    Path("DELETE", "/internal/accounts/{account}/gateways/{gateway}/cache", cache.clear_gateway, "operator"),
    Path("PUT", "/internal/accounts/{account}/default-gateway", internal.ensure_default, "nothing"),
    Path("POST", "/internal/prices/wanted", internal.want_prices, "nothing"),
)


def create_app(desk: Desk, *, operator: bool) -> ASGIApp:
    """`operator`: whoever reaches this app needs no token, for only the operator can open its socket."""
    by_pattern: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    for path in (*PATHS, *_unbuilt_paths(), _description(operator)):
        by_pattern[path.pattern][path.method] = path
    routes = [Route(pattern, _Resource(desk, methods, operator)) for pattern, methods in by_pattern.items()]
    router = Router(routes, redirect_slashes=False, default=_no_route)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if b"%2f" in scope["raw_path"].lower():  # a name with a slash, of which there is none: no end of a name
            return await _no_route(scope, receive, send)
        bare = scope["path"].rstrip("/") or "/"  # a trailing slash is tolerated everywhere (contract 0.1)
        await router({**scope, "path": bare}, receive, send)

    return app


class _Resource:
    """Everything that can be done at one pattern."""

    def __init__(self, desk: Desk, methods: dict[str, Path], operator: bool) -> None:
        self._desk = desk
        self._methods = methods
        self._operator = operator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = self._methods.get("GET" if request.method == "HEAD" else request.method)
        if path is None:
            return refusal(ApiError(405, 7003, "Method not allowed"), {"allow": ", ".join(sorted(self._methods))})
        try:
            return await path.handler(Call(request, self._desk, await self._admit(request, path)))
        except ApiError as error:
            return path.refuse(error)
        except StoreFault as fault:
            _log.error("store fault", extra=fields(fault=str(fault), path=request.url.path))
            return path.refuse(internal_error())
        except Exception:
            _log.exception("management request failed", extra=fields(path=request.url.path))
            return path.refuse(internal_error())

    async def _admit(self, request: Request, path: Path) -> Caller:
        account, gateway = request.path_params.get("account"), request.path_params.get("gateway")
        if self._operator or path.need == "nothing":
            caller = Caller(None)
            if (
                path.need != "nothing"
                and account
                and not await self._desk.ask(self._desk.control.account_exists, account)
            ):
                raise not_found("There is no such account")
            return caller
        caller = Caller(await self._token(request))
        caller.require(path.need, account, gateway)
        return caller

    async def _token(self, request: Request) -> Token:
        now_ms = wall_ms()
        for text in offered_tokens(request.headers):
            token = await self._desk.ask(self._desk.control.token, token_digest(text))
            if token and (token.expires_ms is None or token.expires_ms > now_ms):
                return token
        raise unauthenticated()


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    await refusal(no_route())(scope, receive, send)


def _description(operator: bool) -> Path:
    """The path that tells of all others that its caller can reach."""
    built = [(path, OPERATIONS[path.handler]) for path in PATHS if _is_reached(path, operator)]
    return Description([*built, *((path, None) for path in _unbuilt_paths())]).path


def _is_reached(path: Path, operator: bool) -> bool:
    """Workers relay nothing that is internal."""
    return operator or not path.pattern.startswith("/internal/")


def _unbuilt_paths() -> list[Path]:
    """Paths of the contract that answer, to whom they may, that they are not there yet."""
    return [
        Path(method, pattern, _unbuilt_handler(what), "read")
        for methods, stem, what in unbuilt.PATHS
        for method in methods
        for pattern in ((stem, f"{stem}/{{rest:path}}") if methods == unbuilt.ANY else (stem,))
    ]


def _unbuilt_handler(what: str) -> Handler:
    async def refuse(call: Call) -> Response:
        raise not_built(what)

    return refuse
