"""Every vendor whose wire the simulator speaks, by the first segment of a path."""

from collections.abc import Mapping
from typing import Final

from sluice.simulator.anthropic import ANTHROPIC
from sluice.simulator.google import GOOGLE
from sluice.simulator.openai import OPENAI
from sluice.simulator.openai_dialects import DIALECTS
from sluice.simulator.vendor import Vendor

VENDORS: Final[Mapping[str, Vendor]] = {
    **dict.fromkeys(DIALECTS, OPENAI),
    "anthropic": ANTHROPIC,
    "google-ai-studio": GOOGLE,
}
