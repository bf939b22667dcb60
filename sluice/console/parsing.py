"""Untrusted bodies and queries to typed values; what does not fit is told as contract B.8 does."""

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from sluice.console.envelope import ApiError, PathItem, invalid

Parsed = TypeVar("Parsed")
Where = Literal["body", "query"]

_PLACE: Final = re.compile(r" - at (?:`key` in )?`\$([^`]*)`$")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_NAMES: Final = {"int": "number", "float": "number", "bool": "boolean", "str": "string", "null": "null"}


def parse_query(query: Mapping[str, str], into: type[Parsed]) -> Parsed:
    """A Struct from query parameters; `true`, numbers and so on come as text."""
    try:
        return msgspec.convert(dict(query), into, strict=False)
    except msgspec.ValidationError as error:
        raise _told(error, "query") from None


def parse_body(body: bytes, into: type[Parsed]) -> Parsed:
    try:
        return msgspec.json.decode(body.decode(), type=into)  # the decoder looks at no text that it skips
    except msgspec.ValidationError as error:
        raise _told(error, "body") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid("The body is not valid JSON", "body") from None


def merge_body(body: bytes, over: msgspec.Struct, into: type[Parsed]) -> Parsed:
    """The fields of `over` with those that the body names in their place."""
    fields = parse_body(msgspec.json.encode(over), dict[str, msgspec.Raw])
    return parse_body(msgspec.json.encode(fields | parse_body(body, dict[str, msgspec.Raw])), into)


async def read_body(request: Request, limit_bytes: int) -> bytes:
    pieces = bytearray()
    try:
        async for piece in request.stream():
            pieces += piece
            if len(pieces) > limit_bytes:
                raise ApiError(413, 7001, f"The body is larger than {limit_bytes} bytes", ("body",))
    except ClientDisconnect:
        raise invalid("The body was cut short", "body") from None
    return bytes(pieces)


def _told(error: msgspec.ValidationError, where: Where) -> ApiError:
    text = str(error)
    place = _PLACE.search(text)
    said = text[: place.start()] if place else text
    path = _path(place[1]) if place else []
    for pattern, retell in _SENTENCES:
        if found := pattern.fullmatch(said):
            return invalid(retell(found), where, *path, *_named_in(pattern, found))
    return invalid(said.replace("`", ""), where, *path)


def _path(place: str) -> list[PathItem]:
    steps: list[PathItem] = []
    for name, index in _STEP.findall(place):
        if name:
            steps.append(name)
        elif index.isdigit():
            steps.append(int(index))
    return steps


def _named_in(pattern: re.Pattern[str], found: re.Match[str]) -> list[str]:
    return [found["field"]] if "field" in pattern.groupindex else []


def _types(found: re.Match[str]) -> str:
    wanted = dict.fromkeys(_NAMES.get(name, name) for name in found["wanted"].split(" | ") if name != "null")
    return f"Expected {' or '.join(wanted) or 'null'}, received {_NAMES.get(found['got'], found['got'])}"


_SENTENCES: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]] = (
    (re.compile(r"Object missing required field `(?P<field>.+)`"), lambda found: "Required"),
    (re.compile(r"Object contains unknown field `(?P<field>.+)`"), lambda found: "Unknown field"),
    (re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`"), _types),
    (
        re.compile(r"Expected `(?:int|float)(?: \| null)?` <= (?P<bound>\S+)"),
        lambda found: f"Number must be less than or equal to {found['bound'].removesuffix('.0')}",
    ),
    (
        re.compile(r"Expected `(?:int|float)(?: \| null)?` >= (?P<bound>\S+)"),
        lambda found: f"Number must be greater than or equal to {found['bound'].removesuffix('.0')}",
    ),
    (
        re.compile(r"Expected `(?:int|float)(?: \| null)?` > (?P<bound>\S+)"),
        lambda found: f"Number must be greater than {found['bound']}",
    ),
    (
        re.compile(r"Expected `str(?: \| null)?` of length (?P<how>[<>])= (?P<bound>\d+)"),
        lambda found: f"String must have at {'least' if found['how'] == '>' else 'most'} {found['bound']} characters",
    ),
    (re.compile(r"Expected `str(?: \| null)?` matching regex .*"), lambda found: "Invalid"),
    (re.compile(r"Invalid enum value '?(?P<value>.*?)'?"), lambda found: f"Invalid enum value: {found['value']}"),
)
