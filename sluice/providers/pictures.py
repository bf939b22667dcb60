"""Vendors of pictures. None of them has endpoints in OpenAI's shape."""

from typing import Final

from sluice.providers.provider import NOT_COMPATIBLE, Provider
from sluice.values.request import Header


def _api_key(key: bytes) -> tuple[Header, ...]:
    return ((b"api-key", b"Api-Key", key),)


IDEOGRAM: Final = Provider(  # https://developer.ideogram.ai/api-reference
    "ideogram", "https://api.ideogram.ai", sign=_api_key, key_headers=(b"api-key",), compat=NOT_COMPATIBLE
)
ADOBE_FIREFLY: Final = Provider(  # https://developer.adobe.com/firefly-services: a client's id is in x-api-key besides
    "adobe-firefly", "https://firefly-api.adobe.io", other_headers=(b"x-api-key",), compat=NOT_COMPATIBLE
)
