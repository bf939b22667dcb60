"""What a model costs."""

import msgspec


class Rates(msgspec.Struct, frozen=True, gc=False):
    """Prices of a model in nano-USD per million tokens (1e-15 USD a token); None where the list has none."""

    input: int | None
    output: int | None
    cached_input: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    cache_write_1h: int | None = None
    characters: int | None = None
    """Per million characters that are spoken."""
    audio_hour: int | None = None
    """Nano-USD per hour of sound that is heard;"""
    requests: int | None = None
    """and per thousand calls, beside their tokens."""
    edition: str = ""
    """Which list they are of, where that is known."""
    cached_audio_input: int | None = None
