"""Request bodies, decoded, and what all vendors look for in a request."""

import re
from typing import Final, TypeVar

import msgspec

from sluice.simulator.call import Call
from sluice.simulator.faults import base_model
from sluice.simulator.script import Refused
from sluice.simulator.words import Json

Request = TypeVar("Request")

KEY_HEADERS: Final = (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"xi-api-key")
"""Where vendors look for a key."""


def read_body(call: Call, kind: type[Request]) -> Request:
    """The body decoded. Raises Refused."""
    whole = call.body.whole
    if whole is None:
        whole = _stand_in(call)
    try:
        return msgspec.json.decode(whole, type=kind)
    except msgspec.ValidationError as error:
        raise Refused(400, f"Invalid request: {error}.") from error
    except msgspec.DecodeError as error:
        raise Refused(400, "We could not parse the JSON body of your request.") from error


def _stand_in(call: Call) -> bytes:
    """What stands for a body that was too long to be kept: its model, and what it is in place of its text."""
    streams = any(re.search(rb'"stream"\s*:\s*true', end) for end in (call.body.head, call.body.tail))
    said = f"{call.body.length} bytes with the digest {call.body.sha256}"
    message: Json = {"role": "user", "content": said}
    stand_in: dict[str, Json] = {"model": call.model, "stream": streams, "messages": [message], "max_tokens": 4096}
    stand_in |= dict.fromkeys(("input", "prompt", "message", "inputs", "text"), said)
    return msgspec.json.encode(stand_in | {"texts": [said], "contents": [{"parts": [{"text": said}]}]})


def has_bad_key(call: Call) -> bool:
    """Whether the request carries the key that no vendor accepts: `bad-key`."""
    given = (call.header(name).split() for name in KEY_HEADERS)
    return any("bad-key" in words for words in given) or call.query.get("key") == "bad-key"


def is_unknown(call: Call) -> bool:
    """Whether the request names a model that no vendor has: one that begins with `unknown-`."""
    return base_model(call.model).rpartition("/")[2].startswith("unknown-")
