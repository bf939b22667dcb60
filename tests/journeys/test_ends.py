"""A stream that is under way when the server ends or begins anew is finished."""

import json
import os
import signal

import pytest


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_stream_from_the_simulator_is_whole_whatever_comes_over_the_supervisor(start_gateway, by):
    gateway = start_gateway("--simulate")
    body = {"model": "gpt-4o-mini~pace-40~words-40", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with gateway.http.stream("POST", f"{gateway.inference_url()}/v1/chat/completions", json=body) as reply:
        lines = reply.iter_lines()
        first = next(lines)
        os.kill(gateway.process.pid, by)
        events = [line for line in [first, *lines] if line]
    assert events[-1] == "data: [DONE]"
    assert len(events) > 40
    log_id = reply.headers["cf-aig-log-id"]
    if by != signal.SIGHUP:
        gateway.stop()
        gateway = start_gateway("--simulate")
    assert gateway.log(log_id)["ending"] == "complete"


def test_a_server_that_nobody_uses_ends_without_a_warning(start_gateway):
    gateway = start_gateway("--simulate")
    gateway.http.close()
    assert gateway.terminate() == 0
    lines = [json.loads(line) for line in gateway.said().splitlines() if line.startswith("{")]
    assert [line for line in lines if line["level"] != "info"] == []
