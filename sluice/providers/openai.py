"""OpenAI. https://platform.openai.com/docs/api-reference"""

from typing import Final

from sluice.providers.provider import Compat, Provider, Realtime, at, versioned

OPENAI: Final = Provider(  # its SDK hangs up at `data: [DONE]`
    "openai",
    "https://api.openai.com",
    endpoint=versioned,
    compat=Compat(most_tokens="max_completion_tokens"),  # its models that reason refuse the other (2024-09)
    realtime=Realtime(at(b"realtime")),
)
