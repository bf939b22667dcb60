"""Every vendor whose wire the simulator speaks, by the first segment of a path."""

from collections.abc import Mapping
from typing import Final

from sluice.simulator.openai import OPENAI
from sluice.simulator.openai_dialects import DIALECTS
from sluice.simulator.vendor import Vendor

VENDORS: Final[Mapping[str, Vendor]] = dict.fromkeys(DIALECTS, OPENAI)
"""Those in the dialects of OpenAI's wire, and those with a wire of their own."""
