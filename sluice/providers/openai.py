"""OpenAI. https://platform.openai.com/docs/api-reference"""

from typing import Final

from sluice.providers.provider import Provider, Realtime, at, versioned

OPENAI: Final = Provider(  # its SDK hangs up at `data: [DONE]`
    "openai", "https://api.openai.com", endpoint=versioned, realtime=Realtime(at(b"realtime"))
)
