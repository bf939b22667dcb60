"""What vendors say of tokens, read by what a reply says and not by who it came from: vendors speak each other's shapes.

Usage that breaks its own schema is unknown, never guessed.
"""

import re
from typing import Final, NamedTuple

import msgspec

from sluice.formats.arrays import Array, is_array, read_elements
from sluice.values.log import Usage

MAX_COUNT: Final = 10**12
"""No reply has more tokens: a higher count is an error or an attack, and fits no integer column."""
UNREADABLE: Final = (ValueError, RecursionError)
"""All that msgspec raises on hostile JSON: its own errors and bad UTF-8 are ValueErrors, deep nesting is the other."""

Document = Array
Count = int | float | None
"""Some vendors write 12.0."""
_ABSENT: Final = msgspec.Raw(b"")
_USAGE: Final = re.compile(rb'"usage(?:Metadata)?"\s*:(?!\s*null)')
"""With include_usage every chunk of OpenAI's but the last says "usage":null."""


class Told(NamedTuple):
    """What one reply, or one event of a stream, says."""

    usage: Usage
    cache_apart: bool = False
    """Tokens read from the cache and written to it come on top of `tokens_in`: so Anthropic counts."""
    reasoning_apart: bool = False
    """Reasoning comes on top of `tokens_out`: so Google counts."""


def may_tell_usage(block: bytes) -> bool:
    """Whether it is worth parsing this event of a stream to ask for usage: most say none."""
    return any(sign(block, 0) >= 0 for sign in USAGE_SIGNS)


def _usage_at(stream: bytes, start: int) -> int:
    near = stream.find(b'"usage', start)
    found = _USAGE.search(stream, near) if near >= 0 else None
    return found.start() if found else -1


def _billed_units_at(stream: bytes, start: int) -> int:
    return stream.find(b'"billed_units"', start)


def _invocation_metrics_at(stream: bytes, start: int) -> int:
    return stream.find(b'"amazon-bedrock-invocationMetrics"', start)


def _generated_tokens_at(stream: bytes, start: int) -> int:
    return stream.find(b'"generated_tokens"', start)


USAGE_SIGNS: Final = (_usage_at, _billed_units_at, _generated_tokens_at, _invocation_metrics_at)
"""What an event has that may tell usage, to be looked for in a block or in a whole stream.

A stream that has one tells it so: what it says by those after it is the same, or no usage."""


def told_by_reply(body: Document) -> Told | None:
    """Usage in a whole reply; one that is an array is a stream of Google's, written as a document, and may be cut."""
    try:
        if not is_array(body):
            return _told(_REPLY.decode(body))
        told: Told | None = None
        for part in read_elements(body, _REPLIES):
            told = merged(told, _told(part))
        return told
    except UNREADABLE:
        return None


def told_by_event(data: bytes) -> Told | None:
    """Usage in the data of an event."""
    try:
        return _told(_REPLY.decode(data))
    except UNREADABLE:
        return None


def merged(earlier: Told | None, later: Told | None) -> Told | None:
    """What both say together, the later one where both speak."""
    if earlier is None or later is None:
        return later or earlier
    told = {field: value for field in Usage.__struct_fields__ if (value := getattr(later.usage, field)) is not None}
    return Told(
        msgspec.structs.replace(earlier.usage, **told),
        earlier.cache_apart or later.cache_apart,
        earlier.reasoning_apart or later.reasoning_apart,
    )


def added(earlier: Told | None, later: Told | None) -> Told | None:
    """What two replies on one connection used in all."""
    if earlier is None or later is None:
        return later or earlier
    pairs = {name: (getattr(earlier.usage, name), getattr(later.usage, name)) for name in Usage.__struct_fields__}
    return Told(
        Usage(**{name: _sum(*pair) for name, pair in pairs.items()}),
        earlier.cache_apart or later.cache_apart,
        earlier.reasoning_apart or later.reasoning_apart,
    )


def counted(told: Told | None) -> Usage | None:
    """The usage that was told, each side whole."""
    if told is None:
        return None
    usage = told.usage
    if told.cache_apart and usage.tokens_in is not None:
        whole = _sum(usage.tokens_in, usage.cached_in, usage.cache_write)
        usage = msgspec.structs.replace(usage, tokens_in=whole)
    if told.reasoning_apart:
        usage = msgspec.structs.replace(usage, tokens_out=_sum(usage.tokens_out, usage.reasoning))
    return usage


def with_untold_reasoning(usage: Usage) -> Usage:
    """The usage, with what its total has beside the two sides as reasoning, where no other is told of."""
    tokens_in, tokens_out, total = usage.tokens_in, usage.tokens_out, usage.total
    if usage.reasoning is not None or tokens_in is None or tokens_out is None or total is None:
        return usage
    untold = total - tokens_in - tokens_out
    return msgspec.structs.replace(usage, tokens_out=tokens_out + untold, reasoning=untold) if untold > 0 else usage


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return _count(sum(known)) if known else None


class _CachedDetails(msgspec.Struct, gc=False):
    audio_tokens: Count = None


class _Details(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    cached_tokens_details: _CachedDetails | None = None
    """Told by realtime."""
    cache_write_tokens: Count = None
    reasoning_tokens: Count = None
    thinking_tokens: Count = None
    """Anthropic's; always part of the output."""
    audio_tokens: Count = None
    image_tokens: Count = None


class _Pair(msgspec.Struct, gc=False):
    input_tokens: Count = None
    output_tokens: Count = None


class _CacheCreation(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: Count = None


class _CacheDetail(msgspec.Struct, gc=False, rename="camel"):
    """Bedrock's, by how long it is kept."""

    input_tokens: Count = None
    ttl: str = ""


class _Usage(msgspec.Struct, gc=False):
    """Chat, completions and embeddings say prompt and completion; responses, images and audio input and output."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    input_tokens: Count = None
    output_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    input_token_details: _Details | None = None
    """So spelt by audio transcriptions and realtime."""
    output_token_details: _Details | None = None
    cache_read_input_tokens: Count = None
    """Anthropic's; likewise the next."""
    cache_creation_input_tokens: Count = None
    cache_creation: _CacheCreation | None = None
    prompt_cache_hit_tokens: Count = None
    """DeepSeek's."""
    reasoning_tokens: Count = None
    """Perplexity's."""
    tokens: _Pair | Count = None
    """Cohere's, in v2; likewise the next."""
    billed_units: _Pair | None = None
    seconds: Count = None
    """Of the sound that a transcription was made of."""
    bedrock_in: Count = msgspec.field(default=None, name="inputTokens")
    """Amazon Bedrock's Converse; likewise the next. What concerns the cache comes on top, as with Anthropic."""
    bedrock_out: Count = msgspec.field(default=None, name="outputTokens")
    bedrock_total: Count = msgspec.field(default=None, name="totalTokens")
    bedrock_read: Count = msgspec.field(default=None, name="cacheReadInputTokens")
    bedrock_written: Count = msgspec.field(default=None, name="cacheWriteInputTokens")
    bedrock_details: list[_CacheDetail] | None = msgspec.field(default=None, name="cacheDetails")


class _Modality(msgspec.Struct, gc=False, rename="camel"):
    modality: str = ""
    token_count: Count = None


class _GoogleUsage(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: Count = None
    tool_use_prompt_token_count: Count = None
    candidates_token_count: Count = None
    response_token_count: Count = None
    """So called by the live API; likewise its details."""
    thoughts_token_count: Count = None
    cached_content_token_count: Count = None
    total_token_count: Count = None
    prompt_tokens_details: list[_Modality] | None = None
    cache_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None
    response_tokens_details: list[_Modality] | None = None


class _Meta(msgspec.Struct, gc=False):
    """Cohere's, in v1."""

    tokens: _Pair | None = None
    billed_units: _Pair | None = None


class _Metrics(msgspec.Struct, gc=False):
    """Replicate's."""

    input_token_count: Count = None
    output_token_count: Count = None


class _Invocation(msgspec.Struct, gc=False, rename="camel"):
    """What Bedrock adds to the last event of a model's own stream."""

    input_token_count: Count = None
    output_token_count: Count = None
    cache_read_input_token_count: Count = None
    cache_write_input_token_count: Count = None


class _Generated(msgspec.Struct, gc=False):
    """Hugging Face's text generation."""

    generated_tokens: Count = None
    input_length: Count = None


class _Reply(msgspec.Struct, gc=False):
    """Where usage may stand. What other vendors use for other things stays unread until it is asked for."""

    usage: _Usage | None = None
    google: _GoogleUsage | None = msgspec.field(default=None, name="usageMetadata")
    response: msgspec.Raw = _ABSENT
    """In `response.completed` and its kin, and where Cohere's v1 ends a stream."""
    result: msgspec.Raw = _ABSENT
    """Workers AI's envelope."""
    message: msgspec.Raw = _ABSENT
    """Where Anthropic begins a stream."""
    delta: msgspec.Raw = _ABSENT
    """Where Cohere's v2 ends one."""
    x_groq: msgspec.Raw = _ABSENT
    meta: msgspec.Raw = _ABSENT
    metrics: msgspec.Raw = _ABSENT
    details: msgspec.Raw = _ABSENT
    invocation: _Invocation | None = msgspec.field(default=None, name="amazon-bedrock-invocationMetrics")


_REPLY: Final = msgspec.json.Decoder(_Reply)
_REPLIES: Final = msgspec.json.Decoder(list[_Reply])
_META: Final = msgspec.json.Decoder(_Meta)
_METRICS: Final = msgspec.json.Decoder(_Metrics)
_GENERATED: Final = msgspec.json.Decoder(_Generated)
_NO_DETAILS: Final = _Details()


def _told(reply: _Reply) -> Told | None:
    """What a reply says itself, else what is inside of it."""
    told = _said(reply)
    if told is None:
        for inner in (reply.response, reply.result, reply.message, reply.delta, reply.x_groq):
            if _is_object(inner) and (told := _said(_REPLY.decode(inner))):
                break
    return told


def _said(reply: _Reply) -> Told | None:
    if reply.usage is not None:
        return _from_usage(reply.usage)
    if reply.google is not None:
        return _from_google(reply.google)
    if reply.invocation is not None:
        return _from_invocation(reply.invocation)
    if _is_object(reply.meta):
        meta = _META.decode(reply.meta)
        return _from_pair(meta.billed_units or meta.tokens)
    if _is_object(reply.metrics):
        metrics = _METRICS.decode(reply.metrics)
        return _from_pair(_Pair(metrics.input_token_count, metrics.output_token_count))
    if _is_object(reply.details):
        generated = _GENERATED.decode(reply.details)
        return _from_pair(_Pair(generated.input_length, generated.generated_tokens))
    return None


def _is_object(value: msgspec.Raw) -> bool:
    return memoryview(value)[:1].tobytes() == b"{"


def _from_usage(usage: _Usage) -> Told | None:
    if usage.bedrock_in is not None or usage.bedrock_out is not None:
        return _from_converse(usage)
    if usage.billed_units is not None or isinstance(usage.tokens, _Pair):
        return _from_pair(usage.tokens if isinstance(usage.tokens, _Pair) else usage.billed_units)
    read = usage.prompt_tokens_details or usage.input_tokens_details or usage.input_token_details or _NO_DETAILS
    wrote = usage.completion_tokens_details or usage.output_tokens_details or usage.output_token_details or _NO_DETAILS
    cache_read, cache_written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    apart = usage.prompt_tokens is None and (cache_read is not None or cache_written is not None)
    if cache_read is None:
        cache_read = usage.prompt_cache_hit_tokens
    reasoned = usage.reasoning_tokens if wrote.reasoning_tokens is None else wrote.reasoning_tokens
    counts = Usage(
        _count(usage.input_tokens if usage.prompt_tokens is None else usage.prompt_tokens),
        _count(usage.output_tokens if usage.completion_tokens is None else usage.completion_tokens),
        _count(usage.total_tokens),
        _count(wrote.thinking_tokens if reasoned is None else reasoned),
        _count(cache_read if read.cached_tokens is None else read.cached_tokens),
        _count(cache_written if read.cache_write_tokens is None else read.cache_write_tokens),
        _count(read.audio_tokens),
        _count(wrote.audio_tokens),
        _count(read.image_tokens),
        _count(wrote.image_tokens),
        None if usage.cache_creation is None else _count(usage.cache_creation.ephemeral_1h_input_tokens) or None,
        _milliseconds(usage.seconds),
        None,
        None if read.cached_tokens_details is None else _count(read.cached_tokens_details.audio_tokens),
    )
    return Told(counts, apart, reasoned is not None and _is_apart(counts))


def _from_converse(usage: _Usage) -> Told:
    kept_1h = [_count(detail.input_tokens) for detail in usage.bedrock_details or () if detail.ttl == "1h"]
    counts = Usage(
        _count(usage.bedrock_in),
        _count(usage.bedrock_out),
        _count(usage.bedrock_total),
        cached_in=_count(usage.bedrock_read),
        cache_write=_count(usage.bedrock_written),
        cache_write_1h=_sum(*kept_1h),
    )
    return Told(counts, cache_apart=True)


def _from_invocation(metrics: _Invocation) -> Told:
    counts = Usage(
        _count(metrics.input_token_count),
        _count(metrics.output_token_count),
        None,
        None,
        _count(metrics.cache_read_input_token_count),
        _count(metrics.cache_write_input_token_count),
    )
    return Told(counts, cache_apart=True)


def _milliseconds(seconds: Count) -> int | None:
    return None if seconds is None or not 0 <= seconds <= MAX_COUNT else round(seconds * 1000)


def _is_apart(counts: Usage) -> bool:
    """Whether the output does not include the reasoning. OpenAI's does; xAI's and Perplexity's do not, as sums show."""
    reasoning, tokens_out = counts.reasoning, counts.tokens_out
    if not reasoning or tokens_out is None:
        return False
    return reasoning > tokens_out or counts.total == (counts.tokens_in or 0) + tokens_out + reasoning


def _from_google(usage: _GoogleUsage) -> Told:
    read = {part.modality: part.token_count for part in usage.prompt_tokens_details or ()}
    cached = {part.modality: part.token_count for part in usage.cache_tokens_details or ()}
    written = usage.candidates_tokens_details or usage.response_tokens_details or ()
    wrote = {part.modality: part.token_count for part in written}
    count = usage.candidates_token_count
    return Told(
        Usage(
            _sum(_count(usage.prompt_token_count), _count(usage.tool_use_prompt_token_count)),
            _count(usage.response_token_count if count is None else count),
            _count(usage.total_token_count),
            _count(usage.thoughts_token_count),
            _count(usage.cached_content_token_count),
            None,
            _count(read.get("AUDIO")),
            _count(wrote.get("AUDIO")),
            _count(read.get("IMAGE")),
            _count(wrote.get("IMAGE")),
            cached_audio_in=_count(cached.get("AUDIO")),
        ),
        reasoning_apart=True,
    )


def _from_pair(pair: _Pair | None) -> Told | None:
    if pair is None:
        return None
    tokens_in, tokens_out = _count(pair.input_tokens), _count(pair.output_tokens)
    return None if tokens_in is None and tokens_out is None else Told(Usage(tokens_in, tokens_out))


def _count(value: Count) -> int | None:
    if value is None or not 0 <= value <= MAX_COUNT or value != int(value):
        return None
    return int(value)
