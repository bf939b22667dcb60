"""OpenAI. https://platform.openai.com/docs/api-reference"""

from typing import Final

from sluice.providers.provider import Provider, versioned

OPENAI: Final = Provider("openai", "https://api.openai.com", endpoint=versioned)  # its SDK hangs up at `data: [DONE]`
