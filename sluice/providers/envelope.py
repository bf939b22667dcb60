"""The envelope of Cloudflare's API around what other vendors answer (contract 9.1)."""

from typing import Final

import msgspec

from sluice.providers.anthropic_chat.inverse_error import told_in
from sluice.providers.usage import UNREADABLE
from sluice.values.errors import OutputUnreadable

_RAW: Final = msgspec.json.Decoder(msgspec.Raw)
_ENCODER: Final = msgspec.json.Encoder()


def enveloped(body: bytes) -> bytes:
    """A reply as the `result`. Raises OutputUnreadable."""
    try:
        result = _RAW.decode(body.decode())
    except UNREADABLE as error:
        raise OutputUnreadable(f"the reply is not valid JSON: {error}") from None
    return b'{"result":%b,"success":true,"errors":[],"messages":[]}' % bytes(result)


def enveloped_error(status: int, body: bytes) -> bytes:
    """A vendor's error; its status is the code, for those of vendors are words."""
    said = told_in(body) or f"The provider answered with status {status}"
    errors = [{"code": status, "message": said}]
    return _ENCODER.encode({"result": None, "success": False, "errors": errors, "messages": []})
