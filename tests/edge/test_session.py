"""The universal WebSocket protocol as text in and text out: what a message asks for, and what a reply looks like."""

import gzip
import json
from base64 import b64encode
from contextlib import suppress
from itertools import pairwise
from typing import Any
from uuid import UUID

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.edge.envelopes import MOST_REPLY_BYTES, Envelopes
from sluice.edge.native import Names
from sluice.edge.session import Cancel, Create, NotExecuted, Session
from sluice.edge.subprotocols import chosen, fields_with, offered
from sluice.values.errors import MalformedRequest, UpstreamBroken
from sluice.values.request import DEFAULT_OPTIONS, Options, Request

STEP = {"provider": "openai", "endpoint": "chat/completions", "query": {"model": "m"}}


def session(options: Options = DEFAULT_OPTIONS) -> Session:
    return Session(Request("local", "default", b"t", "websocket", b"agent", options, (), "connection"), Names())


def create(request: Any, options: Options = DEFAULT_OPTIONS, **fields: Any) -> Create:
    asked = session(options).read(json.dumps({"type": "universal.create", "request": request, **fields}).encode())
    assert isinstance(asked, Create)
    return asked


def refusal(data: bytes) -> dict[str, Any]:
    with pytest.raises(NotExecuted) as found:
        session().read(data)
    said: dict[str, Any] = json.loads(found.value.reply)
    return said


# --- what is asked


def test_a_message_becomes_a_request_of_the_session():
    asked = create({**STEP, "eventId": "a"})
    [step] = asked.steps
    assert asked.fault is None
    assert (asked.event_id, step.provider, step.body.whole) == (b'"a"', "openai", b'{"model": "m"}')
    assert asked.request.options.event_id == step.options.event_id == b"a"
    request = asked.request
    assert (request.type, request.token, request.connection_id) == ("websocket", b"t", "connection")


@pytest.mark.parametrize(
    ("request_", "fields", "name"),
    [
        ({**STEP, "eventId": "own"}, {"eventId": "top"}, "own"),
        (STEP, {"eventId": "top"}, "top"),
        ([STEP, {**STEP, "eventId": "second"}, {**STEP, "eventId": "third"}], {"eventId": "top"}, "second"),
        ({**STEP, "config": {"eventId": "configured"}}, {}, "configured"),
        ({**STEP, "headers": {"cf-aig-event-id": "header"}}, {}, "header"),
        ({**STEP, "eventId": " spaces and ünicode "}, {}, " spaces and ünicode "),
        (STEP, {"eventId": 7}, 7),
    ],
)
def test_the_first_name_found_is_the_events(request_: Any, fields: dict[str, Any], name: str | int):
    asked = create(request_, **fields)
    assert json.loads(asked.event_id) == name
    assert asked.steps[-1].options.event_id


def test_the_sessions_own_name_holds_where_a_request_has_none():
    assert create(STEP, Options(event_id=b"session")).event_id == b'"session"'


def test_a_request_without_a_name_is_given_one():
    asked, other = create(STEP), create(STEP)
    assert UUID(json.loads(asked.event_id)) != UUID(json.loads(other.event_id))
    assert asked.steps[0].options.event_id.decode() == json.loads(asked.event_id)


def test_what_the_upgrade_asked_for_holds_unless_a_request_says_otherwise():
    options = Options(metadata=b'{"a":1}', max_attempts=3, collect_log=False)
    [plain] = create(STEP, options).steps
    assert (plain.options.metadata, plain.options.max_attempts, plain.options.collect_log) == (b'{"a":1}', 3, False)
    headers = {"cf-aig-metadata": {"b": 2}, "cf-aig-max-attempts": 2}
    [own] = create({**STEP, "headers": headers, "config": {"maxAttempts": 4}}, options).steps
    assert (own.options.metadata, own.options.max_attempts, own.options.collect_log) == (b'{"b":2}', 4, False)


@pytest.mark.parametrize(
    ("request_", "said", "name"),
    [
        ({"eventId": "a", "provider": "openai"}, "endpoint is required", "a"),
        ([], "The body must have at least one step", None),
        ([{**STEP, "eventId": "a"}, 3], "[1] must be an object", None),
        ({**STEP, "provider": "nobody", "eventId": "a"}, "Invalid provider", "a"),
        ({**STEP, "eventId": 5}, "eventId must be a string", 5),
        ({**STEP, "eventId": "a\nb"}, "eventId must not have control characters", "a\nb"),
        (7, "The body must be an object or an array", None),
    ],
)
def test_steps_that_are_wrong_are_answered_as_over_http(request_: Any, said: str, name: str | int | None):
    asked = create(request_)
    assert asked.fault is not None
    assert asked.fault.said == said
    if name is None:
        assert UUID(json.loads(asked.event_id))
    else:
        assert json.loads(asked.event_id) == name


@pytest.mark.parametrize(
    ("data", "said", "metadata"),
    [
        (b"", "The message is not valid JSON: Input data was truncated", {}),
        (b"hello", "The message is not valid JSON: JSON is malformed: invalid character (byte 0)", {}),
        (b"\xff\xfe", "The message is not UTF-8", {}),
        (b'{"type":"universal.create","request":{"query":"\xff"}}', "The message is not UTF-8", {}),
        (b"[]", "The message must be an object", {}),
        (b'{"request":{}}', "type is required", {}),
        (b'{"type":3,"request":{"eventId":"a"}}', "type must be a string", {"eventId": "a"}),
        (b'{"type":"universal.create","eventId":"a"}', "request is required", {"eventId": "a"}),
        (b'{"type":"universal.create","request":null}', "request is required", {}),
        (
            b'{"type":"universal.creat","request":{"eventId":"a"}}',
            "type must be universal.create or universal.cancel",
            {"eventId": "a"},
        ),
        (b'{"type":"x","request":[3]}', "type must be universal.create or universal.cancel", {}),
        (b'{"type":"universal.cancel"}', "eventId is required", {}),
        (b'{"type":"universal.create","eventId":{}}', "eventId must be a whole number or a string", {}),
        (b"[" * 100_000, "The message must be an object", {}),
        (b'{"type":"universal.create","request":' + b"[" * 100_000, "The message is nested too deeply", {}),
    ],
)
def test_a_message_that_cannot_be_run_is_told_why(data: bytes, said: str, metadata: dict[str, Any]):
    error = [{"code": 2004, "message": said}]
    assert refusal(data) == {"type": "universal.error", "metadata": metadata, "error": error, "success": False}


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes):
    for message in (data, b'{"type":"universal.create","request":%b}' % data, b'{"type":"universal.create",%b' % data):
        with suppress(NotExecuted):
            assert session().read(message).event_id


def test_a_cancel_names_an_event():
    assert session().read(b'{"type":"universal.cancel","eventId":"a"}') == Cancel(b'"a"')


# --- what is told


LINES = [
    b"Content-Type: application/json; charset=utf-8\r\n",
    b"cf-aig-step: 1\r\ncf-aig-cache-status: MISS\r\ncf-aig-request-id: r\r\ncf-aig-event-id: a\r\n",
    b"cf-aig-log-id: 01JA\r\n",
]
METADATA = {"cacheStatus": "MISS", "eventId": "a", "logId": "01JA", "step": "1"}


def told(parts: list[bytes], kind: str = "application/json", status: int = 200, coding: str = "") -> list[Any]:
    envelopes = Envelopes(b'"a"')
    lines = [b"Content-Type: %b\r\n" % kind.encode(), b"Content-Encoding: %b\r\n" % coding.encode(), *LINES[1:]]
    messages = envelopes.begin(status, lines)
    for number, part in enumerate(parts):
        messages += envelopes.add(part, number == len(parts) - 1)
    return [json.loads(message) for message in messages]


def test_a_plain_reply_is_one_message():
    envelopes = Envelopes(b'"a"')
    assert envelopes.begin(200, LINES) == []
    assert envelopes.add(b'{"n": 1.50,', False) == []
    [message] = envelopes.add(b' "big": 12345678901234567890123}', True)
    assert message == (
        b'{"type":"universal.created","metadata":{"cacheStatus":"MISS","eventId":"a","logId":"01JA","step":"1",'
        b'"contentType":"application/json"},"response":{"n": 1.50, "big": 12345678901234567890123}}'
    )


@given(st.lists(st.integers(0, 400), max_size=8))
def test_a_stream_is_told_event_by_event_however_it_was_split(cuts: list[int]):
    stream = (
        b": a comment\n\n"
        b'event: first\ndata: {"response": "Hel"}\n\n'
        b"data: not JSON\r\n\r\n"
        b'data: {"multi":\ndata:  1}\nid: 3\n\n'
        b"data:\n\n"
        b'data: {"\xff": 1}\n\n'
        b"data: [DONE]\n\n"
        b'data: {"after": true}'
    )
    edges = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    parts = [stream[a:b] for a, b in pairwise(edges)]
    responses = [{"response": "Hel"}, "not JSON", {"multi": 1}, '{"�": 1}', {"after": True}]
    full = {**METADATA, "contentType": "text/event-stream"}
    assert told(parts, "text/event-stream; charset=utf-8") == [
        {"type": "universal.created", "metadata": full},
        *[{"type": "universal.stream", "metadata": {"eventId": "a"}, "response": one} for one in responses],
        {"type": "universal.done", "metadata": full},
    ]


@pytest.mark.parametrize(
    ("body", "kind", "response", "encoding"),
    [
        (b"words \xc3\xa9\xff", "text/plain", "words é�", None),
        (b"<p>", "text/html; charset=utf-8", "<p>", None),
        (b"\x00\xff", "image/png", b64encode(b"\x00\xff").decode(), "base64"),
        (b"{}", "application/octet-stream", b64encode(b"{}").decode(), "base64"),
        (b'{"a": 1}', "application/problem+json", {"a": 1}, None),
        (b'{"a": 1', "application/json", '{"a": 1', None),
        (b"\xff", "application/json", b64encode(b"\xff").decode(), "base64"),
        (b'{"a": 1}', "", {"a": 1}, None),
        (b"words", "", "words", None),
        (b"\xff", "", b64encode(b"\xff").decode(), "base64"),
        (b"", "application/json", None, None),
    ],
)
def test_bodies_of_every_kind(body: bytes, kind: str, response: Any, encoding: str | None):
    [message] = told([body], kind)
    assert message["response"] == response
    assert message["metadata"].get("encoding") == encoding
    assert message["metadata"].get("contentType", "") == kind.partition(";")[0]


def test_a_compressed_reply_is_told_in_plain():
    assert told([gzip.compress(b'{"a": 1}')], coding="gzip")[0]["response"] == {"a": 1}
    streamed = told([gzip.compress(b"data: 1\n\ndata: [DONE]\n\n")], "text/event-stream", coding="gzip")
    assert [message["type"] for message in streamed] == ["universal.created", "universal.stream", "universal.done"]
    assert told([brotli.compress(b"{}")], coding="br")[0]["response"] == {}
    unknown = told([b"\x1f\x9d\x90"], coding="compress")[0]
    assert unknown["metadata"]["encoding"] == "base64"


def test_an_error_has_its_status():
    [message] = told([b'{"error": {}}'], status=429)
    assert message == {
        "type": "universal.created",
        "metadata": {**METADATA, "contentType": "application/json", "statusCode": 429},
        "response": {"error": {}},
    }


def test_a_reply_that_breaks_ends_with_the_error():
    refused = (400, b'{"success":false}')
    stream = Envelopes(b'"a"')
    stream.begin(200, [b"content-type: text/event-stream\r\n", *LINES[1:]])
    stream.add(b"data: 1\n\ndata: 2", False)
    error = [{"code": 2005, "message": "Failed to get response from provider"}]
    assert json.loads(stream.broken(UpstreamBroken("cut"), refused)) == {
        "type": "universal.done",
        "metadata": {**METADATA, "contentType": "text/event-stream", "error": error},
    }
    whole = Envelopes(b'"a"')
    whole.begin(200, LINES)
    whole.add(b'{"a"', False)
    assert json.loads(whole.broken(UpstreamBroken("cut"), refused)) == {
        "type": "universal.created",
        "metadata": {**METADATA, "contentType": "application/json", "statusCode": 400},
        "response": {"success": False},
    }


@pytest.mark.parametrize(
    "end",
    [b"data: [DONE]\n\n", b'event: message_stop\ndata: {"type":"message_stop"}\n\n: bye\n\ndata: {"cu'],
)
def test_a_stream_that_breaks_behind_its_last_event_is_done(end: bytes):
    stream = Envelopes(b'"a"')
    stream.begin(200, [b"content-type: text/event-stream\r\n", *LINES[1:]])
    stream.add(b"data: 1\n\n", False)
    stream.add(end, False)
    assert json.loads(stream.broken(UpstreamBroken("cut"), (400, b"{}"))) == {
        "type": "universal.done",
        "metadata": {**METADATA, "contentType": "text/event-stream"},
    }


def test_a_cancelled_request_says_so():
    envelopes = Envelopes(b'"a"')
    metadata = {"eventId": "a", "step": "0", "cancelled": True}
    assert json.loads(envelopes.cancelled()) == {"type": "universal.done", "metadata": metadata}


def test_a_reply_that_is_too_long_for_a_message_is_not_gathered():
    envelopes = Envelopes(b'"a"')
    envelopes.begin(200, LINES)
    envelopes.add(bytes(MOST_REPLY_BYTES), False)
    with pytest.raises(MalformedRequest, match="cannot be sent over a WebSocket"):
        envelopes.add(b"x", False)


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_one_that_is_too_long_only_once_unpacked_is_not_told_in_part(kind: str):
    zeros = b"[" + b"0," * 150_000 + b"0]"
    packed = gzip.compress(zeros * (MOST_REPLY_BYTES // len(zeros)), compresslevel=1)
    envelopes = Envelopes(b'"a"')
    envelopes.begin(200, [b"Content-Type: %b\r\nContent-Encoding: gzip\r\n" % kind.encode()])
    with pytest.raises(MalformedRequest, match="cannot be sent over a WebSocket"):
        envelopes.add(packed + gzip.compress(zeros), True)


# --- subprotocols


def test_subprotocols_of_several_lines_and_what_of_them_is_for_us():
    header = b"sec-websocket-protocol"
    headers = [(header, header, b"chat, cf-aig-authorization.tok.en"), (header, header, b"CF-AIG-Event-Id.e")]
    protocols = offered([*headers, (b"x", b"x", b"y")])
    assert protocols == [b"chat", b"cf-aig-authorization.tok.en", b"CF-AIG-Event-Id.e"]
    fields = {b"cf-aig-event-id": b"real"}
    assert fields_with(fields, protocols) == {b"cf-aig-authorization": b"tok.en", b"cf-aig-event-id": b"real"}


@pytest.mark.parametrize(
    ("protocols", "answer"),
    [
        ([], None),
        ([b"cf-aig-authorization.t"], b"cf-aig-authorization.t"),
        ([b"cf-aig-authorization.t", b"chat"], b"chat"),
        ([b"cf-aig-metadata.m", b"cf-aig-authorization.t"], b"cf-aig-authorization.t"),
        ([b"chat", b"other"], b"chat"),
    ],
)
def test_which_subprotocol_is_answered(protocols: list[bytes], answer: bytes | None):
    assert chosen(protocols) == answer
