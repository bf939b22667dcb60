"""Baseten. https://docs.baseten.co/reference/inference-api"""

import re
from typing import Final

from sluice.providers.provider import Address, Provider, versioned
from sluice.values.errors import MalformedRequest

_BASE_URL: Final = "https://inference.baseten.co"
_MODEL: Final = re.compile(rb"model/(?P<id>[A-Za-z0-9]{1,57})(?:/(?P<rest>.*))?", re.DOTALL)


def _locate(endpoint: bytes) -> Address:
    """`model/{id}` has a host of its own, and its production deployment is meant where no other is named."""
    if not endpoint.startswith(b"model/"):
        path = versioned(endpoint)
        return Address(_BASE_URL, path, path)
    found = _MODEL.fullmatch(endpoint)
    if found is None:
        raise MalformedRequest("A model of baseten is called as baseten/model/{id}, where the id is letters and digits")
    host = f"https://model-{found['id'].decode()}.api.baseten.co"
    return Address(host, found["rest"] or b"production/predict", endpoint.rstrip(b"/"))


BASETEN: Final = Provider("baseten", _BASE_URL, endpoint=versioned, locate=_locate)
