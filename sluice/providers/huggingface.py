"""Hugging Face's inference API. https://huggingface.co/docs/api-inference"""

from typing import Final

from sluice.providers.provider import NOT_COMPATIBLE, Provider

HUGGINGFACE: Final = Provider("huggingface", "https://api-inference.huggingface.co/models", compat=NOT_COMPATIBLE)
