"""What a newcomer does in the first minute."""

import time

import pytest


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4o-mini-2099-01-31"], ids=["listed", "dated"])
def test_the_first_call_ever_has_tokens_and_cost_in_its_log(start_gateway, model):
    gateway = start_gateway("--simulate")
    reply = gateway.chat(model=model)
    replied_at = time.monotonic()
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert (log["tokens_in"], log["tokens_out"]) == (
        reply.json()["usage"]["prompt_tokens"],
        reply.json()["usage"]["completion_tokens"],
    )
    assert log["cost"] == pytest.approx((0.15 * log["tokens_in"] + 0.6 * log["tokens_out"]) / 1e6)
    assert time.monotonic() - replied_at < 5  # 0.5 s where a core is free for the price list


def test_a_model_that_no_list_knows_is_logged_without_a_cost(gateway):
    log = gateway.log(gateway.chat(model="made-up").headers["cf-aig-log-id"])
    assert log["tokens_in"] > 0
    assert log["cost"] is None


def test_a_compressed_reply_reads_in_the_log_as_its_client_read_it(gateway):
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    url = f"{gateway.inference_url()}/v1/chat/completions"
    reply = gateway.http.post(url, json=body, headers={"x-sluice-encoding": "gzip", "accept-encoding": "gzip"})
    assert reply.headers["content-encoding"] == "gzip"
    log_id = reply.headers["cf-aig-log-id"]
    assert gateway.log_body(log_id, "response") == reply.content
    assert gateway.log(log_id)["response_head"] == reply.text


def test_the_front_page_says_where_things_are(gateway):
    page = gateway.http.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert "/v1/{account}/{gateway}/{provider}" in page.text
    head = gateway.http.head("/")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(page.content)))
