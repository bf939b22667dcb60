"""What a step in the one schema means, and what of it its provider gets."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.engine.compat import addressed, model_in, model_or_none, with_model
from sluice.providers.registry import PROVIDERS
from sluice.values.errors import BadChatCompletion, InvalidProvider, MalformedRequest, RouteNotFound
from sluice.values.request import DEFAULT_OPTIONS, BytesBody, Header, Step

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["model", '"model": "x"', "a\\"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("model"), inner, max_size=3),
    max_leaves=8,
)
BEARER: Header = (b"authorization", b"Authorization", b"Bearer k")


def step(body: dict[str, Any], endpoint: bytes = b"chat/completions", headers: tuple[Header, ...] = ()) -> Step:
    data = BytesBody(json.dumps(body).encode())
    return Step(0, "compat", endpoint, b"", b"POST", list(headers), b"", b"", data, DEFAULT_OPTIONS)


def chat(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"openai/a"}', b'{"model":"m"}'),
        (b'{ "x" : 1.50, "model"  :\n"openai/a" , "y": [ 1 ] }', b'{ "x" : 1.50, "model"  :\n"m" , "y": [ 1 ] }'),
        (b'{"model":"open\\u0061i\\/a"}', b'{"model":"m"}'),
        (b'{"mod\\u0065l":"openai/a"}', b'{"mod\\u0065l":"m"}'),
        (b'{"tool":{"model":"b"},"model":"openai/a"}', b'{"tool":{"model":"b"},"model":"m"}'),
        (b'{"model":"openai/a","tool":[{"model":"b"}]}', b'{"model":"m","tool":[{"model":"b"}]}'),
        (b'{"text":"\\"model\\": \\"b\\"","model":"openai/a"}', b'{"text":"\\"model\\": \\"b\\"","model":"m"}'),
        (b'{"model":"x/b","model":"openai/a"}', b'{"model":"m","model":"m"}'),
        (b'{"a":"model","model":"openai/a"}', b'{"a":"model","model":"m"}'),
    ],
)
def test_the_model_alone_is_replaced_and_every_other_byte_kept(body: bytes, expected: bytes):
    assert with_model(body, "m") == expected


@given(before=st.dictionaries(st.text(), JSON, max_size=3), after=st.dictionaries(st.text(), JSON, max_size=3))
def test_in_any_body_only_the_outermost_model_changes(before: dict[str, Any], after: dict[str, Any]):
    body = {**before, **after}
    body.pop("model", None)
    body = {**before, "model": "openai/gpt", **{name: value for name, value in after.items() if name != "model"}}
    body["model"] = "openai/gpt"
    for text in (json.dumps(body), json.dumps(body, ensure_ascii=False, indent=1)):
        try:
            data = text.encode()
        except UnicodeEncodeError:
            continue
        assert json.loads(with_model(data, "m")) == {**body, "model": "m"}


COMPATIBLE = [name for name, row in PROVIDERS.items() if row.compat.chat]


@pytest.mark.parametrize("name", COMPATIBLE)
def test_a_vendor_that_speaks_it_gets_the_body_its_model_and_its_key(name: str):
    row = PROVIDERS[name]
    done = addressed(step(chat(f"{name}/a/b", n=1), headers=(BEARER, (b"x-a", b"X-A", b"1"))))
    assert (done.provider, done.endpoint, done.model, done.compat) == (name, row.compat.chat, "a/b", True)
    assert json.loads(done.body.whole or b"") == chat("a/b", n=1)
    assert done.headers == [*row.sign(b"k"), (b"x-a", b"X-A", b"1")]
    assert done.translation is None


def test_anthropic_is_translated_and_signed_its_own_way():
    sent = chat("Anthropic/claude-x", stream=True, stream_options={"include_usage": True})
    headers = (BEARER, (b"accept-encoding", b"Accept-Encoding", b"gzip"), (b"x-a", b"X-A", b"1"))
    done = addressed(step(sent, headers=headers))
    assert (done.provider, done.endpoint, done.model) == ("anthropic", b"v1/messages", "claude-x")
    assert done.translation is not None
    assert done.translation.include_usage
    assert {name: value for name, _, value in done.headers} == {
        b"x-api-key": b"k",
        b"x-a": b"1",
        b"content-type": b"application/json",
        b"anthropic-version": b"2023-06-01",
    }
    body = json.loads(done.body.whole or b"")
    assert (body["model"], body["max_tokens"], body["stream"]) == ("claude-x", 4096, True)


def test_a_clients_own_anthropic_version_stays():
    own = (b"anthropic-version", b"Anthropic-Version", b"2099-01-01")
    done = addressed(step(chat("anthropic/c"), headers=(own,)))
    assert [value for name, _, value in done.headers if name == b"anthropic-version"] == [b"2099-01-01"]


@pytest.mark.parametrize("model", ["gpt-4o", "/gpt-4o", "openai/", "", None, 3, ["openai/x"]])
def test_a_model_without_a_provider_is_badly_formed(model: Any):
    with pytest.raises(BadChatCompletion):
        addressed(step({"model": model}))


@pytest.mark.parametrize("body", [b"", b"{", b'{"model": nope}', b'{"a":' * 100_000])
def test_a_body_that_is_no_json(body: bytes):
    with pytest.raises(MalformedRequest, match="JSON"):
        model_in(body)


def test_models_that_lead_nowhere():
    with pytest.raises(InvalidProvider):
        addressed(step(chat("nobody/x")))
    with pytest.raises(RouteNotFound):
        addressed(step(chat("dynamic/support")))
    with pytest.raises(MalformedRequest, match="anthropic has no embeddings in OpenAI's shape"):
        addressed(step({"model": "anthropic/x", "input": "a"}, b"embeddings"))
    with pytest.raises(MalformedRequest, match=r"messages\[0\]"):
        addressed(step({"model": "anthropic/x", "messages": [{"role": "user", "content": 3}]}))


def test_a_name_as_long_as_a_body_is_no_models():
    name = "m" * 257
    assert model_or_none(json.dumps({"model": name}).encode()) is None
    with pytest.raises(BadChatCompletion):
        addressed(step(chat(f"openai/{name}")))
    assert addressed(step(chat(f"openai/{name[1:]}"))).model == name[1:]
