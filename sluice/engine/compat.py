"""The one schema for all providers: which of them a step means, and the step as that one is to see it. Pure."""

import re
from collections.abc import Callable
from itertools import islice
from typing import Final, Literal, NamedTuple

import msgspec

from sluice.providers.anthropic import ANTHROPIC
from sluice.providers.anthropic_chat.decoding import Translated
from sluice.providers.anthropic_chat.request import to_messages as chat_to_messages
from sluice.providers.anthropic_responses.request import to_messages as responses_to_messages
from sluice.providers.bedrock import AWS_BEDROCK
from sluice.providers.bedrock_chat.request import endpoint_of, to_converse
from sluice.providers.endpoints import model_in_path
from sluice.providers.provider import Compat, Provider
from sluice.providers.registry import PROVIDERS, find, row
from sluice.values.errors import BadChatCompletion, InvalidProvider, MalformedRequest, RouteNotFound
from sluice.values.request import BytesBody, Header, Step, Translation

Shape = Literal["chat", "responses", "converse"]

COMPAT: Final = "compat"
"""The slug by which a step or a path asks for it."""
PATHS: Final[dict[bytes, Callable[[Compat], bytes | None]]] = {
    b"chat/completions": lambda compat: compat.chat,
    b"responses": lambda compat: compat.responses,
    b"embeddings": lambda compat: compat.embeddings,
}
"""What is served under it, and where a vendor that speaks it has the same."""
MESSAGES: Final = b"v1/messages"


class Tongue(NamedTuple):
    """A vendor's own shape: how a request is put into it, where that goes (by model, and whether it streams)."""

    translate: Callable[[bytes, str], Translated]
    endpoint: Callable[[str, bool], bytes]
    shape: Shape


def _messages(model: str, stream: bool) -> bytes:
    return MESSAGES


TRANSLATED: Final[dict[tuple[str, bytes], Tongue]] = {
    (ANTHROPIC.name, b"chat/completions"): Tongue(chat_to_messages, _messages, "chat"),
    (ANTHROPIC.name, b"responses"): Tongue(responses_to_messages, _messages, "responses"),
    (AWS_BEDROCK.name, b"chat/completions"): Tongue(to_converse, endpoint_of, "converse"),
}
"""What is translated, for vendors that have nothing of it."""
LONGEST_MODEL: Final = 256
"""A name past it is no model's: it would be in heads and logs, and may be as long as a body."""
_NOT_TRANSLATED: Final = frozenset((b"accept-encoding", b"content-type"))
_MODEL: Final = re.compile(rb'"model"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')
MOST_TOKENS: Final = 500_000
"""Strings and brackets of a body that are gone through to tell its own `model` from those within: 0.2 s."""
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]')
_VALUE: Final = re.compile(rb'\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')


class _Asked(msgspec.Struct, frozen=True):
    model: str | None = None


_ASKED: Final = msgspec.json.Decoder(_Asked)


def addressed(step: Step) -> Step:
    """The step as its provider is to see it.

    Raises BadChatCompletion, RouteNotFound, InvalidProvider, and MalformedRequest for what that provider cannot do.
    """
    return addressed_to(step, *provider_and_model(step.body.whole or b""))


def addressed_to(step: Step, provider: Provider, model: str) -> Step:
    """The same where another reading of the body has told both. Raises MalformedRequest."""
    body = step.body.whole or b""
    path_of = PATHS.get(step.endpoint)
    if path_of is None:
        raise MalformedRequest(f"The unified endpoint serves {', '.join(path.decode() for path in PATHS)}")
    path = path_of(provider.compat)
    headers = signed(step.headers, provider)
    model = provider.compat.name_of(model)
    if path is None:
        return _translated(step, provider, model, headers)
    return msgspec.structs.replace(
        step,
        provider=provider.name,
        endpoint=path,
        headers=headers,
        body=BytesBody(with_model(body, model)),
        model=model,
        compat=True,
    )


def is_served(slug: str) -> bool:
    """Whether chat completions in the unified schema reach this provider."""
    provider = PROVIDERS.get(slug)
    return provider is not None and (provider.compat.chat is not None or (slug, b"chat/completions") in TRANSLATED)


def provider_and_model(body: bytes) -> tuple[Provider, str]:
    """What the model of a request names: everything up to its first slash is the provider (contract 1.3)."""
    slug, _, model = (model_in(body) or "").partition("/")
    if not slug or not model or len(model) > LONGEST_MODEL:
        raise BadChatCompletion
    if slug.lower() == "dynamic":
        raise RouteNotFound
    provider = find(slug)
    if provider is None:
        raise InvalidProvider(slug)
    return provider, model


def model_in(body: bytes) -> str | None:
    """The model that a request names. Raises MalformedRequest where the body is no JSON object."""
    try:
        return _ASKED.decode(body).model
    except msgspec.ValidationError as error:
        raise BadChatCompletion from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedRequest("The body is not valid JSON") from error


def model_or_none(body: bytes) -> str | None:
    """The same where nothing depends on it."""
    try:
        model = _ASKED.decode(body).model if body else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return model if model and len(model) <= LONGEST_MODEL else None


def model_asked(provider: str, endpoint: bytes, body: bytes) -> str:
    """The model that a step asks for, by its body or its path; empty where that is unknown."""
    named = model_or_none(body)
    if named or provider == COMPAT:
        return named or ""
    return model_in_path(provider, row(provider).endpoint(endpoint).decode()) or ""


def with_model(body: bytes, model: str) -> bytes:
    """The body with this model in the place of its own; every other byte stays what it was. Raises MalformedRequest."""
    found = list(islice(_MODEL.finditer(body), 2))
    spans = [found[0].span(1)] if len(found) == 1 else list(_spans_of_model(body))
    value = msgspec.json.encode(model)
    for start, end in reversed(spans):
        body = b"%b%b%b" % (body[:start], value, body[end:])
    return body


def signed(headers: list[Header], provider: Provider) -> list[Header]:
    """The headers with the key of `Authorization: Bearer` where the vendor wants it."""
    for at, (name, _, value) in enumerate(headers):
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return [*headers[:at], *provider.sign(value[7:].strip()), *headers[at + 1 :]]
    return headers


def _translated(step: Step, provider: Provider, model: str, headers: list[Header]) -> Step:
    tongue = TRANSLATED.get((provider.name, step.endpoint))
    if tongue is None:
        raise MalformedRequest(f"{provider.name} has no {step.endpoint.decode()} in OpenAI's shape")
    told = tongue.translate(step.body.whole or b"", model)
    kept = [header for header in headers if header[0] not in _NOT_TRANSLATED]
    named = {name for name, _, _ in kept}
    added = [header for header in provider.default_headers if header[0] not in named]
    return msgspec.structs.replace(
        step,
        provider=provider.name,
        endpoint=tongue.endpoint(model, told.stream),
        headers=[*kept, (b"content-type", b"Content-Type", b"application/json"), *added],
        content_type=b"application/json",
        body=BytesBody(told.body),
        model=model,
        compat=True,
        translation=Translation(tongue.shape, told.include_usage),
    )


def _spans_of_model(body: bytes) -> list[tuple[int, int]]:
    """Where the values of the outermost `model` fields are, should there be several, or nested ones beside them."""
    spans: list[tuple[int, int]] = []
    depth = 0
    for number, token in enumerate(_TOKEN.finditer(body)):
        if number == MOST_TOKENS:
            raise MalformedRequest("The body has several fields named model, and too many others to tell them apart")
        text = token[0]
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        elif depth == 1 and (value := _VALUE.match(body, token.end())) and msgspec.json.decode(text) == "model":
            spans.append(value.span(1))
    return spans
