"""What an account may have is not passed, however many workers there are, and more of it counts at once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx

from sluice.values.ids import key_of

WORKERS: Final = 4
LIMIT: Final = 100
CLIENTS: Final = 48
EACH: Final = 5


def talk(server: Any, number: int) -> list[str]:
    """One client's connection: the ids of its logs, half of them of a gateway of its own."""
    gateway = ("default", "second")[number % 2]
    with httpx.Client(headers=server.auth, timeout=20, trust_env=False) as client:
        url = f"{server.inference_url(gateway=gateway)}/v1/chat/completions"
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"hello from {number}"}]}
        replies = [client.post(url, json=body) for _ in range(EACH)]
    assert {reply.status_code for reply in replies} == {200}
    return [reply.headers["cf-aig-log-id"] for reply in replies]


def worker_of(log_id: str) -> int:
    return key_of(log_id) >> 14 & 127


def test_an_account_at_its_limit_under_four_workers_stores_what_it_may_and_goes_on_once_it_may_have_more(
    start_gateway: Any,
):
    server = start_gateway("--simulate", "--workers", str(WORKERS))
    numbers = dict.fromkeys(("cache_ttl", "rate_limiting_interval", "rate_limiting_limit"), 0)
    fields = {"id": "second", **numbers, "cache_invalidate_on_update": False, "collect_logs": True}
    assert server.manage("POST", "/gateways", json=fields).status_code == 200
    server.cli("account", "change", "local", "--limit", f"account_rows={LIMIT}")
    with ThreadPoolExecutor(CLIENTS) as clients:
        sent = [log_id for ids in clients.map(lambda number: talk(server, number), range(CLIENTS)) for log_id in ids]
    assert {worker_of(log_id) for log_id in sent} == set(range(WORKERS))

    def usage() -> dict[str, Any] | None:
        told: dict[str, Any] = server.manage("GET", "/usage").json()["result"]
        return told if told["rows"] + told["refused"] == len(sent) else None

    told = server.until(usage, "every log stored or refused")
    assert (told["rows"], told["refused"]) == (LIMIT, len(sent) - LIMIT)
    totals = [
        server.manage("GET", f"/gateways/{name}/logs").json()["result_info"]["total_count"]
        for name in ("default", "second")
    ]
    assert sum(totals) == LIMIT
    server.cli("account", "change", "local", "--as-planned")
    later = talk(server, 0)
    assert {server.log(log_id)["id"] for log_id in later} == {*later}
