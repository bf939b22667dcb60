"""Steps that follow one another (contract 2.6), and where the universal endpoint stands (0.2)."""

import base64
import json
from typing import Any

import httpx
import pytest

Step = dict[str, Any]
TAG = "<prompt-response id='{}' />"


def step(model: str = "gpt-4o-mini", text: str = "hello", *following: Step, **fields: Any) -> Step:
    query: Step = {"model": model, "messages": [{"role": "user", "content": text}], **fields.pop("query", {})}
    option: Step = fields.pop("option", {})
    if following:
        option["onComplete"] = following[0] if len(following) == 1 else list(following)
    headers = {"Authorization": "Bearer sk-theirs", **fields.pop("headers", {})}
    found = {"provider": "openai", "endpoint": "chat/completions", "headers": headers, "query": query, **fields}
    return {**found, "option": option} if option else found


def seen_by(reply: httpx.Response) -> Any:
    """The body that an echoing provider received."""
    return json.loads(base64.b64decode(reply.json()["body"]))


def prompt_of(reply: httpx.Response) -> str:
    content: str = seen_by(reply)["messages"][0]["content"]
    return content


@pytest.fixture(scope="module")
def said(gateway: Any) -> str:
    """What the simulator answers to `hello`."""
    content: str = gateway.universal(step()).json()["choices"][0]["message"]["content"]
    return content


def test_what_follows_gets_the_words_of_the_step_before_it_and_answers(gateway: Any, said: str):
    reply = gateway.universal([step("gpt-4o-mini", "hello", step("echo", "Draw: " + TAG.format("0001")), id="0001")])
    assert (prompt_of(reply), reply.headers["cf-aig-step"]) == (f"Draw: {said}", "0")
    first, second = gateway.rows(reply, 2)
    assert (first["step"], second["step"], first["success"], first["ending"]) == (0, 0, True, "complete")
    assert first["event_id"] == second["event_id"] == first["request_id"]
    assert reply.headers["cf-aig-log-id"] == second["id"]
    assert first["tokens_out"]
    assert said in gateway.log_body(first["id"], "response").decode()
    assert said in gateway.log_body(second["id"], "request").decode()


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_streamed_step_is_taken_in_whole_and_never_streamed_to_the_client(gateway: Any, said: str, encoding: str):
    headers = {"Accept-Encoding": "gzip", "x-sluice-encoding": encoding}
    source = step(
        "gpt-4o-mini", "hello", step("echo", TAG.format("a")), id="a", query={"stream": True}, headers=headers
    )
    reply = gateway.universal(source)
    assert prompt_of(reply) == said
    first, _ = gateway.rows(reply, 2)
    assert first["response_content_type"].startswith("text/event-stream")


def test_the_last_step_of_a_chain_is_streamed(gateway: Any):
    reply = gateway.universal(step("m", "hello", step("m", TAG.format("a"), query={"stream": True}), id="a"))
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.content.endswith(b"data: [DONE]\n\n")


def test_words_go_into_the_endpoint_and_into_headers_too(gateway: Any, said: str):
    follower = step("x", "x", headers={"X-Said": "so: " + TAG.format("a"), "x-sluice-echo": "1"})
    follower["endpoint"] = "files/" + TAG.format("a") + "?q=1"
    seen = gateway.universal(step("m", "hello", follower, id="a")).json()
    assert dict(seen["headers"])["X-Said"] == f"so: {said}"
    assert seen["target"].startswith("/openai/v1/files/You%20said%3A%20hello.")
    assert seen["target"].endswith("?q=1")


def test_a_model_that_another_named_is_told_by_its_name(gateway: Any, said: str):
    reply = gateway.universal(step("m", "hello", step(TAG.format("a")), id="a"))
    assert (reply.status_code, reply.headers["cf-aig-model"]) == (200, said)
    runner = {"provider": "workers-ai", "endpoint": "run/" + TAG.format("a"), "query": {"prompt": "hello"}}
    reply = gateway.universal(step("m", "hello", runner, id="a"))
    assert reply.headers["cf-aig-model"] == said


def test_words_with_quotes_and_lines_need_no_care(gateway: Any):
    reply = gateway.universal(step("echo", "x", step("echo", f"a {TAG.format('a')} b"), id="a"))
    first, _ = gateway.rows(reply, 2)
    raw = gateway.log_body(first["id"], "response").decode()
    assert '"method": "POST",\n' in raw
    assert prompt_of(reply) == f"a {raw} b"


def test_words_of_every_step_before_may_be_asked_for(gateway: Any, said: str):
    inner = step("echo", f"{TAG.format('a')} + {TAG.format('b')}")
    reply = gateway.universal(step("m", "hello", step("m", "hello", inner, id="b"), id="a"))
    assert prompt_of(reply) == f"{said} + {said}"
    assert len(gateway.rows(reply, 3)) == 3


def test_where_what_follows_fails_the_next_element_is_tried(gateway: Any):
    follower = step("gpt-4o~status-404", TAG.format("a"))
    reply = gateway.universal([step("m", "hello", follower, id="a"), step("second")])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "1")
    assert [(row["step"], row["status_code"]) for row in gateway.rows(reply, 3)] == [(0, 200), (0, 404), (1, 200)]


def test_what_follows_may_be_a_list_with_a_fallback_of_its_own(gateway: Any, said: str):
    source = step("m", "hello", step("gpt-4o~drop", "x"), step("echo", TAG.format("a")), id="a")
    reply = gateway.universal([source, step("never")])
    assert (prompt_of(reply), reply.headers["cf-aig-step"]) == (said, "0")
    assert [row["ending"] for row in gateway.rows(reply, 3)] == ["complete", "refused", "complete"]


def test_what_follows_has_retries_of_its_own(gateway: Any):
    follower = step("gpt-4o~status-500~first-2", TAG.format("a"), option={"retry": 2, "delay": 5})
    reply = gateway.universal(step("m", "hello", follower, id="a"))
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "0")
    assert [row["attempts"] for row in gateway.rows(reply, 2)] == [1, 3]


def test_where_all_fails_the_last_reply_is_returned(gateway: Any):
    reply = gateway.universal(step("m", "hello", step("gpt-4o~status-418", TAG.format("a")), id="a"))
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (418, "0")


@pytest.mark.parametrize("fault", ["cut-3", "reset-3", "malformed-3"])
def test_a_source_that_breaks_midway_fails_and_may_be_tried_again(gateway: Any, said: str, fault: str, marker: str):
    streamed = {"query": {"stream": True}, "headers": {"x-sluice-marker": marker}}
    source = step(f"gpt-4o~{fault}~first-1", "hello", step("echo", TAG.format("a")), id="a", **streamed)
    reply = gateway.universal([source, step("second")])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "1")
    first, _ = gateway.rows(reply, 2)
    assert (first["ending"], first["success"], first["status_code"]) == ("broken", False, 200)
    assert gateway.log_body(first["id"], "response").startswith(b"data: ")
    source["option"]["retry"] = 1
    source["headers"]["x-sluice-marker"] = marker + "2"
    again = gateway.universal([source, step("second")])
    assert (again.headers["cf-aig-step"], prompt_of(again)) == ("0", said)
    assert [row["attempts"] for row in gateway.rows(again, 2)] == [2, 1]


def test_a_source_that_is_too_large_fails_with_a_reason(gateway: Any):
    reply = gateway.universal([step("gpt-4o~huge-40", "x", step("echo", TAG.format("a")), id="a"), step("second")])
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "1")
    first, _ = gateway.rows(reply, 2)
    assert (first["error_code"], first["success"]) == (2002, False)
    assert "33554432 bytes" in first["error_message"]


def test_words_that_were_never_said_fail_their_step(gateway: Any, error_body: Any):
    source = step("gpt-4o~drop", "x", step("echo", "x"), id="a")
    late = step("m", "hello", step("echo", TAG.format("a")), id="b")
    reply = gateway.universal([source, late])
    said = "There is no response to put in for the step 'a': it has not completed"
    assert (reply.status_code, reply.json()) == (400, error_body(400, 2004, said))
    assert reply.headers["cf-aig-step"] == "1"
    assert [row["attempts"] for row in gateway.rows(reply, 3)] == [1, 1, 0]


@pytest.mark.parametrize("name", ["nobody", "b", "0001"])
def test_an_id_that_cannot_have_said_anything_is_refused_by_name(gateway: Any, name: str):
    body = [step("m", "x", step("m", TAG.format(name), id="b"), id="a"), step(id="0001")]
    reply = gateway.universal(body)
    assert (reply.status_code, reply.json()["error"][0]["code"]) == (400, 2004)
    assert "option.onComplete asks for the response of" in reply.json()["message"]
    assert name in reply.json()["message"] or name == "b"


# --- golden samples (contract, appendix B)

FLUX = "@cf/stabilityai/stable-diffusion-xl-base-1.0"


def test_golden_sample_of_two_steps_with_settings_of_their_own(gateway: Any):
    body = [
        {
            "provider": "workers-ai",
            "endpoint": "@cf/meta/llama-3.1-8b-instruct",
            "headers": {"Authorization": "Bearer A", "Content-Type": "application/json", "x-sluice-fault": "drop"},
            "config": {"requestTimeout": 1000, "maxAttempts": 2, "retryDelay": 500, "backoff": "exponential"},
            "query": {"prompt": "hi"},
        },
        {
            "provider": "openai",
            "endpoint": "chat/completions",
            "headers": {"Authorization": "Bearer B", "cf-aig-cache-ttl": "0"},
            "query": {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "hi"}]},
        },
    ]
    reply = gateway.universal(body)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert (reply.headers["cf-aig-step"], reply.headers["cf-aig-cache-status"]) == ("1", "MISS")
    first, second = gateway.rows(reply, 2)
    assert reply.headers["cf-aig-log-id"] == second["id"]
    assert (first["provider"], first["attempts"], first["model"]) == (
        "workers-ai", 2, "@cf/meta/llama-3.1-8b-instruct",
    )  # fmt: skip


@pytest.mark.parametrize(("fault", "answers"), [("~status-500~first-2", "0"), ("~status-500", "1")])
def test_golden_sample_of_a_chain(gateway: Any, marker: str, fault: str, answers: str):
    image = {"provider": "workers-ai", "endpoint": FLUX, "headers": {"Authorization": "Bearer A"}}
    body = [
        {
            "id": "0001",
            "provider": "openai",
            "endpoint": "chat/completions",
            "headers": {"Authorization": "Bearer B", "x-sluice-marker": marker},
            "query": {
                "model": f"gpt-4o-mini{fault}",
                "messages": [{"role": "user", "content": "write an image prompt"}],
            },
            "option": {
                "retry": 2,
                "delay": 20,
                "onComplete": {**image, "query": {"prompt": "Draw: <prompt-response id='0001' />"}},
            },
        },
        {**image, "query": {"prompt": "a cat"}},
    ]
    reply = gateway.universal(body)
    assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, answers)
    assert reply.content.startswith(b"\x89PNG")
    first, second = gateway.rows(reply, 2)
    assert (first["attempts"], first["provider"], second["provider"]) == (3, "openai", "workers-ai")
    sent = json.loads(gateway.log_body(second["id"], "request"))["prompt"]
    assert sent.startswith("Draw: You said: write an image prompt") if answers == "0" else sent == "a cat"


# --- a host of its own (contract 0.2)


def test_a_mapped_host_serves_it_at_its_root_with_the_older_token_header(start_gateway: Any):
    own = start_gateway("--simulate", hosts=json.dumps({"aig.example.com": "local/default"}))
    body = json.dumps([step("m", "hello", step("echo", TAG.format("0001")), id="0001", option={"retry": 2})])
    headers = {"host": "aig.example.com", "CF-AIG-TOKEN": f"Bearer {own.token}", "content-type": "application/json"}
    with httpx.Client(base_url=own.base_url, trust_env=False, timeout=20) as client:
        for path in ("/", ""):
            reply = client.post(path, content=body, headers=headers)
            assert (reply.status_code, reply.headers["cf-aig-step"]) == (200, "0")
            assert prompt_of(reply).startswith("You said: hello")
        assert client.get("/", headers=headers).status_code == 405
        chat = json.dumps({"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "x"}]})
        assert client.post("/compat/chat/completions", content=chat, headers=headers).status_code == 200


def test_a_mapping_of_every_host_serves_what_is_no_path_of_the_servers_own(start_gateway: Any):
    own = start_gateway("--simulate", hosts=json.dumps({"*": "local/default"}))
    headers = {"CF-AIG-TOKEN": f"Bearer {own.token}", "content-type": "application/json"}
    chat = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]})
    with httpx.Client(base_url=own.base_url, trust_env=False, timeout=20, headers=headers) as client:
        assert client.post("/", content=json.dumps(step())).headers["cf-aig-step"] == "0"
        assert client.post("/openai/chat/completions", content=chat).status_code == 200
        assert client.get("/v1/local/default/openai/models").json()["object"] == "list"
        assert client.get("/healthz").text == "ok\n"
        assert client.get("/metrics").status_code == 200
        assert client.get("/").headers["content-type"].startswith("text/plain")


def test_browsers_may_use_it(gateway: Any):
    preflight = gateway.http.options(
        "/v1/local/default",
        headers={"origin": "https://app.example.com", "access-control-request-method": "POST"},
    )
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "*")
    reply = gateway.universal(step(), origin="https://app.example.com")
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "cf-aig-step" in reply.headers["access-control-expose-headers"]
