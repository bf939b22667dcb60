"""The JSON of a universal request, typed; what does not fit is told with the place of the culprit."""

import re
from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw

from sluice.values.errors import MalformedRequest
from sluice.values.request import Backoff

LONGEST_SAID: Final = 500
Amount = Annotated[float, Meta(ge=0)]


class Config(msgspec.Struct, frozen=True, rename="camel"):
    """Settings of a step. The names are those of Cloudflare's own SDKs."""

    request_timeout: Amount | None = None
    max_attempts: Amount | None = None
    retry_delay: Amount | None = None
    backoff: Backoff | None = None
    cache_ttl: Amount | None = None
    skip_cache: bool | None = None
    cache_key: str | None = None
    collect_log: bool | None = None
    metadata: Raw = Raw()
    custom_cost: Raw = Raw()
    event_id: str | None = None


class Option(msgspec.Struct, frozen=True, rename="camel"):
    """What the improved universal endpoint adds (contract 2.6)."""

    retry: Amount | None = None
    delay: Amount | None = None
    backoff: Backoff | None = None
    timeout: Amount | None = None
    on_complete: "StepShape | list[StepShape] | None" = None
    when: Raw = Raw()


class StepShape(msgspec.Struct, frozen=True, rename="camel"):
    """One step as a client writes it."""

    provider: str
    endpoint: str
    headers: Raw = Raw()
    """Decoded by itself, once its length is known: millions of fields would take gigabytes."""
    authorization: str | None = None
    query: Raw = Raw()
    config: Config | None = None
    event_id: str | None = None
    id: str | None = None
    option: Option | None = None


_HEADERS: Final = msgspec.json.Decoder(dict[str, Raw])
_STEPS: Final[msgspec.json.Decoder[StepShape | list[StepShape]]] = msgspec.json.Decoder(StepShape | list[StepShape])
_PLACE: Final = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`$")
_WRONG: Final = re.compile(r"Expected `([^`]+)`(?: >= (\S+))?(?:, got `[^`]+`)?")
_MISSING: Final = re.compile(r"Object missing required field `([^`]+)`")
_WORDS: Final = {
    "str": "a string",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
    "null": "null",
}


def decode_steps(body: bytes) -> StepShape | list[StepShape]:
    """The steps in a body. Raises MalformedRequest."""
    try:
        if not body.isascii():
            body.decode()  # the decoder looks at no text that it skips
        return _STEPS.decode(body)
    except msgspec.ValidationError as error:
        raise told(str(error)) from None
    except RecursionError:
        raise MalformedRequest("The body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"The body is not valid JSON: {error}") from None


def decode_headers(text: bytes, place: str) -> dict[str, Raw]:
    """The headers of a step. Raises MalformedRequest."""
    try:
        return _HEADERS.decode(text)
    except msgspec.ValidationError:
        raise MalformedRequest(f"{place} must be an object") from None
    except msgspec.DecodeError as error:
        raise MalformedRequest(f"{place} cannot be read: {error}") from None


def told(text: str, whole: str = "The body") -> MalformedRequest:
    """What the decoder says, in our words and with the path of the field."""
    found = _PLACE.search(text)
    place, said = (found[1], text[: found.start()]) if found else ("", text)
    place, said = place[:LONGEST_SAID], said[:LONGEST_SAID]  # the client's own words are among them
    if missing := _MISSING.fullmatch(said):
        return MalformedRequest(f"{joined(place, missing[1])} is required")
    wrong = _WRONG.fullmatch(said)
    if wrong is None:
        said = said.replace("`", "")
        return MalformedRequest(f"{place}: {said}" if place else said)
    kinds = f"{float(wrong[2]):g} or more" if wrong[2] else " or ".join(_kinds(wrong[1]))
    return MalformedRequest(f"{place or whole} must be {kinds}")


def _kinds(expected: str) -> Iterator[str]:
    """What was wanted; that nothing would have done too is left out."""
    names = [name for name in expected.split(" | ") if name != "null"] or ["null"]
    return (_WORDS.get(name, name) for name in names)


def given(raw: Raw) -> bytes:
    """The JSON of a field that may be left out, or null, which is the same."""
    text = bytes(raw)
    return b"" if text == b"null" else text


def joined(place: str, name: str) -> str:
    """The path of a field within a place."""
    return f"{place}.{name}" if place else name
