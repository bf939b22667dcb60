"""Custom providers of an account (contract 9.8)."""

import base64
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta
from starlette.responses import Response

from sluice.console.call import Call
from sluice.console.envelope import ApiError, invalid, iso_ms, not_found, reply
from sluice.console.paging import Paging, reply_pages
from sluice.console.parsing import merge_body, parse_body, parse_query
from sluice.providers.custom import fault_of
from sluice.storage.ports import AlreadyThere, NotThere, TooMany
from sluice.upstream.addresses import is_inside
from sluice.values.custom_config import CustomProviderConfig, CustomProviderRecord
from sluice.values.custom_provider import parse_headers
from sluice.values.settings import CustomProviderSettings

HIDDEN: Final = "***"
"""In the place of a header's value, which may be a key, for who may not write it."""
LOGO: Final = base64.b64encode(
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2">'
    b'<rect x="3" y="4" width="18" height="7" rx="2"/><rect x="3" y="13" width="18" height="7" rx="2"/>'
    b'<path d="M7 7.5h.01M7 16.5h.01"/></svg>'
).decode()
"""All have the same."""
Order = Annotated[
    str, Meta(pattern=r"^(name|slug|created_at|modified_at|enable|beta|position)( (ASC|DESC|asc|desc))?\Z")
]


class ProviderList(Paging, frozen=True):
    beta: bool | None = None
    enable: bool | None = None
    search: str = ""
    """In id, name and slug."""
    order_by: Order = "name ASC"


class ShownProvider(CustomProviderConfig, frozen=True, kw_only=True):
    """A custom provider as the API shows it."""

    id: str
    account_id: str
    account_tag: str
    logo: str
    created_at: str
    modified_at: str


async def create(call: Call) -> Response:
    config = _with_headers(parse_body(await call.body(), CustomProviderConfig))
    _check_address(config.base_url, call.desk.settings.custom_providers)
    try:
        record = await call.desk.ask(call.desk.customs.create_provider, call.account, config)
    except NotThere:
        raise not_found("There is no such account") from None
    except AlreadyThere:
        raise _duplicate() from None
    except TooMany as refused:
        raise invalid(f"The account may have no more than {refused.most} custom providers", "body") from None
    return reply(_shown(call, record))


async def listing(call: Call) -> Response:
    asked = parse_query(call.request.query_params, ProviderList)
    fitting = [one for one in await call.desk.ask(call.desk.customs.providers, call.account) if _fits(one, asked)]
    column, _, direction = asked.order_by.partition(" ")
    fitting.sort(key=lambda one: _rank(one, column), reverse=direction.upper() == "DESC")
    return reply_pages(fitting, asked, lambda record: _shown(call, record))


async def get(call: Call) -> Response:
    record = await call.desk.ask(call.desk.customs.provider, call.account, call.named("provider"))
    if record is None:
        raise _missing()
    return reply(_shown(call, record))


async def update(call: Call) -> Response:
    body, rule = await call.body(), call.desk.settings.custom_providers

    def change(present: CustomProviderConfig) -> CustomProviderConfig:
        changed = merge_body(body, present, CustomProviderConfig)
        if changed.base_url != present.base_url:  # one that was allowed once may stay, and be changed otherwise
            _check_address(changed.base_url, rule)
        return _with_headers(changed)

    try:
        record = await call.desk.ask(call.desk.customs.change_provider, call.account, call.named("provider"), change)
    except NotThere:
        raise _missing() from None
    except AlreadyThere:
        raise _duplicate() from None
    return reply(_shown(call, record))


async def delete(call: Call) -> Response:
    try:
        record = await call.desk.ask(call.desk.customs.delete_provider, call.account, call.named("provider"))
    except NotThere:
        raise _missing() from None
    return reply(_shown(call, record))


def _check_address(base_url: str, rule: CustomProviderSettings) -> None:
    """Refuses an address that no call could be sent to. A name is resolved only when it is called."""
    fault = fault_of(base_url, allow_http=rule.allow_http)
    if fault is None and not rule.allow_private and is_inside(urlsplit(base_url).hostname or ""):
        fault = "The address is not public (the operator can allow it, by custom_providers.allow_private)"
    if fault is not None:
        raise ApiError(400, 1002, fault, ("body", "base_url"))


def _with_headers(config: CustomProviderConfig) -> CustomProviderConfig:
    """The same, once its headers can be sent."""
    try:
        parse_headers(config.headers or "{}")
    except ValueError as error:
        raise invalid(f"Headers {error}", "body", "headers") from None
    return config


def _fits(record: CustomProviderRecord, asked: ProviderList) -> bool:
    config = record.config
    texts = (record.id, config.name, config.slug)
    return (
        asked.beta in (None, config.beta)
        and asked.enable in (None, config.enable)
        and any(asked.search.lower() in text.lower() for text in texts)
    )


def _rank(record: CustomProviderRecord, column: str) -> tuple[str | int, str]:
    config = record.config
    ranks: dict[str, str | int] = {
        "name": config.name.lower(),
        "slug": config.slug.lower(),
        "created_at": record.created_ms,
        "modified_at": record.modified_ms,
        "enable": config.enable,
        "beta": config.beta,
        "position": config.position or 0,
    }
    return ranks[column], record.id


def _shown(call: Call, record: CustomProviderRecord) -> ShownProvider:
    config = record.config
    if config.headers and not call.caller.may("edit"):
        hidden = {name.decode(): HIDDEN for _, name, _ in parse_headers(config.headers)}
        config = msgspec.structs.replace(config, headers=msgspec.json.encode(hidden).decode())
    return ShownProvider(
        **{name: getattr(config, name) for name in CustomProviderConfig.__struct_fields__},
        id=record.id,
        account_id=call.account,
        account_tag=call.account,
        logo=LOGO,
        created_at=iso_ms(record.created_ms),
        modified_at=iso_ms(record.modified_ms),
    )


def _missing() -> ApiError:
    return ApiError(404, 1004, "There is no such custom provider")


def _duplicate() -> ApiError:
    return ApiError(409, 1003, "A custom provider with this slug exists already", ("body", "slug"))
