"""The models that a caller can be told of without asking a provider (contract 1.3)."""

from collections.abc import Callable, Container

from sluice.engine.compat import is_served
from sluice.engine.credentials import Credentials
from sluice.providers.registry import PROVIDERS
from sluice.values.request import Options
from sluice.values.tenancy import Admission

Models = list[tuple[str, str]]
"""Each as its provider and that one's own name for it."""


class Catalogue:
    """`listed` tells the models of the price list, `own` those of an account's custom providers."""

    def __init__(self, listed: Callable[[], Models], own: Callable[[str], Models], credentials: Credentials) -> None:
        self._listed, self._own, self._credentials = listed, own, credentials

    def models(self, admission: Admission, options: Options, sent: Container[bytes]) -> Models:
        """Those of providers that requests with these headers have a key of, and all of the account's own providers.

        Raises StoreFault.
        """
        keyed = {
            slug
            for slug, provider in PROVIDERS.items()
            if is_served(slug) and self._credentials.has_key(provider, sent, admission, options)
        }
        listed = [model for model in self._listed() if model[0] in keyed]
        return listed + self._own(admission.gateway.account)
