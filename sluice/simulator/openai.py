"""OpenAI's wire: its paths, headers and errors. Start reading at `answer`."""

import base64
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, NoReturn, TypeVar

import msgspec

from sluice.simulator import words
from sluice.simulator.call import Call
from sluice.simulator.faults import base_model
from sluice.simulator.files import File, FormPart, Shelf, read_form
from sluice.simulator.openai_chat import CREATED, ChatRequest, CompletionRequest, chat, complete
from sluice.simulator.openai_responses import ResponseRequest, respond
from sluice.simulator.script import Part, Refused, Script, bytes_script, event, json_script
from sluice.simulator.vendor import Vendor
from sluice.simulator.words import Json

MODELS: Final = (
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1",
    "gpt-5",
    "o3-mini",
    "text-embedding-3-small",
    "text-embedding-3-large",
    "gpt-image-1",
    "gpt-4o-transcribe",
    "gpt-4o-mini-tts",
)
_DIMENSIONS: Final = {"text-embedding-3-large": 3072}
_MOST_INPUTS: Final = 2048
_DATE: Final = "Wed, 01 Jan 2025 00:00:00 GMT"
_SPEECH_TYPES: Final = {"mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac",
                        "wav": "audio/wav", "pcm": "audio/pcm"}  # fmt: skip

_ERRORS: Final[Mapping[int, tuple[str, str | None, str]]] = {
    400: ("invalid_request_error", None, "The request was malformed."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: bad-key."),
    403: (
        "invalid_request_error",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_error", "overloaded", "The engine is currently overloaded, please try again later"),
}
"""Type, code and words of an error; other statuses have those of their hundred."""


class _EmbeddingRequest(msgspec.Struct, frozen=True):
    model: str
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: str = "float"


class _ImageRequest(msgspec.Struct, frozen=True):
    prompt: str
    model: str = "dall-e-2"
    n: int | None = None
    response_format: str | None = None


class _SpeechRequest(msgspec.Struct, frozen=True):
    model: str
    input: str
    response_format: str | None = None


Request = TypeVar("Request")
Handler = Callable[[Call, Shelf], Script]


def answer(call: Call, shelf: Shelf) -> Script:
    """The reply to a request. Raises Refused."""
    if "bad-key" in call.header(b"authorization").split():
        raise Refused(401)
    if base_model(call.model).startswith("unknown-"):
        raise Refused(404, f"The model `{base_model(call.model)}` does not exist or you do not have access to it.")
    methods = next((found for pattern, found in _PATHS if pattern.fullmatch(call.path)), None)
    if methods is None:
        raise Refused(404, f"Invalid URL ({call.method} /v1/{call.path})")
    handler = methods.get("GET" if call.method == "HEAD" else call.method)
    if handler is None:
        raise Refused(405, f"Not allowed to {call.method} on /v1/{call.path}.")
    return _dressed(call, handler(call, shelf))


def refusal(call: Call, status: int, message: str) -> Script:
    """OpenAI's error reply of this status."""
    return _dressed(call, json_script(_error(status, message), status=status))


def _error(status: int, message: str) -> Json:
    known = _ERRORS.get(status) or _ERRORS[500 if status >= 500 else 400]
    kind, code, said = known
    if message.startswith("Invalid URL") or status == 405:
        code = None
    return {"error": {"message": message or said, "type": kind, "param": None, "code": code}}


def _dressed(call: Call, script: Script) -> Script:
    """The script with the headers that OpenAI sends, two of them twice or in lower case."""
    number = words.digest(f"{call.method} {call.path}?{call.target.partition('?')[2]} {call.body.sha256}")
    headers = (
        ("Date", _DATE),
        *script.headers,
        ("access-control-expose-headers", "X-Request-ID"),
        ("openai-organization", "sluice-simulator"),
        ("openai-processing-ms", str(int(number[:2], 16))),
        ("openai-version", "2020-10-01"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-reset-requests", "6ms"),
        ("x-request-id", "req_" + number[:32]),
        ("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload"),
        ("Set-Cookie", f"__sim_bm={number[:16]}; path=/; HttpOnly; Secure; SameSite=None"),
        ("Set-Cookie", f"_simuvid={number[16:32]}; path=/; HttpOnly; Secure; SameSite=None"),
        ("X-Content-Type-Options", "nosniff"),
        ("Server", "sluice-simulator"),
    )
    return replace(script, headers=headers)


def _body(call: Call, kind: type[Request]) -> Request:
    """The body decoded, or OpenAI's 400."""
    whole = call.body.whole
    if whole is None:  # too long to be kept: answer to its model and to what it is
        streams = any(re.search(rb'"stream"\s*:\s*true', end) for end in (call.body.head, call.body.tail))
        said = f"{call.body.length} bytes with the digest {call.body.sha256}"
        stand_in: Json = {"model": call.model, "stream": streams, "input": said, "prompt": said,
                          "messages": [{"role": "user", "content": said}]}  # fmt: skip
        whole = msgspec.json.encode(stand_in)
    try:
        return msgspec.json.decode(whole, type=kind)
    except msgspec.ValidationError as error:
        raise Refused(400, f"Invalid request: {error}.") from error
    except msgspec.DecodeError as error:
        raise Refused(400, "We could not parse the JSON body of your request.") from error


def _chat(call: Call, _: Shelf) -> Script:
    return chat(call, _body(call, ChatRequest))


def _complete(call: Call, _: Shelf) -> Script:
    return complete(call, _body(call, CompletionRequest))


def _respond(call: Call, _: Shelf) -> Script:
    return respond(call, _body(call, ResponseRequest))


def _embed(call: Call, _: Shelf) -> Script:
    request = _body(call, _EmbeddingRequest)
    texts = _inputs(request.input)
    if len(texts) > _MOST_INPUTS:
        raise Refused(400, f"The input has more than {_MOST_INPUTS} entries.")
    model = base_model(request.model)
    dimensions = request.dimensions or _DIMENSIONS.get(model, 1536)
    if not 1 <= dimensions <= 3072:
        raise Refused(400, "The dimensions are not from 1 to 3072.")
    data: list[Json] = []
    for number, text in enumerate(texts):
        vector: Json = words.vector(text, dimensions)
        if request.encoding_format == "base64":
            packed = struct.pack(f"<{dimensions}f", *words.vector(text, dimensions))
            vector = base64.b64encode(packed).decode()
        data.append({"object": "embedding", "index": number, "embedding": vector})
    prompt = sum(map(words.count, texts)) + 1000 * bool(call.faults.wrong_usage)
    usage: dict[str, Json] = {"usage": {"prompt_tokens": prompt, "total_tokens": prompt}}
    return json_script({"object": "list", "data": data, "model": model} | ({} if call.faults.no_usage else usage))


def _inputs(given: str | list[str | int | list[int]]) -> list[str]:
    """The texts to embed; the numbers of tokens count as words."""
    if isinstance(given, str):
        return [given]
    if given and isinstance(given[0], int):
        return [" ".join(map(str, given))]
    return [" ".join(map(str, one)) if isinstance(one, list) else str(one) for one in given]


def _draw(call: Call, _: Shelf) -> Script:
    request = _body(call, _ImageRequest)
    pictures = [_png(f"{number}:{request.prompt}") for number in range(max(1, min(request.n or 1, 10)))]
    coded = [base64.b64encode(one).decode() for one in pictures]
    urls = request.response_format == "url"
    data: list[Json] = [{"url": f"data:image/png;base64,{one}"} if urls else {"b64_json": one} for one in coded]
    told = words.count(request.prompt)
    usage: Json = {
        "input_tokens": told,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": told},
        "output_tokens": 272 * len(data),
        "total_tokens": told + 272 * len(data),
    }
    return json_script({"created": CREATED, "data": data, "usage": usage})


def _png(seed: str) -> bytes:
    """A picture of one pixel, its colour from the seed."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    source = words.noise(seed)
    pixel = bytes((0, next(source), next(source), next(source)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            block(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)),
            block(b"IDAT", zlib.compress(pixel)),
            block(b"IEND", b""),
        )
    )


def _speak(call: Call, _: Shelf) -> Script:
    request = _body(call, _SpeechRequest)
    kind = _SPEECH_TYPES.get(request.response_format or "mp3")
    if kind is None:
        raise Refused(400, f"Invalid response_format '{request.response_format}'.")
    return Script(200, (("Content-Type", kind),), _sound(request.input))


def _sound(text: str) -> Iterator[Part]:
    """Bytes that are no sound, a block for each word."""
    for token in words.tokens(text):
        source = words.noise(token)
        yield Part(bytes(next(source) for _ in range(256)))


def _transcribe(call: Call, _: Shelf) -> Script:
    form = _form(call)
    file = form.get("file")
    if file is None:
        raise Refused(400, "Missing required parameter: 'file'.")
    said = words.prose(call.body.sha256, 12)
    form_asked = form.get("response_format")
    if form_asked is not None and form_asked.text == "text":
        return bytes_script(said.encode() + b"\n", "text/plain; charset=utf-8")
    heard = 10 + file.length // 1600
    usage: Json = {
        "type": "tokens",
        "input_tokens": heard,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        "output_tokens": words.count(said),
        "total_tokens": heard + words.count(said),
    }
    return json_script({"text": said, "usage": usage})


def _form(call: Call) -> dict[str, FormPart]:
    try:
        return read_form(call.header(b"content-type"), call.body)
    except ValueError as error:
        raise Refused(400, f"Invalid request: {error}.") from error


def _models(_: Call, __: Shelf) -> Script:
    return json_script({"object": "list", "data": [_model(name) for name in MODELS]})


def _one_model(call: Call, _: Shelf) -> Script:
    return json_script(_model(base_model(call.path.removeprefix("models/"))))


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "sluice-simulator"}


def _upload(call: Call, shelf: Shelf) -> Script:
    form = _form(call)
    part, purpose = form.get("file"), form.get("purpose")
    if part is None or purpose is None:
        raise Refused(400, "Missing required parameter: 'file' or 'purpose'.")
    file = File("file-" + call.body.sha256[:24], part.filename or "file", purpose.text, part.length, part.data)
    shelf.put(file)
    return json_script(_file(file))


def _files(_: Call, shelf: Shelf) -> Script:
    return json_script({"object": "list", "data": [_file(one) for one in shelf.all()], "has_more": False})


def _one_file(call: Call, shelf: Shelf) -> Script:
    return json_script(_file(_found(call, shelf)))


def _file_content(call: Call, shelf: Shelf) -> Script:
    file = _found(call, shelf)
    if file.data is None:
        raise Refused(404, f"The simulator does not keep the content of a file as long as {file.id}")
    return bytes_script(file.data, "application/octet-stream")


def _delete_file(call: Call, shelf: Shelf) -> Script:
    file = _found(call, shelf)
    shelf.remove(file.id)
    return json_script({"id": file.id, "object": "file", "deleted": True})


def _found(call: Call, shelf: Shelf) -> File:
    name = call.path.split("/")[1]
    file = shelf.get(name)
    return file if file is not None else _missing(name)


def _missing(name: str) -> NoReturn:
    raise Refused(404, f"No such File object: {name}")


def _file(file: File) -> Json:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.length,
        "created_at": CREATED,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }


_PATHS: Final[tuple[tuple[re.Pattern[str], Mapping[str, Handler]], ...]] = (
    (re.compile(r"chat/completions"), {"POST": _chat}),
    (re.compile(r"responses"), {"POST": _respond}),
    (re.compile(r"embeddings"), {"POST": _embed}),
    (re.compile(r"completions"), {"POST": _complete}),
    (re.compile(r"images/generations"), {"POST": _draw}),
    (re.compile(r"audio/speech"), {"POST": _speak}),
    (re.compile(r"audio/transcriptions"), {"POST": _transcribe}),
    (re.compile(r"models"), {"GET": _models}),
    (re.compile(r"models/.+"), {"GET": _one_model}),
    (re.compile(r"files"), {"GET": _files, "POST": _upload}),
    (re.compile(r"files/[^/]+"), {"GET": _one_file, "DELETE": _delete_file}),
    (re.compile(r"files/[^/]+/content"), {"GET": _file_content}),
)

OPENAI: Final = Vendor("openai", answer, refusal, event(_error(500, "")))
