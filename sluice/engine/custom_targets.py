"""Where the endpoints of custom providers are."""

from typing import Final
from urllib.parse import urlsplit

import msgspec

from sluice.engine.target import Target, check_path, host_line, port_of
from sluice.providers.custom import CUSTOM
from sluice.upstream.http import HttpClient
from sluice.upstream.origin import Origin
from sluice.values.custom_provider import CustomProvider

MOST_ROOTS: Final = 1024


class _Root(msgspec.Struct, frozen=True):
    """Where a provider is, as long as its account does not change it."""

    custom: CustomProvider
    origin: Origin
    host_line: bytes
    path: bytes


class CustomTargets:
    """Finds endpoints. Their pools come and go with their use, so the client is asked for one each time."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._roots: dict[str, _Root] = {}

    def find(self, custom: CustomProvider, endpoint: bytes, account: str) -> Target:
        """Raises MalformedRequest for a path that leads upwards, Overloaded where no pool can be had."""
        check_path(endpoint)
        root = self._roots.get(custom.id)
        if root is None or root.custom is not custom:
            root = self._remember(custom, account)
        path = b"%b/%b" % (root.path, endpoint)
        pool = self._client.pool(root.origin)
        return Target(CUSTOM, pool, root.host_line, path, endpoint.decode("ascii", "replace"))

    def _remember(self, custom: CustomProvider, account: str) -> _Root:
        if len(self._roots) >= MOST_ROOTS:
            self._roots.clear()
        url = urlsplit(custom.base_url)
        origin = Origin(url.hostname or "", port_of(url), url.scheme == "https", account=account)
        root = self._roots[custom.id] = _Root(custom, origin, host_line(url), url.path.rstrip("/").encode())
        return root
