"""Vendors of pictures: Ideogram, Adobe Firefly, fal. Each answers with the address of a picture that is not there."""

import re
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

_QUEUE: Final = re.compile(r"queue\.fal\.run/([^/]+/[^/]+)(?:/.*?)??(?:/requests/([^/]+)(/status)?)?")
_FORM_PROMPT: Final = re.compile(rb'name="?prompt"?\r\n(?:[^\r\n]+\r\n)*\r\n([^\r]{0,4096})\r\n')
_IDEOGRAM: Final = re.compile(r"(?:v1/ideogram-v3/)?(?:generate|edit|remix|reframe|replace-background|upscale)")
_FIREFLY: Final = re.compile(r"v[234]/images/[a-z-]+")


class _Asked(msgspec.Struct, frozen=True):
    prompt: str = ""
    image_request: "_Asked | None" = None
    """So Ideogram's older endpoints have it."""


def _prompt(call: Call) -> str:
    if call.header(b"content-type").startswith("multipart/"):
        found = _FORM_PROMPT.search(call.body.head)
        return found[1].decode("utf-8", "replace") if found else ""
    asked = read_body(call, _Asked)
    return (asked.image_request or asked).prompt


def _picture(call: Call, prompt: str) -> str:
    return f"https://{call.slug}.example.com/{words.digest(prompt)[:24]}.png"


def _seed(prompt: str) -> int:
    return int(words.digest(prompt)[:7], 16)


def _judge(call: Call) -> None:
    if has_bad_key(call):
        raise Refused(401)
    if is_unknown(call):
        raise Refused(404)


def _ideogram(call: Call, shelf: Shelf) -> Script:
    _judge(call)
    if call.method != "POST" or not _IDEOGRAM.fullmatch(call.path):
        raise Refused(404)
    prompt = _prompt(call)
    drawn: Json = {
        "prompt": prompt,
        "resolution": "1024x1024",
        "is_image_safe": True,
        "seed": _seed(prompt),
        "url": _picture(call, prompt),
        "style_type": "GENERAL",
    }
    return json_script({"created": "2025-01-01T00:00:00+00:00", "data": [drawn]})


def _firefly(call: Call, shelf: Shelf) -> Script:
    _judge(call)
    if call.method != "POST" or not _FIREFLY.fullmatch(call.path):
        raise Refused(404)
    prompt = _prompt(call)
    drawn: Json = {"seed": _seed(prompt), "image": {"url": _picture(call, prompt)}}
    return json_script({"size": {"width": 2048, "height": 2048}, "outputs": [drawn], "contentClass": "photo"})


def _fal(call: Call, shelf: Shelf) -> Script:
    """A model is run at once, or under fal's host for queues, later; there a run is done when asked after."""
    _judge(call)
    found = _QUEUE.fullmatch(call.path)
    if found is None and call.method == "POST":
        return json_script(_drawn(call, _prompt(call)))
    if found is None:
        raise Refused(405, "Method Not Allowed")
    if found[2] is None:
        return json_script(_run(found[1], words.digest(_prompt(call))[:32], "IN_QUEUE"))
    return json_script(_run(found[1], found[2], "COMPLETED") if found[3] else _drawn(call, found[2]))


def _drawn(call: Call, prompt: str) -> Json:
    image: Json = {"url": _picture(call, prompt), "width": 1024, "height": 1024, "content_type": "image/png"}
    return {"images": [image], "seed": _seed(prompt), "prompt": prompt, "has_nsfw_concepts": [False]}


def _run(app: str, number: str, status: str) -> Json:
    url = f"https://queue.fal.run/{app}/requests/{number}"
    return {"status": status, "request_id": number, "response_url": url, "status_url": f"{url}/status"}


def _refusal(call: Call, status: int, message: str) -> Script:
    said = message or "The request failed."
    if call.slug == "adobe-firefly":
        return json_script({"error_code": str(status), "message": said}, status=status)
    return json_script({"error": said} if call.slug == "ideogram" else {"detail": said}, status=status)


def _error_event(call: Call) -> Part:
    return event({"detail": "The request failed.", "status": 500})


IDEOGRAM: Final = Vendor(_ideogram, _refusal, _error_event)
FIREFLY: Final = Vendor(_firefly, _refusal, _error_event)
FAL: Final = Vendor(_fal, _refusal, _error_event, live=Echo)
