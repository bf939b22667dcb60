"""Rules of spend limits over REST: their ids, and what a rule may say (contract 6.2)."""

import re
from typing import Any

import pytest

REQUIRED = {
    "cache_invalidate_on_update": True,
    "cache_ttl": 0,
    "collect_logs": True,
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
}
RULE = {"limit": 1.5, "limitType": "cost", "window": 3600}


@pytest.fixture
async def saved(console: Any) -> Any:
    """`await saved([rule])`: the rules as they are once the gateway `g` has them."""
    await console.operator.post("/gateways", json={"id": "g", **REQUIRED})

    async def save(rules: list[Any]) -> Any:
        change = {"spend_limits": {"enabled": True, "rules": rules}}
        return (await console.operator.put("/gateways/g", json=change)).json()["result"]["spend_limits"]["rules"]

    return save


async def test_a_new_rule_gets_an_id_and_what_is_not_said_of_it_is_the_default(saved: Any):
    (rule,) = await saved([RULE])
    assert re.fullmatch(r"[0-9a-f]{8}", rule.pop("id"))
    assert rule == {**RULE, "enabled": True, "technique": "sliding"}


async def test_a_rule_keeps_its_id_named_or_not_and_another_gets_one_of_its_own(saved: Any):
    first, second = await saved([RULE, {**RULE, "window": 60}])
    assert first["id"] != second["id"]
    assert await saved([first, second]) == [first, second]
    assert await saved([{**RULE, "window": 60}, RULE]) == [second, first]
    assert await saved([{**first, "limit": 9}]) == [{**first, "limit": 9}]
    (other,) = await saved([RULE])
    assert other["id"] != first["id"]


async def test_rules_of_a_new_gateway_have_ids(console: Any):
    body = {"id": "h", **REQUIRED, "spend_limits": {"enabled": True, "rules": [RULE, RULE]}}
    rules = (await console.operator.post("/gateways", json=body)).json()["result"]["spend_limits"]["rules"]
    assert len({rule["id"] for rule in rules}) == 2


@pytest.mark.parametrize(
    "rules",
    [
        [{**RULE, "id": "a"}, {**RULE, "id": "a"}],
        [{**RULE, "id": "a" * 65}],
        [{**RULE, "limit": 0}],
        [{**RULE, "window": 0}],
        [{**RULE, "model": {"mode": "filter"}}],
        [{**RULE, "model": {"mode": "filter", "values": []}}],
        [{**RULE, "provider": {"mode": "partition", "values": ["openai"]}}],
        [{**RULE, "metadata": {str(number): {"mode": "partition"} for number in range(6)}}],
        [RULE] * 21,
    ],
)
async def test_a_rule_that_cannot_be_is_refused(console: Any, problem: Any, rules: list[Any]):
    body = {"id": "h", **REQUIRED, "spend_limits": {"enabled": True, "rules": rules}}
    assert problem(await console.operator.post("/gateways", json=body))[:2] == (400, 7001)


async def test_providers_are_named_as_logs_have_them(saved: Any, console: Any, problem: Any):
    rule = {**RULE, "provider": {"mode": "filter", "values": ["google", "OpenAI", "custom-ours"]}}
    (kept,) = await saved([rule])
    assert kept["provider"]["values"] == ["google-ai-studio", "openai", "custom-ours"]
    assert await saved([rule]) == [kept]
    unknown = {"spend_limits": {"enabled": True, "rules": [{**RULE, "provider": {"mode": "filter", "values": ["no"]}}]}}
    answer = await console.operator.put("/gateways/g", json=unknown)
    assert (answer.status_code, "There is no provider 'no'" in answer.text) == (400, True)
