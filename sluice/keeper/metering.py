"""An exchange and its two bodies to a log entry: model, usage, cost, and how it truly ended."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from itertools import chain, islice
from mmap import ACCESS_READ, mmap
from typing import Final, Literal, NamedTuple

import msgspec

from sluice.engine.custom_rates import unpriced
from sluice.formats.encodings import MAX_DECODED_BYTES, coding_of, decoded
from sluice.formats.eventstream import MEDIA_TYPE, events_in
from sluice.formats.metadata import parse_metadata
from sluice.formats.multipart import form_field
from sluice.formats.sse import Event, EventSplitter, blocks_with, parse_event
from sluice.keeper.rate_book import PricePending
from sluice.providers.endpoints import hides_reasoning, is_billed, is_free, model_in_path, model_named, model_type
from sluice.providers.pricing import CustomCost, custom_cost, is_priced_by_model, list_cost, parse_custom_cost
from sluice.providers.replies import (
    ends_array,
    ends_stream,
    may_end_stream,
    named_model,
    named_model_of_event,
    spoken_characters,
)
from sluice.providers.usage import (
    USAGE_SIGNS,
    Document,
    Told,
    added,
    counted,
    may_tell_usage,
    merged,
    told_by_event,
    told_by_reply,
    with_untold_reasoning,
)
from sluice.values.custom_provider import is_custom
from sluice.values.errors import OutputUnreadable
from sluice.values.exchange import Ending, Exchange
from sluice.values.log import Blob, LogEntry, Priced, SideFile, Usage
from sluice.values.rates import Rates

BodySource = Blob

MAX_DOCUMENT_BYTES: Final = 32 * 1024 * 1024
"""A compressed document is unfolded in memory up to here; past it, it is not read. Plain ones are mapped, whatever
their size, and streams are read piece by piece, both up to the 100 MB of formats/encodings.py."""
MAX_EVENTS: Final = 1_000_000
"""No more events of a stream are looked at: a second of the keeper's time. The longest answers have 200,000."""
MAX_USAGE_EVENTS: Final = 1_000
"""Some vendors repeat usage in every event. Past this many only the last two are read, for the very last may be cut."""
MAX_NAME: Final = 256
"""Longest model name and media type that a log keeps; a model name past it is no model's."""
MAX_USER_AGENT: Final = 1024

_NOTHING: Final = Usage()
_UNPRICED: Final = Priced(None, None)
_HIT: Final = Usage(tokens_in=0, tokens_out=0, total=0)
"""A hit read and wrote nothing (contract 5)."""


class _Reply(NamedTuple):
    """What a reply's body tells."""

    usage: Usage | None = None
    model: str | None = None
    ended: bool = False
    """A stream's terminal event was in it."""


_SILENT: Final = _Reply()


class _Wanted(NamedTuple):
    """What to look for in a reply."""

    usage: bool
    model: bool
    end: bool
    sum: bool = False
    """Whether usage is told of every answer by itself, as realtime APIs do."""


_USAGE_ALONE: Final = _Wanted(usage=True, model=False, end=False)


class Meter:
    """Turns exchanges into log entries.

    `rates` gives the list price of a provider's model, `own_rates` what an account says that a model of its custom
    provider costs.
    """

    def __init__(
        self,
        rates: Callable[[str, str], Rates | None],
        own_rates: Callable[[str, str, str], Rates | None] = unpriced,
    ) -> None:
        self._rates, self._own_rates = rates, own_rates

    def entry(self, exchange: Exchange, request: BodySource, response: BodySource) -> LogEntry:
        """The log entry of an exchange.

        Whatever its headers and bodies hold, nothing is raised: what cannot be read is None. Only what `rates`
        raises passes, so that the batch can be tried again.
        """
        live = exchange.request_type == "realtime"
        asked = _model_asked(exchange, request)
        doubtful = exchange.ending in ("abandoned", "broken") and not live and _was_told(exchange)
        billed = live or is_billed(exchange.method, exchange.path)
        reply = _read_reply(exchange, response, _Wanted(billed, model=asked is None, end=doubtful, sum=live))
        ending: Ending = "complete" if reply.ended else exchange.ending
        failed = not reply.ended  # what broke behind its last event has lost nothing, and there is no error to tell of
        model = asked or reply.model or ""
        usage = _HIT if exchange.cached else _used(exchange, reply.usage, request, billed)
        custom = _own_price(exchange) if billed else None
        cost = self._cost(exchange, model, usage, custom)
        latency_us = exchange.latency_us
        return LogEntry(
            id=exchange.id,
            request_id=exchange.request_id or exchange.id,
            event_id=exchange.event_id or exchange.id,
            created_ms=exchange.started_ms,
            duration_ms=_milliseconds(exchange.duration_us),
            latency_ms=None if latency_us is None else _milliseconds(latency_us),
            provider=exchange.provider,
            model=model,
            model_type=model_type(exchange.path),
            path=exchange.path,
            request_type=exchange.request_type,
            request_content_type=_text(exchange.request_content_type, MAX_NAME),
            response_content_type=_text(exchange.response_content_type, MAX_NAME),
            request_encoding=_text(exchange.request_encoding, MAX_NAME),
            response_encoding=_text(exchange.response_encoding, MAX_NAME),
            status_code=exchange.status,
            success=ending == "complete" and _served(exchange),
            cached=exchange.cached,
            incomplete=ending in ("broken", "abandoned"),
            ending=ending,
            error=exchange.error if failed else 0,
            step=exchange.step,
            attempts=exchange.attempts,
            usage=usage,
            cost_nano=cost.cost_nano,
            custom_cost=custom is not None,
            metadata=parse_metadata(exchange.metadata) if exchange.metadata else {},
            user_agent=_text(exchange.user_agent, MAX_USER_AGENT),
            authentication=exchange.authenticated,
            wholesale=exchange.wholesale,
            byok=exchange.byok,
            compat=exchange.compat,
            payload=exchange.payload,
            request_bytes=exchange.request_bytes,
            response_bytes=exchange.response_bytes,
            request_truncated=_length(request) < exchange.request_bytes if request is not None else False,
            response_truncated=_length(response) < exchange.response_bytes if response is not None else False,
            connection_id=exchange.connection_id or None,
            detail=(exchange.detail or None) if failed else None,
            priced=cost.priced,
        )

    def price(self, account: str, entry: LogEntry) -> Priced | None:
        """What a stored log costs by the prices at hand; None where its cost is not theirs to say, or not known now."""
        if not is_priced_by_model(entry):
            return None
        try:
            rates = self._rates_of(account, entry.provider, entry.model)
        except PricePending:
            return None  # it is looked up now, for whoever asks again
        cost_nano = None if rates is None else list_cost(entry.usage, rates)
        return None if rates is None or cost_nano is None else Priced(cost_nano, rates_text(rates))

    def listed(self, account: str, entry: LogEntry) -> int | None:
        """What the usage of a log costs by the prices at hand, whatever price it was given."""
        if entry.usage == _NOTHING or not entry.model:
            return None
        try:
            rates = self._rates_of(account, entry.provider, entry.model)
        except PricePending:
            return None
        return None if rates is None else list_cost(entry.usage, rates)

    def _cost(self, exchange: Exchange, model: str, usage: Usage, custom: CustomCost | None) -> Priced:
        if exchange.cached:
            return Priced(0, None)
        if custom is not None:
            return Priced(custom_cost(usage, custom), None)
        if usage == _NOTHING:
            return _UNPRICED
        rates = self._rates_of(exchange.account, exchange.provider, model) if model else None
        return _UNPRICED if rates is None else Priced(list_cost(usage, rates), rates_text(rates))

    def _rates_of(self, account: str, provider: str, model: str) -> Rates | None:
        return self._own_rates(account, provider, model) if is_custom(provider) else self._rates(provider, model)


def _own_price(exchange: Exchange) -> CustomCost | None:
    """What its client says that the call costs; None where there was nothing to pay for."""
    made = exchange.ending != "refused" and exchange.status < 400
    sold = made and not exchange.cached and not is_free(exchange.path)
    return parse_custom_cost(exchange.custom_cost) if sold else None


@lru_cache(1_024)
def rates_text(rates: Rates) -> str | None:
    """Rates as a log keeps them: JSON, without those that there are not; None for those of no price at all."""
    known = {name: value for name in Rates.__struct_fields__ if (value := getattr(rates, name)) is not None}
    if not known.get("edition"):
        known.pop("edition", None)
    return msgspec.json.encode(known).decode() if known else None


def _used(exchange: Exchange, told: Usage | None, request: BodySource, billed: bool) -> Usage:
    """What the body of the reply tells, and where it does not, its head; else, of what is spoken, the request."""
    if exchange.head_tokens is not None and billed:
        return _completed(told or _NOTHING, *exchange.head_tokens)
    if told is not None:
        return with_untold_reasoning(told) if hides_reasoning(exchange.provider, exchange.path) else told
    made = exchange.ending != "refused" and exchange.status < 400
    if billed and made and request and exchange.path.endswith("audio/speech"):
        return Usage(characters_in=_read_request(exchange, request, spoken_characters))
    return _NOTHING


def _completed(usage: Usage, tokens_in: int | None, tokens_out: int | None) -> Usage:
    """The usage, each side that it does not tell as these counts have it."""
    return msgspec.structs.replace(
        usage,
        tokens_in=tokens_in if usage.tokens_in is None else usage.tokens_in,
        tokens_out=tokens_out if usage.tokens_out is None else usage.tokens_out,
    )


def _read_request(exchange: Exchange, request: bytes | SideFile, read: Callable[[Document], int | None]) -> int | None:
    try:
        with _opened(request, exchange.request_encoding) as body, body.document() as document:
            return read(document)
    except OSError:
        return None


def _was_told(exchange: Exchange) -> bool:
    """Whether its client had all that came of the reply.

    It had not where it was to be told in other words, or behind another step, or whole in a message of a WebSocket.
    """
    if exchange.unserved or exchange.error == OutputUnreadable.code:
        return False
    if exchange.request_type != "websocket":
        return True
    content_type = exchange.response_content_type.partition(b";")[0].strip().lower()
    as_events = content_type == b"text/event-stream" or (exchange.compat and content_type == _MESSAGES)
    return as_events and not exchange.response_encoding


def _served(exchange: Exchange) -> bool:
    """Whether the reply was a good one. It may have come whole, and its step failed, for it could not be translated."""
    unfit = exchange.ending == "complete" and exchange.error != 0
    return exchange.status < 400 and not unfit


def _model_asked(exchange: Exchange, request: BodySource) -> str | None:
    """The model that the request names in its body, else in its path (contract A.3)."""
    named = _model_in_body(exchange, request) if request else None
    in_path = model_in_path(exchange.provider, exchange.path)
    found = _model_name(model_named(exchange.provider, named)) or _model_name(in_path)
    return found or _model_name(exchange.model)


def _model_in_body(exchange: Exchange, request: bytes | SideFile) -> str | None:
    content_type = exchange.request_content_type
    form = content_type[:10].lower() == b"multipart/"
    lines = content_type in _LINES
    if type(request) is bytes and not exchange.request_encoding and not form and not lines:
        return named_model(request)
    try:
        with _opened(request, exchange.request_encoding) as body, body.document() as document:
            if lines:
                return named_model_of_event(bytes(document[: document.find(b"\n")]))
            if not form:
                return named_model(document)
            value = form_field(document, content_type, b"model")
    except OSError:
        return None
    return None if value is None else value.decode("utf-8", "replace").strip()


def _model_name(name: str | None) -> str | None:
    return name if name and len(name) <= MAX_NAME else None


def _read_reply(exchange: Exchange, response: BodySource, wanted: _Wanted) -> _Reply:
    """What the reply tells; nothing where it is neither JSON nor a stream of it, or is not to be had."""
    if not response:
        return _SILENT
    if type(response) is bytes and not exchange.response_encoding:
        form = _form(exchange, response)
        if form == "document":
            return _read_document(response, wanted)
        if form == "events" and wanted == _USAGE_ALONE and b"\r" not in response:
            return _read_blocks(blocks_with(response, USAGE_SIGNS), form, wanted)
        return _read_blocks(_blocks((response,), form), form, wanted) if form else _SILENT
    try:
        with _opened(response, exchange.response_encoding) as body:
            form = _form(exchange, body.head)
            if form == "document":
                with body.document() as document:
                    return _read_document(document, wanted)
            return _read_blocks(_blocks(body.pieces(), form), form, wanted) if form else _SILENT
    except OSError:
        return _SILENT


Form = Literal["document", "events", "lines", "messages"]

_DOCUMENT: Final = re.compile(rb"\s*[{\[]")
_STREAM: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")
_LINES: Final = frozenset((b"application/stream+json", b"application/x-ndjson", b"application/jsonl"))
"""Types of streams that are a document a line; Cohere's v1 are."""
_MESSAGES: Final = MEDIA_TYPE.encode()


def _form(exchange: Exchange, head: bytes) -> Form | None:
    """Judged by the first bytes too: some vendors call their streams text/plain, or application/json."""
    content_type = exchange.response_content_type.partition(b";")[0].strip().lower()
    if content_type == _MESSAGES:
        return "messages"
    if _DOCUMENT.match(head):
        return "lines" if content_type in _LINES else "document"
    return "events" if content_type == b"text/event-stream" or _STREAM.match(head) else None


def _read_document(document: Document, wanted: _Wanted) -> _Reply:
    usage = counted(told_by_reply(document)) if wanted.usage else None
    model = _model_name(named_model(document)) if wanted.model else None
    return _Reply(usage, model, wanted.end and ends_array(document))


def _read_blocks(blocks: Iterable[bytes], form: Form, wanted: _Wanted) -> _Reply:
    """Parses only events that can tell something: to parse each would cost several times as much."""
    told: Told | None = None
    usage_events = 0
    before_last, last = b"", b""
    model: str | None = None
    ended = False
    want_usage, want_model, want_end, sums = wanted
    join = added if sums else merged
    parse = parse_event if form == "events" else _line
    for block in islice(blocks, MAX_EVENTS):
        if want_usage and may_tell_usage(block):
            usage_events += 1
            if sums or usage_events <= MAX_USAGE_EVENTS:
                told = _with_event(told, parse(block), join)
            else:
                before_last, last = last, block
        if want_model and b'"model"' in block and (event := parse(block)):
            model = _model_name(named_model_of_event(event.data))
            want_model = model is None
        if want_end and may_end_stream(block) and (event := parse(block)):
            ended = ended or ends_stream(event)
    if last:
        told = _with_event(_with_event(told, parse(before_last), join), parse(last), join)
    return _Reply(counted(told), model, ended)


Join = Callable[[Told | None, Told | None], Told | None]


def _with_event(told: Told | None, event: Event | None, join: Join) -> Told | None:
    return join(told, told_by_event(event.data)) if event else told


def _line(line: bytes) -> Event | None:
    return Event("message", line)


def _blocks(pieces: Iterable[bytes], form: Form) -> Iterator[bytes]:
    """The events of a stream, or its lines, for which the splitter is told that each is an event.

    Of AWS's messages what is in them.
    """
    if form == "messages":
        yield from events_in(iter(pieces))
        return
    splitter = EventSplitter()
    for piece in pieces:
        yield from splitter.feed(piece if form == "events" else piece.replace(b"\n", b"\n\n"))
    yield splitter.end()


class _Body:
    """A body behind a source, decoded as far as it can be."""

    __slots__ = ("_mapped", "_rest", "head")

    def __init__(self, pieces: Iterator[bytes], mapped: SideFile | None) -> None:
        self.head = next(pieces, b"")
        self._rest = pieces
        self._mapped = mapped

    def pieces(self) -> Iterator[bytes]:
        return chain((self.head,), self._rest)

    @contextmanager
    def document(self) -> Iterator[Document]:
        """All of it at once: a plain side file is mapped and takes no memory of ours."""
        if self._mapped and self.head:
            with self._mapped.path.open("rb") as file:
                length = min(self._mapped.length, os.fstat(file.fileno()).st_size)
                with mmap(file.fileno(), length, access=ACCESS_READ) as view:
                    yield view
            return
        whole = bytearray()
        for piece in self.pieces():
            whole += piece
            if len(whole) > MAX_DOCUMENT_BYTES:
                break
        yield whole


@contextmanager
def _opened(body: bytes | SideFile, encoding: bytes) -> Iterator[_Body]:
    coding = coding_of(encoding)
    plain = isinstance(body, SideFile) and coding == "identity"
    limit = min(MAX_DECODED_BYTES, _length(body)) if plain else MAX_DECODED_BYTES
    with BytesIO(body) if isinstance(body, bytes) else body.path.open("rb") as source:
        yield _Body(decoded(source, coding, limit) or iter(()), body if isinstance(body, SideFile) and plain else None)


def _length(body: bytes | SideFile) -> int:
    return body.length if isinstance(body, SideFile) else len(body)


def _milliseconds(us: int) -> int:
    return (us + 500) // 1000


def _text(raw: bytes, limit: int) -> str | None:
    return raw[:limit].decode("latin-1") if raw else None
