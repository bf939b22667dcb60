"""Models of the API origin by their ids, `{author}/{model}` or `@cf/...`, and the steps they stand for. Pure."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

import msgspec

from sluice.engine.compat import LONGEST_MODEL, addressed_to, model_in, signed, with_model
from sluice.providers.anthropic import ANTHROPIC
from sluice.providers.anthropic_chat.inverse_request import to_chat
from sluice.providers.google import GOOGLE_AI_STUDIO
from sluice.providers.provider import Provider
from sluice.providers.registry import find
from sluice.providers.workers_ai import WORKERS_AI
from sluice.values.errors import BadChatCompletion, InputInvalid, MalformedRequest, ModelNotFound
from sluice.values.request import BytesBody, Dialect, Header, Shape, Step, Translation

CHAT: Final = b"chat/completions"
RESPONSES: Final = b"responses"
EMBEDDINGS: Final = b"embeddings"
MESSAGES: Final = b"messages"

_OF_CLOUDFLARE: Final = ("@cf/", "@hf/")
_EMBEDS: Final = re.compile(r"embed", re.IGNORECASE)
_DRAWS: Final = re.compile(r"image|imagine|dall-e", re.IGNORECASE)
_SPEAKS: Final = re.compile(r"tts", re.IGNORECASE)
_DRAWING: Final = b"v1/images/generations"
_DRAWERS: Final = frozenset(("openai", "grok"))
_SPEAKING: Final = b"v1/audio/speech"
_SPEAKERS: Final = frozenset(("openai", "groq"))
_OF_ANTHROPIC: Final = frozenset((b"anthropic-beta", b"anthropic-version"))
_REMADE: Final = frozenset((b"accept-encoding", b"content-type"))
"""Headers that a request loses whose body is made anew and whose reply is to be read."""
_JSON_TYPE: Final[Header] = (b"content-type", b"Content-Type", b"application/json")
_NOTHING: Final = msgspec.Raw(b"null")
_ENCODER: Final = msgspec.json.Encoder()

Input = dict[str, msgspec.Raw]


class _Run(msgspec.Struct, frozen=True):
    """The body of `POST /ai/run`."""

    model: str
    input: msgspec.Raw


_RUN: Final = msgspec.json.Decoder(_Run)
_INPUT: Final = msgspec.json.Decoder(Input)


def provider_and_model(model_id: str) -> tuple[Provider, str]:
    """Whose model this is, and what it is called there. Raises ModelNotFound."""
    author, _, model = model_id.partition("/")
    if is_cloudflares(model_id):
        provider, model = WORKERS_AI, model_id
    elif (found := find(author)) is not None:
        provider = found
    else:
        raise ModelNotFound(model_id)
    if not model or len(model) > LONGEST_MODEL or not model.isprintable():
        raise ModelNotFound(model_id)
    return provider, model


def is_cloudflares(model_id: str) -> bool:
    """Whether it is named as Workers AI names its models."""
    return model_id.startswith(_OF_CLOUDFLARE)


def model_and_input(body: bytes) -> tuple[str, bytes]:
    """What the body of `POST /ai/run` asks for. Raises InputInvalid."""
    try:
        asked = _RUN.decode(body.decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputInvalid(f"The body must have a model and its input: {error}") from error
    return asked.model, bytes(asked.input)


def asked_by_run(step: Step, model_id: str) -> Step:
    """A call of `/ai/run/{model}`, whose body is the input. Raises ModelNotFound and InputInvalid.

    Cloudflare's own models take any body. Of others the fields of the input say which endpoint is meant.
    """
    provider, model = provider_and_model(model_id)
    if provider is not WORKERS_AI:
        with _refused_as_input():
            return _enveloped(_run_elsewhere(step, provider, model))
    path = b"run/" + quote(model, safe="@/:").encode()
    return _told_as(step, "plain", provider=provider.name, endpoint=path, model=model)


def asked_in_shape(step: Step) -> Step:
    """A call of `/ai/v1/`: chat completions or responses in OpenAI's shape, messages in Anthropic's.

    Raises ModelNotFound and InputInvalid.
    """
    with _refused_as_input():
        provider, model = provider_and_model(_named(step.body.whole or b""))
        told = _message(step, provider, model) if step.endpoint == MESSAGES else _unified(step, provider, model)
    return _plain(told, "anthropic" if step.endpoint == MESSAGES else "openai")


@contextmanager
def _refused_as_input() -> Iterator[None]:
    """What cannot be translated is an input that the model does not take, to clients of this origin."""
    try:
        yield
    except MalformedRequest as error:
        if error.status != 400:
            raise
        raise InputInvalid(error.said) from error


def _named(body: bytes) -> str:
    try:
        model = model_in(body)
    except BadChatCompletion:
        model = None
    if not model:
        raise InputInvalid("The model must be a text")
    return model


def _run_elsewhere(step: Step, provider: Provider, model: str) -> Step:
    try:
        given = _INPUT.decode((step.body.whole or b"").decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputInvalid(f"The input must be an object: {error}") from error
    if provider is GOOGLE_AI_STUDIO and "contents" in given:
        return _generated_content(step, model, given)
    path = _path_for(provider, model, given)
    given["model"] = msgspec.Raw(_ENCODER.encode(model))
    if path in (CHAT, RESPONSES, EMBEDDINGS):
        body = BytesBody(_ENCODER.encode(given))
        return _unified(msgspec.structs.replace(step, endpoint=path, body=body), provider, model)
    return _native(step, provider, model, path, given)


def _path_for(provider: Provider, model: str, given: Input) -> bytes:
    """The endpoint that takes such fields. A prompt becomes a chat where it is for no picture."""
    if "messages" not in given and "prompt" in given:
        if provider.name in _DRAWERS and _DRAWS.search(model):
            return _DRAWING
        given["messages"] = msgspec.Raw(b'[{"role":"user","content":%b}]' % bytes(given.pop("prompt")))
    if "messages" in given:
        return b"v1/messages" if provider is ANTHROPIC else CHAT
    if "input" not in given or provider is ANTHROPIC:
        raise InputInvalid("The input must have messages, a prompt, or what else the model takes")
    if _EMBEDS.search(model):
        return EMBEDDINGS
    return _SPEAKING if provider.name in _SPEAKERS and _SPEAKS.search(model) else RESPONSES


def _generated_content(step: Step, model: str, given: Input) -> Step:
    """Google has the model in the path, and there too whether the reply is streamed."""
    streamed = bytes(given.pop("stream", _NOTHING)) == b"true"
    verb, query = ("streamGenerateContent", b"alt=sse") if streamed else ("generateContent", b"")
    path = f"v1beta/models/{quote(model, safe='')}:{verb}".encode()
    return msgspec.structs.replace(_native(step, GOOGLE_AI_STUDIO, model, path, given), query=query)


def _native(step: Step, provider: Provider, model: str, path: bytes, given: Input) -> Step:
    """In the vendor's own words."""
    return msgspec.structs.replace(
        step,
        provider=provider.name,
        endpoint=path,
        headers=_with_defaults(_as_json(signed(step.headers, provider)), provider),
        content_type=_JSON_TYPE[2],
        body=BytesBody(_ENCODER.encode(given)),
        model=model,
    )


def _message(step: Step, provider: Provider, model: str) -> Step:
    """A call in Anthropic's shape, also of those that speak another."""
    body = step.body.whole or b""
    if provider is ANTHROPIC:
        headers = _with_defaults(signed(step.headers, provider), provider)
        asked = BytesBody(with_model(body, model))
        return msgspec.structs.replace(
            step, provider=provider.name, endpoint=b"v1/messages", headers=headers, body=asked, model=model
        )
    if provider.compat.chat is None:
        raise InputInvalid(f"{provider.name} has no chat completions of its own of which messages could be made")
    model = provider.compat.name_of(model)
    passing = [header for header in step.headers if header[0] not in _OF_ANTHROPIC]
    return _told_as(
        step,
        "messages",
        provider=provider.name,
        endpoint=provider.compat.chat,
        query=b"",
        headers=_as_json(_signed_anew(passing, provider)),
        content_type=_JSON_TYPE[2],
        body=BytesBody(to_chat(body, model, provider.compat.most_tokens).body),
        model=model,
    )


def _unified(step: Step, provider: Provider, model: str) -> Step:
    """In OpenAI's shape, as under `compat/`; but that is not where the client called."""
    return msgspec.structs.replace(addressed_to(step, provider, model), compat=False)


def _plain(step: Step, dialect: Dialect) -> Step:
    """Told as it comes, or as its translation tells it."""
    translation = msgspec.structs.replace(step.translation or Translation("plain"), dialect=dialect)
    return msgspec.structs.replace(step, translation=translation)


def _enveloped(step: Step) -> Step:
    """JSON is told as the `result` of an envelope; streams, pictures and sounds as they come, or are translated."""
    headers = [header for header in step.headers if header[0] != b"accept-encoding"]
    given = step.translation or Translation("plain")
    translation = msgspec.structs.replace(given, dialect="api", enveloped=True)
    return msgspec.structs.replace(step, headers=headers, translation=translation)


def _told_as(step: Step, shape: Shape, **asked: object) -> Step:
    return msgspec.structs.replace(step, translation=Translation(shape, dialect="api"), **asked)


def _as_json(headers: list[Header]) -> list[Header]:
    return [*(header for header in headers if header[0] not in _REMADE), _JSON_TYPE]


def _with_defaults(headers: list[Header], provider: Provider) -> list[Header]:
    named = {name for name, _, _ in headers}
    return [*headers, *(header for header in provider.default_headers if header[0] not in named)]


def _signed_anew(headers: list[Header], provider: Provider) -> list[Header]:
    """A key where Anthropic's clients have it goes where this vendor wants it."""
    keys = [value for name, _, value in headers if name == b"x-api-key"]
    if not keys:
        return signed(headers, provider)
    return [*(header for header in headers if header[0] != b"x-api-key"), *provider.sign(keys[-1])]
