"""The body of a universal request to Steps: every header and setting of each settled, every error named. Pure."""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

import msgspec

from sluice.edge.native import NO_OPTIONS, Names, forwardable
from sluice.edge.options import MOST_ATTEMPTS, parse_options, parse_raw
from sluice.edge.shapes import Config, Option, StepShape, decode_headers, decode_steps, given, joined
from sluice.engine.compat import COMPAT, PATHS, model_asked
from sluice.engine.retry import LONGEST_DELAY_MS
from sluice.engine.target import leads_upwards
from sluice.engine.template import NAME, TAG, ids_in
from sluice.providers.registry import find, row
from sluice.values.caching import clamped_ttl_s
from sluice.values.errors import InvalidProvider, MalformedRequest, TemplateFailure
from sluice.values.request import BytesBody, Header, Options, Step

MOST_STEPS: Final = 50
"""Those that follow others among them."""
DEEPEST: Final = 5
"""How many steps may follow one out of another."""
MOST_TRIES: Final = 6
"""By `option.retry`, which counts the tries after the first."""
LONGEST_ENDPOINT: Final = 16 * 1024
MOST_HEADERS: Final = 200
MOST_HEADER_BYTES: Final = 64 * 1024
MOST_HEADER_TEXT: Final = 8 * MOST_HEADER_BYTES
"""As JSON, where a character may take six bytes."""
LONGEST_ID: Final = 256
"""Of a step or an event. What the log keeps of a call must fit into a frame of the spool, whatever a body holds."""
LONGEST_TIMEOUT_MS: Final = 24 * 60 * 60 * 1000
OLD_NAMES: Final = {b"chat/completion": b"chat/completions"}
"""As some pages have it."""
_decode_text: Final = msgspec.json.Decoder(str).decode
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_IN_PATH: Final = re.compile(r"[\x00-\x20\x7f#]")
_IN_PATH: Final = "".join(map(chr, range(0x21, 0x7F)))


def parse_steps(body: bytes, outer: Options, names: Names) -> tuple[Step, ...]:
    """The steps of a request; `outer` is what its own headers ask for. Raises MalformedRequest and InvalidProvider."""
    return steps_of(decode_steps(body), outer, names)


def steps_of(shapes: StepShape | list[StepShape], outer: Options, names: Names) -> tuple[Step, ...]:
    """The same of a body that has been decoded."""
    parser = _Parser(outer, names)
    if not isinstance(shapes, list):
        return (parser.step(shapes, "", 0, 0),)
    if not shapes:
        raise MalformedRequest("The body must have at least one step")
    return tuple([parser.step(shape, f"[{index}]", index, 0) for index, shape in enumerate(shapes)])


class _Parser:
    """Goes through the steps in the order in which they stand, and knows those before."""

    def __init__(self, outer: Options, names: Names) -> None:
        self._outer, self._names = outer, names
        self._seen: set[str] = set()
        self._count = 0

    def step(self, shape: StepShape, place: str, index: int, depth: int) -> Step:
        """A step and all that follows it. `index` is that of the element of the array that it belongs to."""
        self._count += 1
        if self._count > MOST_STEPS:
            raise MalformedRequest(f"{place}: there are more than {MOST_STEPS} steps")
        if depth > DEEPEST:
            raise MalformedRequest(f"{place} is nested more than {DEEPEST} deep")
        step = self._alone(shape, place, index)
        if depth:
            step = self._with_tags(step, place)
        if step.id:
            self._seen.add(step.id)
        following = self._following(shape.option, place, index, depth)
        return msgspec.structs.replace(step, on_complete=following) if following else step

    def _following(self, option: Option | None, place: str, index: int, depth: int) -> tuple[Step, ...]:
        if option is None:
            return ()
        if given(option.when):
            raise MalformedRequest(f"{joined(place, 'option.when')} is not available in this version of Sluice")
        shapes, where = option.on_complete, joined(place, "option.onComplete")
        if isinstance(shapes, StepShape):
            return (self.step(shapes, where, index, depth + 1),)
        if shapes == []:
            raise MalformedRequest(f"{where} must have at least one step")
        return tuple([self.step(shape, f"{where}[{at}]", index, depth + 1) for at, shape in enumerate(shapes or ())])

    def _alone(self, shape: StepShape, place: str, index: int) -> Step:
        provider = provider_of(shape.provider)
        headers, fields = headers_of(shape, place)
        endpoint, query = endpoint_of(shape, place, provider)
        body, outer = given(shape.query), self._outer
        if outer.cache_key and self._count > 1:  # one name for all would give a step the reply of another
            outer = msgspec.structs.replace(outer, cache_key=b"%b\0%d" % (outer.cache_key, self._count))
        if body and b"content-type" not in fields:
            headers.append((b"content-type", b"Content-Type", b"application/json"))
        if len(shape.id or "") > LONGEST_ID:
            raise MalformedRequest(f"{joined(place, 'id')} is longer than {LONGEST_ID} characters")
        return Step(
            index,
            provider,
            endpoint,
            query,
            b"POST",
            forwardable(headers, fields, self._names),
            fields.get(b"content-type", b"application/json" if body else b""),
            fields.get(b"content-encoding", b""),
            BytesBody(body),
            options_of(shape, outer if NO_OPTIONS(fields) else parse_options(fields, outer), place),
            id=shape.id or "",
            model=model_asked(provider, endpoint, body),
        )

    def _with_tags(self, step: Step, place: str) -> Step:
        """A step that follows another may ask for the words of any before it, and of none else."""
        try:
            asked = ids_in(step)
        except TemplateFailure as error:
            raise MalformedRequest(f"{place}: {error.said}") from None
        for name in asked:
            if name not in self._seen:
                problem = "itself" if name == step.id else f"the step '{name[:LONGEST_ID]}', which is not one before it"
                raise MalformedRequest(f"{place} asks for the response of {problem}")
        return msgspec.structs.replace(step, tagged=True) if asked else step


def provider_of(slug: str) -> str:
    if slug.lower() == COMPAT:
        return COMPAT
    provider = find(slug)
    if provider is None:
        raise InvalidProvider(slug)
    return provider.name


def endpoint_of(shape: StepShape, place: str, provider: str) -> tuple[bytes, bytes]:
    """Path and query of the vendor's endpoint, as they go on the wire but for the tags in them."""
    text = shape.endpoint.lstrip("/")
    if len(text) > LONGEST_ENDPOINT:
        raise MalformedRequest(f"{joined(place, 'endpoint')} is longer than {LONGEST_ENDPOINT} characters")
    if _NOT_IN_PATH.search(TAG.sub("", text) if NAME in text else text):
        raise MalformedRequest(f"{joined(place, 'endpoint')} must be a path, without spaces and without a fragment")
    wire = text if text.isascii() else "".join(_on_the_wire(text))
    path, _, query = wire.encode().partition(b"?")
    if leads_upwards(path):
        raise MalformedRequest(f"{joined(place, 'endpoint')} must not lead upwards")
    if provider != COMPAT:
        if NAME.encode() not in path:
            _locate(path, provider, place)
        return path, query
    path = OLD_NAMES.get(path, path)
    if path not in PATHS:
        known = ", ".join(known.decode() for known in PATHS)
        raise MalformedRequest(f"{joined(place, 'endpoint')} must be one of {known}")
    return path, query


def _locate(path: bytes, provider: str, place: str) -> None:
    """Where the path chooses the host too, it must name one."""
    locate = row(provider).locate
    if locate is None:
        return
    try:
        locate(path)
    except MalformedRequest as error:
        raise MalformedRequest(f"{joined(place, 'endpoint')}: {error.said}") from None


def _on_the_wire(text: str) -> Iterator[str]:
    at = 0
    for found in TAG.finditer(text):
        yield quote(text[at : found.start()], safe=_IN_PATH)
        yield found[0]
        at = found.end()
    yield quote(text[at:], safe=_IN_PATH)


def headers_of(shape: StepShape, place: str) -> tuple[list[Header], dict[bytes, bytes]]:
    """The header fields of a step, and their values by lower-case name."""
    headers: list[Header] = []
    fields: dict[bytes, bytes] = {}
    text = given(shape.headers)
    if len(text) > MOST_HEADER_TEXT:
        raise MalformedRequest(f"{joined(place, 'headers')} are longer than {MOST_HEADER_BYTES} bytes")
    said = decode_headers(text, joined(place, "headers")) if text else {}
    if len(said) > MOST_HEADERS:
        raise MalformedRequest(f"{joined(place, 'headers')} are more than {MOST_HEADERS}")
    for name, raw in said.items():
        if not _NAME.fullmatch(name):
            raise MalformedRequest(f"{_header(place, name)} is no name of a header")
        value = value_of(bytes(raw), place, name)
        if value is None:
            continue
        sent = name.encode()
        lower = sent.lower()
        headers.append((lower, sent, value))
        fields[lower] = value
    if shape.authorization and b"authorization" not in fields:
        value = header_value(shape.authorization)
        if value is None:
            raise MalformedRequest(f"{joined(place, 'authorization')} must not have control characters")
        headers.append((b"authorization", b"Authorization", value))
        fields[b"authorization"] = value
    if sum(len(sent) + len(value) for _, sent, value in headers) > MOST_HEADER_BYTES:
        raise MalformedRequest(f"{joined(place, 'headers')} are longer than {MOST_HEADER_BYTES} bytes")
    return headers, fields


def value_of(json: bytes, place: str, name: str) -> bytes | None:
    """A header's value: strings as they are, all else as its JSON (contract 2.1); null is as good as left out."""
    if json == b"null":
        return None
    if json[:1] == b'"':
        try:
            text = _decode_text(json)
        except msgspec.DecodeError:
            raise MalformedRequest(f"{_header(place, name)} is not valid Unicode") from None
    else:
        text = (msgspec.json.format(json, indent=-1) if json[:1] in (b"{", b"[") else json).decode()
    value = header_value(text)
    if value is None:
        raise MalformedRequest(f"{_header(place, name)} must not have control characters")
    return value


def header_value(text: str) -> bytes | None:
    """A text as a header carries it, None for what would break out of it."""
    return None if _CONTROL.search(text := text.strip()) else text.encode()


def _header(place: str, name: str) -> str:
    return joined(place, f"headers.{name[:64]}")


def event_id_of(text: str, place: str) -> bytes:
    value = header_value(text)
    if value is None:
        raise MalformedRequest(f"{joined(place, 'eventId')} must not have control characters")
    if len(text) > LONGEST_ID:
        raise MalformedRequest(f"{joined(place, 'eventId')} is longer than {LONGEST_ID} characters")
    return value


def options_of(shape: StepShape, options: Options, place: str) -> Options:
    """Over what the headers ask for stands the step's `config`, and over that its `option` (contract 2.4, 2.6)."""
    said: dict[str, object] = {}
    if shape.event_id:
        said["event_id"] = event_id_of(shape.event_id, place)
    if shape.config is not None:
        said |= _configured(shape.config, joined(place, "config"))
    if shape.option is not None:
        said |= _optional(shape.option)
    return msgspec.structs.replace(options, **said) if said else options


def _configured(config: Config, place: str) -> dict[str, object]:
    tries, delay_ms, timeout_ms = config.max_attempts, config.retry_delay, config.request_timeout
    found: dict[str, object] = {
        "max_attempts": None if tries is None else int(min(max(tries, 1), MOST_ATTEMPTS)),
        "retry_delay_ms": None if delay_ms is None else int(min(delay_ms, LONGEST_DELAY_MS)),
        "backoff": config.backoff,
        "request_timeout_ms": _timeout_ms(timeout_ms),
        "cache_ttl_s": None if config.cache_ttl is None else clamped_ttl_s(config.cache_ttl),
        "skip_cache": config.skip_cache,
        "cache_key": None if config.cache_key is None else config.cache_key.encode("utf-8", "surrogatepass"),
        "collect_log": config.collect_log,
        "metadata": parse_raw(given(config.metadata)) or None,
        "custom_cost": parse_raw(given(config.custom_cost)) or None,
        "event_id": None if not config.event_id else event_id_of(config.event_id, place),
    }
    return {name: value for name, value in found.items() if value is not None}


def _optional(option: Option) -> dict[str, object]:
    retry, delay_ms = option.retry, option.delay
    found: dict[str, object] = {
        "max_attempts": None if retry is None else int(min(retry + 1, MOST_TRIES)),
        "retry_delay_ms": None if delay_ms is None else int(min(delay_ms, LONGEST_DELAY_MS)),
        "backoff": option.backoff,
        "request_timeout_ms": _timeout_ms(option.timeout),
    }
    return {name: value for name, value in found.items() if value is not None}


def _timeout_ms(given: float | None) -> int | None:
    """None for no time at all, which would be no timeout but a way to fail."""
    return None if not given else max(1, int(min(given, LONGEST_TIMEOUT_MS)))
