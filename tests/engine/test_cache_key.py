"""What makes two requests the same to the cache, and which replies may be kept. Pure."""

import gzip
import json
import random
import zlib
from typing import Any

import brotli
import pytest
from msgspec import structs

from sluice.engine.cache_key import CANONICAL_BYTES, canonical, key_of
from sluice.engine.cache_rules import ENDING_BYTES, UNFOLDED_BYTES, asks_for_stream, is_good, may_ask, may_share
from sluice.values.caching import LONGEST_TTL_S, clamped_ttl_s, ttl_s
from sluice.values.credential import Credential
from sluice.values.request import DEFAULT_OPTIONS, BytesBody, Options, Step
from sluice.values.secret import Secret


def step(body: bytes = b"{}", **fields: Any) -> Step:
    headers = fields.pop("headers", {})
    lines = [(name.encode(), name.title().encode(), value.encode()) for name, value in headers.items()]
    options = fields.pop("options", DEFAULT_OPTIONS)
    known = {"endpoint": b"v1/x", "query": b"", "method": b"POST", "provider": "openai"} | fields
    address = known["provider"], known["endpoint"], known["query"], known["method"]
    return Step(0, *address, lines, b"", b"", BytesBody(body), options)


def key(one: Step, gateway: bytes = b"g", epoch: int = 0, where: bytes = b"/v1/x") -> bytes:
    return key_of(gateway, epoch, one, where, one.body.whole or b"")


def test_every_part_of_a_request_changes_its_key():
    plain = step()
    others = [
        key(plain, gateway=b"h"),
        key(plain, epoch=1),
        key(plain, where=b"/v1/y"),
        key(step(provider="groq")),
        key(step(method=b"GET")),
        key(step(query=b"a=1")),
        key(step(query=b"a=2")),
        key(step(b'{"a":1}')),
        key(step(b'{"a":"1"}')),
        key(step(b'{"a":1.0}')),
        key(step(headers={"authorization": "Bearer a"})),
        key(step(headers={"authorization": "Bearer b"})),
        key(step(headers={"x-api-key": "Bearer b"})),
        key(step(headers={"accept": "text/plain"})),
        key(step(headers={"openai-organization": "o"})),
        key(step(options=Options(cache_key=b"k"))),
        key(step(options=Options(cache_key=b"l"))),
    ]
    assert len({key(plain), *others}) == len(others) + 1


def test_order_of_query_and_headers_does_not_change_it():
    assert key(step(query=b"b=1&a=2&b=0")) == key(step(query=b"a=2&b=1&b=0")) != key(step(query=b"a=2&b=0&b=1"))
    one, other = {"x-a": "1", "x-b": "2"}, {"x-b": "2", "x-a": "1"}
    assert key(step(headers=one)) == key(step(headers=other)) != key(step(headers={"x-a": "2", "x-b": "1"}))


def test_a_named_key_stands_for_all_but_gateway_provider_and_credential():
    named = {"options": Options(cache_key=b"k")}
    plain = key(step(b"1", **named))
    assert plain == key(step(b"2", endpoint=b"other", query=b"a=b", **named), where=b"/other")
    for other in (
        key(step(**named), gateway=b"h"),
        key(step(provider="groq", **named)),
        key(step(query=b"key=AI", **named)),
        key(step(headers={"x-goog-api-key": "a"}, **named)),
        key(step(headers={"accept-encoding": "br"}, **named)),
    ):
        assert other != plain


@pytest.mark.parametrize(
    "query", [b"k%65y=AI", b"KEY=AI", b"fal_jwt_token=j", b"X-Amz-Credential=c&X-Amz-Signature=s", b"api%2Dkey=k"]
)
def test_a_credential_in_the_query_is_one_however_it_is_written(query: bytes):
    named = {"options": Options(cache_key=b"k")}
    assert len({key(step(query=query + end, **named)) for end in (b"", b"1")} | {key(step(**named))}) == 3


@pytest.mark.parametrize("name", ["x-access-token", "x-own-key", "x-auth-user", "client-secret", "x-signature"])
def test_what_looks_like_a_credential_is_never_shared(name: str):
    named = {"options": Options(cache_key=b"k")}
    assert len({key(step(headers={name: value}, **named)) for value in "ab"} | {key(step(**named))}) == 3
    kept = structs.replace(step(headers={name: "a"}, **named), credential=Credential("openai", "id", Secret("s")))
    other = structs.replace(kept, headers=step(headers={name: "b"}).headers)
    assert key(kept) != key(other)


def test_a_stored_key_is_known_by_its_id_whatever_its_text():
    def signed(key_id: str, text: str) -> Step:
        one = step(headers={"authorization": f"Bearer {text}"})
        return structs.replace(one, credential=Credential("openai", key_id, Secret(text)))

    assert key(signed("a", "old")) == key(signed("a", "new"))
    assert len({key(signed("a", "k")), key(signed("b", "k")), key(step(headers={"authorization": "Bearer k"}))}) == 3


def test_what_goes_beside_a_stored_key_tells_requests_apart():
    stored = Credential("adobe-firefly", "id", Secret("s"))
    first, second = (
        structs.replace(step(provider="adobe-firefly", headers={"x-api-key": name}), credential=stored) for name in "ab"
    )
    assert key(first) != key(second)


def test_json_that_means_the_same_is_the_same():
    chance = random.Random(5)

    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            items = list(value.items())
            chance.shuffle(items)
            return {name: shuffled(inner) for name, inner in items}
        return [shuffled(inner) for inner in value] if isinstance(value, list) else value

    document = {
        "model": "m",
        "n": 3,
        "t": 0.7,
        "big": 2**70,
        "messages": [{"role": "user", "content": "hé"}],
        "z": None,
    }
    forms = {
        canonical(json.dumps(shuffled(document), indent=indent, ensure_ascii=False).encode(), b"")
        for indent in (None, 0, 3)
        for _ in range(20)
    }
    assert len(forms) == 1
    assert next(iter(forms))[0] == b"json"


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"b":1E9,"a":1,"a":234567890}',
        b'{"a":"\\u0069"}',
        b'{"a":1',
        b"\xff",
        b"[" * 100_000,
        b'{"a":"\xff"}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":1}'.ljust(CANONICAL_BYTES + 1),
        b"plain",
    ],
)
def test_what_reading_would_change_is_compared_as_it_is(body: bytes):
    form, content = canonical(body, b"")
    assert (form, content) == ((b"bare", body) if form == b"bare" else (b"raw", body))
    assert canonical(b'{ "a" : 1, "a" : 2 }', b"") == (b"bare", b'{"a":1,"a":2}')
    assert canonical(b'{"a":1}', b"gzip") == (b"raw", b'{"a":1}')


@pytest.mark.parametrize("text", [b"1.50", b"1E2", b"0.30000000000000001", b"123456789012345678901234567890", b"-0.0"])
def test_no_digit_of_a_number_is_lost(text: bytes):
    assert canonical(b'{"a": %b}' % text, b"")[1] == b'{"a":%b}' % text


@pytest.mark.parametrize(
    ("asked", "named", "of_gateway", "lasts"),
    [
        (None, False, 0, 0),
        (None, False, 70, 70),
        (None, True, 0, 300),
        (None, True, 70, 70),
        (0, False, 70, 0),
        (0, True, 70, 0),
        (90, False, 0, 90),
        (90, True, 70, 90),
    ],
)
def test_how_long_a_reply_is_kept(asked: int | None, named: bool, of_gateway: int, lasts: int):
    assert ttl_s(asked, named, of_gateway) == lasts


@pytest.mark.parametrize(
    ("asked", "lasts"), [(0, 0), (0.5, 60), (1, 60), (59, 60), (60, 60), (61.9, 61), (1e300, LONGEST_TTL_S), (-1, 0)]
)
def test_times_are_brought_within_what_may_be(asked: float, lasts: int):
    assert clamped_ttl_s(asked) == lasts


def test_who_may_be_given_a_kept_reply():
    wanted = Options(cache_ttl_s=60)
    assert may_ask(step(), "v1/chat/completions")
    assert may_ask(step(method=b"GET", options=wanted), "v1/models")
    assert may_ask(step(options=wanted), "v1/files")
    assert not may_ask(step(method=b"GET"), "v1/models")
    assert not may_ask(step(options=wanted, method=b"DELETE"), "v1/files/a")
    assert not may_ask(step(options=wanted), "v1/responses/a/cancel")
    made = ("v1/files", "v1/batches/b/cancel", "v1/threads/t/runs", "v1/predictions", "v1/fine_tuning/jobs")
    for path in (*made, "v1beta/models/m:batchGenerateContent"):
        assert not may_ask(step(), path)
    granted = (
        "v1/realtime/client_secrets",
        "v1/realtime/sessions",
        "v1/auth/grant",
        "v1/single-use-token/realtime_scribe",
    )
    jobs = ("queue.fal.run/fal-ai/flux", "rest.alpha.fal.ai/storage/upload/initiate", "v3/images/generate-async")
    polled = ("v1/projects/p/locations/l/publishers/google/models/veo:fetchPredictOperation", "async-invoke")
    for path in (*granted, *jobs, *polled):
        assert not may_ask(step(), path), path
    for path in (
        "v1/embeddings",
        "v1/images/generations",
        "run/@cf/a/b",
        "v1beta/models/g:generateContent",
        "owner/m",
        "fal-ai/flux",
    ):
        assert may_ask(step(), path)


def test_who_asks_for_a_stream():
    assert asks_for_stream(step(endpoint=b"models/g:streamGenerateContent"), b"{}")
    assert asks_for_stream(step(), b'{"stream": true}')
    for body in (
        b'{"stream": false}',
        b'{"a":{"stream":true}}',
        b'{"stream": tr',
        b'["stream"]',
        b'{"a":"\\"stream\\""}',
    ):
        assert not asks_for_stream(step(), body)


@pytest.mark.parametrize(
    ("status", "fields", "streams", "shared"),
    [
        (200, {"content-type": "application/json", "content-length": "2"}, False, True),
        (201, {"content-type": "application/json; charset=utf-8", "transfer-encoding": "chunked"}, False, True),
        (200, {"content-type": "image/png", "content-length": "2"}, False, True),
        (200, {"content-type": "audio/mpeg", "content-length": "2"}, False, True),
        (200, {"content-type": "application/problem+json", "content-length": "2"}, False, True),
        (200, {"content-type": "application/json"}, False, False),
        (200, {"content-type": "application/octet-stream", "content-length": "2"}, False, False),
        (200, {"content-length": "2"}, False, False),
        (200, {"content-type": "text/plain", "content-length": "2", "content-range": "bytes 0-1/3"}, False, False),
        (206, {"content-type": "text/plain", "content-length": "2"}, False, False),
        (202, {"content-type": "application/json", "content-length": "2"}, False, False),
        (204, {"content-type": "text/plain"}, False, False),
        (302, {"content-type": "text/plain", "content-length": "2"}, False, False),
        (200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}, False, False),
        (200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}, True, True),
        (404, {"content-type": "text/html"}, False, True),
    ],
)
def test_which_replies_may_go_to_several(status: int, fields: dict[str, str], streams: bool, shared: bool):
    assert may_share(status, {name.encode(): value.encode() for name, value in fields.items()}, streams) is shared


@pytest.mark.parametrize(
    ("kind", "body", "good"),
    [
        (b"application/json", b'{"id":1}', True),
        (b"application/json", b'{"error":null,"id":1}', True),
        (b"application/json", b'[{"candidates":[]}]', True),
        (b"application/json", b'[{"candidates":[]},\n{"error":{"code":503}}]', False),
        (b"application/json", b"[1]", True),
        (b"application/x-ndjson", b'{"a":1}\n{"error":"overloaded"}\n', False),
        (b"application/x-ndjson", b'{"a":"\\"error\\": 1","error":null,"done":true}\n', True),
        (b"application/x-ndjson", b'{"a":1,"done":false}\n', False),
        (b"application/vnd.amazon.eventstream", b"\x0f:exception-type\x07", False),
        (b"application/vnd.amazon.eventstream", b"\x0b:event-type\x07\x00\x0bmessageStop{}", True),
        (b"application/vnd.amazon.eventstream", b"\x0b:event-type\x07", False),
        (
            b"application/vnd.amazon.eventstream",
            b"\x0f:exception-type\x07\x0b:event-type\x07\x00\x0bmessageStop",
            False,
        ),
        (b"text/event-stream", b'data: {"id":"a","error":{"code":502}}\n\ndata: [DONE]\n\n', False),
        (b"text/event-stream", b'data: {"text":"\\"error\\":{","error": null}\n\ndata: [DONE]\n\n', True),
        (b"text/event-stream", b"event: response.failed\ndata: {}\n\ndata: [DONE]\n\n", False),
        (b"application/json", b'{"error":{"message":"no"}}', False),
        (b"application/json", b'{"success":false,"errors":[]}', False),
        (b"application/json", b'{"id":1', False),
        (b"text/plain", b'{"error":1}', True),
        (b"text/event-stream", b'data: {"a":1}\n\ndata: [DONE]\n\n', True),
        (b"text/event-stream", b'data: {"a":"data: [DONE]"}\n\n', False),
        (b"text/event-stream", b'event: message_stop\r\ndata: {"type":"message_stop"}\r\n\r\n', True),
        (b"text/event-stream", b"event: message-end\ndata: {}\n\n", True),
        (b"text/event-stream", b"event: response.completed\ndata: {}\n\n", True),
        (b"text/event-stream", b"event: response.incomplete\ndata: {}\n\n", True),
        (b"text/event-stream", b"event: response.created\ndata: {}\n\n", False),
        (b"text/event-stream", b'data: {"candidates":[{"finishReason": "STOP"}]}\n\n', True),
        (b"text/event-stream", b'data: {"candidates":[{"text":"\\"finishReason\\":\\"STOP\\""}]}\n\n', False),
        (b"text/event-stream", b"event: done\ndata: {}\n\n" + b":\n\n" * ENDING_BYTES, False),
        (b"application/json", b'{"id":"resp_1","status":"queued"}', False),
        (b"application/json", b'{"id":"resp_1","status":"completed"}', True),
        (b"application/json", b'{"request_id":"a","status":"IN_QUEUE"}', False),
        (b"application/json", b'{"id":"a","status":"notRunning"}', False),
        (b"application/json", b'{"id":"a","processing_status":"in_progress"}', False),
        (b"application/json", b'{"name":"operations/a","done":false}', False),
        (b"application/json", b'{"name":"operations/a","done":true,"response":{}}', True),
        (b"application/json", b'{"id":"resp_1","status":{"queued":1}}', True),
        (b"text/event-stream", b'data: {"error":{}}\n\ndata: [DONE]\n\n', False),
        (b"text/event-stream", b"event: error\ndata: {}\n\ndata: [DONE]\n\n", False),
    ],
)
def test_a_good_status_is_not_all(kind: bytes, body: bytes, good: bool):
    assert is_good(kind, b"", body) is good
    assert is_good(kind, b"gzip", gzip.compress(body)) is good
    assert is_good(kind, b"deflate, br", brotli.compress(zlib.compress(body))) is good


@pytest.mark.parametrize(("kind", "good"), [(b"application/json", True), (b"text/event-stream", False)])
def test_what_cannot_be_looked_at_is_kept_but_for_streams(kind: bytes, good: bool):
    long = gzip.compress(b'data: {"error":1}\n\n' + bytes(UNFOLDED_BYTES) + b"data: [DONE]\n\n")
    assert is_good(kind, b"gzip", long) is good
    assert is_good(b"image/png", b"unheard-of", b"x")


@pytest.mark.parametrize(("word", "good"), [(b"fault", True), (b"error", False)])
def test_a_long_stream_with_the_word_of_an_error_is_not_looked_through(word: bytes, good: bool):
    """It would hold the event loop up; in a short one the word in a text is none."""
    said, end = b'data: {"text":"an %b"}\n\n' % word, b"data: [DONE]\n\n"
    assert is_good(b"text/event-stream", b"", said + end)
    assert is_good(b"text/event-stream", b"", said * (UNFOLDED_BYTES // 20) + end) is good


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"x-foo"])
def test_json_that_is_not_coded_as_it_says_is_not_kept(encoding: bytes):
    assert not is_good(b"application/json", encoding, b'{"error":{"message":"overloaded"}}')
    assert not is_good(b"application/json", encoding, b'{"id":1}')
