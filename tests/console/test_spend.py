"""What is spent and left of spend limits, as the ledger of the keeper has it."""

import time
from contextlib import closing

from sluice.storage.embedded.spend import EmbeddedSpendLedger, Spent
from sluice.values.gateway import limited_by

CENT = 10_000_000
RULES = [
    {"id": "all", "limit": 1, "limitType": "cost", "window": 86_400},
    {
        "id": "users", "limit": 0.5, "limitType": "cost", "window": 3_600, "model": {"mode": "filter", "values": ["m"]},
        "metadata": {"user": {"mode": "partition"}},
    },
]  # fmt: skip


async def test_each_rule_tells_what_is_spent_and_left_of_it(console, settings):
    assert (await console.operator.get("/gateways/default/spend")).json()["result"] == []
    await console.operator.put("/gateways/default", json={"spend_limits": {"enabled": True, "rules": RULES}})
    record = console.control.gateway_record("local", "default")
    rules = limited_by(record.config).spend
    now_ms = time.time_ns() // 1_000_000
    calls = [("m", {"user": "ana"}, now_ms, 30 * CENT), ("m", {"user": "bo"}, now_ms, 45 * CENT), ("n", {}, 0, CENT)]
    calls += [("m", {"user": "ana"}, now_ms - 2 * 3_600_000, 40 * CENT)]
    owed = [
        Spent(bucket, rule.window_s, ended_ms, nano)
        for model, metadata, ended_ms, nano in calls
        for rule in rules
        if (bucket := rule.bucket(record.gateway.id, "openai", model, metadata)) is not None
    ]
    with closing(EmbeddedSpendLedger.open(settings.data / "spend.db")) as ledger:
        ledger.settle(record.gateway.id, owed, {})
        told = (await console.operator.get("/gateways/default/spend")).json()["result"]
        ana = {"metadata": '{"user": "ana"}'}
        hers = (await console.operator.get("/gateways/default/spend", params=ana)).json()["result"]
        other = (await console.operator.get("/gateways/default/spend", params=ana | {"model": "n"})).json()["result"]
    assert told == [
        {"id": "all", "limit": 1, "window": 86_400, "technique": "sliding", "spent": 1.15, "remaining": 0},
        {"id": "users", "limit": 0.5, "window": 3_600, "technique": "sliding", "spent": None, "remaining": None},
    ]
    assert (hers[0], hers[1]["spent"], hers[1]["remaining"]) == (told[0], 0.3, 0.2)
    assert other == told


async def test_what_cannot_be_asked_is_refused(console, problem):
    await console.operator.put("/gateways/default", json={"spend_limits": {"enabled": True, "rules": RULES}})
    refused = await console.operator.get("/gateways/default/spend", params={"metadata": "[1]"})
    assert problem(refused)[3] == ["query", "metadata"]
    assert (await console.operator.get("/gateways/default/spend", params={"user": "ana"})).status_code == 400
    assert (await console.operator.get("/gateways/none/spend")).status_code == 404
