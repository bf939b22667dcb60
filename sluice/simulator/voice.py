"""Vendors of speech. Their WebSockets echo what they are told; their sound is bytes that are none."""

from collections.abc import Iterator
from typing import Final

import msgspec

from sluice.simulator import words
from sluice.simulator.bodies import has_bad_key, is_unknown, read_body
from sluice.simulator.call import Call
from sluice.simulator.files import Shelf
from sluice.simulator.live import Echo
from sluice.simulator.script import Part, Refused, Script, event, json_script
from sluice.simulator.vendor import Vendor
from sluice.simulator.words import Json

_BYTES_A_SECOND: Final = 16_000


class _Text(msgspec.Struct, frozen=True):
    """What is to be said: each vendor has another name for it."""

    text: str = ""
    transcript: str = ""


def _answer(call: Call, shelf: Shelf) -> Script:
    if has_bad_key(call):
        raise Refused(401)
    if is_unknown(call):
        raise Refused(404)
    match (call.slug, call.method, call.path.split("/")):
        case ("deepgram", "POST", ["v1", "listen"]):
            return json_script(_heard(call))
        case (
            ("deepgram", "POST", ["v1", "speak"])
            | ("cartesia", "POST", ["tts", "bytes"])
            | ("elevenlabs", "POST", ["v1", "text-to-speech", _])
            | ("elevenlabs", "POST", ["v1", "text-to-speech", _, "stream"])
        ):
            asked = read_body(call, _Text)
            return Script(200, (("Content-Type", "audio/mpeg"),), _sound(asked.text or asked.transcript))
        case ("elevenlabs", "POST", ["v1", "speech-to-text"]) | ("cartesia", "POST", ["stt"]):
            return json_script({"text": words.prose(call.body.sha256, 12), "language_code": "en", "words": []})
    raise Refused(404, f"The simulator has no {call.method} /{call.path} of {call.slug}")


def _heard(call: Call) -> Json:
    """Deepgram's account of what was said, which follows from the sound."""
    said = words.prose(call.body.sha256, 12)
    heard: Json = {"transcript": said, "confidence": 0.99, "words": []}
    told: Json = {
        "request_id": call.body.sha256[:32],
        "created": "2025-01-01T00:00:00.000Z",
        "duration": call.body.length / _BYTES_A_SECOND,
        "channels": 1,
    }
    return {"metadata": told, "results": {"channels": [{"alternatives": [heard]}]}}


def _sound(text: str) -> Iterator[Part]:
    """A block for each word."""
    for token in words.tokens(text):
        source = words.noise(token)
        yield Part(bytes(next(source) for _ in range(256)))


def _refusal(call: Call, status: int, message: str) -> Script:
    return json_script({"detail": {"status": status, "message": message or "The request failed."}}, status=status)


def _error_event(call: Call) -> Part:
    return event({"detail": {"status": 500, "message": "The request failed."}})


VOICE: Final = Vendor(_answer, _refusal, _error_event, live=Echo)
