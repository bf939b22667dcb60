"""Words of earlier steps in the places of their tags: there, and nowhere else."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.engine.template import MOST_FILLED_BYTES, filled, ids_in
from sluice.values.errors import TemplateFailure
from sluice.values.request import DEFAULT_OPTIONS, BytesBody, Header, Step

TAG = "<prompt-response id='a' />"


def step(body: bytes = b"", endpoint: bytes = b"chat", query: bytes = b"", headers: tuple[Header, ...] = ()) -> Step:
    return Step(0, "openai", endpoint, query, b"POST", list(headers), b"", b"", BytesBody(body), DEFAULT_OPTIONS)


def filled_body(body: bytes, **words: str) -> bytes:
    return filled(step(body), words).body.whole or b""


@pytest.mark.parametrize(
    "tag",
    [
        "<prompt-response id='a' />",
        "<prompt-response id='a'/>",
        '<prompt-response id="a" />',
        '<prompt-response id="a"/>',
        "<prompt-response  id = 'a'   />",
        "<prompt-response\tid='a'\n/>",
        "<prompt-response id=a />",
        "<prompt-response id=a/>",
    ],
)
@pytest.mark.parametrize("around", ["{}", "Draw: {}", "{}{}", "before {} between {} after"])
def test_each_form_of_a_tag_is_replaced_alone_and_within_text(tag: str, around: str):
    body = json.dumps({"prompt": around.replace("{}", tag)}).encode()
    assert ids_in(step(body)) == ["a"] * around.count("{}")
    assert json.loads(filled_body(body, a='a "cat"\n')) == {"prompt": around.replace("{}", 'a "cat"\n')}


@pytest.mark.parametrize(
    "text",
    ["<prompt-response />", "<prompt-response id='a'>", "<prompt-response id=a'b />", "<prompt-responses id='a' />",
     "<prompt-responseid='a' />", "< prompt-response id='a' />", "<prompt-response id='a\" />"],
)  # fmt: skip
def test_what_is_no_tag_stays(text: str):
    body = json.dumps({"prompt": text}).encode()
    assert ids_in(step(body)) == []
    assert filled_body(body, a="x") == body


def test_every_other_byte_stays_the_clients_own():
    body = '{ "n" : 1.50e+03,\t"big":123456789012345678901234567890, "e":"\\u00e9\\/é", "t":"TAG" ,"z":[ ] }'.replace(
        "TAG", TAG
    )
    assert filled_body(body.encode(), a="words") == body.replace(TAG, "words").encode()


def test_a_tag_written_in_escapes_is_one_too():
    body = b'{"t": "\\u003cprompt-response id=\\u0027a\\u0027 \\/\\u003e"}'
    assert json.loads(filled_body(body, a="words")) == {"t": "words"}


def test_the_name_of_a_field_is_no_place_for_words():
    body = json.dumps({TAG: TAG}).encode()
    assert json.loads(filled_body(body, a="words")) == {TAG: "words"}


def test_what_was_put_in_is_not_looked_through_again():
    body = json.dumps({"t": TAG + "<prompt-response id='b' />"}).encode()
    assert json.loads(filled_body(body, a="<prompt-response id='b' />", b=TAG)) == {
        "t": "<prompt-response id='b' />" + TAG
    }


@given(words=st.text(), before=st.text(), after=st.text())
def test_any_words_arrive_as_they_were_said(words: str, before: str, after: str):
    body = json.dumps({"t": ["x", {"u": f"{before}|{TAG}|{after}"}]}).encode()
    if "\ud7ff" < max(words + before + after + "a") < "\ue000":
        return
    assert json.loads(filled_body(body, a=words))["t"][1]["u"] == f"{before}|{words}|{after}"


def test_words_in_a_path_lead_nowhere_else():
    asked = step(endpoint=b"run/" + TAG.encode(), query=b"q=" + TAG.encode())
    assert ids_in(asked) == ["a", "a"]
    done = filled(asked, {"a": "@cf/é ?x=1&y#"})
    assert (done.endpoint, done.query) == (b"run/%40cf%2F%C3%A9%20%3Fx%3D1%26y%23",) * 1 + (
        b"q=%40cf%2F%C3%A9%20%3Fx%3D1%26y%23",
    )


def test_words_in_a_header_are_one_line():
    header = (b"x-a", b"X-A", f"said {TAG}".encode())
    assert ids_in(step(headers=(header,))) == ["a"]
    assert filled(step(headers=(header,)), {"a": "é\n"}).headers == [(b"x-a", b"X-A", "said é".encode())]
    with pytest.raises(TemplateFailure, match="X-A"):
        filled(step(headers=(header,)), {"a": "one\r\nX-B: two"})


def test_words_of_a_step_that_has_not_completed():
    with pytest.raises(TemplateFailure, match="'a'"):
        filled_body(json.dumps({"t": TAG}).encode(), b="x")


def test_a_step_grows_up_to_a_bound():
    words = "x" * (MOST_FILLED_BYTES // 4)
    assert len(filled_body(json.dumps([TAG] * 4).encode(), a=words)) > MOST_FILLED_BYTES
    with pytest.raises(TemplateFailure, match="grows past"):
        filled_body(json.dumps([TAG] * 5).encode(), a=words)


@pytest.mark.parametrize("place", ["endpoint", "query", "headers"])
def test_what_no_server_takes_fails_before_it_is_sent(place: str):
    tagged: Any = ((b"x-a", b"X-A", TAG.encode()),) if place == "headers" else TAG.encode()
    assert filled(step(**{place: tagged}), {"a": "x" * 10_000})
    with pytest.raises(TemplateFailure, match="too long" if place == "headers" else "grows past"):
        filled(step(**{place: tagged}), {"a": "x" * 20_000})


@pytest.mark.parametrize(
    "text",
    ["<prompt-response " * 600_000, "<prompt-response id='" * 500_000, "<prompt-response" + " " * 10_000_000,
     "<prompt-response id='" + "a" * 10_000_000, "\\" * 10_000_000],
    ids=["starts", "open quotes", "spaces", "an endless id", "backslashes"],
)  # fmt: skip
def test_ten_megabytes_of_almost_tags_take_bounded_time(text: str):
    body = json.dumps({"t": text}).encode()
    began_s = time.process_time()
    assert ids_in(step(body)) == []
    assert filled_body(body) == body
    assert time.process_time() - began_s < 5


def test_half_a_character_is_left_to_the_provider():
    body = b'{"t": "\\ud800 <prompt-response id=\'a\' />"}'
    found: Any = filled_body(body, a="x")
    assert found == body
