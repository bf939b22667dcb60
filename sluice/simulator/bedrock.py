"""Amazon Bedrock's wire: its paths, headers and errors. Start reading at `answer`."""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

import msgspec

from sluice.formats.eventstream import MEDIA_TYPE, encode
from sluice.simulator import anthropic, openai, words
from sluice.simulator.anthropic_messages import MessageRequest, send
from sluice.simulator.anthropic_rules import check
from sluice.simulator.bedrock_converse import converse, message
from sluice.simulator.bodies import has_bad_key, is_unknown, read_body
from sluice.simulator.call import Call
from sluice.simulator.files import Shelf
from sluice.simulator.script import DATE, Part, Refused, Script, json_script, to_json
from sluice.simulator.vendor import Vendor

_PLACE: Final = re.compile(r"(?:bedrock-(?:runtime|mantle)/[a-z0-9-]+/)?(.*)", re.DOTALL)
"""Service and region, which the host tells where it is AWS's."""
_IN_PATH: Final = re.compile(r"(?:^|/)model/(.+)/(?:converse|invoke)")
_RUN: Final = re.compile(r"model/.+/(converse|converse-stream|invoke|invoke-with-response-stream)")
_COUNTS: Final = (("input_tokens", "inputTokenCount"), ("output_tokens", "outputTokenCount"),
                  ("cache_read_input_tokens", "cacheReadInputTokenCount"),
                  ("cache_creation_input_tokens", "cacheWriteInputTokenCount"))  # fmt: skip
"""Anthropic's names for tokens, and those of Bedrock's metrics."""

_ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("ValidationException", "The request failed validation."),
    401: ("UnrecognizedClientException", "The security token included in the request is invalid."),
    403: ("AccessDeniedException", "The security token included in the request is invalid."),
    404: ("ResourceNotFoundException", "The resource could not be found."),
    408: ("ModelTimeoutException", "The model took too long."),
    424: ("ModelErrorException", "The model failed."),
    429: ("ThrottlingException", "Too many requests, please wait before trying again."),
    500: ("InternalServerException", "The system encountered an unexpected error during processing."),
    503: ("ServiceUnavailableException", "The service is unavailable, please try again."),
}
"""Kind and words of an error; other statuses have those of their hundred."""


def answer(call: Call, shelf: Shelf) -> Script:
    """The reply to a request. Raises Refused."""
    if has_bad_key(call) or "Credential=bad-key/" in call.header(b"authorization"):
        raise Refused(403)
    shaped = _in_another_shape(call)
    if shaped is not None:
        return shaped[0].answer(shaped[1], shelf)
    found = _RUN.fullmatch(_own(call))
    if found is None:
        raise Refused(404, "UnknownOperationException")
    if call.method != "POST":
        raise Refused(405, "Method Not Allowed")
    if is_unknown(call):
        raise Refused(400, "The provided model identifier is invalid.")
    if found[1].startswith("converse"):
        return _dressed(call, converse(call, stream=found[1] != "converse"))
    return _dressed(call, _invoked(call, stream=found[1] != "invoke"))


def refusal(call: Call, status: int, said: str) -> Script:
    """AWS's error reply of this status: its kind is in a header."""
    if (shaped := _in_another_shape(call)) is not None:
        return shaped[0].refusal(shaped[1], status, said)
    kind, usual = _ERRORS.get(status) or _ERRORS[500 if status >= 500 else 400]
    script = json_script({"message": said or usual}, status=status)
    return _dressed(call, replace(script, headers=(*script.headers, ("x-amzn-ErrorType", kind))))


def _error_event(call: Call) -> Part:
    if (shaped := _in_another_shape(call)) is not None:
        return shaped[0].error_event(shaped[1])
    kind, said = _ERRORS[500]
    headers = {":exception-type": kind[0].lower() + kind[1:], ":content-type": "application/json"}
    return Part(encode(headers | {":message-type": "exception"}, to_json({"message": said})))


def _own(call: Call) -> str:
    found = _PLACE.fullmatch(call.path)
    return found[1] if found else call.path


def _in_another_shape(call: Call) -> tuple[Vendor, Call] | None:
    """The vendor whose shape a path has, and the call as that one knows it."""
    path = _own(call)
    if path.startswith("anthropic/"):
        return anthropic.ANTHROPIC, call._replace(path=path.removeprefix("anthropic/"))
    if path.startswith(("openai/", "v1/")):
        return openai.OPENAI, call._replace(path=path.removeprefix("openai/"))
    return None


def _invoked(call: Call, stream: bool) -> Script:
    """What a model says itself, as Anthropic's do; the simulator has no others."""
    request = msgspec.structs.replace(read_body(call, MessageRequest), model=call.model, stream=stream)
    check(request)
    script = send(call, request)
    if stream:
        return Script(200, (("Content-Type", MEDIA_TYPE),), _chunks(script.parts), stream=True)
    return script if call.faults.huge else _with_counts(script)


def _with_counts(script: Script) -> Script:
    parts = list(script.parts)
    usage = msgspec.json.decode(b"".join(part.data for part in parts), type=_Used).usage
    told = (("Input", usage.get("input_tokens")), ("Output", usage.get("output_tokens")))
    counts = [(f"X-Amzn-Bedrock-{side}-Token-Count", str(count)) for side, count in told if count is not None]
    return replace(script, headers=(*script.headers, *counts), parts=parts)


class _Used(msgspec.Struct):
    usage: dict[str, object] = {}
    type: str = ""


def _chunks(events: Iterable[Part]) -> Iterator[Part]:
    """Anthropic's events, each in base64 in a message; the last has what Bedrock has counted."""
    usage: dict[str, object] = {}
    for event in events:
        data = event.data.partition(b"data: ")[2].strip()
        told = msgspec.json.decode(data, type=_Used)
        if told.type == "ping":
            continue
        usage = told.usage or usage
        if event.tail:
            metrics = {name: count for own, name in _COUNTS if isinstance(count := usage.get(own), int)}
            metrics |= {"invocationLatency": 100, "firstByteLatency": 10}
            data = b'%b,"amazon-bedrock-invocationMetrics":%b}' % (data[:-1], msgspec.json.encode(metrics))
        yield message("chunk", {"bytes": base64.b64encode(data).decode(), "p": "abc"}, event.tail)


def _dressed(call: Call, script: Script) -> Script:
    """The script with the headers that AWS sends."""
    number = words.digest(f"{call.method} {call.path} {call.body.sha256}")
    identity = f"{number[:8]}-{number[8:12]}-{number[12:16]}-{number[16:20]}-{number[20:32]}"
    headers: tuple[tuple[str, str], ...] = (("Date", DATE), *script.headers, ("x-amzn-RequestId", identity))
    return replace(script, headers=headers)


BEDROCK: Final = Vendor(answer, refusal, _error_event, _IN_PATH)
