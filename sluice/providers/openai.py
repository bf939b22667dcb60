"""OpenAI. https://platform.openai.com/docs/api-reference"""

from typing import Final

from sluice.providers.provider import Provider, versioned

OPENAI: Final = Provider(
    "openai",
    "https://api.openai.com",
    endpoint=versioned,
    terminal_line=b"data: [DONE]",  # the official SDK closes here (openai-python, _streaming.py)
)
