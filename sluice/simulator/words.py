"""The simulator's language: a tokenizer, and text, JSON and vectors that follow from the prompt alone.

A token is a word (letters, digits, underscores) or one other character, each with the white space before it, and white
space at the end of the text. So the tokens of a text, joined, are the text, and usage can be checked by hand.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

Schema = Mapping[str, object]

_TOKEN: Final = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")
_WORD: Final = re.compile(r"\w+")
_VOCABULARY: Final = re.findall(
    r"\w+",
    """
    water gate river stone mill lock canal level quiet open slow clear narrow steady bright deep old flows turns holds
    rises falls passes waits carries meets leaves keeps joins follows crosses opens above below through across along
    beside toward under over past and then while until before after morning evening north harbour bridge bank valley
    boat wheel current
    """,
)
_QUOTED_WORDS: Final = 12
_DEEPEST: Final = 8
"""Levels of a JSON schema that a sample follows."""


def tokens(text: str) -> list[str]:
    """The tokens of a text; joined they are the text again."""
    return _TOKEN.findall(text)


def count(text: str) -> int:
    """How many tokens a text has."""
    return sum(1 for _ in _TOKEN.finditer(text))


def digest(text: str) -> str:
    """The text's SHA-256 in hex."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def noise(seed: str) -> Iterator[int]:
    """Endless bytes that follow from the seed."""
    block = 0
    while True:
        yield from hashlib.sha256(f"{block}:{seed}".encode("utf-8", "replace")).digest()
        block += 1


def prose(seed: str, words: int) -> str:
    """So many words in sentences, the same for the same seed."""
    source = noise(seed)
    said: list[str] = []
    left = 0
    for _ in range(words):
        word = _VOCABULARY[next(source) % len(_VOCABULARY)]
        if left == 0:
            left = 5 + next(source) % 8
            word = word.capitalize()
        left -= 1
        said.append(word + "." if left == 0 else word)
    text = " ".join(said)
    return text if text.endswith(".") or not text else text + "."


def reply(prompt: str, variant: int = 0, words: int | None = None) -> str:
    """What the simulator says to a prompt: the prompt's first words, then prose seeded by all of it."""
    seed = f"{variant}:{prompt}"
    if words is not None:
        return prose(seed, words)
    heard = _first_words(prompt, _QUOTED_WORDS)
    opening = f"You said: {heard}. " if heard else ""
    return opening + prose(seed, 12 + next(noise(seed)) % 24)


def cut(text: str, most: int | None) -> tuple[str, bool]:
    """The text's first `most` tokens, and whether that is less than all."""
    if most is None:
        return text, False
    pieces = tokens(text)
    return ("".join(pieces[:most]), True) if len(pieces) > most else (text, False)


def sample(schema: Schema, text: str, root: Schema | None = None, depth: int = 0) -> Json:
    """A value that fits a JSON schema, as far as vendors' structured output knows one; its strings are `text`."""
    root = schema if root is None else root
    if depth > _DEEPEST:
        return None
    for inner in _alternatives(schema, root):
        return sample(inner, text, root, depth + 1)
    if "const" in schema:
        return _plain(schema["const"])
    options = schema.get("enum")
    if isinstance(options, list) and options:
        return _plain(options[0])
    return _of_kind(schema, text, root, depth)


def vector(text: str, dimensions: int) -> list[float]:
    """A vector that follows from the text, its numbers exact in 32 bits and its length about 1."""
    source = noise(text)
    scale: float = 2.0 ** -(7 + dimensions.bit_length() // 2)
    return [(next(source) - 127) * scale for _ in range(dimensions)]


def _alternatives(schema: Schema, root: Schema) -> Iterator[Schema]:
    """What stands for this schema: the target of a local `$ref`, or the first of several alternatives."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        found: object = root
        for name in reference[1:].strip("/").split("/"):
            found = found.get(name) if isinstance(found, dict) and name else found
        if isinstance(found, dict):
            yield found
    for choice in ("anyOf", "oneOf", "allOf"):
        listed = schema.get(choice)
        if isinstance(listed, list) and listed and isinstance(listed[0], dict):
            yield listed[0]


def _of_kind(schema: Schema, text: str, root: Schema, depth: int) -> Json:
    kind = _lower(schema.get("type"))
    if isinstance(kind, list):
        kind = next((_lower(one) for one in kind if one != "null"), "null")
    properties = schema.get("properties")
    if kind == "object" or isinstance(properties, dict):
        inner = properties.items() if isinstance(properties, dict) else ()
        return {str(name): sample(one, text, root, depth + 1) for name, one in inner if isinstance(one, dict)}
    if kind == "array":
        items = schema.get("items")
        return [sample(items, text, root, depth + 1)] if isinstance(items, dict) else []
    if kind in ("integer", "number"):
        least = schema.get("minimum")
        return least if isinstance(least, int | float) else len(text) % 100
    if kind == "boolean":
        return True
    return None if kind == "null" else text


def _lower(kind: object) -> object:
    """A type's name as JSON schema has it; Google writes them large."""
    return kind.lower() if isinstance(kind, str) else kind


def _plain(value: object) -> Json:
    return value if isinstance(value, bool | int | float | str) else None


def last_word(text: str) -> str:
    """The last word of a text, empty where it has none."""
    word = ""
    for found in _WORD.finditer(text):
        word = found.group()
    return word


def _first_words(text: str, most: int) -> str:
    found: list[str] = []
    for match in _WORD.finditer(text):
        found.append(match.group())
        if len(found) == most:
            break
    return " ".join(found)
