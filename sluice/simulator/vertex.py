"""Google Vertex AI's wire: Gemini's, Anthropic's and OpenAI's shapes under its paths, and Google's token endpoint.

Start reading at `answer`.
"""

import re
from base64 import urlsafe_b64decode
from typing import Final
from urllib.parse import parse_qs

import msgspec

from sluice.simulator import anthropic, google, openai, words
from sluice.simulator.anthropic_messages import MessageRequest, send
from sluice.simulator.anthropic_rules import check
from sluice.simulator.bodies import has_bad_key, is_unknown, read_body
from sluice.simulator.call import Call
from sluice.simulator.files import Shelf
from sluice.simulator.google_live import Session
from sluice.simulator.script import Part, Refused, Script, json_script
from sluice.simulator.vendor import Vendor
from sluice.simulator.words import Json

_MODEL: Final = re.compile(
    r"v1(?:beta1)?/(?:projects/[^/]+/locations/[^/]+/)?publishers/(google|anthropic)/models/([^:/]+)(:\w+)?"
)
_OPENAPI: Final = re.compile(r"v1(?:beta1)?/projects/[^/]+/locations/[^/]+/endpoints/openapi/(.+)")
_IN_PATH: Final = re.compile(r"(?:^|/)models/([^:/]+)")
_LIVE: Final = re.compile(
    r"(?:locations/[^/]+/)?ws/google\.cloud\.aiplatform\.v1(?:beta1)?\.LlmBidiService/BidiGenerateContent"
)
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LONGEST_S: Final = 3600
_TOKEN_S: Final = 3599


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    scope: str
    aud: str
    iat: int
    exp: int


class _Header(msgspec.Struct, frozen=True):
    alg: str


def answer(call: Call, shelf: Shelf) -> Script:
    """The reply to a request. Raises Refused."""
    if call.path == "token":
        return _granted(call)
    if has_bad_key(call):
        raise Refused(401)
    if found := _OPENAPI.fullmatch(call.path):
        return openai.answer(call._replace(path=found[1]), shelf)
    found = _MODEL.fullmatch(call.path)
    if found is None:
        raise Refused(404)
    if found[1] == "google":
        return google.answer(call._replace(path=f"v1/models/{found[2]}{found[3] or ''}"), shelf)
    if found[3] not in (":rawPredict", ":streamRawPredict") or is_unknown(call):
        raise Refused(404)
    request = msgspec.structs.replace(read_body(call, MessageRequest), model=call.model)
    check(request)
    return send(call, request)


def refusal(call: Call, status: int, message: str) -> Script:
    """An error reply of this status in the shape of the path."""
    return _wire(call).refusal(call, status, message)


def _error_event(call: Call) -> Part:
    return _wire(call).error_event(call)


def _wire(call: Call) -> Vendor:
    if _OPENAPI.fullmatch(call.path):
        return openai.OPENAI
    return anthropic.ANTHROPIC if "/publishers/anthropic/" in call.path else google.GOOGLE


def _granted(call: Call) -> Script:
    """A token for a service account. One whose name begins with `refused` gets none; signatures are not checked."""
    form = parse_qs((call.body.whole or b"").decode("latin-1"))
    parts = form.get("assertion", [""])[0].split(".")
    try:
        header = msgspec.json.decode(_decoded(parts[0]), type=_Header)
        claims = msgspec.json.decode(_decoded(parts[1]), type=_Claims)
    except (IndexError, ValueError):
        return _no_grant("Invalid JWT: it cannot be read")
    lasts_s = claims.exp - claims.iat
    if form.get("grant_type") != [_GRANT] or len(parts) != 3 or header.alg != "RS256" or not 0 < lasts_s <= _LONGEST_S:
        return _no_grant("Invalid JWT: Token must be a short-lived token (60 minutes)")
    if claims.iss.startswith("refused"):
        return _no_grant("Invalid grant: account not found")
    token = "ya29.simulated-" + words.digest(claims.iss)[:40]
    return json_script({"access_token": token, "expires_in": _TOKEN_S, "token_type": "Bearer"})


def _no_grant(description: str) -> Script:
    told: Json = {"error": "invalid_grant", "error_description": description}
    return json_script(told, status=400)


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _live(call: Call) -> Session:
    """Gemini's live API, as it is under Google AI Studio too."""
    if has_bad_key(call) or not _LIVE.fullmatch(call.path):
        raise Refused(404)
    return Session(call)


VERTEX: Final = Vendor(answer, refusal, _error_event, _IN_PATH, _live)
