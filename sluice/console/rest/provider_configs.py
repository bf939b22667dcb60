"""Stored provider keys of a gateway (contract 9.9). Their texts come in and never go out."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from sluice.console.call import Call
from sluice.console.envelope import invalid, iso_ms, not_found, reply, reply_page
from sluice.console.paging import Paging
from sluice.console.parsing import parse_body, parse_query
from sluice.providers.registry import canonical
from sluice.storage.ports import NotThere, TooMany
from sluice.storage.provider_keys import AliasTaken, DefaultTaken, NewProviderKey, ProviderKeyChange
from sluice.values.credential import ProviderConfig
from sluice.values.custom_provider import is_custom
from sluice.values.secret import Secret

Alias = Annotated[str, Meta(pattern=r"^[!-~](?:[ -~]{0,62}[!-~])?\Z")]
"""What a header can say."""
Text = Annotated[str, Meta(min_length=1, max_length=16_384)]


class WantedConfig(msgspec.Struct, frozen=True):
    alias: Alias
    default_config: bool
    provider_slug: str
    secret: Text | None = None
    secret_id: Annotated[str, Meta(max_length=256)] | None = None
    rate_limit: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    rate_limit_period: Annotated[int, Meta(ge=1, le=31_536_000)] = 60
    """Seconds."""


class ConfigChange(msgspec.Struct, frozen=True):
    """`default_config` is ours: without it no key could take over from another without a gap."""

    secret: Text | None = None
    default_config: bool = False


class ShownConfig(msgspec.Struct, frozen=True):
    id: str
    alias: str
    default_config: bool
    gateway_id: str
    provider_slug: str
    secret_id: str
    secret_preview: str
    rate_limit: int | UnsetType
    rate_limit_period: int | UnsetType
    modified_at: str


async def create(call: Call) -> Response:
    wanted = parse_body(await call.body(), WantedConfig)
    slug = wanted.provider_slug.lower()
    if slug not in call.desk.providers and not await _is_brought(call, slug):
        raise invalid(call.desk.no_provider(slug), "body", "provider_slug")
    new = NewProviderKey(
        canonical(slug),
        wanted.alias,
        wanted.default_config,
        _secret(wanted.secret),
        wanted.secret_id or "",
        wanted.rate_limit,
        wanted.rate_limit_period,
    )
    try:
        made = await call.desk.ask(call.desk.keys.create, call.account, call.gateway, new)
    except NotThere:
        raise not_found() from None
    except AliasTaken:
        raise invalid(f"{new.provider} has a key with this alias already", "body", "alias") from None
    except DefaultTaken as taken:
        said = f"{new.provider} has a default already, the key with the alias '{taken.alias}'"
        raise invalid(said, "body", "default_config") from None
    except TooMany as refused:
        raise invalid(f"A gateway may have no more than {refused.most} keys", "body") from None
    return reply(_shown(made))


async def listing(call: Call) -> Response:
    asked = parse_query(call.request.query_params, Paging)
    try:
        configs, total = await call.desk.ask(call.desk.keys.listed, call.account, call.gateway, asked.slice)
    except NotThere:
        raise not_found() from None
    return reply_page([_shown(config) for config in configs], asked.info(configs, total))


async def update(call: Call) -> Response:
    """A rotation, in force for every request that starts after the reply."""
    wanted = parse_body(await call.body(), ConfigChange)
    if wanted.secret is None and not wanted.default_config:
        raise invalid("Required", "body", "secret")
    secret = None if wanted.secret is None else _secret(wanted.secret)
    change = ProviderKeyChange(secret, wanted.default_config)
    try:
        changed = await call.desk.ask(call.desk.keys.change, call.account, call.gateway, call.named("config"), change)
    except NotThere:
        raise not_found() from None
    return reply(_shown(changed))


async def delete(call: Call) -> Response:
    try:
        gone = await call.desk.ask(call.desk.keys.delete, call.account, call.gateway, call.named("config"))
    except NotThere:
        raise not_found() from None
    return reply(_shown(gone))


async def _is_brought(call: Call, slug: str) -> bool:
    """Whether the account has brought this provider itself, and enabled it."""
    return is_custom(slug) and await call.desk.ask(call.desk.customs.enabled, call.account, slug) is not None


def _secret(given: str | None) -> Secret:
    """A key as it can stand in a header; of a JSON document, as some vendors have, the one line that it makes.

    There is no store of secrets beside this one, so a `secret_id` alone names nothing.
    """
    text = (given or "").strip()
    if not text:
        raise invalid("Required", "body", "secret")
    if text.startswith("{"):
        try:
            return Secret(msgspec.json.format(text, indent=-1))
        except msgspec.DecodeError:
            raise invalid("The document is not valid JSON", "body", "secret") from None
    if not text.isascii() or not text.isprintable():
        raise invalid("A key is printable ASCII on one line", "body", "secret")
    return Secret(text)


def _shown(config: ProviderConfig) -> ShownConfig:
    limited = config.rate_limit is not None
    return ShownConfig(
        id=config.id,
        alias=config.alias,
        default_config=config.is_default,
        gateway_id=config.gateway,
        provider_slug=config.provider,
        secret_id=config.secret_id,
        secret_preview=config.preview,
        rate_limit=UNSET if config.rate_limit is None else config.rate_limit,
        rate_limit_period=config.rate_limit_period_s if limited else UNSET,
        modified_at=iso_ms(config.modified_ms),
    )
