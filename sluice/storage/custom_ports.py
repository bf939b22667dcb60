"""What stores of custom providers promise, for every backend: see ports.py for the rest."""

from collections.abc import Callable, Sequence
from typing import Protocol

from sluice.storage.ports import NotThere
from sluice.values.custom_config import CustomCostConfig, CustomCostRecord, CustomProviderConfig, CustomProviderRecord
from sluice.values.custom_provider import CustomProvider


class UnknownProvider(NotThere):
    """A price names a provider that the account does not have."""


class CustomProviderReader(Protocol):
    """What workers and the keeper read. Never blocks on a writer; raises StoreFault."""

    def enabled(self, account: str, name: str) -> CustomProvider | None:
        """The account's provider of this name (`custom-` and the slug), None where none is enabled."""
        ...

    def prices(self, account: str, name: str) -> Sequence[CustomCostConfig]:
        """What the models of a provider cost, as far as that is enabled, whether the provider itself is or not."""
        ...

    def exact_models(self, account: str) -> list[tuple[str, str]]:
        """The models that a price names exactly, as the name of their provider and their own, each once, sorted.

        Of providers and prices that are enabled.
        """
        ...


class CustomProviderStore(CustomProviderReader, Protocol):
    """Written by one process alone, as ControlStore is: durable, and the account's generation bumped, at return.

    NotThere, AlreadyThere (of a slug) and TooMany are raised with nothing stored; so is what a `change` raises.
    Lists are in the order of making.
    """

    def providers(self, account: str) -> list[CustomProviderRecord]: ...

    def provider(self, account: str, provider_id: str) -> CustomProviderRecord | None: ...

    def create_provider(self, account: str, config: CustomProviderConfig) -> CustomProviderRecord: ...

    def change_provider(
        self, account: str, provider_id: str, change: Callable[[CustomProviderConfig], CustomProviderConfig]
    ) -> CustomProviderRecord:
        """Stores what `change` makes of the present fields."""
        ...

    def delete_provider(self, account: str, provider_id: str) -> CustomProviderRecord:
        """Its prices go with it, and the provider keys that gateways of the account have for it."""
        ...

    def costs(self, account: str) -> list[CustomCostRecord]: ...

    def cost(self, account: str, cost_id: str) -> CustomCostRecord | None: ...

    def create_cost(self, account: str, config: CustomCostConfig) -> CustomCostRecord:
        """Raises UnknownProvider."""
        ...

    def change_cost(
        self, account: str, cost_id: str, change: Callable[[CustomCostConfig], CustomCostConfig]
    ) -> CustomCostRecord:
        """Raises UnknownProvider too."""
        ...

    def delete_cost(self, account: str, cost_id: str) -> CustomCostRecord: ...
