"""What the models of custom providers cost (contract 9.8)."""

from starlette.responses import Response

from sluice.console.call import Call
from sluice.console.envelope import ApiError, invalid, iso_ms, not_found, reply
from sluice.console.paging import Paging, reply_pages
from sluice.console.parsing import merge_body, parse_body, parse_query
from sluice.storage.custom_ports import UnknownProvider
from sluice.storage.ports import NotThere, TooMany
from sluice.values.custom_config import CustomCostConfig, CustomCostRecord, ModelRule


class CostList(Paging, frozen=True):
    enable: bool | None = None
    account_provider_id: str | None = None
    model_rule: ModelRule | None = None
    cost_type: str | None = None
    search: str = ""
    """In id and model."""


class ShownCost(CustomCostConfig, frozen=True, kw_only=True):
    """A price as the API shows it."""

    id: str
    account_id: str
    account_tag: str
    created_at: str
    modified_at: str


async def create(call: Call) -> Response:
    config = _priced(parse_body(await call.body(), CustomCostConfig))
    try:
        record = await call.desk.ask(call.desk.customs.create_cost, call.account, config)
    except UnknownProvider:
        raise _no_provider() from None
    except TooMany as refused:
        raise invalid(f"The account may have no more than {refused.most} prices", "body") from None
    return reply(_shown(call, record))


async def listing(call: Call) -> Response:
    asked = parse_query(call.request.query_params, CostList)
    records = await call.desk.ask(call.desk.customs.costs, call.account)
    return reply_pages([one for one in records if _fits(one, asked)], asked, lambda record: _shown(call, record))


async def get(call: Call) -> Response:
    record = await call.desk.ask(call.desk.customs.cost, call.account, call.named("cost"))
    if record is None:
        raise not_found()
    return reply(_shown(call, record))


async def update(call: Call) -> Response:
    body = await call.body()

    def change(present: CustomCostConfig) -> CustomCostConfig:
        return _priced(merge_body(body, present, CustomCostConfig))

    try:
        record = await call.desk.ask(call.desk.customs.change_cost, call.account, call.named("cost"), change)
    except UnknownProvider:
        raise _no_provider() from None
    except NotThere:
        raise not_found() from None
    return reply(_shown(call, record))


async def delete(call: Call) -> Response:
    try:
        record = await call.desk.ask(call.desk.customs.delete_cost, call.account, call.named("cost"))
    except NotThere:
        raise not_found() from None
    return reply(_shown(call, record))


def _priced(config: CustomCostConfig) -> CustomCostConfig:
    if config.prices_nothing:
        raise invalid("cost_in, cost_out or a price in token_pricing is needed", "body")
    return config


def _fits(record: CustomCostRecord, asked: CostList) -> bool:
    config = record.config
    return (
        asked.enable in (None, config.enable)
        and asked.account_provider_id in (None, config.account_provider_id)
        and asked.model_rule in (None, config.model_rule)
        and asked.cost_type in (None, config.cost_type)
        and any(asked.search.lower() in text.lower() for text in (record.id, config.model))
    )


def _shown(call: Call, record: CustomCostRecord) -> ShownCost:
    return ShownCost(
        **{name: getattr(record.config, name) for name in CustomCostConfig.__struct_fields__},
        id=record.id,
        account_id=call.account,
        account_tag=call.account,
        created_at=iso_ms(record.created_ms),
        modified_at=iso_ms(record.modified_ms),
    )


def _no_provider() -> ApiError:
    return ApiError(404, 1004, "There is no such custom provider", ("body", "account_provider_id"))
