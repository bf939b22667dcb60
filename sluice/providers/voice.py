"""Vendors of speech, most of whose calls are WebSockets. None of them has endpoints in OpenAI's shape."""

from typing import Final

from sluice.providers.provider import NOT_COMPATIBLE, Provider, Realtime, at, in_x_api_key
from sluice.values.request import Header


def _xi_api_key(key: bytes) -> tuple[Header, ...]:
    return ((b"xi-api-key", b"xi-api-key", key),)


def _token(key: bytes) -> tuple[Header, ...]:
    return ((b"authorization", b"Authorization", b"Token " + key),)


CARTESIA: Final = Provider(  # https://docs.cartesia.ai/api-reference
    "cartesia",
    "https://api.cartesia.ai",
    sign=in_x_api_key,
    key_headers=(b"x-api-key", b"authorization"),
    key_parameters=(b"api_key", b"access_token"),
    compat=NOT_COMPATIBLE,
    realtime=Realtime(at(b"tts/websocket")),
)
ELEVENLABS: Final = Provider(  # https://elevenlabs.io/docs/api-reference
    "elevenlabs",
    "https://api.elevenlabs.io",
    sign=_xi_api_key,
    key_headers=(b"xi-api-key",),
    key_parameters=(b"conversation_signature", b"single_use_token", b"token"),
    compat=NOT_COMPATIBLE,
    realtime=Realtime(at(b"v1/convai/conversation")),
)
DEEPGRAM: Final = Provider(  # https://developers.deepgram.com/reference
    "deepgram",
    "https://api.deepgram.com",
    sign=_token,
    compat=NOT_COMPATIBLE,
    realtime=Realtime(key_subprotocols=("token", "bearer")),
)
