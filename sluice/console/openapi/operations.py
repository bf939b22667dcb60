"""Every path that the console serves: what it takes and answers. A handler without a row here fails a test."""

from typing import Any, Final

import msgspec

from sluice.console.call import Handler
from sluice.console.envelope import CountedPageInfo
from sluice.console.openapi.operation import TEXTS, Operation, Parameter, Schema, bare, one, page, raw
from sluice.console.paging import Paging
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
from sluice.insight.logs import LogDetail, LogRow
from sluice.values.custom_config import CustomCostConfig, CustomProviderConfig
from sluice.values.log_filter import KEYS, MOST_FILTERS, OPERATORS

_FILTERS: Final[Schema] = {
    "type": "array",
    "maxItems": MOST_FILTERS,
    "items": {
        "type": "object",
        "properties": {
            "key": {"enum": list(KEYS)},
            "operator": {"enum": list(OPERATORS)},
            "value": {"type": ["array", "string", "number", "boolean", "null"]},
        },
        "required": ["key", "operator", "value"],
    },
}
_FILTERED: Final = Parameter("filters", "Only logs that all of these fit", _FILTERS, as_json=True)
_BEFORE: Final = tuple(
    Parameter(name, "Of before `filters`")
    for name in (
        *("success", "cached", "model", "model_type", "provider", "request_content_type", "response_content_type"),
        *("min_cost", "max_cost", "min_duration", "max_duration", "min_tokens_in", "max_tokens_in"),
        *("min_tokens_out", "max_tokens_out", "min_total_tokens", "max_total_tokens"),
        *("start_date", "end_date", "feedback"),
    )
)
_GROUPED: Final = (
    Parameter("group_by", "Dimensions: gateway, provider, model, status_code, cached, metadata.<key>", TEXTS),
    Parameter("gateway", "Only of these gateways", TEXTS),
    Parameter("provider", "Only of these providers", TEXTS),
    Parameter("model", "Only of these models", TEXTS),
)


class GraphError(msgspec.Struct, frozen=True):
    message: str
    extensions: dict[str, Any] = {}


class GraphReply(msgspec.Struct, frozen=True):
    """As GraphQL has it."""

    data: dict[str, Any] | None
    errors: list[GraphError] | None


class Wanted(msgspec.Struct, frozen=True):
    wanted: int


OPERATIONS: Final[dict[Handler, Operation]] = {
    plain.front: Operation(does="What this is", answers=raw("text/plain")),
    plain.metrics: Operation(does="Counters of all processes, for Prometheus", answers=raw("text/plain")),
    gateways.listing: Operation(does="Lists gateways", query=gateways.GatewayList, answers=page(gateways.ShownGateway)),
    gateways.create: Operation(does="Makes a gateway", body=gateways.NewGateway, answers=one(gateways.ShownGateway)),
    gateways.get: Operation(does="Shows a gateway", answers=one(gateways.ShownGateway)),
    gateways.update: Operation(
        does="Changes what the body names of a gateway", body=gateways.GatewayChange, answers=one(gateways.ShownGateway)
    ),
    gateways.delete: Operation(does="Deletes a gateway with its logs and tokens", answers=one(gateways.ShownGateway)),
    gateways.provider_url: Operation(does="The URL under which clients reach a provider", answers=one(str)),
    logs.listing: Operation(
        does="Lists logs",
        query=logs.LogList,
        more=(_FILTERED, *_BEFORE),
        answers=page(LogRow, logs.LogPageInfo, logs.ExtremesInfo, logs.BodySearchInfo),
    ),
    log_changes.delete: Operation(
        does="Deletes logs with their bodies",
        query=log_changes.LogDelete,
        more=(_FILTERED,),
        answers=bare(log_changes.Deleted),
    ),
    log_changes.reprice: Operation(
        does="Prices some of the logs of a time anew", body=log_changes.Reprice, answers=one(log_changes.Repriced)
    ),
    logs.get: Operation(does="Shows a log", answers=one(LogDetail)),
    log_changes.edit: Operation(
        does="Sets feedback, score and metadata of a log", body=log_changes.LogEdit, answers=one(dict[str, Any])
    ),
    logs.request_body: Operation(does="The request's body as it was sent", answers=raw("*/*")),
    logs.response_body: Operation(does="The reply's body as it was sent", answers=raw("*/*")),
    provider_configs.listing: Operation(
        does="Lists provider keys", query=Paging, answers=page(provider_configs.ShownConfig)
    ),
    provider_configs.create: Operation(
        does="Stores a provider key",
        body=provider_configs.WantedConfig,
        answers=one(provider_configs.ShownConfig),
    ),
    provider_configs.update: Operation(
        does="Puts another key in the place of one, or makes it the default",
        body=provider_configs.ConfigChange,
        answers=one(provider_configs.ShownConfig),
    ),
    provider_configs.delete: Operation(does="Deletes a provider key", answers=one(provider_configs.ShownConfig)),
    tokens.listing: Operation(does="Lists tokens", query=Paging, answers=page(tokens.ShownToken)),
    tokens.create: Operation(does="Makes a token", body=tokens.WantedToken, answers=one(tokens.ShownToken)),
    tokens.rotate: Operation(
        does="Gives a token another text and tells it", body=tokens.WantedRotation, answers=one(tokens.ShownToken)
    ),
    tokens.delete: Operation(does="Revokes a token", answers=one(tokens.ShownToken)),
    custom_providers.listing: Operation(
        does="Lists custom providers",
        query=custom_providers.ProviderList,
        answers=page(custom_providers.ShownProvider, CountedPageInfo),
    ),
    custom_providers.create: Operation(
        does="Makes a custom provider",
        body=CustomProviderConfig,
        answers=one(custom_providers.ShownProvider),
        refuses=(409,),
    ),
    custom_providers.get: Operation(does="Shows a custom provider", answers=one(custom_providers.ShownProvider)),
    custom_providers.update: Operation(
        does="Changes what the body names of a custom provider",
        body=CustomProviderConfig,
        partial=True,
        answers=one(custom_providers.ShownProvider),
        refuses=(409,),
    ),
    custom_providers.delete: Operation(
        does="Deletes a custom provider with the prices of its models", answers=one(custom_providers.ShownProvider)
    ),
    custom_costs.listing: Operation(
        does="Lists the prices of custom providers' models",
        query=custom_costs.CostList,
        answers=page(custom_costs.ShownCost, CountedPageInfo),
    ),
    custom_costs.create: Operation(
        does="Says what models of a custom provider cost",
        body=CustomCostConfig,
        answers=one(custom_costs.ShownCost),
    ),
    custom_costs.get: Operation(does="Shows a price", answers=one(custom_costs.ShownCost)),
    custom_costs.update: Operation(
        does="Changes what the body names of a price",
        body=CustomCostConfig,
        partial=True,
        answers=one(custom_costs.ShownCost),
    ),
    custom_costs.delete: Operation(does="Deletes a price", answers=one(custom_costs.ShownCost)),
    accounts.usage: Operation(does="What the account may have and has stored", answers=one(accounts.ShownUsage)),
    spend.spent: Operation(
        does="What is spent and left of a gateway's spend limits",
        query=spend.SpendQuery,
        answers=one(list[spend.SpentUnder]),
    ),
    analytics.of_gateway: Operation(
        does="Requests, tokens, cost, errors and speed of a gateway over time",
        query=analytics.Asked,
        more=_GROUPED,
        answers=one(analytics.ShownRollup),
    ),
    analytics.of_account: Operation(
        does="Those of all gateways of the account",
        query=analytics.Asked,
        more=_GROUPED,
        answers=one(analytics.ShownRollup),
    ),
    graphql.query: Operation(
        does="Cloudflare's GraphQL Analytics API, as far as it is about gateways",
        body=graphql.GraphQuery,
        answers=bare(GraphReply),
        problem=graphql.GraphRefusal,
    ),
    accounts.listing: Operation(does="Lists accounts", query=Paging, answers=page(accounts.ShownAccount)),
    accounts.create: Operation(does="Makes an account", body=accounts.NewAccount, answers=one(accounts.ShownAccount)),
    accounts.get: Operation(does="Shows an account", answers=one(accounts.ShownAccount)),
    accounts.update: Operation(
        does="Changes what the body names of an account",
        body=accounts.AccountChange,
        answers=one(accounts.ShownAccount),
    ),
    accounts.delete: Operation(
        does="Deletes an account with everything that it has", answers=one(accounts.ShownAccount)
    ),
    cache.clear_account: Operation(
        does="Clears the reply caches of all gateways of an account", answers=one(cache.Cleared)
    ),
    cache.clear_gateway: Operation(does="Clears the reply cache of a gateway", answers=one(cache.Cleared)),
    internal.ensure_default: Operation(
        does="Makes the gateway `default` where it is missing", answers=one(internal.MadeGateway)
    ),
    internal.want_prices: Operation(
        does="Notes models whose price is to be looked up", body=internal.Unpriced, answers=one(Wanted)
    ),
}
