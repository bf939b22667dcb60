"""What is spent and left of spend limits, as the ledger of the keeper has it."""

import time
from contextlib import closing

from sluice.storage.embedded.spend import EmbeddedSpendLedger, Spent
from sluice.values.gateway import limited_by

CENT = 10_000_000
RULES = [
    {"id": "all", "limit": 1, "limitType": "cost", "window": 86_400},
    {
        "id": "users", "limit": 0.5, "limitType": "cost", "window": 3_600,
        "model": {"mode": "filter", "values": ["gpt-4o"]}, "metadata": {"user": {"mode": "partition"}},
    },
]  # fmt: skip


async def test_each_rule_tells_what_is_spent_and_left_of_it(console, settings):
    assert (await console.operator.get("/gateways/default/spend")).json()["result"] == []
    await console.operator.put("/gateways/default", json={"spend_limits": {"enabled": True, "rules": RULES}})
    record = console.control.gateway_record("local", "default")
    rules = limited_by(record.config).spend
    now_ms = time.time_ns() // 1_000_000
    calls = [
        ("gpt-4o", {"user": "ana"}, now_ms, 30 * CENT),
        ("gpt-4o", {"user": "bo"}, now_ms, 45 * CENT),
        ("other", {}, 0, CENT),
    ]
    calls += [("gpt-4o", {"user": "ana"}, now_ms - 2 * 3_600_000, 40 * CENT)]
    owed = [
        Spent(bucket, rule.window_s, ended_ms, nano)
        for model, metadata, ended_ms, nano in calls
        for rule in rules
        if (bucket := rule.bucket(record.gateway.id, "openai", (model,), metadata)) is not None
    ]
    with closing(EmbeddedSpendLedger.open(settings.data / "spend.db")) as ledger:
        ledger.settle(record.gateway.id, owed, {})
        told = (await console.operator.get("/gateways/default/spend")).json()["result"]
        ana = {"metadata": '{"user": "ana"}'}
        hers = (await console.operator.get("/gateways/default/spend", params=ana)).json()["result"]
        other = (await console.operator.get("/gateways/default/spend", params=ana | {"model": "other"})).json()[
            "result"
        ]
    assert told == [
        {"id": "all", "limit": 1, "window": 86_400, "technique": "sliding", "spent": 1.15, "remaining": 0},
        {"id": "users", "limit": 0.5, "window": 3_600, "technique": "sliding", "spent": None, "remaining": None},
    ]
    assert (hers[0], hers[1]["spent"], hers[1]["remaining"]) == (told[0], 0.3, 0.2)
    assert other == told


async def test_a_rule_that_parts_models_tells_of_the_one_that_is_named(console, settings):
    rule = {"id": "each", "limit": 1, "limitType": "cost", "window": 3_600, "model": {"mode": "partition"}}
    await console.operator.put("/gateways/default", json={"spend_limits": {"enabled": True, "rules": [rule]}})
    record = console.control.gateway_record("local", "default")
    (limit,) = limited_by(record.config).spend
    bucket = limit.bucket(record.gateway.id, "openai", ("gpt-4o",), {})
    with closing(EmbeddedSpendLedger.open(settings.data / "spend.db")) as ledger:
        ledger.settle(record.gateway.id, [Spent(bucket, 3_600, time.time_ns() // 1_000_000, 25 * CENT)], {})
        asked = [{"model": "gpt-4o"}, {"model": "gpt-4o-mini"}, {}]
        told = [(await console.operator.get("/gateways/default/spend", params=one)).json()["result"] for one in asked]
    assert [rule["spent"] for (rule,) in told] == [0.25, 0, None]


async def test_what_cannot_be_asked_is_refused(console, problem):
    await console.operator.put("/gateways/default", json={"spend_limits": {"enabled": True, "rules": RULES}})
    refused = await console.operator.get("/gateways/default/spend", params={"metadata": "[1]"})
    assert problem(refused)[3] == ["query", "metadata"]
    assert (await console.operator.get("/gateways/default/spend", params={"user": "ana"})).status_code == 400
    assert (await console.operator.get("/gateways/none/spend")).status_code == 404
