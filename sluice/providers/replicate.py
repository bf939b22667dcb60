"""Replicate. https://replicate.com/docs/reference/http"""

from typing import Final

from sluice.providers.provider import NOT_COMPATIBLE, Provider, versioned

REPLICATE: Final = Provider("replicate", "https://api.replicate.com", endpoint=versioned, compat=NOT_COMPATIBLE)
