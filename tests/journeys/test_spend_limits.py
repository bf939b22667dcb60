"""Spend limits: what calls may cost in a window, also those that run at once (contract 6.2)."""

import base64
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"
CHAT = "openai/v1/chat/completions"


@pytest.fixture
def payer(gateway: Any) -> Any:
    """The gateway whose tenants have rules here."""
    return gateway


@pytest.fixture
def ruled(payer: Any, marker: str) -> Any:
    """`ruled(rule, ...)`: the URL of a new gateway with these rules."""

    def make(*rules: dict[str, Any], **more: Any) -> str:
        name = f"g{marker[:12]}"
        numbers = dict.fromkeys(("cache_ttl", "rate_limiting_interval", "rate_limiting_limit"), 0)
        full = [{"limit": 1, "limitType": "cost", "window": 86_400, **rule} for rule in rules]
        fields = {"id": name, "cache_invalidate_on_update": False, "collect_logs": True, **numbers, **more}
        fields["spend_limits"] = {"enabled": True, "rules": full}
        answer = payer.manage("POST", "/gateways", json=fields)
        assert answer.status_code == 200, answer.text
        return f"/v1/local/{name}"

    return make


def call(payer: Any, url: str, usd: float, model: str = "gpt-4o-mini", **headers: str) -> httpx.Response:
    """A call of this price."""
    fields = {"cf-aig-custom-cost": json.dumps({"total_cost": usd})}
    fields |= {f"cf-aig-{name.replace('_', '-')}": value for name, value in headers.items()}
    return payer.http.post(f"{url}/{CHAT}", json={"model": model, "messages": []}, headers=fields)


def settled(payer: Any, reply: httpx.Response, url: str) -> None:
    """Returns once this call's log, and its cost with it, is stored."""
    payer.log(reply.headers["cf-aig-log-id"], url.rpartition("/")[2])


@pytest.mark.parametrize("fields", re.findall(r"^```json\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
def test_what_the_page_shows_can_be_set(payer: Any, ruled: Any, fields: str):
    path = "/gateways/" + ruled().rpartition("/")[2]
    answer = payer.manage("PUT", path, json=json.loads(fields))
    assert answer.status_code == 200, answer.text


def test_the_call_after_the_limit_is_refused_told_which_rule_and_logged(payer: Any, ruled: Any):
    url = ruled({"id": "0badcafe", "limit": 0.5, "technique": "fixed"})
    first, second, third = (call(payer, url, 0.3) for _ in range(3))
    assert [reply.status_code for reply in (first, second, third)] == [200, 200, 429]
    words = "Spend limit exceeded: rule '0badcafe' (cost limit 0.5 per 86400s, fixed) for openai gpt-4o-mini"
    assert third.json()["error"] == [{"code": 2045, "message": words}]
    assert (third.json()["httpCode"], "retry-after" in third.headers) == (429, False)
    row = payer.log(third.headers["cf-aig-log-id"], url.rpartition("/")[2])
    assert (row["status_code"], row["error_code"], row["path"]) == (429, 2045, "v1/chat/completions")


def test_what_a_call_truly_cost_counts_in_place_of_its_estimate(payer: Any, ruled: Any):
    url = ruled({"limit": 0.001})
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1_000_000}
    first = payer.http.post(f"{url}/{CHAT}", json=body)  # 10 USD are set aside, a fraction of a cent is spent
    settled(payer, first, url)
    assert payer.until(lambda: payer.http.post(f"{url}/{CHAT}", json=body).status_code == 200, "the settlement")


def test_a_failed_call_costs_nothing(payer: Any, ruled: Any):
    url = ruled({"limit": 0.1})
    body = {"model": "gpt-4o-mini~bad-head", "messages": [], "max_tokens": 9_000_000}
    assert payer.http.post(f"{url}/{CHAT}", json=body).status_code == 400
    again = {"model": "gpt-4o-mini", "messages": []}
    assert payer.until(lambda: payer.http.post(f"{url}/{CHAT}", json=again).status_code == 200, "the settlement")


def test_rules_are_for_their_models_providers_and_metadata(payer: Any, ruled: Any):
    url = ruled(
        {"limit": 0.01, "model": {"mode": "filter", "values": ["gpt-4o"]}},
        {"limit": 0.02, "metadata": {"user": {"mode": "partition"}}},
        {"limit": 0.01, "metadata": {"tier": {"mode": "filter", "values": ["free", "true"]}}},
        {"limit": 0.01, "provider": {"mode": "filter", "values": ["anthropic"]}},
    )

    def status(usd: float, model: str = "gpt-4o-mini", **metadata: Any) -> int:
        return call(payer, url, usd, model, metadata=json.dumps(metadata)).status_code

    assert [status(0.01, "gpt-4o") for _ in range(2)] == [200, 429]
    assert [status(0.01) for _ in range(2)] == [200, 200]
    assert [status(0.01, user="ada") for _ in range(3)] == [200, 200, 429]
    assert [status(0.01, user=7) for _ in range(2)] == [200, 200]
    assert [status(0.01, tier="free") for _ in range(2)] == [200, 429]
    assert status(0.01, tier=True) == 429
    assert status(0.01, tier="paid") == 200


def test_a_rule_may_part_models_and_providers(payer: Any, ruled: Any):
    url = ruled({"limit": 0.01, "model": {"mode": "partition"}, "provider": {"mode": "partition"}})
    assert [call(payer, url, 0.01, model).status_code for model in ("a", "b", "a")] == [200, 200, 429]


def test_a_body_that_names_another_model_than_the_path_is_no_way_around_a_rule(payer: Any, ruled: Any):
    url = ruled(
        {"id": "dear", "limit": 0.01, "model": {"mode": "filter", "values": ["gemini-2.5-pro"]}},
        {"id": "each", "limit": 0.03, "model": {"mode": "partition"}},
    )

    def ask(model: str, said: str) -> int:
        path = f"{url}/google-ai-studio/v1beta/models/{model}:generateContent"
        body = {"model": said, "contents": [{"parts": [{"text": "hello"}]}]}
        headers = {"cf-aig-custom-cost": '{"total_cost": 0.011}'}
        return payer.http.post(path, json=body, headers=headers).status_code

    assert [ask("gemini-2.5-pro", f"models/cheap-{number}") for number in range(2)] == [200, 429]
    assert [ask("gemini-2.5-flash", f"cheap-{number}") for number in range(4)] == [200, 200, 200, 429]


def test_a_client_that_calls_its_calls_free_spends_what_the_list_says(payer: Any, ruled: Any):
    url = ruled({"limit": 0.000_001})
    first = call(payer, url, 0, "gpt-4o")
    settled(payer, first, url)
    assert payer.log(first.headers["cf-aig-log-id"], url.rpartition("/")[2])["cost"] == 0
    assert [first.status_code, call(payer, url, 0, "gpt-4o").status_code] == [200, 429]


def test_a_body_that_comes_in_pieces_or_is_large_is_no_way_around_a_rule(payer: Any, ruled: Any):
    faulty = "gpt-4o~status-503~first-1"
    url = ruled({"limit": 0.02, "model": {"mode": "filter", "values": ["gpt-4o", faulty]}})
    headers = {"cf-aig-custom-cost": '{"total_cost": 0.01}', "cf-aig-max-attempts": "2", "cf-aig-retry-delay": "1"}
    pad = json.dumps({"pad": "x" * 300_000, "model": faulty, "messages": []}).encode()

    def pieces() -> Any:
        yield from (pad[start : start + 50_000] for start in range(0, len(pad), 50_000))

    def post() -> httpx.Response:
        return payer.http.post(f"{url}/{CHAT}", content=pieces(), headers=headers)

    first = post()
    row = payer.log(first.headers["cf-aig-log-id"], url.rpartition("/")[2])
    assert (first.status_code, row["attempts"], row["request_size"]) == (200, 2, len(pad))
    large = {"pad": "x" * 2_000_000, "model": "gpt-4o", "messages": []}
    fields = {"cf-aig-custom-cost": '{"total_cost": 0.01}'}
    assert payer.http.post(f"{url}/{CHAT}", json=large, headers=fields).status_code == 200
    assert payer.http.post(f"{url}/{CHAT}", json=large, headers=fields).status_code == 429
    assert post().status_code == 429
    assert call(payer, url, 0.01, "gpt-4o").status_code == 429
    assert call(payer, url, 0.01).status_code == 200


def test_a_body_that_is_weighed_in_pieces_can_still_be_signed(payer: Any, ruled: Any):
    keys = {"accessKeyId": "AKIDOWN", "secretAccessKey": "secret", "region": "us-east-1"}
    authorization = "Bearer " + base64.b64encode(json.dumps(keys).encode()).decode()
    turns = [{"role": "user", "content": [{"text": "hello " * 20_000}]}]

    def post(pad: int) -> httpx.Response:
        body = json.dumps({"messages": turns, "pad": "x" * pad}).encode()
        pieces = (body[start : start + 50_000] for start in range(0, len(body), 50_000))
        headers = {"authorization": authorization, "cf-aig-custom-cost": '{"total_cost": 0.01}'}
        path = f"{url}/aws-bedrock/bedrock-runtime/us-east-1/model/m/converse"
        return payer.http.post(path, content=iter(pieces), headers=headers)

    url = ruled({"limit": 0.02})
    assert [post(pad).status_code for pad in (0, 2_000_000, 0)] == [200, 200, 429]


def test_a_call_that_is_not_logged_costs_what_was_set_aside_and_leaves_nothing_else(payer: Any, ruled: Any):
    url = ruled({"limit": 0.02})
    assert [call(payer, url, 0.01, collect_log="false").status_code for _ in range(3)] == [200, 200, 429]
    logged = call(payer, url, 0.01)
    assert logged.status_code == 429
    settled(payer, logged, url)
    assert len(payer.logs(gateway=url.rpartition("/")[2])) == 1


def test_a_call_without_a_log_must_show_its_model(payer: Any, ruled: Any):
    """For nothing is left of it by which it could be priced afterwards."""
    url = ruled({"id": "seen", "limit": 1})
    large = {"pad": "x" * 2_000_000, "model": "gpt-4o", "messages": []}
    refused = payer.http.post(f"{url}/{CHAT}", json=large, headers={"cf-aig-collect-log": "false"})
    assert (refused.status_code, refused.json()["error"][0]["code"]) == (429, 2045)
    assert "rule 'seen' cannot count a call without a log" in refused.json()["error"][0]["message"]
    assert payer.http.post(f"{url}/{CHAT}", json=large).status_code == 200
    listed = payer.http.get(f"{url}/openai/v1/models", headers={"cf-aig-collect-log": "false"})
    assert listed.status_code == 200
    assert call(payer, url, 0.01, collect_log="false").status_code == 200


def test_models_in_forms_and_in_azures_short_paths_are_under_their_rules(payer: Any, ruled: Any):
    url = ruled({"limit": 0.01, "model": {"mode": "filter", "values": ["gpt-4o", "whisper-1"]}})
    headers = {"cf-aig-custom-cost": '{"total_cost": 0.01}'}

    def azure() -> int:
        path = f"{url}/azure-openai/res/gpt-4o/chat/completions?api-version=1"
        return payer.http.post(path, json={"model": "cheap", "messages": []}, headers=headers).status_code

    def form() -> int:
        path, files = f"{url}/openai/v1/audio/transcriptions", {"file": ("a.wav", b"RIFF")}
        return payer.http.post(path, data={"model": "whisper-1"}, files=files, headers=headers).status_code

    assert [azure(), azure(), form()] == [200, 429, 429]


def test_tries_that_a_client_does_not_wait_for_are_paid(payer: Any, ruled: Any):
    url = ruled({"limit": 0.02})
    slow, headers = "gpt-4o-mini~slow-head-60000", {"cf-aig-custom-cost": '{"total_cost": 0.01}'}
    body = {"model": slow, "messages": []}
    universal = [
        {"provider": "openai", "endpoint": "chat/completions", "query": body, "config": {"requestTimeout": 50}}
    ]
    last = {"provider": "openai", "endpoint": "chat/completions", "query": {"model": "gpt-4o-mini", "messages": []}}
    first = payer.http.post(url, json=[*universal, last], headers=headers)
    assert (first.status_code, first.headers["cf-aig-step"]) == (200, "1")
    settled(payer, first, url)
    assert call(payer, url, 0.01).status_code == 429


def test_sums_survive_an_update_of_the_rule(payer: Any, ruled: Any):
    url = ruled({"id": "keepsake", "limit": 0.02, "window": 3600})
    settled(payer, call(payer, url, 0.02), url)
    assert call(payer, url, 0.01).status_code == 429
    path = "/gateways/" + url.rpartition("/")[2]

    def change(**fields: Any) -> None:
        rule = {"id": "keepsake", "limitType": "cost", "limit": 0.02, "window": 3600, **fields}
        answer = payer.manage("PUT", path, json={"spend_limits": {"enabled": True, "rules": [rule]}})
        assert answer.status_code == 200

    change(window=7200)
    assert call(payer, url, 0.01).status_code == 429
    change(limit=0.03)
    assert call(payer, url, 0.01).status_code == 200
    assert call(payer, url, 0.01).status_code == 429
    change(id="another1")
    assert call(payer, url, 0.01).status_code == 200


def test_what_is_spent_is_known_after_a_killed_keeper_and_a_broken_table_is_treated_as_the_setting_says(
    start_gateway: Any,
):
    own, url = start_gateway("--simulate", "--workers", "1", limits={"spend_when_broken": "allow"}), "/v1/local/default"
    rule = {"limit": 0.02, "limitType": "cost", "window": 86_400}
    change = {"spend_limits": {"enabled": True, "rules": [rule]}, "rate_limiting_limit": 5}
    change["rate_limiting_interval"] = 86_400
    assert own.manage("PUT", "/gateways/default", json=change).is_success
    table = own.data / "limits.map"
    table.mkdir()
    assert [call(own, url, 1.0).status_code for _ in range(2)] == [200, 200]
    table.rmdir()
    own.until(lambda: "cf-aig-ratelimit-limit" in call(own, url, 0.0).headers, "the table")
    first = call(own, url, 0.01)
    own.log(first.headers["cf-aig-log-id"])
    os.kill(own.processes()["sluice: keeper"], signal.SIGKILL)
    assert [call(own, url, 0.01).status_code for _ in range(2)] == [200, 429]
    assert own.terminate() == 0

    table.rename(own.data / "kept")
    table.mkdir()
    own = start_gateway("--simulate", "--workers", "1")
    replies = [call(own, url, 0.01) for _ in range(2)]
    assert [(reply.status_code, reply.json()["error"][0]["code"]) for reply in replies] == [(503, 2005)] * 2
    assert "cf-aig-ratelimit-limit" not in replies[0].headers
    metrics = own.http.get("/metrics").text
    assert 'sluice_limit_faults_total{kind="rate"} 2' in metrics
    assert 'sluice_limit_faults_total{kind="spend"} 2' in metrics
    table.rmdir()
    (own.data / "kept").rename(table)
    own.until(lambda: "cf-aig-ratelimit-limit" in call(own, url, 0.01).headers, "the table")
    assert [call(own, url, 0.01).json()["error"][0]["code"] for _ in range(2)] == [2003, 2003]
