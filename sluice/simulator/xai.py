"""xAI's wire: OpenAI's, and Anthropic's messages for those who come with Anthropic's SDK."""

from typing import Final

from sluice.simulator.anthropic import ANTHROPIC
from sluice.simulator.call import Call
from sluice.simulator.openai import OPENAI
from sluice.simulator.vendor import Vendor


def _wire(call: Call) -> Vendor:
    return ANTHROPIC if call.path.startswith("v1/messages") else OPENAI


GROK: Final = Vendor(
    lambda call, shelf: _wire(call).answer(call, shelf),
    lambda call, status, message: _wire(call).refusal(call, status, message),
    lambda call: _wire(call).error_event(call),
    OPENAI.model_in_path,
    OPENAI.live,
)
