"""fal. https://docs.fal.ai/model-endpoints"""

import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from sluice.providers.provider import NOT_COMPATIBLE, Address, Provider, Realtime
from sluice.values.errors import MalformedRequest
from sluice.values.request import Header, Step

TARGET: Final = b"x-fal-target-url"
"""By which fal's own clients tell a proxy where to go."""
_HOST: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*fal\.(?:run|ai)")
_IN_PATH: Final = re.compile(rb"[!-\x7e]*")


def _retarget(step: Step) -> Step:
    """The step at the URL that its header names: its host, where it is not the usual one, begins the path."""
    url = next((value for name, _, value in step.headers if name == TARGET), None)
    if url is None:
        return step
    host, path, query = _target(url)
    return msgspec.structs.replace(
        step,
        endpoint=path if host == "fal.run" else b"%b/%b" % (host.encode(), path),
        query=query,
        headers=[header for header in step.headers if header[0] != TARGET],
    )


def _target(url: bytes) -> tuple[str, bytes, bytes]:
    """Host, path and query of a URL of fal's. A key of fal's goes nowhere else."""
    try:
        parts = urlsplit(url.decode("ascii"))
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    whole = parts.scheme == "https" and parts.username is None and port in (None, 443)
    if not whole or not _HOST.fullmatch(host) or not _IN_PATH.fullmatch(url):
        raise MalformedRequest("x-fal-target-url must be an https URL of fal.run or fal.ai")
    return host, parts.path.lstrip("/").encode(), parts.query.encode()


def _locate(endpoint: bytes) -> Address | None:
    """A path that begins with another host of fal's goes there."""
    host, _, rest = endpoint.partition(b"/")
    name = host.decode("latin-1").lower()
    if b"." not in host or name == "fal.run" or not _HOST.fullmatch(name):
        return None
    return Address(f"https://{name}", rest, endpoint)


def _sign(key: bytes) -> tuple[Header, ...]:
    return ((b"authorization", b"Authorization", b"Key " + key),)


FAL: Final = Provider(
    "fal",
    "https://fal.run",
    locate=_locate,
    retarget=_retarget,
    sign=_sign,
    key_parameters=(b"fal_jwt_token",),
    compat=NOT_COMPATIBLE,
    realtime=Realtime(base_url="https://ws.fal.run"),
)
