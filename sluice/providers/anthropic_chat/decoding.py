"""Untrusted requests to typed values, and back to bytes; what does not fit is told with the path of its field."""

import re
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from sluice.values.errors import MalformedRequest

Decoded = TypeVar("Decoded")
ENCODER: Final = msgspec.json.Encoder()
_PLACE: Final = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`$")


@dataclass(frozen=True, slots=True)
class Translated:
    """A request in another vendor's shape, and what of it decides how the reply is translated back."""

    body: bytes
    stream: bool
    include_usage: bool


def decode_request(body: bytes, decoder: msgspec.json.Decoder[Decoded]) -> Decoded:
    """The request in this body.

    The decoder looks at no text that it skips, and some of that is passed on: so all of it is looked at here.
    """
    try:
        return decoder.decode(body.decode())
    except msgspec.ValidationError as error:
        raise _told(str(error)) from None
    except msgspec.DecodeError as error:
        raise MalformedRequest(f"the body is not valid JSON: {error}") from None
    except UnicodeDecodeError:
        raise MalformedRequest("the body is not UTF-8") from None
    except RecursionError:
        raise MalformedRequest("the body is nested too deeply") from None


def refused(place: str, problem: str) -> MalformedRequest:
    """What a client is told of a field that cannot be translated."""
    return MalformedRequest(f"{place}: {problem}")


def _told(text: str) -> MalformedRequest:
    found = _PLACE.search(text)
    said = (text[: found.start()] if found else text).replace("`", "")
    said = said[:1].lower() + said[1:]
    return refused(found[1], said) if found and found[1] else MalformedRequest(said)
