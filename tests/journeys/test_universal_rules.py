"""The rules of the universal endpoint (contract 2.1 to 2.6), each by a real gateway before the simulator."""

import json
import time
from typing import Any

import httpx
import pytest

Step = dict[str, Any]


def step(model: str = "gpt-4o-mini", text: str = "hello", stream: bool = False, **fields: Any) -> Step:
    query: Step = {"model": model, "messages": [{"role": "user", "content": text}]}
    if stream:
        query["stream"] = True
    headers = {"Authorization": "Bearer sk-theirs", **fields.pop("headers", {})}
    return {"provider": "openai", "endpoint": "chat/completions", "headers": headers, "query": query, **fields}


def marked(marker: str, *args: Any, **fields: Any) -> Step:
    return step(*args, headers={"x-sluice-marker": marker}, **fields)


# --- 2.1 request


@pytest.mark.parametrize("name", ["default", "default/"])
@pytest.mark.parametrize("form", ["an object", "an array"])
def test_a_step_alone_or_an_array_with_and_without_a_slash(gateway: Any, name: str, form: str):
    body = step() if form == "an object" else [step()]
    reply = gateway.universal(body, name)
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "0")
    assert reply.json()["object"] == "chat.completion"


def test_json_is_assumed_where_no_content_type_says_so(gateway: Any):
    request = gateway.http.build_request("POST", "/v1/local/default", content=json.dumps(step()))
    assert "content-type" not in request.headers
    assert gateway.http.send(request).status_code == 200


def test_the_provider_gets_the_steps_own_headers_and_the_clients_own_bytes(gateway: Any):
    query = '{ "model":"echo", "n":1.50 , "big":12345678901234567890123,"e":"\\u00e9"}'
    body = (
        '{"provider":"openai","endpoint":"/chat/completions?a=b","headers":{"X-Own":{"a":1},"cf-aig-metadata":"{}"},'
        f'"authorization":"Bearer sk-old","query":{query}}}'
    )
    reply = gateway.universal(body.encode(), x_outer="1", authorization="Bearer sk-outer")
    seen = reply.json()
    assert (seen["method"], seen["target"]) == ("POST", "/openai/v1/chat/completions?a=b")
    names = {name: value for name, value in seen["headers"] if name not in ("Host", "Content-Length")}
    assert names == {"X-Own": '{"a":1}', "Authorization": "Bearer sk-old", "Content-Type": "application/json"}
    assert gateway.rows(reply, 1)[0]["path"] == "v1/chat/completions"
    log_id = reply.headers["cf-aig-log-id"]
    assert gateway.log_body(log_id, "request") == query.encode()


def test_the_event_id_of_a_step_is_in_the_reply_and_in_the_log(gateway: Any):
    reply = gateway.universal(step(eventId="e-1"))
    assert reply.headers["cf-aig-event-id"] == "e-1"
    assert gateway.rows(reply, 1)[0]["event_id"] == "e-1"


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ([], 2004, "The body must have at least one step"),
        ([step(), 3], 2004, "[1] must be an object"),
        ([step(), {"provider": "openai"}], 2004, "[1].endpoint is required"),
        ([step(), step(), step(option={"delay": "1"})], 2004, "[2].option.delay must be a number"),
        ([step()] * 51, 2004, "[50]: there are more than 50 steps"),
        ([step(), {"provider": "nobody", "endpoint": "x"}], 2008, "Invalid provider"),
        (step(option={"when": []}), 2004, "option.when is not available in this version of Sluice"),
        (b"{", 2004, "The body is not valid JSON: Input data was truncated"),
        (b"[" * 200_000, 2004, "[0] must be an object"),
    ],
)
def test_a_malformed_request_is_refused_by_name_and_nobody_is_called(
    gateway: Any, marker: str, body: Any, code: int, message: str, error_body: Any
):
    reply = gateway.universal(body, cf_aig_event_id=marker)
    assert (reply.status_code, reply.json()) == (400, error_body(400, code, message))
    assert (reply.headers["cf-aig-event-id"], "cf-aig-log-id" in reply.headers) == (marker, False)
    assert reply.headers["cf-aig-request-id"]
    gateway.rows(gateway.universal(step()), 1)  # the one before it would be there by now
    assert [row for row in gateway.logs() if row["event_id"] == marker] == []


def test_who_is_not_let_in_is_told_that_before_anything_of_the_body(gateway: Any):
    reply = gateway.universal(b"{", cf_aig_authorization="Bearer undefined")
    assert (reply.status_code, reply.json()["error"][0]["code"]) == (401, 2009)
    reply = gateway.universal(b"{", "nothing")
    assert (reply.status_code, reply.json()["error"][0]["code"]) == (400, 2001)


def test_an_open_gateway_takes_the_word_undefined_for_no_token(gateway: Any):
    gateway.cli("gateway", "create", "open-universal", "--open")
    reply = gateway.universal([step()], "open-universal", cf_aig_authorization="Bearer undefined")
    assert reply.status_code == 200


# --- 2.2 success, failure, fallback

FAILURES = [
    "status-400",
    "status-404",
    "status-429",
    "status-500",
    "drop",
    "bad-head",
    "cut-0",
    "reset-0",
    "malformed-0",
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", FAILURES)
def test_any_failure_falls_back_to_the_next_step(gateway: Any, fault: str, stream: bool):
    reply = gateway.universal([step(f"gpt-4o~{fault}", stream=stream), step("second", stream=stream)])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "1")
    assert ("text/event-stream" in reply.headers["content-type"]) == stream
    assert (b"data: [DONE]" in reply.content) == stream
    first, second = gateway.rows(reply, 2)
    assert (first["step"], second["step"]) == (0, 1)
    assert (first["success"], second["success"], second["ending"]) == (False, True, "complete")
    if fault.startswith("status"):
        assert (first["status_code"], first["ending"]) == (int(fault[7:]), "complete")
        assert gateway.log_body(first["id"], "response")
    elif fault in ("drop", "bad-head"):
        assert (first["status_code"], first["ending"], first["error_code"]) == (400, "refused", 2005)
    else:
        assert (first["status_code"], first["ending"], first["error_code"]) == (200, "broken", 2005)


def test_a_provider_that_cannot_be_reached_is_fallen_back_from(start_gateway: Any, provider: Any):
    base = f"http://{provider.authority}"
    urls = {"openai": {"base_url": f"{base}/openai"}, "groq": {"base_url": "http://127.0.0.1:9/"}}
    own = start_gateway(providers=urls)
    reply = own.universal([step(provider="groq"), step()])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "1")
    assert [row["provider"] for row in own.rows(reply, 2)] == ["groq", "openai"]


def test_the_first_success_is_returned_unchanged(gateway: Any):
    alone = gateway.universal(step("gpt-4o"))
    behind = gateway.universal([step("gpt-4o~drop"), step("gpt-4o"), step("never")])
    assert alone.content == behind.content
    ours = {"cf-aig-step", "cf-aig-request-id", "cf-aig-log-id", "cf-aig-event-id", "date", "x-request-id"}
    kept = [{name: value for name, value in reply.headers.items() if name not in ours} for reply in (alone, behind)]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("fault", ["cut-3", "reset-3", "malformed-3"])
def test_after_the_first_byte_there_is_no_fallback(gateway: Any, fault: str):
    body = [step(f"gpt-4o~{fault}", stream=True), step("second", stream=True)]
    with gateway.http.stream("POST", "/v1/local/default", json=body) as reply:
        assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "0")
        with pytest.raises(httpx.RemoteProtocolError):
            reply.read()
    (row,) = gateway.rows(reply, 1)
    assert (row["ending"], row["success"], row["error_code"]) == ("broken", False, 2005)


def test_where_all_fail_the_last_providers_reply_is_returned_as_it_is(gateway: Any):
    last = step("gpt-4o~status-404")
    reply = gateway.universal([step("gpt-4o~drop"), last])
    alone = gateway.universal(last)
    assert (reply.status_code, reply.headers["cf-aig-step"], reply.content) == (404, "1", alone.content)
    assert [row["ending"] for row in gateway.rows(reply, 2)] == ["refused", "complete"]


def test_where_the_last_has_no_reply_the_answer_is_ours(gateway: Any, error_body: Any):
    reply = gateway.universal([step("gpt-4o~status-404"), step("gpt-4o~drop")])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (400, "1")
    assert reply.json() == error_body(400, 2005, "Failed to get response from provider")
    first, second = gateway.rows(reply, 2)
    assert (first["status_code"], second["status_code"], second["error_code"]) == (404, 400, 2005)


def test_a_success_that_breaks_before_its_first_byte_is_an_error_of_ours(gateway: Any, error_body: Any):
    reply = gateway.universal(step("gpt-4o~cut-0"))
    assert (reply.status_code, reply.json()["error"][0]["code"]) == (400, 2005)
    assert gateway.rows(reply, 1)[0]["ending"] == "refused"


def test_the_rest_of_a_failed_reply_is_not_waited_for_long(gateway: Any):
    began_s = time.monotonic()
    reply = gateway.universal([step("gpt-4o~status-500~slow-first-token-60000"), step("second")])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "1")
    assert time.monotonic() - began_s < 10
    first, _ = gateway.rows(reply, 2)
    assert (first["status_code"], first["ending"], first["success"]) == (500, "broken", False)
    assert "not waited for" in first["error_message"]


# --- 2.3 response headers


def test_each_reply_tells_who_answered_and_by_what_ids(gateway: Any):
    reply = gateway.universal([step("gpt-4o~drop"), step("gpt-4o")], cf_aig_event_id="e-3")
    first, second = gateway.rows(reply, 2)
    told = {name[7:]: value for name, value in reply.headers.items() if name.startswith("cf-aig-")}
    assert told == {
        "step": "1",
        "cache-status": "MISS",
        "log-id": second["id"],
        "request-id": first["id"],
        "event-id": "e-3",
        "provider": "openai",
        "model": "gpt-4o",
    }
    assert first["event_id"] == second["event_id"] == "e-3"
    assert first["request_id"] == second["request_id"] == first["id"]
    assert {first["request_type"], second["request_type"]} == {"universal"}


def test_a_model_as_long_as_a_body_is_in_no_head_and_keeps_no_log_away(gateway: Any):
    reply = gateway.universal(step("m" * 300_000))
    assert (reply.status_code, "cf-aig-model" in reply.headers) == (200, False)
    row = gateway.log(reply.headers["cf-aig-log-id"])
    assert (row["model"], row["success"]) == ("", True)


def test_a_step_that_is_not_logged_has_no_log_id(gateway: Any):
    reply = gateway.universal([step("gpt-4o~drop"), step(config={"collectLog": False})])
    assert (reply.status_code, "cf-aig-log-id" in reply.headers) == (200, False)
    assert reply.headers["cf-aig-request-id"] == gateway.rows(reply, 1)[0]["id"]


# --- 2.4 precedence


def test_config_over_step_headers_over_request_headers_over_the_gateway(gateway: Any, provider: Any, marker: str):
    failing = "gpt-4o~status-500"
    gateway.cli("gateway", "create", f"g{marker}")
    fields = {"retry_max_attempts": 4, "retry_delay": 0, "retry_backoff": "constant"}
    base = gateway.manage("GET", f"/gateways/g{marker}").json()["result"]
    changed = {name: value for name, value in base.items() if name not in ("id", "created_at", "modified_at")}
    done = gateway.manage("PUT", f"/gateways/g{marker}", json={**changed, **fields})
    assert done.status_code == 200, done.text
    body = [
        step(failing),
        step(failing, headers={"cf-aig-max-attempts": "2"}),
        step(failing, headers={"cf-aig-max-attempts": "2"}, config={"maxAttempts": 1}),
        step(failing, headers={"cf-aig-max-attempts": "nonsense"}),
        step(failing, config={"maxAttempts": 1}, option={"retry": 1}),
    ]
    for outer, expected in (({}, [4, 2, 1, 4, 2]), ({"cf_aig_max_attempts": "3"}, [3, 2, 1, 3, 2])):
        reply = gateway.universal(body, f"g{marker}", **outer)
        assert reply.status_code == 500
        assert [row["attempts"] for row in gateway.rows(reply, 5, f"g{marker}")] == expected


# --- 2.5 timeouts and retries


@pytest.mark.parametrize("fault", ["slow-head-3000", "slow-first-token-3000"])
@pytest.mark.parametrize("how", ["config", "option", "header"])
def test_a_step_that_is_slow_to_its_first_byte_is_fallen_back_from(gateway: Any, fault: str, how: str):
    fields: Step = {
        "config": {"config": {"requestTimeout": 60}},
        "option": {"option": {"timeout": 60}},
        "header": {"headers": {"cf-aig-request-timeout": 60}},
    }[how]
    began_s = time.monotonic()
    reply = gateway.universal([step(f"gpt-4o~{fault}", stream=True, **fields), step("second")])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "1")
    assert time.monotonic() - began_s < 2.5
    first, _ = gateway.rows(reply, 2)
    assert (first["error_code"], first["error_message"]) == (2005, "The provider did not answer in time")


def test_a_stream_that_has_begun_is_never_cut_by_the_timeout(gateway: Any):
    reply = gateway.universal(step("gpt-4o~pace-30~words-10", stream=True, config={"requestTimeout": 150}))
    assert reply.status_code == 200
    assert reply.content.endswith(b"data: [DONE]\n\n")


def test_the_last_try_of_the_last_step_waits_for_the_provider(gateway: Any):
    slow = step("gpt-4o~slow-head-300", config={"requestTimeout": 60, "maxAttempts": 2})
    reply = gateway.universal([step("gpt-4o~drop"), slow])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "1")
    assert gateway.rows(reply, 2)[1]["attempts"] == 2


def test_an_only_try_is_cut_even_where_nothing_follows(gateway: Any):
    reply = gateway.universal(step("gpt-4o~slow-head-3000", config={"requestTimeout": 60}))
    assert (reply.status_code, reply.json()["error"][0]["code"]) == (400, 2005)


@pytest.mark.parametrize("fault", ["status-408", "status-429", "status-500", "status-503", "bad-head", "cut-0"])
async def test_what_may_pass_is_tried_again_at_the_same_step(gateway: Any, provider: Any, marker: str, fault: str):
    one = marked(marker, f"gpt-4o~{fault}~first-2", option={"retry": 2})
    reply = gateway.universal([one, step("never")])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "0")
    assert len(await provider.entries(marker, ended=3)) == 3
    (row,) = gateway.rows(reply, 1)
    assert (row["attempts"], row["status_code"], row["success"]) == (3, 200, True)


@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_what_will_not_pass_is_not_tried_again(gateway: Any, provider: Any, marker: str, status: int):
    reply = gateway.universal([marked(marker, f"gpt-4o~status-{status}", option={"retry": 5}), step()])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "1")
    assert len(await provider.entries(marker)) == 1


@pytest.mark.parametrize(
    ("fields", "tries"),
    [
        ({"config": {"maxAttempts": 99}}, 5),
        ({"config": {"maxAttempts": 0}}, 1),
        ({"option": {"retry": 99}}, 6),
        ({"option": {"retry": 0}}, 1),
        ({}, 1),
    ],
)
def test_the_number_of_tries_is_bounded(gateway: Any, fields: Step, tries: int):
    reply = gateway.universal(step("gpt-4o~status-500", **fields))
    assert reply.status_code == 500
    assert gateway.rows(reply, 1)[0]["attempts"] == tries


@pytest.mark.parametrize(("backoff", "least_ms"), [("constant", 120), ("linear", 240), ("exponential", 280)])
def test_the_delay_between_tries_grows_as_the_backoff_says(gateway: Any, backoff: str, least_ms: int):
    config = {"maxAttempts": 4, "retryDelay": 40, "backoff": backoff}
    began_s = time.monotonic()
    reply = gateway.universal(step("gpt-4o~status-503", config=config))
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (503, "0")
    assert time.monotonic() - began_s >= least_ms / 1000


def test_what_a_provider_says_of_when_to_retry_is_ignored(gateway: Any):
    began_s = time.monotonic()
    reply = gateway.universal(step("gpt-4o~retry-after-30", option={"retry": 1}))
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "30")
    assert time.monotonic() - began_s < 10
