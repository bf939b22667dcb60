from hypothesis import given
from hypothesis import strategies as st

from sluice.simulator import words


@given(st.text())
def test_the_tokens_of_a_text_joined_are_the_text(text: str) -> None:
    assert "".join(words.tokens(text)) == text
    assert words.count(text) == len(words.tokens(text))


def test_tokens_can_be_counted_by_hand() -> None:
    assert words.tokens("Hello, wide  world! ") == ["Hello", ",", " wide", "  world", "!", " "]


def test_the_same_prompt_has_the_same_reply_and_another_has_another() -> None:
    assert words.reply("open the gate") == words.reply("open the gate")
    assert words.reply("open the gate").startswith("You said: open the gate. ")
    assert len({words.reply("a"), words.reply("b"), words.reply("a", variant=1)}) == 3


@given(st.integers(0, 200))
def test_prose_has_as_many_words_as_asked(many: int) -> None:
    assert len(words.prose("seed", many).split()) == many


def test_a_text_is_cut_at_a_token() -> None:
    assert words.cut("one two three", 2) == ("one two", True)
    assert words.cut("one two three", 3) == ("one two three", False)
    assert words.cut("one", None) == ("one", False)


def test_a_sample_fits_its_schema() -> None:
    schema = {
        "$defs": {"place": {"type": "object", "properties": {"city": {"type": "string"}}}},
        "type": "object",
        "properties": {
            "where": {"$ref": "#/$defs/place"},
            "unit": {"enum": ["celsius", "kelvin"]},
            "days": {"type": "integer", "minimum": 3},
            "sure": {"type": ["boolean", "null"]},
            "tags": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
            "kind": {"const": "now"},
            "nothing": {"type": "null"},
        },
    }
    assert words.sample(schema, "Paris") == {
        "where": {"city": "Paris"},
        "unit": "celsius",
        "days": 3,
        "sure": True,
        "tags": ["Paris"],
        "kind": "now",
        "nothing": None,
    }


def test_a_schema_that_holds_itself_has_a_sample_of_bounded_depth() -> None:
    node: dict[str, object] = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    depth, found = 0, words.sample(node, "x")
    while isinstance(found, dict) and found:
        depth, found = depth + 1, found["next"]
    assert 0 < depth < 10


@given(st.text(), st.integers(1, 3072))
def test_a_vector_is_of_about_length_one(text: str, dimensions: int) -> None:
    vector = words.vector(text, dimensions)
    assert len(vector) == dimensions
    assert sum(number * number for number in vector) < 4
