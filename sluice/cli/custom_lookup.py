"""An account's own providers, as commands find them."""

from urllib.parse import quote, urlencode

import click
import msgspec

from sluice.cli.operator import Operator
from sluice.cli.options import missing_account


class ShownProvider(msgspec.Struct):
    id: str
    slug: str
    name: str
    base_url: str
    enable: bool


def customs_path(account: str) -> str:
    return f"/client/v4/accounts/{quote(account, safe='')}/ai-gateway/custom-providers"


def provider_of(operator: Operator, account: str, slug: str) -> ShownProvider:
    """One by its slug, of which the case does not matter; one that is not there ends the command."""
    found = operator.result(
        "GET",
        f"{customs_path(account)}?{urlencode({'search': slug, 'per_page': 100})}",
        missing=missing_account(account),
    )
    for one in msgspec.json.decode(found, type=list[ShownProvider]):
        if one.slug.lower() == slug.lower():
            return one
    raise click.ClickException(
        f"There is no custom provider {slug} in account {account}: `sluice custom-provider list` shows all."
    )
