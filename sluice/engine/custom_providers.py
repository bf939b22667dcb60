"""Custom providers at hand, and steps that go to one."""

from collections.abc import Callable
from typing import Final

import msgspec

from sluice.engine.remembered import Remembered
from sluice.providers.custom import unified_path
from sluice.storage.custom_ports import CustomProviderReader
from sluice.storage.ports import Generations
from sluice.values.custom_provider import CustomProvider, is_custom
from sluice.values.errors import GoesInCircles, InvalidProvider, ModelNotFound
from sluice.values.request import Step

MOST_ENTRIES: Final = 4096
"""Each may have 16 KB of headers."""
HOPS: Final = b"cf-aig-hops"
MOST_HOPS: Final = 4
"""A custom provider may be a gateway, and that gateway's provider another; one that leads back here never ends."""
Find = Callable[[str, str], CustomProvider | None]
"""An account's provider by its name, `custom-` and the slug; None where none of it is enabled. Raises StoreFault."""


class CustomProviders:
    """Answers from memory what the control store said."""

    def __init__(self, reader: CustomProviderReader, generations: Generations) -> None:
        self.find: Find = Remembered(reader.enabled, generations, MOST_ENTRIES).of


def nobody(account: str, name: str) -> CustomProvider | None:
    """For accounts that have brought no provider."""
    return None


def customised(step: Step, account: str, find: Find) -> Step:
    """A step whose provider is not one of ours as it can be sent.

    Raises InvalidProvider, GoesInCircles, and ModelNotFound for one that the id of a model has named.
    """
    by_model_id = step.translation is not None and step.translation.dialect != "gateway"
    custom = find(account, step.provider) if is_custom(step.provider) else None
    if custom is None:
        raise ModelNotFound(f"{step.provider}/{step.model}") if by_model_id else InvalidProvider(step.provider)
    hops = step.options.hops
    if hops >= MOST_HOPS:
        raise GoesInCircles
    return msgspec.structs.replace(
        step,
        custom=custom,
        headers=[*custom.completed(step.headers), (HOPS, HOPS, b"%d" % (hops + 1))],
        endpoint=unified_path(step.endpoint, custom.base_url) if step.compat or by_model_id else step.endpoint,
    )
