"""The body of a universal request: what each field becomes, and how each error is told."""

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.edge.native import Names
from sluice.edge.steps import parse_steps
from sluice.values.errors import InvalidProvider, MalformedRequest
from sluice.values.request import DEFAULT_OPTIONS, Options, Step

MINIMAL = {"provider": "openai", "endpoint": "chat/completions"}


def parse(body: Any, outer: Options = DEFAULT_OPTIONS) -> tuple[Step, ...]:
    return parse_steps(body if isinstance(body, bytes) else json.dumps(body).encode(), outer, Names())


def parse_one(outer: Options = DEFAULT_OPTIONS, **fields: Any) -> Step:
    (step,) = parse({**MINIMAL, **fields}, outer)
    return step


def named(step: Step) -> dict[bytes, bytes]:
    return {name: value for name, _, value in step.headers}


def refusal(body: Any) -> str:
    with pytest.raises(MalformedRequest) as found:
        parse(body)
    return found.value.said


def test_a_step_alone_and_an_array_of_steps():
    assert [step.index for step in parse(MINIMAL)] == [0]
    assert [step.index for step in parse([MINIMAL, MINIMAL, MINIMAL])] == [0, 1, 2]


def test_the_least_that_a_step_may_say():
    step = parse_one()
    assert (step.provider, step.endpoint, step.query, step.method) == ("openai", b"chat/completions", b"", b"POST")
    assert (step.headers, step.body.whole, step.options) == ([], b"", DEFAULT_OPTIONS)
    assert (step.id, step.on_complete, step.tagged) == ("", (), False)


@pytest.mark.parametrize("query", ["null", None])
def test_no_query_is_an_empty_body(query: str | None):
    body = '{"provider":"openai","endpoint":"models"' + (f',"query":{query}' if query else "") + "}"
    (step,) = parse(body.encode())
    assert (step.body.whole, step.headers) == (b"", [])


@pytest.mark.parametrize("query", ["{ }", '{"n": 1.50, "big":123456789012345678901234567890}', "[1, 2]", '"é"', "0"])
def test_a_query_goes_on_as_the_client_wrote_it(query: str):
    (step,) = parse(f'{{"provider":"openai","endpoint":"x","query": {query} }}'.encode())
    assert step.body.whole == query.encode()
    assert step.content_type == b"application/json"
    assert named(step) == {b"content-type": b"application/json"}


def test_a_content_type_of_the_steps_own_stays():
    step = parse_one(query={}, headers={"content-TYPE": "text/x"})
    assert step.headers == [(b"content-type", b"content-TYPE", b"text/x")]
    assert step.content_type == b"text/x"


def test_header_values_that_are_no_strings_become_such():
    headers = {"A": "x y", "B": 1, "C": 1.50, "D": True, "E": {"k": [1, "é"]}, "F": None, "G": ""}
    sent = json.dumps(headers).replace("1.5,", "1.50,")
    (step,) = parse(f'{{"provider":"openai","endpoint":"x","headers":{sent}}}'.encode())
    assert step.headers == [
        (b"a", b"A", b"x y"),
        (b"b", b"B", b"1"),
        (b"c", b"C", b"1.50"),
        (b"d", b"D", b"true"),
        (b"e", b"E", b'{"k":[1,"\\u00e9"]}'),
        (b"g", b"G", b""),
    ]


def test_what_is_ours_or_of_a_connection_does_not_go_on():
    ours = [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "cf-aig-metadata",
        "cf-aig-x",
        "X-Forwarded-For",
    ]
    step = parse_one(headers={**dict.fromkeys(ours, "1"), "x-api-key": "sluice_abc", "Authorization": "Bearer k"})
    assert named(step) == {b"authorization": b"Bearer k"}


def test_a_token_of_ours_does_not_go_on_beside_a_key_of_the_same_name():
    headers = {"Authorization": "Bearer sluice_abc", "authorization": "Bearer k", "X-Api-Key": "sluice_abc"}
    assert parse_one(headers=headers).headers[0] == (b"authorization", b"authorization", b"Bearer k")
    assert b"sluice_" not in b"".join(value for _, _, value in parse_one(headers=headers).headers)


def test_dots_in_a_query_lead_nowhere():
    assert parse_one(endpoint="a..b/.c?from=/../x").query == b"from=/../x"


def test_the_old_authorization_field_stands_in_for_the_header():
    assert named(parse_one(authorization="Bearer a")) == {b"authorization": b"Bearer a"}
    assert named(parse_one(authorization="Bearer a", headers={"AUTHORIZATION": "b"})) == {b"authorization": b"b"}


@pytest.mark.parametrize(
    ("endpoint", "path", "query"),
    [
        ("/chat/completions", b"chat/completions", b""),
        ("v1/x?a=b&c=d?e", b"v1/x", b"a=b&c=d?e"),
        ("", b"", b""),
        ("@cf/meta/llama-3.1-8b-instruct", b"@cf/meta/llama-3.1-8b-instruct", b""),
        ("a/é/%2F", b"a/%C3%A9/%2F", b""),
        ("v1beta/models/m:streamGenerateContent?alt=sse", b"v1beta/models/m:streamGenerateContent", b"alt=sse"),
    ],
)
def test_each_form_of_endpoint(endpoint: str, path: bytes, query: bytes):
    step = parse_one(endpoint=endpoint)
    assert (step.endpoint, step.query) == (path, query)


@pytest.mark.parametrize(
    ("slug", "name"),
    [("OpenAI", "openai"), ("google", "google-ai-studio"), ("xai", "grok"), ("COMPAT", "compat")],
)
def test_slugs_in_any_case_and_aliases(slug: str, name: str):
    assert parse_one(provider=slug).provider == name


def test_compat_is_a_provider_with_few_endpoints():
    for endpoint in ("chat/completions", "chat/completion", "/chat/completions"):
        assert parse_one(provider="compat", endpoint=endpoint).endpoint == b"chat/completions"
    assert refusal([{"provider": "compat", "endpoint": "x"}]).startswith("[0].endpoint must be one of chat/completions")


def test_an_unknown_provider_is_none():
    with pytest.raises(InvalidProvider):
        parse([MINIMAL, {"provider": "nobody", "endpoint": "x"}])


# --- settings


def test_the_body_of_a_step_wins_over_its_headers_and_those_over_the_requests():
    outer = Options(max_attempts=2, retry_delay_ms=1, request_timeout_ms=1, backoff="linear", event_id=b"outer")
    assert parse_one(outer).options is outer
    headers = {"cf-aig-max-attempts": "3", "cf-aig-retry-delay": 2, "cf-aig-backoff": "nonsense"}
    assert parse_one(outer, headers=headers).options == Options(
        max_attempts=3, retry_delay_ms=2, request_timeout_ms=1, backoff="linear", event_id=b"outer"
    )
    config = {"maxAttempts": 4, "backoff": "exponential", "eventId": "config"}
    assert parse_one(outer, headers=headers, config=config).options == Options(
        max_attempts=4, retry_delay_ms=2, request_timeout_ms=1, backoff="exponential", event_id=b"config"
    )
    option = {"retry": 0, "delay": 9, "timeout": 8}
    assert parse_one(outer, headers=headers, config=config, option=option).options == Options(
        max_attempts=1, retry_delay_ms=9, request_timeout_ms=8, backoff="exponential", event_id=b"config"
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"config": {"maxAttempts": 0}}, Options(max_attempts=1)),
        ({"config": {"maxAttempts": 99}}, Options(max_attempts=5)),
        ({"config": {"retryDelay": 70_000}}, Options(retry_delay_ms=60_000)),
        ({"config": {"requestTimeout": 0}}, DEFAULT_OPTIONS),
        ({"config": {"requestTimeout": 1000.0}}, Options(request_timeout_ms=1000)),
        ({"config": {"requestTimeout": 1e300}}, Options(request_timeout_ms=86_400_000)),
        ({"option": {"retry": 99}}, Options(max_attempts=6)),
        ({"option": {"retry": 2, "delay": 200}}, Options(max_attempts=3, retry_delay_ms=200)),
        ({"config": {"collectLog": False, "metadata": {"a": 1}}}, Options(collect_log=False, metadata=b'{"a": 1}')),
        ({"config": {"metadata": {"a": "x" * 20_000}, "customCost": {"a": "x" * 20_000}}}, DEFAULT_OPTIONS),
        ({"eventId": "e"}, Options(event_id=b"e")),
        ({"config": None, "option": None, "headers": None, "id": None}, DEFAULT_OPTIONS),
        ({"config": {"unknown": 1}, "unknown": {}, "option": {"unknown": []}}, DEFAULT_OPTIONS),
    ],
)
def test_settings_are_brought_within_their_ranges(fields: Any, expected: Options):
    assert parse_one(**fields).options == expected


# --- what follows a step


def after(*steps: Any, **fields: Any) -> dict[str, Any]:
    return {**MINIMAL, **fields, "option": {"onComplete": steps[0] if len(steps) == 1 else list(steps)}}


def tag(name: str) -> dict[str, Any]:
    return {**MINIMAL, "query": {"prompt": f"<prompt-response id='{name}' />"}}


def test_what_follows_is_a_step_or_a_list_and_belongs_to_its_element():
    first, second = parse([MINIMAL, after(MINIMAL, MINIMAL)])
    assert first.on_complete == ()
    assert [step.index for step in second.on_complete] == [1, 1]
    assert len(parse(after(MINIMAL))[0].on_complete) == 1


def test_tags_are_noticed_in_query_endpoint_and_headers_of_what_follows_alone():
    places = [
        {"query": {"a": ["<prompt-response id='1' />"]}},
        {"endpoint": "run/<prompt-response id='1' />"},
        {"headers": {"X-A": "<prompt-response id='1' />"}},
    ]
    for fields in places:
        (step,) = parse(after({**MINIMAL, **fields}, id="1"))
        assert step.on_complete[0].tagged
        if "endpoint" not in fields:
            assert not parse_one(**fields).tagged
    assert not parse(after(MINIMAL, id="1"))[0].on_complete[0].tagged


@pytest.mark.parametrize(
    "body",
    [
        after(tag("a"), id="a"),
        after(after(tag("a"), id="b"), id="a"),
        after(after(tag("b"), id="b"), id="a"),
        [after(MINIMAL, id="a"), after(tag("a"), id="b")],
        [after(tag("a"), id="a"), after(tag("a"), id="a")],
        after({**tag("a"), "id": "b"}, tag("b"), id="a"),
    ],
)
def test_a_step_may_ask_for_the_words_of_any_before_it(body: Any):
    parse(body)


LATER = "the step '{}', which is not one before it"
FOLLOWER: Any = {**MINIMAL, "id": "b"}


@pytest.mark.parametrize(
    ("body", "place", "what"),
    [
        (after(tag("nobody"), id="a"), "option.onComplete", LATER.format("nobody")),
        (after({**tag("b"), "id": "b"}, id="a"), "option.onComplete", "itself"),
        ([after(tag("b"), id="a"), FOLLOWER], "[0].option.onComplete", LATER.format("b")),
        (after(tag("b"), FOLLOWER, id="a"), "option.onComplete[0]", LATER.format("b")),
        (after({**tag("a"), "id": "a"}), "option.onComplete", "itself"),
    ],
)
def test_a_step_may_not_ask_for_what_cannot_have_been_said(body: Any, place: str, what: str):
    assert refusal(body) == f"{place} asks for the response of {what}"


def nested(depth: int) -> Any:
    step: Any = MINIMAL
    for _ in range(depth):
        step = after(step)
    return step


def test_steps_follow_one_another_five_deep():
    parse(nested(5))
    where = "option.onComplete." * 6
    assert refusal(nested(6)) == f"{where[:-1]} is nested more than 5 deep"


# --- errors


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "The body must have at least one step"),
        (b"", "The body is not valid JSON: Input data was truncated"),
        (b"3", "The body must be an object or an array"),
        ([MINIMAL, 3], "[1] must be an object"),
        ([MINIMAL, []], "[1] must be an object"),
        ([None], "[0] must be an object"),
        ({"provider": "openai"}, "endpoint is required"),
        ([{"endpoint": "x"}], "[0].provider is required"),
        ([{**MINIMAL, "provider": 3}], "[0].provider must be a string"),
        ([{**MINIMAL, "endpoint": None}], "[0].endpoint must be a string"),
        ([{**MINIMAL, "headers": []}], "[0].headers must be an object"),
        ([{**MINIMAL, "headers": "a"}], "[0].headers must be an object"),
        ([{**MINIMAL, "headers": {str(number): 1 for number in range(201)}}], "[0].headers are more than 200"),
        ([{**MINIMAL, "headers": {"a b": "x"}}], "[0].headers.a b is no name of a header"),
        ([{**MINIMAL, "headers": {"a": "x\r\ny: z"}}], "[0].headers.a must not have control characters"),
        ([{**MINIMAL, "headers": {"a": "x\u0000"}}], "[0].headers.a must not have control characters"),
        ([{**MINIMAL, "headers": {"a": "x" * 70_000}}], "[0].headers are longer than 65536 bytes"),
        ([{**MINIMAL, "authorization": "a\nb"}], "[0].authorization must not have control characters"),
        ([{**MINIMAL, "authorization": "x" * 70_000}], "[0].headers are longer than 65536 bytes"),
        ([{**MINIMAL, "endpoint": "a b"}], "[0].endpoint must be a path, without spaces and without a fragment"),
        ([{**MINIMAL, "endpoint": "a\r\nX: y"}], "[0].endpoint must be a path, without spaces and without a fragment"),
        ([{**MINIMAL, "endpoint": "a#b"}], "[0].endpoint must be a path, without spaces and without a fragment"),
        ([{**MINIMAL, "endpoint": "a" * 20_000}], "[0].endpoint is longer than 16384 characters"),
        ([MINIMAL, {**MINIMAL, "endpoint": "a/../b"}], "[1].endpoint must not lead upwards"),
        (
            [MINIMAL, {"provider": "azure-openai", "endpoint": "evil.com/x/y"}],
            "[1].endpoint: azure-openai is called as azure-openai/{resource}/{deployment}/{path}?api-version=...",
        ),
        ([{**MINIMAL, "endpoint": "/..%2fb?x"}], "[0].endpoint must not lead upwards"),
        ([{**MINIMAL, "id": 1}], "[0].id must be a string"),
        ([{**MINIMAL, "id": "a" * 300}], "[0].id is longer than 256 characters"),
        ([{**MINIMAL, "eventId": "a\nb"}], "[0].eventId must not have control characters"),
        ([{**MINIMAL, "eventId": "a" * 300}], "[0].eventId is longer than 256 characters"),
        ([{**MINIMAL, "config": {"eventId": "a" * 300}}], "[0].config.eventId is longer than 256 characters"),
        ([{**MINIMAL, "config": "x"}], "[0].config must be an object"),
        ([{**MINIMAL, "config": {"maxAttempts": "2"}}], "[0].config.maxAttempts must be a number"),
        ([{**MINIMAL, "config": {"requestTimeout": True}}], "[0].config.requestTimeout must be a number"),
        ([{**MINIMAL, "config": {"retryDelay": -1}}], "[0].config.retryDelay must be 0 or more"),
        ([MINIMAL, MINIMAL, {**MINIMAL, "option": {"delay": "5"}}], "[2].option.delay must be a number"),
        ([{**MINIMAL, "option": {"retry": -1}}], "[0].option.retry must be 0 or more"),
        ([{**MINIMAL, "option": {"onComplete": 3}}], "[0].option.onComplete must be an object or an array"),
        ([{**MINIMAL, "option": {"onComplete": []}}], "[0].option.onComplete must have at least one step"),
        (after(MINIMAL, {"provider": "openai"}), "option.onComplete[1].endpoint is required"),
        (
            [{**MINIMAL, "option": {"when": [{"if": {}, "then": "next"}]}}],
            "[0].option.when is not available in this version of Sluice",
        ),
        ([MINIMAL] * 51, "[50]: there are more than 50 steps"),
        ([after(*[MINIMAL] * 30), after(*[MINIMAL] * 30)], "[1].option.onComplete[18]: there are more than 50 steps"),
    ],
)
def test_an_error_names_the_culprit(body: Any, said: str):
    assert refusal(body) == said


def test_an_unknown_backoff_is_told_with_its_place():
    assert refusal([{**MINIMAL, "config": {"backoff": "cubic"}}]).startswith("[0].config.backoff: ")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"option":' * 1_000_000,
        b'{"provider":"openai","endpoint":"x","option":{"onComplete":' * 100_000,
        b'{"provider":"openai","endpoint":"x","query":' + b"[" * 1_000_000,
        b'[{"provider":"openai","endpoint":"x"},' * 100_000,
        b'{"provider":"openai","endpoint":"x","query":"\xff"}',
        b"\x00" * 1_000_000,
    ],
)
def test_hostile_bodies_are_refused_in_bounded_time(body: bytes):
    began_s = time.process_time()
    with pytest.raises(MalformedRequest):
        parse(body)
    assert time.process_time() - began_s < 2


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_a_step_with_very_many_headers_is_refused_before_they_are_gone_through(size: int):
    headers = b",".join(b'"h%d":1' % number for number in range(size // 10))
    began_s = time.process_time()
    said = refusal(b'[{"provider":"openai","endpoint":"x","headers":{%b}}]' % headers)
    assert said in ("[0].headers are more than 200", "[0].headers are longer than 65536 bytes")
    assert time.process_time() - began_s < 0.5


def test_a_large_array_is_refused_before_it_is_gone_through():
    began_s = time.process_time()
    assert "more than 50 steps" in refusal([MINIMAL] * 100_000)
    assert time.process_time() - began_s < 2


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["provider", "endpoint", "headers", "query", "config", "option", "onComplete", "id", "retry"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(body=VALUES)
def test_whatever_comes_is_parsed_or_refused(body: Any):
    with suppress(MalformedRequest, InvalidProvider):
        assert 0 < len(parse(json.dumps(body).encode())) <= 50


def test_a_key_for_the_cache_that_a_request_names_is_of_its_first_step_and_others_have_their_own():
    """With one for all, a step would be given the reply of another."""
    outer = Options(cache_key=b"k")
    following = {**MINIMAL, "option": {"onComplete": {**MINIMAL, "config": {"cacheKey": "mine"}}}}
    first, second, third = parse([MINIMAL, MINIMAL, following], outer)
    (last,) = third.on_complete
    assert first.options.cache_key == b"k"
    assert len({step.options.cache_key for step in (first, second, third)}) == 3
    assert last.options.cache_key == b"mine"
    assert [step.options for step in parse([MINIMAL, MINIMAL], outer)] == [first.options, second.options]
