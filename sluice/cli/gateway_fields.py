"""What of a gateway can be set on the command line: options, and the fields of the management API they stand for."""

import json
import re
from collections.abc import Callable, Mapping
from typing import IO, Any, Final, TypeVar

import click

from sluice.cli.options import SPAN_UNITS_S, seconds
from sluice.values.caching import LONGEST_TTL_S, SHORTEST_TTL_S
from sluice.values.gateway import GatewayConfig

F = TypeVar("F", bound=Callable[..., Any])

OFF: Final = "none"


def gateway_options(function: F) -> F:
    """The options that set fields of a gateway, which `fields` reads."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def fields(given: Mapping[str, Any]) -> dict[str, object]:
    """The fields of the API that the options in `given` name, what is not None alone; `--set` wins."""
    wanted: dict[str, object] = {}
    for option, value in given.items():
        if value is not None and option in _FIELDS:
            wanted |= _FIELDS[option](value)
    if given["spend_limit"] and given["spend_limits"] is not None:
        raise click.UsageError("Say --spend-limit or --spend-limits, not both.")
    return wanted


def _cache_ttl(ctx: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    if text is None or text == OFF:
        return None if text is None else 0
    ttl_s = seconds(text)
    if ttl_s and not SHORTEST_TTL_S <= ttl_s <= LONGEST_TTL_S:
        raise click.BadParameter(f"{text!r}: {SHORTEST_TTL_S}s to {LONGEST_TTL_S // SPAN_UNITS_S['d']}d, or {OFF}")
    return ttl_s


def _rate_limit(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None or text == OFF:
        return None if text is None else (0, 0)
    count, _, span = text.partition("/")
    if not (count.isdecimal() and int(count) and span and seconds(span)):
        raise click.BadParameter(f"{text!r}: requests in a time, as 100/60s or 5000/24h, or {OFF}")
    return int(count), seconds(span)


def _spend_limit(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, object] | None:
    """Rules for all calls together. A rule is named by its window, so that its sum outlives another limit."""
    if not texts or texts == (OFF,):
        return {"enabled": False, "rules": []} if texts else None
    rules = []
    for text in texts:
        usd, _, span = text.partition("/")
        if not (re.fullmatch(r"\d+(\.\d+)?", usd) and span and seconds(span)):
            raise click.BadParameter(f"{text!r}: USD in a time, as 0.5/60m or 100/30d, or {OFF}")
        window = seconds(span)
        rules.append({"id": f"per-{window}s", "limit": float(usd), "limitType": "cost", "window": window})
    return {"enabled": True, "rules": rules}


def _spend_limits(ctx: click.Context, parameter: click.Parameter, file: IO[str] | None) -> object:
    """Rules in a file: a list of them is in force."""
    if file is None:
        return None
    try:
        found = json.load(file)
    except ValueError as error:
        raise click.BadParameter(f"{file.name} is no JSON: {error}") from error
    return {"enabled": True, "rules": found} if isinstance(found, list) else found


def _assigned(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, object]:
    assigned = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (sign and name):
            raise click.BadParameter(f"{text!r}: a field, = and its value, as retry_max_attempts=3")
        if name not in GatewayConfig.__struct_fields__:
            raise click.BadParameter(f"{name!r} is no field of a gateway: `sluice gateway get` shows all.")
        try:
            assigned[name] = json.loads(value)
        except ValueError:
            assigned[name] = value
    return assigned


_FIELDS: Final[dict[str, Callable[[Any], dict[str, object]]]] = {
    "authentication": lambda on: {"authentication": on},
    "collect_logs": lambda on: {"collect_logs": on},
    "cache_ttl": lambda ttl_s: {"cache_ttl": ttl_s},
    "rate_limit": lambda rate: {"rate_limiting_limit": rate[0], "rate_limiting_interval": rate[1]},
    "rate_limit_technique": lambda technique: {"rate_limiting_technique": technique},
    "spend_limit": lambda limits: {"spend_limits": limits},
    "spend_limits": lambda limits: {"spend_limits": limits},
    "byok_only": lambda on: {"byok_only": on},
    "assigned": dict,
}

_OPTIONS: Final = (
    click.option(
        "--authentication/--open",
        default=None,
        help="Whether clients need a token, or whoever reaches the port may call.",
    ),
    click.option("--logs/--no-logs", "collect_logs", default=None, help="Whether calls are logged."),
    click.option(
        "--cache-ttl", callback=_cache_ttl, metavar="SPAN", help="How long replies are kept: 90s, 5m, 24h; none is off."
    ),
    click.option(
        "--rate-limit", callback=_rate_limit, metavar="N/SPAN", help="Requests in a time: 100/60s; none is off."
    ),
    click.option(
        "--rate-limit-technique",
        type=click.Choice(["fixed", "sliding"]),
        help="Whether windows follow one another, or any stretch of that length is one.",
    ),
    click.option(
        "--spend-limit",
        callback=_spend_limit,
        multiple=True,
        metavar="USD/SPAN",
        help="Money that all calls may cost in a time: 100/30d; several times for several; none is off. "
        "Replaces all rules.",
    ),
    click.option(
        "--spend-limits",
        type=click.File("r"),
        callback=_spend_limits,
        metavar="FILE",
        help="A JSON file with the rules of spend limits, which replace all there are; - is stdin.",
    ),
    click.option(
        "--byok-only/--no-byok-only", default=None, help="Whether the operator's own keys of providers are not used."
    ),
    click.option(
        "--set",
        "assigned",
        callback=_assigned,
        multiple=True,
        metavar="FIELD=VALUE",
        help="Any other field of the management API, its value as JSON: --set retry_max_attempts=3.",
    ),
)
