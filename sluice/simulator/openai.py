"""OpenAI's wire, and that of all who speak it: paths, headers and errors. Start reading at `answer`."""

import base64
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, NoReturn

import msgspec

from sluice.simulator import words
from sluice.simulator.bodies import has_bad_key, is_unknown, read_body
from sluice.simulator.call import Call
from sluice.simulator.faults import base_model
from sluice.simulator.files import File, FormPart, Shelf, read_form
from sluice.simulator.openai_chat import CREATED, ChatRequest, CompletionRequest, chat, complete
from sluice.simulator.openai_dialects import dialect_of, fault_of, own_path
from sluice.simulator.openai_realtime import open_session
from sluice.simulator.openai_responses import ResponseRequest, respond
from sluice.simulator.pictures import png
from sluice.simulator.script import DATE, Part, Refused, Script, bytes_script, event, json_script
from sluice.simulator.vendor import Vendor
from sluice.simulator.words import Json

_DIMENSIONS: Final = {"text-embedding-3-large": 3072}
_MOST_INPUTS: Final = 2048
_SPEECH_TYPES: Final = {"mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac",
                        "wav": "audio/wav", "pcm": "audio/pcm"}  # fmt: skip


class _EmbeddingRequest(msgspec.Struct, frozen=True):
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: str = "float"


class _ImageRequest(msgspec.Struct, frozen=True):
    prompt: str
    n: int | None = None
    response_format: str | None = None


class _SpeechRequest(msgspec.Struct, frozen=True):
    input: str
    response_format: str | None = None


Handler = Callable[[Call, Shelf], Script]


def answer(call: Call, shelf: Shelf) -> Script:
    """The reply to a request. Raises Refused."""
    if has_bad_key(call):
        raise Refused(401)
    if is_unknown(call):
        raise Refused(404, f"The model `{base_model(call.model)}` does not exist or you do not have access to it.")
    path = own_path(call.path)
    methods = next((found for pattern, found in _PATHS if pattern.fullmatch(path)), None)
    if methods is None:
        raise Refused(404, f"Invalid URL ({call.method} /v1/{path})")
    handler = methods.get("GET" if call.method == "HEAD" else call.method)
    if handler is None:
        raise Refused(405, f"Not allowed to {call.method} on /v1/{path}.")
    return _dressed(call, handler(call._replace(path=path), shelf))


def refusal(call: Call, status: int, message: str) -> Script:
    """An error reply of this status in the vendor's shape."""
    return _dressed(call, json_script(dialect_of(call.slug).error(fault_of(status, message)), status=status))


def error_event(call: Call) -> Part:
    """How a stream in OpenAI's shape reports an error midway."""
    return event(dialect_of(call.slug).error(fault_of(500, "")))


def _dressed(call: Call, script: Script) -> Script:
    """The script with the headers that OpenAI sends, two of them twice or in lower case."""
    number = words.digest(f"{call.method} {call.path}?{call.target.partition('?')[2]} {call.body.sha256}")
    openai = (
        ("openai-organization", "sluice-simulator"),
        ("openai-processing-ms", str(int(number[:2], 16))),
        ("openai-version", "2020-10-01"),
    )
    headers = (
        ("Date", DATE),
        *script.headers,
        ("access-control-expose-headers", "X-Request-ID"),
        *(openai if call.slug in ("openai", "azure-openai") else ()),
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


def _need_model(call: Call) -> None:
    if not call.model:
        raise Refused(400, "you must provide a model parameter")


def _chat(call: Call, _: Shelf) -> Script:
    _need_model(call)
    return chat(call, read_body(call, ChatRequest))


def _complete(call: Call, _: Shelf) -> Script:
    _need_model(call)
    return complete(call, read_body(call, CompletionRequest))


def _respond(call: Call, _: Shelf) -> Script:
    return respond(call, read_body(call, ResponseRequest))


def _embed(call: Call, _: Shelf) -> Script:
    request = read_body(call, _EmbeddingRequest)
    _need_model(call)
    texts = _inputs(request.input)
    if len(texts) > _MOST_INPUTS:
        raise Refused(400, f"The input has more than {_MOST_INPUTS} entries.")
    model = base_model(call.model)
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
    request = read_body(call, _ImageRequest)
    pictures = [png(f"{number}:{request.prompt}") for number in range(max(1, min(request.n or 1, 10)))]
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


def _speak(call: Call, _: Shelf) -> Script:
    request = read_body(call, _SpeechRequest)
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


def _models(call: Call, _: Shelf) -> Script:
    return json_script({"object": "list", "data": [_model(name) for name in dialect_of(call.slug).models]})


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
    return json_script(
        {"object": "list", "data": [_file(one) for one in shelf.all() if one.id.startswith("file-")], "has_more": False}
    )


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

OPENAI: Final = Vendor(answer, refusal, error_event, re.compile(r"(?:^|/)models/(.+)$"), open_session)
