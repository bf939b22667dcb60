"""What is wrong in a data folder, or around it."""

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is damaged or missing, set up wrongly, or worth knowing."""

    path: str
    what: str
    remedy: str = ""
    """What the operator can do about it."""
    mendable: bool = False
    """Whether `sluice doctor --repair` does it."""
    grade: Literal["damaged", "wrong", "note"] = "damaged"
    """A note is no fault."""
