"""Gateways (contract 9.2) and the URLs under which their providers are reached (9.3)."""

import re
import uuid
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.responses import Response

from sluice.console.call import Call
from sluice.console.envelope import invalid, iso_ms, not_found, reply, reply_page
from sluice.console.paging import Paging
from sluice.console.parsing import merge_body, parse_body, parse_query
from sluice.console.rest.spend_rules import with_rule_ids
from sluice.console.unbuilt import refuse_unbuilt_fields
from sluice.insight.logpush import Sealer, WrongKey
from sluice.storage.ports import AlreadyThere, NotThere, TooMany
from sluice.values.custom_provider import is_custom
from sluice.values.entitlement import least
from sluice.values.gateway import Count, GatewayConfig, GatewayRecord
from sluice.values.tenancy import NAME_PATTERN

GATEWAY_NAME = rf"^{NAME_PATTERN}\Z"
UNIVERSAL = "universal"
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")


class NewGateway(GatewayConfig, frozen=True, kw_only=True):
    """What must be said of a new gateway, beside what may be."""

    id: Annotated[str, Meta(pattern=GATEWAY_NAME)]
    cache_invalidate_on_update: bool
    cache_ttl: Count | None
    collect_logs: bool
    rate_limiting_interval: Count | None
    rate_limiting_limit: Count | None


class GatewayChange(GatewayConfig, frozen=True, kw_only=True):
    """A gateway's fields as they are to be. `is_default` may be sent back; it follows from the id."""

    is_default: bool | None = None


class GatewayList(Paging, frozen=True):
    search: str = ""


class ShownGateway(GatewayConfig, frozen=True, kw_only=True):
    """A gateway as the API shows it (contract B.5)."""

    id: str
    account_id: str
    account_tag: str
    internal_id: str
    is_default: bool
    created_at: str
    modified_at: str


async def create(call: Call) -> Response:
    new = parse_body(await call.body(), NewGateway)
    config = with_rule_ids(_settled(new), ())
    _allowed(config, await _most_rows(call))
    _pushable(call, config, pushes=False)
    try:
        record = await call.desk.ask(call.desk.control.create_gateway, call.account, new.id, config)
    except AlreadyThere:
        raise invalid("A gateway with this id exists already", "body", "id") from None
    except TooMany as refused:
        raise invalid(f"The account may have no more than {refused.most} gateways", "body", "id") from None
    return reply(_shown(record))


async def listing(call: Call) -> Response:
    asked = parse_query(call.request.query_params, GatewayList)
    records, total = await call.desk.ask(call.desk.control.gateways, call.account, asked.slice, asked.search)
    return reply_page([_shown(record) for record in records], asked.info(records, total))


async def get(call: Call) -> Response:
    return reply(_shown(await require_gateway(call)))


async def update(call: Call) -> Response:
    body = await call.body()
    most = await _most_rows(call)

    def change(present: GatewayConfig) -> GatewayConfig:
        given = _settled(merge_body(body, present, GatewayChange))
        config = _allowed(with_rule_ids(given, present.spend_limits.rules if present.spend_limits else ()), most)
        return _pushable(call, config, pushes=present.logpush)

    try:
        record = await call.desk.ask(call.desk.control.change_gateway, call.account, call.gateway, change)
    except NotThere:
        raise not_found() from None
    return reply(_shown(record))


async def delete(call: Call) -> Response:
    try:
        record = await call.desk.ask(call.desk.control.delete_gateway, call.account, call.gateway)
    except NotThere:
        raise not_found() from None
    return reply(_shown(record))


async def provider_url(call: Call) -> Response:
    provider, server = call.named("provider"), call.desk.settings.server
    await require_gateway(call)
    if provider != UNIVERSAL and not (provider in call.desk.providers or await _is_own(call, provider)):
        raise not_found(call.desk.no_provider(provider))
    base = (
        server.public_url.rstrip("/")
        or _forwarded_origin(call.request.headers)
        or f"{'https' if server.tls_cert else 'http'}://{_reachable(server.host)}:{server.port}"
    )
    return reply(f"{base}/v1/{call.account}/{call.gateway}/{'' if provider == UNIVERSAL else provider}")


def _forwarded_origin(headers: Mapping[str, str]) -> str:
    """What a trusted proxy says it was asked by, and by what scheme; from no other would it come this far."""
    host = headers.get("x-forwarded-host", "").rpartition(",")[2].strip()
    scheme = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
    return f"{scheme}://{host}" if _HOST.fullmatch(host) and scheme in ("http", "https") else ""


async def _is_own(call: Call, provider: str) -> bool:
    """Whether it is a custom provider that can be called."""
    name = provider.lower()
    return is_custom(name) and await call.desk.ask(call.desk.customs.enabled, call.account, name) is not None


async def require_gateway(call: Call) -> GatewayRecord:
    record = await call.desk.ask(call.desk.control.gateway_record, call.account, call.gateway)
    if record is None:
        raise not_found()
    return record


async def _most_rows(call: Call) -> int | None:
    """How many logs a gateway of this account may be set to keep."""
    account = await call.desk.ask(call.desk.control.account, call.account)
    return None if account is None else least((account.entitlement.gateway_rows, account.entitlement.account_rows))


def _allowed(config: GatewayConfig, most_rows: int | None) -> GatewayConfig:
    if most_rows is not None and (config.log_management or 0) > most_rows:
        raise invalid(f"Number must be less than or equal to {most_rows}", "body", "log_management")
    return config


def _pushable(call: Call, config: GatewayConfig, *, pushes: bool) -> GatewayConfig:
    """Refuses what Logpush cannot do; one that `pushes` already may go on though its job is gone."""
    if not config.logpush:
        return config
    if not config.collect_logs:
        raise invalid("Logpush needs collect_logs", "body", "logpush")
    if not pushes and not any(job.account == call.account for job in call.desk.settings.logpush.values()):
        raise invalid("This account has no job of Logpush: the operator's settings name them", "body", "logpush")
    if config.logpush_public_key:
        try:
            Sealer(config.logpush_public_key)
        except WrongKey as wrong:
            raise invalid(f"Not a key to seal logs with: {wrong}", "body", "logpush_public_key") from None
    return config


def _settled(given: GatewayConfig) -> GatewayConfig:
    """The fields alone, as they are to be stored. Whatever this version cannot do is refused."""
    config = GatewayConfig(**{name: getattr(given, name) for name in GatewayConfig.__struct_fields__})
    refuse_unbuilt_fields(config)
    return msgspec.structs.replace(config, cache_ttl=config.cache_ttl or 0)


def _shown(record: GatewayRecord) -> ShownGateway:
    config, gateway = record.config, record.gateway
    return ShownGateway(
        **{name: getattr(config, name) for name in GatewayConfig.__struct_fields__},
        id=gateway.name,
        account_id=gateway.account,
        account_tag=gateway.account,
        internal_id=str(uuid.UUID(bytes=gateway.id)),
        is_default=record.is_default,
        created_at=iso_ms(record.created_ms),
        modified_at=iso_ms(record.modified_ms),
    )


def _reachable(host: str) -> str:
    """As it stands in a URL; of all addresses of this machine the one that it has itself."""
    known = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}
    return known.get(host, f"[{host}]" if ":" in host else host)
