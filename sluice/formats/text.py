"""The words in any vendor's reply, by its shape (contract 2.6): the model's text, without its thoughts and calls."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec

from sluice.formats.eventstream import MEDIA_TYPE, events_in
from sluice.formats.sse import EventSplitter, parse_event

MAX_EVENTS: Final = 1_000_000
"""No more events of a stream are looked at. The longest answers have 200,000."""
_LINES: Final = frozenset(("application/stream+json", "application/x-ndjson", "application/jsonl"))
_STREAM: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")
_UNREADABLE: Final = (ValueError, RecursionError)
"""All that msgspec raises on hostile JSON."""


def text_of(content_type: str, body: bytes) -> str:
    """The text that a reply answers with, its body decoded; the body itself where its shape is unknown.

    Nothing is raised, whatever the body holds.
    """
    form = content_type.partition(";")[0].strip().lower()
    if form in _LINES:
        text = _joined(body.splitlines())
    elif form == MEDIA_TYPE:
        text = _joined(events_in(iter((body,))))
    elif form == "text/event-stream" or _STREAM.match(body):
        text = _joined(_events(body))
    else:
        text = _document_text(_parsed(body))
    return body.decode("utf-8", "replace") if text is None else text


def piece_of(data: bytes) -> str | None:
    """The text in one event of a stream; None where it has none, or is of unknown shape. Nothing is raised."""
    return _first(_parsed(data), _PIECES)


def _events(body: bytes) -> Iterator[bytes]:
    splitter = EventSplitter()
    for block in (*splitter.feed(body), splitter.end()):
        event = parse_event(block)
        if event:
            yield event.data


def _joined(datas: Iterable[bytes]) -> str | None:
    """The text of a stream: its pieces, else the whole that its last events repeat; None where it has neither."""
    return _assembled(_parsed(data) for data in islice(datas, MAX_EVENTS))


def _assembled(events: Iterable[object]) -> str | None:
    pieces: list[str] = []
    known = False
    whole: str | None = None
    for event in events:
        piece = _first(event, _PIECES)
        if piece is not None:
            known = True
            pieces.append(piece)
        elif (repeated := _first(event, _REPEATED)) is not None:
            whole = repeated
    return "".join(pieces) if known else whole


def _parsed(data: bytes) -> object:
    """The JSON value, None for what is none."""
    try:
        return msgspec.json.decode(data)
    except _UNREADABLE:
        return None


def _document_text(value: object) -> str | None:
    """The text of a whole reply. An array is Google's stream, or what Hugging Face generated."""
    if isinstance(value, list):
        return _assembled(value)
    return _first(value, _WHOLES)


Reading = Callable[[object], str | None]


def _first(value: object, readings: tuple[Reading, ...]) -> str | None:
    """What the first of the readings finds that knows the shape; an empty text is one."""
    for read in readings:
        text = read(value)
        if text is not None:
            return text
    return None


def _at(value: object, *path: str | int) -> object:
    """What stands at a path of keys and places; None where it leads nowhere."""
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and len(value) > step else None
    return value


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _words(value: object) -> str | None:
    """A string, or a number as it is written: Workers AI sends words of digits as such (2026-11)."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return _written(value) if is_number else _string(value)


def _written(value: object) -> str | None:
    try:
        return msgspec.json.encode(value).decode()
    except _UNREADABLE:
        return None


def _parts(value: object) -> str | None:
    """The texts of a list of parts, whatever else is among them; of a string or number, itself."""
    if not isinstance(value, list):
        return _words(value)
    texts = (_words(_at(part, "text")) for part in value if _at(part, "thought") is not True)
    return "".join(text for text in texts if text is not None)


# --- whole replies


def _chat(reply: object) -> str | None:
    """OpenAI's chat completions. A turn of tool calls alone has no text, which is not to say that it has no shape."""
    message = _at(reply, "choices", 0, "message")
    if not isinstance(message, dict):
        return _words(_at(reply, "choices", 0, "text"))
    return _parts(message.get("content")) or ""


def _responses(reply: object) -> str | None:
    """OpenAI's responses."""
    output = _at(reply, "output")
    if not isinstance(output, list):
        return _string(_at(reply, "output_text"))
    messages = [item for item in output if _at(item, "type") == "message"]
    if not messages and not all(isinstance(_at(item, "type"), str) for item in output):
        return None
    return "".join(_parts(_at(item, "content")) or "" for item in messages)


def _anthropic(reply: object) -> str | None:
    content = _at(reply, "content")
    return _parts(content) if isinstance(content, list) else None


def _gemini(reply: object) -> str | None:
    parts = _at(reply, "candidates", 0, "content", "parts")
    if isinstance(parts, list):
        return _parts(parts)
    return "" if isinstance(_at(reply, "candidates", 0), dict) else None


def _workers_ai(reply: object) -> str | None:
    """Some models answer with an object, or in OpenAI's shape, within the envelope."""
    result = _at(reply, "result")
    answer = _at(result, "response") if isinstance(result, dict) else _at(reply, "response")
    if isinstance(answer, dict | list):
        return _written(answer)
    return _words(answer) if answer is not None else _first(result, (_chat, _responses))


def _cohere(reply: object) -> str | None:
    text = _string(_at(reply, "text"))
    return text if text is not None else _parts(_at(reply, "message", "content"))


def _generated(reply: object) -> str | None:
    """Hugging Face's text generation."""
    return _string(_at(reply, "generated_text"))


def _converse(reply: object) -> str | None:
    """Bedrock's Converse."""
    return _parts(_at(reply, "output", "message", "content"))


def _prediction(reply: object) -> str | None:
    """Replicate's predictions: text, whole or in pieces."""
    output = _at(reply, "output")
    if isinstance(output, list) and output and all(isinstance(piece, str) for piece in output):
        return "".join(output)
    return _string(output)


_WHOLES: Final[tuple[Reading, ...]] = (
    _chat,
    _responses,
    _anthropic,
    _gemini,
    _workers_ai,
    _cohere,
    _generated,
    _converse,
    _prediction,
)


# --- pieces of streams


def _chat_piece(event: object) -> str | None:
    """Of several answers the first; a piece of a tool call has no text."""
    choices = _at(event, "choices")
    if not isinstance(choices, list):
        return None
    for choice in choices:
        if _at(choice, "index") in (0, None):
            return _parts(_at(choice, "delta", "content")) or _words(_at(choice, "text")) or ""
    return ""


def _responses_piece(event: object) -> str | None:
    return _string(_at(event, "delta")) if _at(event, "type") == "response.output_text.delta" else None


def _anthropic_piece(event: object) -> str | None:
    if _at(event, "type") == "content_block_delta":
        return _string(_at(event, "delta", "text")) or ""
    if _at(event, "type") == "content_block_start":
        return _string(_at(event, "content_block", "text")) or ""
    return None


def _workers_ai_piece(event: object) -> str | None:
    return _words(_at(event, "response"))


def _cohere_piece(event: object) -> str | None:
    if _at(event, "event_type") == "text-generation":
        return _string(_at(event, "text"))
    if _at(event, "type") == "content-delta":
        return _string(_at(event, "delta", "message", "content", "text")) or ""
    return None


def _converse_piece(event: object) -> str | None:
    """Bedrock's Converse: of all its events a block's number is in those of blocks alone."""
    if not isinstance(_at(event, "contentBlockIndex"), int):
        return None
    return _string(_at(event, "delta", "text")) or ""


def _token(event: object) -> str | None:
    """Hugging Face's; a special one ends the text and is none of it."""
    return "" if _at(event, "token", "special") is True else _string(_at(event, "token", "text"))


_PIECES: Final[tuple[Reading, ...]] = (
    _chat_piece,
    _responses_piece,
    _anthropic_piece,
    _gemini,
    _workers_ai_piece,
    _cohere_piece,
    _converse_piece,
    _token,
)


def _completed(event: object) -> str | None:
    """What OpenAI's and Cohere's last events repeat."""
    response = _at(event, "response")
    return _first(response, (_responses, _cohere)) if isinstance(response, dict) else None


_REPEATED: Final[tuple[Reading, ...]] = (_completed, _generated)
