"""Every error of ours that a client can meet, with its status, its code and its whole body (docs/errors.md)."""

import json
import socket
import time
from typing import Any

import pytest

CHAT = "/v1/local/default/openai/v1/chat/completions"
NOT_FOUND = (404, 2004, "Not found")


@pytest.fixture(scope="module")
def strict(start_shared_gateway: Any) -> Any:
    """A gateway with small limits in front of the simulator."""
    limits = {
        "head_bytes": 2048,
        "headers": 20,
        "body_bytes": 1000,
        "head_timeout_s": 0.3,
        "body_idle_timeout_s": 0.3,
    }
    return start_shared_gateway("--simulate", limits=limits, upstream={"first_byte_timeout_s": 1.5})


@pytest.fixture(scope="module")
def cut_off(start_shared_gateway: Any) -> Any:
    """A gateway whose provider nobody is, and which says so with a 502."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{bound.getsockname()[1]}"
        yield start_shared_gateway(providers={"openai": {"base_url": nobody}}, server={"upstream_failure_status": 502})


def exchange(gateway: Any, sent: bytes) -> tuple[bytes, bytes]:
    """Head and body of what comes back until the connection closes, or the body is whole."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        while piece := connection.recv(65536):
            received += piece
            head, end, body = received.partition(b"\r\n\r\n")
            lengths = [line.split()[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if end and lengths and len(body) >= int(lengths[0]):
                break
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def request(path: str = CHAT, method: str = "POST", body: bytes = b"", **headers: str) -> bytes:
    lines = {"host": "127.0.0.1", "content-length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def expect(gateway: Any, sent: bytes, status: int, code: int, message: str | None) -> bytes:
    """Compares the whole reply; a message of None is any that says more than the catalogue. Returns the head."""
    head, body = exchange(gateway, sent)
    answer = json.loads(body)
    said = answer["message"] if message is None else message
    one = {"code": code, "message": said}
    assert int(head.split()[1]) == status
    assert b"\r\ncf-aig-cache-status: MISS\r\n" in head
    assert answer == {
        "success": False,
        "result": [],
        "messages": [],
        "error": [one],
        "errors": [one],
        "name": "AiGatewayError",
        "httpCode": status,
        "internalCode": code,
        "message": said,
        "description": answer["description"] if code == 2008 else said,
    }
    assert message is not None or len(said) > len("Malformed request")
    assert b"\r\ncontent-type: application/json" in head.lower()
    assert b"\r\ncf-aig-request-id: " in head
    assert b"\r\ncf-aig-event-id: " in head
    return head


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nothing", NOT_FOUND),
        ("GET", "/v1", NOT_FOUND),
        ("GET", "/v1/local", NOT_FOUND),
        ("GET", "/v1/local/", NOT_FOUND),
        ("GET", "/v1//default/openai/v1/models", NOT_FOUND),
        ("DELETE", "/v1/local/default", (405, 2004, "Method not allowed")),
        ("GET", "/v1/local/default", (405, 2004, "Method not allowed")),
        ("POST", "/v1/local/default", (400, 2004, None)),
        ("POST", "/v1/local/default/", (400, 2004, None)),
        ("POST", "/v1/local/default/compat/chat/completions", (400, 2004, "The body is not valid JSON")),
        ("POST", "/v1/local/default/compat/nothing", NOT_FOUND),
        ("GET", "/v1/local/default/compat/embeddings", (405, 2004, "Method not allowed")),
        ("POST", "/v1/local/default/run", (400, 2004, None)),
        ("POST", "/v1/local/default/nobody/v1/chat", (400, 2008, "Invalid provider")),
        ("POST", "/v1/local/default/openai/#part", (400, 2004, None)),
    ],
)
def test_a_path_that_leads_nowhere(strict: Any, method: str, path: str, expected: tuple[int, int, str | None]):
    expect(strict, request(path, method, cf_aig_authorization=f"Bearer {strict.token}"), *expected)


def test_a_head_with_too_many_bytes_or_fields(strict: Any):
    too_large = (431, 2004, "Request header fields too large")
    expect(strict, request(x_long="a" * 3000), *too_large)
    expect(strict, request(**{f"x_{number}": "a" for number in range(30)}), *too_large)
    expect(strict, request("/v1/" + "a" * 3000), *too_large)


def test_a_body_that_is_too_large(strict: Any):
    too_large = (413, 2004, "Request body too large")
    token = f"Bearer {strict.token}"
    expect(strict, request(body=b"a" * 1001, cf_aig_authorization=token), *too_large)
    chunked = request(content_length="", transfer_encoding="chunked", cf_aig_authorization=token)
    expect(strict, chunked + b"3e9\r\n" + b"a" * 1001 + b"\r\n0\r\n\r\n", *too_large)


@pytest.mark.parametrize(
    "sent",
    [
        b"POST " + CHAT.encode() + b" HTTP/1.1\r\nhost: a\r\n",
        request(content_length="10") + b"abc",
        request(content_length="", transfer_encoding="chunked") + b"3\r\nabc\r\n",
    ],
    ids=["head", "body", "chunked body"],
)
def test_a_request_that_does_not_arrive_in_time(strict: Any, sent: bytes):
    token = f"cf-aig-authorization: Bearer {strict.token}\r\n".encode()
    line, _, rest = sent.partition(b"\r\n")
    expect(strict, line + b"\r\n" + token + rest, 408, 2004, "The request did not arrive in time")


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (request(transfer_encoding="gzip", content_length=""), 501, "Transfer coding not supported"),
        (request().replace(b"HTTP/1.1", b"HTTP/2.0"), 505, "HTTP version not supported"),
        (request(transfer_encoding="chunked") + b"0\r\n\r\n", 400, None),
        (request().replace(b"host:", b"content-length: 5\r\nhost:"), 400, None),
        (request().replace(b"host:", b"host : a\r\nx:"), 400, None),
        (request().replace(b"host: ", b"x: a\r\n b\r\nhost: "), 400, None),
        (request().replace(b"host: ", b"x: \x01\r\nhost: "), 400, None),
        (b"nonsense\r\n\r\n", 400, None),
    ],
)
def test_a_request_that_is_no_proper_http_ends_its_connection(
    strict: Any, sent: bytes, status: int, message: str | None
):
    assert b"\r\nconnection: close" in expect(strict, sent, status, 2004, message).lower()


def test_a_stored_key_that_does_not_exist(strict: Any):
    sent = request(cf_aig_authorization=f"Bearer {strict.token}", cf_aig_byok_alias="mine")
    expect(strict, sent, 400, 2040, "openai has no provider key with the alias 'mine': none is configured")


def test_a_provider_that_cannot_be_reached_is_told_at_once_and_logged(cut_off: Any):
    started = time.monotonic()
    failure = (502, 2005, "Failed to get response from provider")
    head = expect(cut_off, request(cf_aig_authorization=f"Bearer {cut_off.token}"), *failure).lower()
    assert time.monotonic() - started < 2
    [log] = cut_off.logs(1)
    assert b"\r\ncf-aig-log-id: " + log["id"].lower().encode() in head
    assert b"\r\ncf-aig-step: 0" in head
    assert (log["status_code"], log["error_code"], log["ending"]) == (502, 2005, "refused")
    assert log["error_message"]


@pytest.mark.parametrize("model", ["gpt-4o~slow-head-5000", "gpt-4o~drop", "gpt-4o~bad-head"])
def test_a_provider_that_does_not_answer_properly(strict: Any, model: str):
    sent = request(
        body=json.dumps({"model": model, "messages": []}).encode(), cf_aig_authorization=f"Bearer {strict.token}"
    )
    expect(strict, sent, 400, 2005, "Failed to get response from provider")
