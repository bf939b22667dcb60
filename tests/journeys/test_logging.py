"""What a log says of a call, and what a client may say about its log (contract 7.1, 7.3, 7.5)."""

import json
import os
import signal
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
CONTENT = json.dumps(CHAT).encode()


@pytest.fixture(scope="module")
def quiet(gateway: Any) -> Any:
    """The shared gateway with one more, `quiet`, that collects no logs."""
    fields = {"id": "quiet-one", "authentication": True, "cache_invalidate_on_update": False, "cache_ttl": None}
    fields |= {"collect_logs": False, "rate_limiting_interval": None, "rate_limiting_limit": None}
    assert gateway.manage("POST", "/gateways", json=fields).status_code == 200
    return gateway


def ask(gateway: Any, body: bytes = CONTENT, name: str = "default", **headers: str) -> Any:
    sent = {"content-type": b"application/json"}
    sent |= {key.replace("_", "-"): value.encode() for key, value in headers.items()}
    return gateway.http.post(f"{gateway.inference_url(gateway=name)}/chat/completions", content=body, headers=sent)


def unpredictable(log: dict[str, Any]) -> dict[str, Any]:
    """Takes out what no test can know beforehand."""
    told = {name: log.pop(name) for name in ("created_at", "duration", "timings", "cost")}
    return told | {"pricing": log.pop("pricing", None)}  # which prices there are as yet


def test_a_plain_call_in_full(gateway: Any):
    before = datetime.now(UTC).timestamp()
    reply = ask(gateway, user_agent="Journeys/1.0", cf_aig_metadata='{"team": "a", "n": 1, "t": true}')
    usage = reply.json()["usage"]
    log_id = reply.headers["cf-aig-log-id"]
    log = gateway.log(log_id)
    told = unpredictable(log)
    assert log == {
        "id": log_id,
        "provider": "openai",
        "model": "gpt-4o-mini",
        "model_type": "Text Generation",
        "path": "v1/chat/completions",
        "request_type": "provider",
        "request_content_type": "application/json",
        "response_content_type": "application/json",
        "status_code": 200,
        "success": True,
        "cached": False,
        "tokens_in": usage["prompt_tokens"],
        "tokens_out": usage["completion_tokens"],
        "usage_metadata": {
            "input_tokens": usage["prompt_tokens"],
            "output_tokens": usage["completion_tokens"],
            "total_tokens": usage["total_tokens"],
            "output_reasoning_tokens": 0,
            "input_cached_tokens": 0,
        },
        "custom_cost": False,
        "metadata": {"team": "a", "n": 1, "t": True},
        "step": 0,
        "event_id": log_id,
        "request_id": log_id,
        "connection_id": None,
        "feedback": None,
        "score": None,
        "user_agent": "Journeys/1.0",
        "authentication": True,
        "wholesale": False,
        "byok": False,
        "compatibilityMode": False,
        "dlp_action": None,
        "ending": "complete",
        "attempts": 1,
        "error_code": None,
        "error_message": None,
        "request_head": CONTENT.decode(),
        "request_head_complete": True,
        "request_size": len(CONTENT),
        "request_truncated": False,
        "response_head": reply.text,
        "response_head_complete": True,
        "response_size": len(reply.content),
        "response_truncated": False,
    }
    assert before - 1 < datetime.fromisoformat(told["created_at"]).timestamp() < time.time() + 1
    assert 0 <= told["timings"]["latency"] <= told["timings"]["total"] == told["duration"] < 20_000


def test_a_streamed_call_is_logged_with_what_its_last_event_said(gateway: Any):
    body = CHAT | {
        "model": "gpt-4o-mini~slow-first-token-50",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    reply = ask(gateway, json.dumps(body).encode())
    usage = json.loads(reply.text.split("data: ")[-2])["usage"]
    log = gateway.log(reply.headers["cf-aig-log-id"])
    told = unpredictable(log)
    assert (log["tokens_in"], log["tokens_out"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert (log["status_code"], log["success"], log["ending"]) == (200, True, "complete")
    assert log["response_content_type"].startswith("text/event-stream")
    assert log["response_head"] == reply.text
    assert told["timings"]["latency"] < told["duration"] >= 50


def test_a_call_that_the_provider_refused(gateway: Any):
    body = json.dumps(CHAT | {"model": "gpt-4o-mini~status-429"}).encode()
    reply = ask(gateway, body)
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert reply.status_code == 429
    assert (log["status_code"], log["success"], log["ending"], log["error_code"]) == (429, False, "complete", None)
    assert (log["tokens_in"], log["tokens_out"], log["cost"], log["usage_metadata"]) == (None, None, None, None)
    assert log["response_head"] == reply.text


def test_a_call_that_never_had_a_reply(gateway: Any):
    reply = ask(gateway, json.dumps(CHAT | {"model": "gpt-4o-mini~drop"}).encode())
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert (log["status_code"], log["success"], log["ending"], log["error_code"]) == (400, False, "refused", 2005)
    assert log["error_message"] == "The reply did not come: the connection was closed"
    assert (log["timings"]["latency"], log["attempts"]) == (None, 1)
    assert (log["model"], log["tokens_in"], log["cost"]) == ("gpt-4o-mini~drop", None, None)
    assert log["request_head"] == json.dumps(CHAT | {"model": "gpt-4o-mini~drop"})
    assert json.loads(log["response_head"])["internalCode"] == 2005


def test_a_log_is_visible_within_half_a_second(gateway: Any):
    """Of three, for the machine may have been busy."""
    waits = []
    for _ in range(3):
        log_id = ask(gateway).headers["cf-aig-log-id"]
        replied = time.monotonic()
        gateway.log(log_id)
        waits.append(time.monotonic() - replied)
    assert min(waits) < 0.5


# --- what the client may say


@pytest.mark.parametrize(
    ("name", "asked", "logged"),
    [
        ("default", None, True),
        ("default", "true", True),
        ("default", "1", True),
        ("default", "false", False),
        ("default", "FALSE", False),
        ("default", "0", False),
        ("default", "perhaps", True),
        ("quiet-one", None, False),
        ("quiet-one", "true", True),
        ("quiet-one", "True", True),
        ("quiet-one", "false", False),
        ("quiet-one", "perhaps", False),
    ],
)
def test_whether_a_call_is_logged(quiet: Any, name: str, asked: str | None, logged: bool):
    reply = ask(quiet, name=name, **({"cf_aig_collect_log": asked} if asked else {}))
    assert reply.status_code == 200
    assert ("cf-aig-log-id" in reply.headers) is logged
    request_id = reply.headers["cf-aig-request-id"]
    after = ask(quiet, name=name, cf_aig_collect_log="true").headers["cf-aig-log-id"]
    quiet.log(after, name)  # frames are stored in their order: were there one of the first, it would be there too
    found = quiet.manage("GET", f"/gateways/{name}/logs/{request_id}")
    assert found.status_code == (200 if logged else 404)


@pytest.mark.parametrize(("asked", "kept"), [("false", False), ("0", False), ("true", True), ("perhaps", True)])
def test_whether_its_bodies_are_kept(gateway: Any, asked: str, kept: bool):
    reply = ask(gateway, cf_aig_collect_log_payload=asked)
    log_id = reply.headers["cf-aig-log-id"]
    log = gateway.log(log_id)
    assert log["tokens_in"] == reply.json()["usage"]["prompt_tokens"]
    assert (log["request_head"], log["response_head"]) == ((CONTENT.decode(), reply.text) if kept else ("", ""))
    assert (log["request_size"], log["response_size"]) == (len(CONTENT), len(reply.content))
    for side in ("request", "response"):
        answer = gateway.manage("GET", f"/gateways/default/logs/{log_id}/{side}")
        assert answer.status_code == (200 if kept else 404)
        assert kept or answer.json()["errors"][0]["code"] == 7002


@pytest.mark.parametrize("name", ["default", "quiet-one"])
def test_an_event_id_comes_back_and_is_logged(quiet: Any, name: str):
    event_id = f"order/{uuid4()} \u00e9"
    reply = ask(quiet, name=name, cf_aig_event_id=event_id)
    [echoed] = [value for key, value in reply.headers.raw if key.lower() == b"cf-aig-event-id"]
    assert echoed.decode() == event_id
    assert reply.headers["cf-aig-request-id"] != event_id
    if name == "default":
        assert quiet.log(reply.headers["cf-aig-log-id"])["event_id"] == event_id


def test_an_event_id_comes_back_with_a_refusal(gateway: Any):
    reply = ask(gateway, cf_aig_authorization="Bearer nobody", cf_aig_event_id="mine")
    assert (reply.status_code, reply.headers["cf-aig-event-id"]) == (401, "mine")
    assert reply.headers["cf-aig-request-id"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ('{"a": "x", "b": 1, "c": 1.5, "d": false}', {"a": "x", "b": 1, "c": 1.5, "d": False}),
        (json.dumps({str(number): number for number in range(8)}), {str(number): number for number in range(5)}),
        ('{"cf.user_id": "x", "a": 1}', {"a": 1}),
        ('{"a": {"b": 1}}', {}),
        ('{"a": null, "b": 1}', {}),
        ("[1]", {}),
        ("no json", {}),
        (json.dumps({"a": "x" * 17_000}), {}),
    ],
)
def test_metadata_is_logged_by_its_rules(gateway: Any, given: str, kept: dict[str, Any]):
    assert gateway.log(ask(gateway, cf_aig_metadata=given).headers["cf-aig-log-id"])["metadata"] == kept


def test_metadata_in_any_script_is_logged_as_it_was(gateway: Any):
    given = {"\u6c34": "na\u00efve \U0001f30a"}
    reply = ask(gateway, cf_aig_metadata=json.dumps(given, ensure_ascii=False))
    assert gateway.log(reply.headers["cf-aig-log-id"])["metadata"] == given


@pytest.mark.parametrize(
    ("given", "per_token"),
    [('{"per_token_in": 0.5, "per_token_out": 0.25}', (0.5, 0.25)), ('{"total_cost": 3}', None), ("nonsense", ())],
)
def test_a_cost_of_the_clients_own_is_taken(gateway: Any, given: str, per_token: tuple[float, ...] | None):
    reply = ask(gateway, cf_aig_custom_cost=given)
    usage = reply.json()["usage"]
    log = gateway.log(reply.headers["cf-aig-log-id"])
    if per_token == ():
        assert log["custom_cost"] is False
        return
    own = 3 if per_token is None else usage["prompt_tokens"] * per_token[0] + usage["completion_tokens"] * per_token[1]
    assert (log["custom_cost"], log["cost"]) == (True, pytest.approx(own))


# --- when logs cannot be kept


def test_a_full_spool_that_must_not_drop_refuses_what_must_be_logged_and_nothing_else(start_gateway: Any):
    """With the keeper held up; once it goes on there is room again."""
    own = start_gateway(
        "--simulate",
        "--workers",
        "1",
        spool={"max_bytes": 1_048_576, "file_bytes": 65_536, "when_full": "refuse"},
    )
    keeper = own.until(lambda: own.processes().get("sluice: keeper"), "the keeper, which is started last")
    body = json.dumps(CHAT | {"user": "x" * 40_000}).encode()
    os.kill(keeper, signal.SIGSTOP)
    try:
        replies = [ask(own, body) for _ in range(40)]
        refused = [reply for reply in replies if reply.status_code != 200]
        unlogged = ask(own, body, cf_aig_collect_log="false")
    finally:
        os.kill(keeper, signal.SIGCONT)
    assert refused
    assert refused[0].status_code == 503
    assert refused[0].json()["error"] == [{"code": 2005, "message": "The gateway is at its limit, try again"}]
    assert "cf-aig-log-id" not in refused[0].headers
    assert unlogged.status_code == 200
    own.until(lambda: ask(own, body).status_code == 200, "room in the spool")
    for reply in replies:
        if reply.status_code == 200:
            own.log(reply.headers["cf-aig-log-id"])
