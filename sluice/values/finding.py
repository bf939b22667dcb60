"""What is wrong in a data folder."""

import msgspec


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is damaged or missing."""

    path: str
    what: str
    remedy: str = ""
    """What the operator can do about it."""
    mendable: bool = False
    """Whether `sluice doctor --repair` does it."""
