"""Anthropic. https://docs.anthropic.com/en/api"""

from typing import Final

from sluice.providers.provider import NOT_COMPATIBLE, Provider, bearer, in_x_api_key, versioned
from sluice.values.request import Header

_OAUTH: Final = b"sk-ant-oat"


def _sign(key: bytes) -> tuple[Header, ...]:
    """A key goes into `x-api-key`, an OAuth token into Authorization."""
    return bearer(key) if key.startswith(_OAUTH) else in_x_api_key(key)


ANTHROPIC: Final = Provider(
    "anthropic",
    "https://api.anthropic.com",
    endpoint=versioned,
    sign=_sign,
    key_headers=(b"x-api-key", b"authorization"),
    compat=NOT_COMPATIBLE,
    default_headers=((b"anthropic-version", b"anthropic-version", b"2023-06-01"),),
    terminal_line=b"event: message_stop",
)
