"""`sluice logs reprice`: stored logs have the cost of today's prices, and so do the sums of analytics."""

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

NOW = datetime.now(UTC)
SINCE, UNTIL = NOW - timedelta(hours=2), NOW + timedelta(hours=2)


def words_of(since: datetime, until: datetime) -> list[str]:
    return ["logs", "reprice", "--from", f"{since:%Y-%m-%dT%H:%M:%S}", "--to", f"{until:%Y-%m-%dT%H:%M:%SZ}"]


def test_logs_of_a_price_that_has_changed_cost_what_they_cost_today(start_gateway: Any):
    first = start_gateway("--simulate")
    replies = [first.chat() for _ in range(3)]
    own_price = first.http.post(
        f"{first.inference_url()}/v1/chat/completions",
        json={"model": "gpt-4o-mini", "messages": []},
        headers={"cf-aig-custom-cost": '{"total_cost": 1}'},
    )
    ids = [reply.headers["cf-aig-log-id"] for reply in replies]
    costs = [first.log(log_id)["cost"] for log_id in ids]
    unknown = first.log(first.chat(model="a-model").headers["cf-aig-log-id"])
    assert unknown["tokens_in"] > 0
    first.log(own_price.headers["cf-aig-log-id"])
    first.terminate()
    with sqlite3.connect(first.data / "control.db") as control:
        rates = '{"input":1000000000,"output":1000000000}'
        control.execute("UPDATE prices SET rates = ? WHERE model = 'gpt-4o-mini'", (rates.encode(),))
        (edition,) = control.execute("SELECT edition FROM editions WHERE what = 'prices'").fetchone()
    second = start_gateway("--simulate")
    second.token = first.token
    assert second.cli(*words_of(SINCE - timedelta(days=1), SINCE)) == {"count": 0, "unpriced": 0}
    assert second.cli(*words_of(SINCE, UNTIL)) == {"count": 5, "unpriced": 1}
    told = second.run_cli(*words_of(SINCE, UNTIL)).stderr
    assert told == "5 logs gone through; 1 of them stay as they are, for no price of their model is known.\n"
    assert second.log(unknown["id"])["cost"] is None
    for log_id, cost in zip(ids, costs, strict=True):
        log = management(second, f"/gateways/default/logs/{log_id}")
        assert log["cost"] == pytest.approx((log["tokens_in"] + log["tokens_out"]) / 10**6)
        assert log["cost"] != cost
        assert log["pricing"] == {"edition": edition, "input": 10**9, "output": 10**9}
    total = management(second, f"/gateways/default/analytics?from={SINCE:%Y-%m-%dT%H:00:00Z}")["groups"][0]["cost"]
    again = sum(
        (log["tokens_in"] + log["tokens_out"]) / 10**6
        for log in second.logs(5)
        if log["model"] == "gpt-4o-mini" and not log["custom_cost"]
    )
    assert total == pytest.approx(1 + again)


def management(gateway: Any, path: str) -> Any:
    headers = {"authorization": f"Bearer {gateway.token}"}
    return gateway.http.get(f"/client/v4/accounts/local/ai-gateway{path}", headers=headers).json()["result"]


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, ["body", "to"]),
        ({"from": "yesterday", "to": "2026-01-01T00:00:00Z"}, ["body", "from"]),
        ({"to": "2026-01-01T00:00:00Z"}, ["body", "from"]),
        ({"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "cursor": "x"}, ["body", "cursor"]),
    ],
)
def test_what_is_no_time_is_refused(gateway: Any, body: Any, at: list[str]):
    reply = gateway.manage("POST", "/gateways/default/logs/reprice", json=body)
    assert (reply.status_code, reply.json()["errors"][0]["code"]) == (400, 7001)
    assert reply.json()["errors"][0].get("path", at) == at
