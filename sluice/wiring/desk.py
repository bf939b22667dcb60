"""Builds what a management call is answered with."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from sluice.console.desk import Commands, Desk
from sluice.providers.registry import SLUGS
from sluice.storage.embedded.analytics import EmbeddedAnalyticsReader
from sluice.storage.embedded.control import EmbeddedControlStore
from sluice.storage.embedded.custom_providers import EmbeddedCustomProviderStore
from sluice.storage.embedded.spend import EmbeddedSpendReader
from sluice.storage.embedded.usage import EmbeddedUsageReader
from sluice.storage.sealing import Vault
from sluice.values.settings import Settings
from sluice.wiring.stores import log_reader


@contextmanager
def opened_desk(settings: Settings, control: EmbeddedControlStore, commands: Commands) -> Iterator[Desk]:
    """A desk over the data folder, and the stores that only it reads, closed with it."""
    data, timeout_s = settings.data, settings.console.query_timeout_s
    with (
        closing(log_reader(settings)) as logs,
        closing(EmbeddedAnalyticsReader(data / "shards", query_timeout_s=timeout_s)) as analytics,
        closing(EmbeddedUsageReader(data / "usage.db")) as usage,
        closing(
            Desk(
                control,
                logs,
                analytics,
                usage,
                commands,
                keys=control.provider_keys(lambda: Vault.of(data)),
                customs=EmbeddedCustomProviderStore(control, lambda: Vault.of(data)),
                spend=EmbeddedSpendReader(data / "spend.db"),
                settings=settings,
                providers=SLUGS,
            )
        ) as desk,
    ):
        yield desk
