"""The table of all families."""

from bench.abuse import bodies, framing, heads, management, mutated, providers, sockets

FAMILIES = (
    *heads.FAMILIES,
    *framing.FAMILIES,
    *bodies.FAMILIES,
    *sockets.FAMILIES,
    *providers.FAMILIES,
    *management.FAMILIES,
    *mutated.FAMILIES,
)
