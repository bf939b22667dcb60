"""A provider's own endpoint: what the provider receives, and what the client gets back, to the letter."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

HOSTED = {"aig.example.com": "local/default"}


@pytest.fixture(scope="module")
def elsewhere(start_shared_gateway: Any, provider: Any) -> Any:
    """A gateway with a hosted name, whose provider is behind a path."""
    base_url = f"http://{provider.authority}/eu/proxy/v1/"
    return start_shared_gateway(hosts=json.dumps(HOSTED), providers={"openai": {"base_url": base_url}})


PATHS = [
    ("openai/chat/completions", "v1/chat/completions"),
    ("openai/v1/chat/completions", "v1/chat/completions"),
    ("openai/v1/v1/chat/completions", "v1/chat/completions"),
    ("openai//chat/completions", "v1/chat/completions"),
    ("/v1/local/default//openai/v1/models", "v1/models"),
    ("OpenAI/v1/models", "v1/models"),
    ("OPENAI/models", "v1/models"),
    ("%6fpenai/models", "v1/models"),
    ("openai", "v1/"),
    ("openai/", "v1/"),
    ("openai?a=b", "v1/?a=b"),
    ("openai/v1/models/", "v1/models/"),
    ("openai/v1/models//gpt-4o", "v1/models//gpt-4o"),
    ("openai/v1/files/file%2F1%20%C3%A9/content", "v1/files/file%2F1%20%C3%A9/content"),
    ("openai/v1/models/ft:gpt-4o:org::id", "v1/models/ft:gpt-4o:org::id"),
    ("openai/v1/models?after=a%20b&limit=2&limit=3&empty=&flag", "v1/models?after=a%20b&limit=2&limit=3&empty=&flag"),
    ("openai/models?key=a/b?c", "v1/models?key=a/b?c"),
    ("openai/versions", "v1/versions"),
    ("http://gateway/v1/local/default/openai/models?a=b", "v1/models?a=b"),
    ("HTTPS://other:99/v1/local/default/openai/v1/models", "v1/models"),
    ("/v1/%6cocal/def%61ult/openai/models", "v1/models"),
]


@pytest.mark.parametrize(("path", "target"), PATHS)
async def test_each_form_of_path_becomes_the_providers_own(
    gateway: Any, wire: Any, compose: Any, path: str, target: str
):
    async with wire(gateway) as line:
        reply = await line.ask(compose(gateway, "GET", path, x_sluice_echo="1"))
    assert (reply.status, reply.json()["target"]) == (200, f"/openai/{target}")


@pytest.mark.parametrize("body", [b"", b'{"a": 1}'])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY"])
async def test_any_method_passes_with_and_without_a_body(
    gateway: Any, wire: Any, compose: Any, method: str, body: bytes
):
    async with wire(gateway) as line:
        sent = compose(gateway, method, "openai/v1/files/f", body, x_sluice_echo="1")
        reply = await line.ask(sent)
    assert (reply.status, reply.json()["method"], reply.seen_body) == (200, method, body)
    lengths = [value for name, value in reply.seen if name == "Content-Length"]
    assert lengths == ([str(len(body))] if body or method in ("POST", "PUT", "PATCH") else [])


async def test_a_reply_to_head_has_the_fields_of_one_to_get_and_no_body(
    gateway: Any, wire: Any, compose: Any, provider: Any, marker: str
):
    async with wire(gateway) as line:
        head = await line.ask(compose(gateway, "HEAD", "openai/models/gpt-4o", x_sluice_marker=marker), "HEAD")
        get = await line.ask(compose(gateway, "GET", "openai/models/gpt-4o", x_sluice_marker=marker))

    assert (head.status, head.body, head.fault) == (200, b"", "")
    assert [name for name, _ in head.headers] == [name for name, _ in get.headers]
    assert int(head.header("content-length")) == len(get.body) > 0
    assert [entry["method"] for entry in await provider.entries(marker, 2)] == ["HEAD", "GET"]
    assert gateway.log(head.header("cf-aig-log-id"))["ending"] == "complete"


@pytest.mark.parametrize("status", [204, 304])
async def test_a_reply_without_a_body_ends_with_its_head(gateway: Any, wire: Any, compose: Any, status: int):
    async with wire(gateway) as line:
        sent = compose(gateway, "GET", "openai/models", x_sluice_fault=f"status={status}")
        first, second = await line.ask(sent), await line.ask(sent)
    assert [(one.status, one.body, one.fault) for one in (first, second)] == [(status, b"", "")] * 2
    assert gateway.log(first.header("cf-aig-log-id"))["status_code"] == status


async def test_the_providers_status_passes_whatever_it_is(gateway: Any, wire: Any, compose: Any):
    async with wire(gateway) as line:
        for status in (200, 299, 301, 404, 418, 429, 500, 599, 700, 999):
            reply = await line.ask(compose(gateway, "GET", "openai/models", x_sluice_fault=f"status={status}"))
            assert reply.status == status


KEPT = [
    ("Accept", "application/json, */*;q=0.5"),
    ("user-agent", "OpenAI/Python 1.2"),
    ("AUTHORIZATION", "Bearer sk-theirs"),
    ("x-api-key", "key-theirs"),
    ("Content-Type", 'application/json; charset="utf-8"'),
    ("Accept-Encoding", "gzip, br"),
    ("X-Stainless-Retry-Count", "0"),
    ("OpenAI-Beta", "assistants=v2"),
    ("X-Twice", "one"),
    ("x-twice", "two"),
    ("X-Empty", ""),
    ("X-Latin", "caf\u00e9"),
    ("X-Tab", "a\tb"),
    ("Cookie", "a=1; session=2"),
    ("Via", "1.1 proxy"),
    ("Idempotency-Key", "k"),
    ("Referer", "https://example.com/?q=1"),
    ("x-sluice-echo", "1"),
]
STRIPPED = [
    ("Connection", "keep-alive, X-Mine, x-other"),
    ("X-Mine", "1"),
    ("X-OTHER", "2"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Authorization", "Basic cHJveHk="),
    ("Proxy-Authenticate", "Basic"),
    ("Proxy-Connection", "keep-alive"),
    ("TE", "trailers"),
    ("Trailer", "X-Checksum"),
    ("Upgrade", "h2c"),
    ("CF-AIG-Metadata", '{"a": 1}'),
    ("cf-aig-anything-new", "1"),
    ("cf-aig-collect-log", "true"),
    ("CF-AIG-TOKEN", "Bearer x"),
    ("cf-cache-ttl", "60"),
    ("CF-Skip-Cache", "true"),
    ("CF-Connecting-IP", "10.0.0.1"),
    ("Cf-Access-Jwt-Assertion", "secret"),
    ("cf-access-client-secret", "secret"),
    ("X-Forwarded-For", "10.0.0.1"),
    ("x-forwarded-proto", "https"),
    ("X-Forwarded-Anything", "1"),
]


async def test_the_provider_sees_what_the_client_sent_but_what_ends_here(gateway: Any, wire: Any, provider: Any):
    """Names, their case, their order, values; Host and Content-Length are of this leg."""
    mixed = [pair for two in zip(KEPT, STRIPPED, strict=False) for pair in two] + STRIPPED[len(KEPT) :]
    lines = "".join(f"{name}: {value}\r\n" for name, value in mixed)
    head = f"POST /v1/local/default/openai/echo HTTP/1.1\r\nhost: gateway\r\n{lines}content-length: 2\r\n"
    async with wire(gateway) as line:
        token = f"cf-aig-authorization: Bearer {gateway.token}\r\n\r\n{{}}"
        reply = await line.ask((head + token).encode("latin-1"))
    assert reply.status == 200
    assert reply.seen == [("Host", provider.authority), *KEPT, ("Content-Length", "2")]


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("CF_Authorization=jwt", None),
        ("CF_Authorization=jwt; a=1", "a=1"),
        ("a=1; CF_Authorization=jwt", "a=1"),
        ("a=1; CF_Authorization=jwt; b=2", "a=1; b=2"),
        ("a=1; CF_AuthorizationNot=2", "a=1; CF_AuthorizationNot=2"),
        ("a=CF_Authorization=x", "a=CF_Authorization=x"),
    ],
)
async def test_the_access_cookie_ends_here_and_other_cookies_do_not(
    gateway: Any, wire: Any, compose: Any, sent: str, seen: str | None
):
    async with wire(gateway) as line:
        reply = await line.ask(compose(gateway, "GET", "openai/models", x_sluice_echo="1", Cookie=sent))
    assert dict(reply.seen).get("Cookie") == seen


BINARY = bytes(range(256)) * 40
MULTIPART = b"--x\r\ncontent-disposition: form-data; name=file\r\n\r\n" + BINARY + b"\r\n--x--\r\n"
BODIES = [
    ("application/octet-stream", BINARY),
    ('multipart/form-data; boundary="x"', MULTIPART),
    ("application/json", b"{not json"),
    ("text/plain", b""),
    ("application/json", json.dumps({"text": "\u6c34" * 50_000}, ensure_ascii=False).encode()),
]


@pytest.mark.parametrize(("content_type", "body"), BODIES)
async def test_a_body_of_any_kind_arrives_and_is_logged_byte_for_byte(
    gateway: Any, wire: Any, compose: Any, content_type: str, body: bytes
):
    async with wire(gateway) as line:
        sent = compose(gateway, "POST", "openai/files", body, Content_Type=content_type, x_sluice_echo="1")
        reply = await line.ask(sent)
    assert reply.seen_body == body
    assert dict(reply.seen)["Content-Type"] == content_type
    log_id = reply.header("cf-aig-log-id")
    assert gateway.log_body(log_id, "response") == reply.body
    if body:
        assert gateway.log_body(log_id, "request") == body


@pytest.mark.parametrize("sizes", [(1,), (1, 1, 1), (300, 70_000, 5), (1_000_000,)])
async def test_an_upload_in_chunks_arrives_whole(gateway: Any, wire: Any, compose: Any, sizes: tuple[int, ...]):
    pieces = [bytes([65 + place]) * size for place, size in enumerate(sizes)]
    head = compose(gateway, "POST", "openai/files", Content_Length=None, Transfer_Encoding="chunked", x_sluice_echo="1")
    async with wire(gateway) as line:
        await line.send(head)
        for piece in pieces:
            await line.send(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
        reply = await line.ask(b"0\r\nX-Trailer: 1\r\n\r\n")
        again = await line.ask(compose(gateway, "GET", "openai/models"))
    assert reply.seen_body == b"".join(pieces)
    assert "X-Trailer" not in dict(reply.seen)
    assert dict(reply.seen).get("Transfer-Encoding", "chunked") == "chunked"
    assert gateway.log_body(reply.header("cf-aig-log-id"), "request") == b"".join(pieces)
    assert again.status == 200


async def test_an_empty_chunked_upload_is_an_empty_body(gateway: Any, wire: Any, compose: Any):
    chunked = {"Content_Length": None, "Transfer_Encoding": "chunked", "x_sluice_echo": "1"}
    async with wire(gateway) as line:
        reply = await line.ask(compose(gateway, "POST", "openai/files", **chunked) + b"0\r\n\r\n")
    assert (reply.status, reply.seen_body) == (200, b"")


async def test_a_body_that_comes_byte_by_byte_arrives_whole(gateway: Any, wire: Any, compose: Any):
    sent = compose(gateway, "POST", "openai/files", b"one by one", x_sluice_echo="1")
    async with wire(gateway) as line:
        for place in range(len(sent)):
            await line.send(sent[place : place + 1])
        reply = await line.reply()
    assert (reply.status, reply.seen_body) == (200, b"one by one")


HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


@pytest.mark.parametrize("wishes", [{}, {"x_sluice_framing": "chunked"}, {"x_sluice_framing": "close"}])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_reply_is_the_providers_in_every_byte_and_field(
    gateway: Any, wire: Any, compose: Any, provider: Any, stream: bool, wishes: dict[str, str]
):
    """But for what is of one leg, and with our own fields behind it."""
    body = {"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
    direct = SimpleNamespace(port=int(provider.authority.rpartition(":")[2]), token="")
    async with wire(gateway) as line, wire(direct) as straight:
        through = await line.ask(compose(gateway, body=body, **wishes))
        theirs = await straight.ask(compose(direct, path="/openai/v1/chat/completions", body=body, **wishes))
    assert (through.status, through.reason) == (theirs.status, theirs.reason)
    assert (through.body, through.fault) == (theirs.body, "")
    expected = [pair for pair in theirs.headers if pair[0].lower() not in HOP_BY_HOP]
    got = [pair for pair in through.headers if pair[0].lower() not in HOP_BY_HOP]
    log_id = through.header("cf-aig-log-id")
    assert got == [
        *expected,
        ("cf-aig-step", "0"),
        ("cf-aig-cache-status", "MISS"),
        ("cf-aig-request-id", log_id),
        ("cf-aig-event-id", log_id),
        ("cf-aig-log-id", log_id),
    ]


async def test_a_base_url_may_have_a_path_and_a_version_of_its_own(elsewhere: Any, wire: Any, compose: Any):
    async with wire(elsewhere) as line:
        for path in ("openai/models?a=b", "openai/v1/models?a=b"):
            reply = await line.ask(compose(elsewhere, "GET", path, x_sluice_echo="1"))
            assert (reply.status, reply.json()["target"]) == (200, "/eu/proxy/v1/models?a=b")
        assert elsewhere.log(reply.header("cf-aig-log-id"))["path"] == "v1/models"


async def test_a_hosted_name_leaves_the_prefix_out_and_serves_inference_alone(elsewhere: Any, wire: Any, compose: Any):
    ask: Callable[..., bytes] = compose
    async with wire(elsewhere) as line:
        for host in ("aig.example.com", "AIG.example.com:8787"):
            reply = await line.ask(ask(elsewhere, "GET", "/openai/models?a=b", Host=host, x_sluice_echo="1"))
            assert (reply.status, reply.json()["target"]) == (200, "/eu/proxy/v1/models?a=b")
        for path in ("/healthz", "/metrics", "/client/v4/accounts/local/ai-gateway/gateways"):
            reply = await line.ask(ask(elsewhere, "GET", path, Host="aig.example.com"))
            assert (reply.status, reply.json()["internalCode"]) == (400, 2008)
        reply = await line.ask(ask(elsewhere, "POST", "/", Host="aig.example.com"))
        assert (reply.status, reply.json()["internalCode"]) == (400, 2004)
        assert (await line.ask(ask(elsewhere, "GET", "/healthz", Host="other.example.com"))).body == b"ok\n"
