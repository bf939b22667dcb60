"""JSON arrays of objects that may be cut: so Google streams, where it is not asked for events."""

import re
from mmap import mmap
from typing import Final, TypeVar

import msgspec

Array = bytes | bytearray | mmap
Element = TypeVar("Element")

_MOST_BYTES: Final = 32 * 1024 * 1024
_MOST_BRACKETS: Final = 1_000_000
"""A third of a second's work. The longest answers have a twentieth of that."""
_BRACKET: Final = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+[{}\[\]]', re.DOTALL)
"""The next one that is in no text. Possessive, for the array is hostile: each byte is looked at once."""
_OPENING: Final = b"{["


def is_array(document: Array) -> bool:
    """Whether a JSON document is one, or the beginning of one."""
    return document[:64].lstrip()[:1] == b"["


def read_elements(array: Array, decoder: msgspec.json.Decoder[list[Element]]) -> list[Element]:
    """The elements of an array; of one that was cut, those before the cut. Raises what the decoder does."""
    try:
        return decoder.decode(array)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return decoder.decode(whole_elements(array))


def whole_elements(array: Array) -> bytes:
    """An array up to the last of its objects that is whole, as far as it is looked at."""
    depth = place = end = 0
    for _ in range(_MOST_BRACKETS):
        found = _BRACKET.match(array, place, _MOST_BYTES)
        if found is None:
            break
        place = found.end()
        depth += 1 if array[place - 1] in _OPENING else -1
        if depth == 1:
            end = place
        elif depth < 1:
            break
    return bytes(array[:end]) + b"]"
