"""Workers AI's wire: models run by their path, in the envelope of Cloudflare's API. Start reading at `answer`."""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import msgspec

from sluice.simulator import answers, openai, words
from sluice.simulator.answers import FILLER, Answer, Question, Tool, ToolCall, spent
from sluice.simulator.bodies import has_bad_key, is_unknown, read_body
from sluice.simulator.call import Call
from sluice.simulator.faults import base_model
from sluice.simulator.files import Shelf
from sluice.simulator.live import Echo
from sluice.simulator.pictures import png
from sluice.simulator.script import (
    DATE,
    DONE,
    Part,
    Refused,
    Script,
    bytes_script,
    event,
    filled_script,
    json_script,
    stream_script,
)
from sluice.simulator.vendor import Vendor
from sluice.simulator.words import Json, Schema

_IN_PATH: Final = re.compile(r"(?:^|/)(@(?:cf|hf)/.+)$")
_RUN: Final = re.compile(r"(?:client/v4/accounts/[^/]+/)?(?:ai/)?(?:run/)?(@(?:cf|hf)/.+)")
_COMPATIBLE: Final = re.compile(r"(?:client/v4/accounts/[^/]+/)?(?:ai/)?(v1/.+)")
_DIMENSIONS: Final = {"bge-small": 384, "bge-base": 768, "bge-large": 1024, "bge-m3": 1024, "embeddinggemma": 768}
_EMBEDS: Final = re.compile(r"bge-(?!reranker)|embed")
_DRAWS: Final = re.compile(r"stable-diffusion|dreamshaper|lucid|phoenix")
_DRAWS_IN_JSON: Final = re.compile(r"flux")
_HEARS: Final = re.compile(r"whisper")
_TRANSLATES: Final = re.compile(r"m2m100")

_ERRORS: Final[Mapping[int, tuple[int, str]]] = {
    400: (5004, "AiError: Bad input: the request is malformed"),
    401: (10000, "Authentication error"),
    403: (10000, "Authentication error"),
    404: (7000, "No route for that URI"),
    405: (7001, "Method not allowed for that URI"),
    408: (3007, "AiError: Request timeout"),
    413: (3006, "AiError: Request is too large"),
    429: (3040, "AiError: Capacity temporarily exceeded, please try again."),
    500: (3043, "AiError: Internal server error"),
}
"""Code and words of an error; other statuses have those of their hundred."""
_NO_MODEL: Final = "AiError: No such model"


class _Part(msgspec.Struct, frozen=True):
    type: str = "text"
    text: str = ""


class _Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[_Part] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text)
        return self.content or ""


class _Function(msgspec.Struct, frozen=True):
    name: str = ""
    parameters: dict[str, object] = {}


class _GivenTool(msgspec.Struct, frozen=True):
    name: str = ""
    parameters: dict[str, object] = {}
    function: _Function | None = None


class _Format(msgspec.Struct, frozen=True):
    type: str = ""
    json_schema: dict[str, object] | None = None


class _Input(msgspec.Struct, frozen=True):
    prompt: str | None = None
    messages: list[_Message] | None = None
    text: str | list[str] | None = None
    stream: bool | None = None
    max_tokens: int | None = None
    tools: list[_GivenTool] = []
    response_format: _Format | None = None
    target_lang: str = ""


def answer(call: Call, shelf: Shelf) -> Script:
    """The reply to a request. Raises Refused."""
    if has_bad_key(call):
        raise Refused(401)
    if found := _COMPATIBLE.fullmatch(call.path):
        return openai.answer(call._replace(path=found[1]), shelf)
    if call.path.endswith("models/search") and call.method in ("GET", "HEAD"):
        return _dressed(call, _enveloped([{"name": "@cf/meta/llama-3.1-8b-instruct"}, {"name": "@cf/baai/bge-m3"}]))
    if not _RUN.fullmatch(call.path):
        raise Refused(404)
    if call.method != "POST":
        raise Refused(405)
    if is_unknown(call):
        raise Refused(400, f"{_NO_MODEL} {base_model(call.model)} or task")
    return _dressed(call, _run(call))


def refusal(call: Call, status: int, message: str) -> Script:
    """An error reply of this status in the envelope of Cloudflare's API."""
    return _dressed(call, json_script(_error(status, message), status=status))


def _error(status: int, message: str) -> Json:
    code, said = _ERRORS.get(status) or _ERRORS[500 if status >= 500 else 400]
    code = 5007 if message.startswith(_NO_MODEL) else code
    return {"result": {}, "success": False, "errors": [{"message": message or said, "code": code}], "messages": []}


def _error_event(_: Call) -> Part:
    return event(_error(500, ""))


def _run(call: Call) -> Script:
    """What a model makes of its input: the kind of model follows from its name."""
    model = base_model(call.model)
    if _HEARS.search(model):
        said = words.prose(call.body.sha256, 12)
        return _enveloped({"text": said, "word_count": 12, "words": [], "vtt": ""})
    given = read_body(call, _Input)
    if _EMBEDS.search(model):
        return _embed(model, given)
    if _DRAWS.search(model):
        return bytes_script(png(_scene(given)), "image/png")
    if _DRAWS_IN_JSON.search(model):
        return _enveloped({"image": base64.b64encode(png(_scene(given))).decode()})
    if _TRANSLATES.search(model) and isinstance(given.text, str):
        return _enveloped({"translated_text": words.reply(f"{given.target_lang} {given.text}")})
    return _generate(call, given)


def _generate(call: Call, given: _Input) -> Script:
    """Text: whole, or as a stream whose last event but one tells the usage."""
    made = answers.answer(_question(given), call.faults)
    said = given.messages or [_Message("user", given.prompt)]
    used = spent(3 + sum(4 + words.count(one.text) for one in said), [made], call.faults)
    counts: dict[str, Json] = {
        "prompt_tokens": used.prompt,
        "completion_tokens": used.completion,
        "total_tokens": used.total,
    }
    usage: dict[str, Json] = {} if call.faults.no_usage else {"usage": counts}
    if given.stream:
        return stream_script(_events(made, usage))
    reply: dict[str, Json] = {"response": None if made.calls else _response(made, given)}
    if made.calls:
        reply["tool_calls"] = [_tool_call(one) for one in made.calls]
    return filled_script(_envelope(reply | usage), FILLER, (call.faults.huge or 0) << 4)


def _question(given: _Input) -> Question:
    if given.messages is None and given.prompt is None:
        _need(None)
    last = given.messages[-1] if given.messages else _Message("user", given.prompt)
    functions = [one.function or one for one in given.tools]
    tools = [Tool(one.name, one.parameters) for one in functions]
    schema: Schema | None = None
    if given.response_format is not None and given.response_format.type != "text":
        schema = given.response_format.json_schema or {"properties": {"answer": {"type": "string"}}}
    forced = "-" if last.role == "tool" else ""
    return Question(last.text, tools, forced, schema, given.max_tokens)


def _response(made: Answer, given: _Input) -> Json:
    """The text; where JSON was asked for, that."""
    if given.response_format is None or given.response_format.type == "text":
        return made.filled
    decoded: Json = msgspec.json.decode(made.text)
    return decoded


def _tool_call(made: ToolCall) -> Json:
    return {"name": made.name, "arguments": msgspec.json.decode(made.arguments)}


def _events(made: Answer, usage: dict[str, Json]) -> Iterator[Part]:
    for piece in made.pieces():
        yield event({"response": piece, "p": "abcdefghijkl"[: len(piece) % 12]})
    last: dict[str, Json] = {"response": ""}
    if made.calls:
        last["tool_calls"] = [_tool_call(one) for one in made.calls]
    yield event(last | usage)
    yield DONE


def _embed(model: str, given: _Input) -> Script:
    texts = [given.text] if isinstance(given.text, str) else given.text
    if not texts:
        raise Refused(400, "AiError: Bad input: Error: must have required property 'text'")
    dimensions = next((size for name, size in _DIMENSIONS.items() if name in model), 768)
    vectors: list[Json] = [words.vector(one, dimensions) for one in texts]
    return _enveloped({"shape": [len(texts), dimensions], "data": vectors, "pooling": "cls"})


def _scene(given: _Input) -> str:
    """What is to be drawn; published examples say it as a message, too."""
    return _need(given.messages[-1].text if given.prompt is None and given.messages else given.prompt)


def _need(prompt: str | None) -> str:
    if prompt is None:
        raise Refused(400, "AiError: Bad input: Error: oneOf at '/' not met: required properties missing: 'prompt'")
    return prompt


def _envelope(result: Json) -> dict[str, Json]:
    return {"result": result, "success": True, "errors": [], "messages": []}


def _enveloped(result: Json) -> Script:
    return json_script(_envelope(result))


def _dressed(call: Call, script: Script) -> Script:
    """The script with the headers that Cloudflare's API sends."""
    number = words.digest(f"{call.method} {call.target} {call.body.sha256}")
    headers = (
        ("Date", DATE),
        *script.headers,
        ("CF-Ray", f"{number[:16]}-SIM"),
        ("cf-ai-req-id", number[16:48]),
        ("X-Content-Type-Options", "nosniff"),
        ("Server", "sluice-simulator"),
    )
    return replace(script, headers=headers)


WORKERS_AI: Final = Vendor(answer, refusal, _error_event, _IN_PATH, live=Echo)
