"""Where the endpoints of providers are."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from sluice.engine.custom_targets import CustomTargets
from sluice.engine.target import Target, check_path, host_line, port_of
from sluice.providers.provider import Provider
from sluice.providers.registry import PROVIDERS
from sluice.upstream.http import HttpClient
from sluice.upstream.origin import Origin
from sluice.values.request import Step

MOST_TARGETS: Final = 4096
MOST_ROOTS: Final = 256
LONGEST_TARGET: Final = 256


class Targets:
    """Finds endpoints, and remembers them: clients call the same few over and over."""

    def __init__(
        self, base_urls: Mapping[str, str], client: HttpClient, providers: Mapping[str, Provider] = PROVIDERS
    ) -> None:
        self.known: dict[tuple[str, bytes], Target] = {}
        """Those that are the same for all accounts."""
        self._own: dict[tuple[str, bytes, str], Target] = {}
        """Those that are not."""
        self._given = {name: root_of(providers[name], base_url, client) for name, base_url in base_urls.items()}
        self._roots: dict[tuple[str, str], Target] = {}
        """By provider and its own base URL."""
        self._client, self._providers = client, providers
        self._customs = CustomTargets(client)

    def find(self, step: Step, account: str) -> Target:
        """The target of a step. Raises MalformedRequest for a path that leads nowhere, and Overloaded."""
        if step.custom is not None:
            return self._customs.find(step.custom, step.endpoint, account)
        known = self.known.get((step.provider, step.endpoint))
        return known or self._own.get((step.provider, step.endpoint, account)) or self._find(step, account)

    def _find(self, step: Step, account: str) -> Target:
        provider = self._providers[step.provider]
        check_path(step.endpoint)
        address = provider.address(step.endpoint, account)
        root, path = self._given.get(provider.name), address.endpoint
        if root is None:
            root, path = self._root(provider, address.base_url), address.path
        path = b"%b/%b" % (root.path, path)
        target = msgspec.structs.replace(root, path=path, endpoint=address.endpoint.decode("ascii", "replace"))
        self._remember(step, account, target)
        return target

    def _remember(self, step: Step, account: str, target: Target) -> None:
        if len(self.known) + len(self._own) >= MOST_TARGETS:
            self._forget_targets()
        if len(target.path) > LONGEST_TARGET:
            return
        if target.provider.per_account and target.provider.name not in self._given:
            self._own[step.provider, step.endpoint, account] = target
        else:
            self.known[step.provider, step.endpoint] = target

    def _root(self, provider: Provider, base_url: str) -> Target:
        root = self._roots.get((provider.name, base_url))
        if root is None:
            if len(self._roots) >= MOST_ROOTS:
                self._forget_roots()
            root = self._roots[provider.name, base_url] = root_of(provider, base_url, self._client)
        return root

    def _forget_roots(self) -> None:
        """Gives up hosts that no connection is open to: of some vendors the clients choose them, ever new ones."""
        self._forget_targets()
        self._roots = {key: root for key, root in self._roots.items() if not self._client.forget(root.pool)}

    def _forget_targets(self) -> None:
        self.known.clear()
        self._own.clear()


def root_of(provider: Provider, base_url: str, client: HttpClient) -> Target:
    """Where to send what is meant for a provider. Raises ValueError for what is no http URL."""
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"providers.{provider.name}.base_url must be an http or https URL, not {base_url!r}")
    path = url.path.rstrip("/").encode()
    if provider.endpoint(b"").startswith(b"v1/"):
        path = path.removesuffix(b"/v1")  # operators write both forms
    origin = Origin(url.hostname, port_of(url), url.scheme == "https")
    return Target(provider, client.pool(origin), host_line(url), path, "")
