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
