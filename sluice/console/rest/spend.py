"""What was spent under each rule of a gateway's spend limits, and what is left (ours)."""

import time

import msgspec
from starlette.responses import Response

from sluice.console.call import Call
from sluice.console.envelope import invalid, reply
from sluice.console.parsing import parse_query
from sluice.console.rest.gateways import require_gateway
from sluice.providers.registry import canonical
from sluice.values.gateway import limited_by
from sluice.values.limits import Metadata, SpendLimit
from sluice.values.log import NANO


class SpendQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose sums are meant, of rules that part them."""

    provider: str = ""
    model: str = ""
    metadata: str = "{}"
    """A JSON object, as `cf-aig-metadata` has it."""


class SpentUnder(msgspec.Struct, frozen=True):
    """USD; `spent` and `remaining` are null where the rule parts its sums by what was not asked for,
    or is not for what was."""

    id: str
    limit: float
    window: int
    technique: str
    spent: float | None
    remaining: float | None


async def spent(call: Call) -> Response:
    asked = parse_query(call.request.query_params, SpendQuery)
    metadata = _metadata(asked.metadata)
    record = await require_gateway(call)
    limited = limited_by(record.config)
    sums = [(rule, _bucket(rule, record.gateway.id, asked, metadata)) for rule in (limited.spend if limited else ())]
    known = [(rule, bucket) for rule, bucket in sums if bucket is not None]
    cells = await call.desk.read(call.desk.spend.spent, [bucket for _, bucket in known])
    now_us = time.time_ns() // 1000
    nano = {rule.id: rule.spent_of(some, now_us) for (rule, _), some in zip(known, cells, strict=True)}
    return reply([_told(rule, nano.get(rule.id)) for rule, _ in sums])


def _metadata(text: str) -> Metadata:
    try:
        return msgspec.json.decode(text, type=dict[str, str | int | float | bool])
    except msgspec.DecodeError:
        raise invalid("A JSON object of texts, numbers and booleans", "query", "metadata") from None


def _bucket(rule: SpendLimit, gateway: bytes, asked: SpendQuery, metadata: Metadata) -> bytes | None:
    call = rule.representative(canonical(asked.provider.lower()), asked.model, metadata)
    return None if call is None else rule.bucket(gateway, *call)


def _told(rule: SpendLimit, nano: int | None) -> SpentUnder:
    remaining = None if nano is None else max(rule.limit_nano - nano, 0) / NANO
    spent_usd = None if nano is None else nano / NANO
    return SpentUnder(rule.id, rule.limit_nano / NANO, rule.window_s, rule.technique, spent_usd, remaining)
