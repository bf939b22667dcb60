"""Where connections go."""

import msgspec


class Origin(msgspec.Struct, frozen=True):
    """Where to connect: a host and a port, with TLS or without, or a unix socket."""

    host: str
    port: int
    tls: bool
    unix: str = ""
    account: str = ""
    """Whoever named it, where that was not the operator: only what foreign.py allows is dialled."""
