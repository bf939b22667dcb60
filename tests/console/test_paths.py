"""What every path has in common, and the paths that belong to no resource."""

import pytest

from sluice.console.app import PATHS
from sluice.metrics import Metrics
from sluice.storage.ports import StoreFault

ROOT = "http://console"


async def test_an_unknown_path_has_no_route(console, problem):
    for url in ("/client/v4", "/client/v4/user", "/nothing", "/internal", "/internal/prices", "//"):
        if url != "//":
            assert problem(await console.operator.get(ROOT + url)) == (404, 7003, "No route for that URI", [])


async def test_a_wrong_method_is_told_the_right_ones(console, problem):
    refused = await console.operator.patch("/gateways")
    assert problem(refused)[:2] == (405, 7003)
    assert refused.headers["allow"] == "GET, POST"


async def test_a_trailing_slash_is_tolerated(console):
    assert (await console.operator.get("/gateways/")).json() == (await console.operator.get("/gateways")).json()
    assert (await console.operator.get("/gateways/default//")).status_code == 200


@pytest.mark.parametrize("name", ["%2f", "%2F", "default%2Flogs", "..%2f"])
async def test_a_slash_within_a_name_does_not_end_it(console, problem, name):
    for method, url in (("GET", f"/gateways/{name}"), ("DELETE", f"/gateways/default/logs/{name}")):
        assert problem(await console.operator.request(method, url)) == (404, 7003, "No route for that URI", [])


async def test_the_front_page_says_what_this_is(console):
    page = await console.relayed(None).get(ROOT + "/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/plain")
    assert "Sluice" in page.text
    assert "docs" in page.text
    assert (await console.relayed(None).head(ROOT + "/")).status_code == 200


async def test_metrics_of_all_processes_are_summed(console):
    folder = console.desk.metrics_folder
    folder.mkdir()
    for name in ("worker-1", "worker-2"):
        Metrics.open(folder / f"{name}.map").counter("sluice_tests_total", "Tests.").add(2)
    page = await console.relayed(None).get(ROOT + "/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "\nsluice_tests_total 4\n" in page.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gateways/default/datasets"),
        ("PUT", "/gateways/default/datasets/1"),
        ("POST", "/gateways/default/evaluations"),
        ("GET", "/gateways/default/routes/1/versions"),
        ("GET", "/evaluation-types"),
        ("GET", "/billing/credit-balance"),
    ],
)
async def test_a_part_that_is_not_built_says_so_to_whom_it_may(console, problem, method, path):
    status, code, message, _ = problem(await console.operator.request(method, path))
    assert (status, code) == (400, 7001)
    assert message.endswith(": not available in this version of Sluice")
    assert problem(await console.relayed(None).request(method, path))[0] == 401


async def test_a_fault_of_the_store_is_an_internal_error_without_details(console, problem, monkeypatch):
    def fail(*_: object) -> None:
        raise StoreFault("disk full at /secret/place")

    monkeypatch.setattr(console.control, "gateway_record", fail)
    assert problem(await console.operator.get("/gateways/default")) == (500, 7000, "Internal error", [])


async def test_a_bug_is_an_internal_error_without_details(console, problem, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(console.control, "gateway_record", fail)
    refused = await console.operator.get("/gateways/default", params={"key": "in-the-query"})
    assert problem(refused) == (500, 7000, "Internal error", [])
    assert "in-the-query" not in caplog.text


async def test_accounts_are_made_listed_and_deleted(console, problem):
    made = await console.operator.post(f"{ROOT}/internal/accounts", json={"id": "acme", "plan": "paid"})
    account = made.json()["result"]
    assert (account["id"], account["plan"]) == ("acme", "paid")
    listed = (await console.operator.get(f"{ROOT}/internal/accounts")).json()
    assert [found["id"] for found in listed["result"]] == ["local", "acme"]
    again = await console.operator.post(f"{ROOT}/internal/accounts", json={"id": "acme"})
    assert problem(again)[:2] == (400, 7001)
    for name in ("", "a/b", "..", "a b", "é"):
        refused = await console.operator.post(f"{ROOT}/internal/accounts", json={"id": name})
        assert problem(refused) == (400, 7001, "Invalid", ["body", "id"])
    assert (await console.operator.delete(f"{ROOT}/internal/accounts/acme")).json()["result"] == account
    gone = await console.operator.delete(f"{ROOT}/internal/accounts/acme")
    assert problem(gone)[:2] == (404, 7002)


async def test_workers_have_the_default_gateway_made(console, problem):
    await console.operator.delete("/gateways/default")
    worker = console.relayed(None)
    before = console.generations.of("local")
    for _ in range(2):
        made = await worker.put(f"{ROOT}/internal/accounts/local/default-gateway")
        assert (made.status_code, made.json()["result"]["id"]) == (200, "default")
    gateway = console.control.gateway("local", "default")
    assert (gateway.authentication, gateway.collect_logs) == (True, True)
    assert console.generations.of("local") > before
    refused = await worker.put(f"{ROOT}/internal/accounts/nobody/default-gateway")
    assert problem(refused)[:2] == (404, 7002)


async def test_the_keeper_says_which_prices_it_wants(console, problem):
    keeper, url = console.relayed(None), f"{ROOT}/internal/prices/wanted"
    wanted = await keeper.post(url, json={"models": [{"provider": "openai", "model": "gpt-4o"}]})
    assert wanted.json()["result"] == {"wanted": 1}
    assert console.desk.wanted.take() == [("openai", "gpt-4o")]
    nameless = await keeper.post(url, json={"models": [{"provider": "openai", "model": "m" * 257}]})
    assert problem(nameless)[:2] == (400, 7001)


def test_no_two_rows_of_the_table_are_the_same_path():
    rows = [(path.method, path.pattern) for path in PATHS]
    assert len(set(rows)) == len(rows)
