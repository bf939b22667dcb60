"""Texts looked for in bodies."""

import json

import pytest

from sluice.formats.sought import Sought


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("refund", b'{"content":"About your REFUND"}'),
        ("Refund", b"refund"),
        ("grüße", json.dumps({"content": "Viele Grüße"}).encode()),
        ("GRÜSSE", json.dumps({"content": "grüsse"}, ensure_ascii=False).encode()),
        ('say "hi"', json.dumps({"content": 'To say "Hi"'}).encode()),
        ("two\nlines", json.dumps("two\nlines").encode()),
        ("\U0001f600", json.dumps("\U0001f600").encode()),
        ("\ud800", b"?"),
    ],
)
def test_a_text_is_found_in_the_forms_that_json_gives_it(text: str, body: bytes) -> None:
    assert Sought(text).is_in_whole(body)


def test_what_is_not_there_is_not_found() -> None:
    assert not Sought("refund").is_in_whole(b'{"content":"re","x":"fund"}')


def test_a_stream_has_the_text_that_its_events_tell_piece_by_piece() -> None:
    pieces = ["The ref", "und pol", "icy is grü", "ßend"]
    events = [f"data: {json.dumps({'choices': [{'delta': {'content': piece}}]})}\n\n" for piece in pieces]
    stream = "".join(events).encode()
    assert Sought("refund policy").is_in_whole(stream)
    assert Sought("grüßend").is_in_whole(stream)
    assert not Sought("policy refund").is_in_whole(stream)
    assert not Sought("refund policy").is_in_whole(b"{" + stream)
