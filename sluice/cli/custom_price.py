"""`sluice custom-provider price` and `prices`: what models of an account's own providers cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click
import msgspec

from sluice.cli.custom_lookup import ShownProvider, customs_path, provider_of
from sluice.cli.operator import Operator, decoded
from sluice.cli.options import account_option, common, folder_settings, missing_account, print_json, print_table
from sluice.cli.printing import printable


class ShownCost(msgspec.Struct):
    id: str
    account_provider_id: str
    model: str
    model_rule: str
    cost_in: float | None
    cost_out: float | None
    enable: bool
    token_pricing: dict[str, float | None] | None = None


_MILLION: Final = 1_000_000
_KINDS: Final = {"cost_in": "input_tokens", "cost_out": "output_tokens"}
_USD: Final = click.FloatRange(0)


@click.command(short_help="Say what models of the custom provider SLUG cost.")
@click.argument("slug")
@click.argument("model")
@account_option
@click.option("--cost-in", type=_USD, help="USD for a million tokens read.")
@click.option("--cost-out", type=_USD, help="USD for a million tokens written.")
@click.option(
    "--rule",
    type=click.Choice(["equals", "starts-with", "contains"]),
    default="equals",
    show_default=True,
    help="How MODEL names the models.",
)
@common
def price(
    slug: str,
    model: str,
    account: str,
    cost_in: float | None,
    cost_out: float | None,
    rule: str,
    data: Path | None,
    as_json: bool,
) -> None:
    """Say what MODEL of the custom provider SLUG costs; a price that it has by the same rule is changed."""
    costs = {"cost_in": cost_in, "cost_out": cost_out}
    given = {side: round(cost / _MILLION, 15) for side, cost in costs.items() if cost is not None}
    if not given:
        raise click.UsageError("Say --cost-in or --cost-out, or both.")
    operator = Operator(folder_settings(data))
    provider = provider_of(operator, account, slug)
    path = f"{customs_path(account)}/costs"
    known = [
        one
        for one in _costs(operator, account)
        if (one.account_provider_id, one.model, one.model_rule) == (provider.id, model, rule)
    ]
    if known:
        result = operator.result("PATCH", f"{path}/{known[0].id}", {**given, **_in_force(known[0], given)})
    else:
        wanted = {"account_provider_id": provider.id, "model": model, "model_rule": rule, **given}
        result = operator.result("POST", path, wanted)
    if as_json:
        print_json(decoded(result))
    else:
        click.echo(f"{'Changed' if known else 'Set'} the price of {rule} {model} of custom-{provider.slug}.")


@click.command()
@account_option
@common
def prices(account: str, data: Path | None, as_json: bool) -> None:
    """List the prices of an account's custom providers, in USD for a million tokens."""
    operator = Operator(folder_settings(data))
    costs = _costs(operator, account)
    if as_json:
        print_json(costs)
        return
    listed = operator.pages(customs_path(account), missing=missing_account(account))
    slugs = {one.id: one.slug for one in (msgspec.json.decode(item, type=ShownProvider) for item in listed)}
    print_table(
        [
            (
                f"custom-{slugs.get(one.account_provider_id, '?')}",
                one.model_rule,
                _per_million(one.cost_in),
                _per_million(one.cost_out),
                "yes" if one.enable else "no",
                printable(one.model),
            )
            for one in costs
        ],
        ("PROVIDER", "RULE", "IN", "OUT", "ENABLED", "MODEL"),
        empty=f"No prices in account {account}: `sluice custom-provider price SLUG MODEL --cost-in USD` sets one.",
    )


def _in_force(known: ShownCost, given: Mapping[str, float]) -> dict[str, object]:
    """What else is to change for these prices of a side to count: a price of its kind of tokens would win."""
    winning = {_KINDS[side] for side in given}
    if winning.isdisjoint(known.token_pricing or {}):
        return {"enable": True}
    kinds = {kind: usd for kind, usd in (known.token_pricing or {}).items() if kind not in winning}
    return {"enable": True, "token_pricing": kinds or None}


def _costs(operator: Operator, account: str) -> list[ShownCost]:
    items = operator.pages(f"{customs_path(account)}/costs", missing=missing_account(account))
    return [msgspec.json.decode(item, type=ShownCost) for item in items]


def _per_million(usd_a_token: float | None) -> str:
    return "-" if usd_a_token is None else f"${usd_a_token * _MILLION:.6g}"
