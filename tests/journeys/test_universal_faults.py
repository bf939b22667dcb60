"""Every fault of a provider at every position of a workflow, streamed and not: the documented outcome.

No reply ends in silence, and the log of each step says what became of it.
"""

from typing import Any

import httpx
import pytest

Step = dict[str, Any]

BEFORE = [
    "status-404", "status-500", "status-503", "retry-after-1", "drop", "bad-head", "long-head-300", "slow-head-5000",
    "slow-first-token-5000", "cut-0", "reset-0", "half-close-0", "malformed-0", "stall-0",
]  # fmt: skip
"""Faults before the first byte of a body that would serve: another step may answer."""
AFTER = ["cut-3", "reset-3", "half-close-3", "malformed-3", "stall-3"]
"""Faults behind it: the reply is cut, unless it was taken in for a step that follows."""
HARMLESS = ["interim", "error-200", "surplus", "close", "drip-40", "wrong-usage", "no-usage", "no-tail", "linger-20",
            "error-event-3", "drop-reused", "long-head-10"]  # fmt: skip
"""What is a success all the same."""


@pytest.fixture(scope="module")
def own(start_shared_gateway: Any) -> Any:
    return start_shared_gateway("--simulate", upstream={"idle_timeout_s": 0.6, "first_byte_timeout_s": 3})


def step(model: str, stream: bool, *following: Step, **fields: Any) -> Step:
    query = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
    config = {"requestTimeout": 400}
    one = {"provider": "openai", "endpoint": "chat/completions", "query": query, "config": config, **fields}
    return {**one, "option": {"onComplete": list(following)}} if following else one


def follower(stream: bool) -> Step:
    one = step("follower", stream)
    one["query"]["messages"][0]["content"] = "<prompt-response id='a' />"
    return one


def ask(gateway: Any, body: Any) -> tuple[httpx.Response, str]:
    """The reply, and whether it came whole."""
    with gateway.http.stream("POST", "/v1/local/default", json=body) as reply:
        try:
            reply.read()
        except httpx.RemoteProtocolError:
            return reply, "cut"
        return reply, "whole"


def check_faulty(row: Step, fault: str) -> None:
    """What the log says of the step with the fault, which was not the one that answered."""
    assert not row["success"]
    if fault.startswith(("status", "retry-after")):
        status = 429 if fault.startswith("retry") else int(fault[7:])
        assert (row["status_code"], row["ending"]) == (status, "complete")
    elif fault in ("drop", "bad-head", "long-head-300", "slow-head-5000"):
        assert (row["status_code"], row["ending"], row["error_code"]) == (400, "refused", 2005)
    else:
        assert (row["status_code"], row["ending"], row["error_code"]) == (200, "broken", 2005)
    assert row["ending"] == "complete" or row["error_message"]


def check_answer(row: Step, reply: httpx.Response) -> None:
    assert row["id"] == reply.headers["cf-aig-log-id"]
    assert (row["success"], row["ending"], row["status_code"]) == (True, "complete", 200)


def check_cut(row: Step, reply: httpx.Response) -> None:
    assert row["id"] == reply.headers["cf-aig-log-id"]
    assert (row["success"], row["ending"], row["status_code"], row["error_code"]) == (False, "broken", 200, 2005)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", BEFORE)
def test_a_fault_before_the_first_byte(own: Any, fault: str, stream: bool):
    bad = f"gpt-4o~{fault}"
    first, end = ask(own, [step(bad, stream), step("second", stream)])
    assert (first.status_code, first.headers["cf-aig-step"], end) == (200, "1", "whole")
    source, end = ask(own, [step(bad, stream, follower(stream), id="a"), step("second", stream)])
    assert (source.status_code, source.headers["cf-aig-step"], end) == (200, "1", "whole")
    chained, end = ask(own, [step("m", stream, step(bad, stream), id="a"), step("second", stream)])
    assert (chained.status_code, chained.headers["cf-aig-step"], end) == (200, "1", "whole")
    last, end = ask(own, [step("gpt-4o~status-500", stream), step(bad, stream)])
    is_status = fault.startswith(("status", "retry"))
    assert (last.headers["cf-aig-step"], end) == ("1", "whole")
    assert last.status_code >= 400
    assert (last.json().get("name") == "AiGatewayError") == (not is_status)

    for reply in (first, source):
        failed, answered = own.rows(reply, 2)
        check_faulty(failed, fault)
        check_answer(answered, reply)
    before, failed, answered = own.rows(chained, 3)
    assert (before["success"], before["step"]) == (True, 0)
    check_faulty(failed, fault)
    check_answer(answered, chained)
    _, failed = own.rows(last, 2)
    assert failed["id"] == last.headers["cf-aig-log-id"]
    assert (failed["success"], failed["ending"]) == (False, "complete" if is_status else "refused")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", AFTER)
def test_a_fault_after_the_first_byte(own: Any, fault: str, stream: bool):
    bad = f"gpt-4o~{fault}"
    first, end = ask(own, [step(bad, stream), step("second", stream)])
    assert (first.status_code, first.headers["cf-aig-step"], end) == (200, "0", "cut")
    source, end = ask(own, [step(bad, stream, follower(stream), id="a"), step("second", stream)])
    assert (source.status_code, source.headers["cf-aig-step"], end) == (200, "1", "whole")
    chained, end = ask(own, [step("m", stream, step(bad, stream), id="a"), step("second", stream)])
    assert (chained.status_code, chained.headers["cf-aig-step"], end) == (200, "0", "cut")
    last, end = ask(own, [step("gpt-4o~status-500", stream), step(bad, stream)])
    assert (last.status_code, last.headers["cf-aig-step"], end) == (200, "1", "cut")

    check_cut(own.rows(first, 1)[0], first)
    check_cut(own.rows(chained, 2)[1], chained)
    check_cut(own.rows(last, 2)[1], last)
    failed, answered = own.rows(source, 2)
    check_faulty(failed, fault)
    check_answer(answered, source)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", HARMLESS)
def test_what_is_no_failure_falls_back_nowhere(own: Any, fault: str, stream: bool):
    odd = f"gpt-4o~{fault}"
    first, end = ask(own, [step(odd, stream), step("second", stream)])
    assert (first.status_code, first.headers["cf-aig-step"], end) == (200, "0", "whole")
    source, end = ask(own, [step(odd, stream, follower(stream), id="a"), step("second", stream)])
    assert (source.status_code, source.headers["cf-aig-step"], end) == (200, "0", "whole")
    chained, end = ask(own, [step("m", stream, step(odd, stream), id="a"), step("second", stream)])
    assert (chained.status_code, chained.headers["cf-aig-step"], end) == (200, "0", "whole")
    last, end = ask(own, [step("gpt-4o~status-500", stream), step(odd, stream)])
    assert (last.status_code, last.headers["cf-aig-step"], end) == (200, "1", "whole")
    for reply, count in ((first, 1), (source, 2), (chained, 2), (last, 2)):
        check_answer(own.rows(reply, count)[-1], reply)


@pytest.mark.parametrize("fault", ["cut-1000000", "stall-1000000"])
def test_a_fault_behind_the_last_event_is_one_where_the_reply_was_to_be_taken_in(own: Any, fault: str):
    """It was of no use, so that the next step ran: its log does not say that all went well."""
    bad = f"gpt-4o~{fault}"
    source, end = ask(own, [step(bad, True, follower(True), id="a"), step("second", True)])
    assert (source.status_code, source.headers["cf-aig-step"], end) == (200, "1", "whole")
    failed, answered = own.rows(source, 2)
    check_faulty(failed, fault)
    check_answer(answered, source)
