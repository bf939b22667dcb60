"""Azure OpenAI. https://learn.microsoft.com/azure/ai-foundry/openai/reference"""

import re
from typing import Final

from sluice.providers.provider import NOT_COMPATIBLE, Address, Provider
from sluice.values.errors import MalformedRequest
from sluice.values.request import Header

_RESOURCE: Final = re.compile(rb"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
"""One label of a host's name: a path must not choose another domain."""
_OWN: Final = re.compile(
    rb"openai/(?:deployments/|v1/|realtime"
    rb"|(?:assistants|batches|files|fine_tuning|models|responses|threads|vector_stores)(?:/|\Z))"
)
"""Microsoft's own paths behind the resource, which its SDKs make of the resource's URL as endpoint."""


def _locate(endpoint: bytes) -> Address:
    resource, _, rest = endpoint.partition(b"/")
    if not _OWN.match(rest):
        deployment, _, rest = rest.partition(b"/")
        rest = b"openai/deployments/%b/%b" % (deployment, rest) if deployment else b""
    if not rest or not _RESOURCE.fullmatch(resource):
        raise MalformedRequest("azure-openai is called as azure-openai/{resource}/{deployment}/{path}?api-version=...")
    return Address(f"https://{resource.decode().lower()}.openai.azure.com", rest, b"%b/%b" % (resource, rest))


def _sign(key: bytes) -> tuple[Header, ...]:
    return ((b"api-key", b"api-key", key),)


AZURE_OPENAI: Final = Provider(
    "azure-openai",
    "https://{resource}.openai.azure.com",
    locate=_locate,
    sign=_sign,
    key_headers=(b"api-key", b"authorization"),
    key_parameters=(b"api-key",),
    compat=NOT_COMPATIBLE,
)
