"""The operator's proxies before Sluice, which are believed what a client asked of them (`server.trusted_proxies`)."""

import asyncio
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Final

FORWARDED: Final = b"x-forwarded-"
"""How the names of the fields begin in which proxies tell of a request."""
HOST: Final = b"x-forwarded-host"


class TrustedProxies:
    """Tells the connections of trusted proxies from all others. None of them is one without a network of theirs."""

    def __init__(self, networks: Sequence[str]) -> None:
        """`networks` are addresses or networks in CIDR notation. Raises ValueError for what is neither."""
        self._networks = [ip_network(network) for network in networks]

    def trusts(self, transport: asyncio.BaseTransport) -> bool:
        """Whether a proxy of the operator's is at the other end of a connection."""
        if not self._networks:
            return False
        peer = transport.get_extra_info("peername")
        if not isinstance(peer, tuple):  # it has closed already
            return False
        address = ip_address(peer[0])
        address = getattr(address, "ipv4_mapped", None) or address  # as a socket for both families shows IPv4
        return any(address in network for network in self._networks)


def host_asked(fields: Mapping[bytes, bytes], proxied: bool) -> bytes:
    """The host that the client asked, which a trusted proxy tells: of several, the one that the nearest proxy saw."""
    if proxied and (told := fields.get(HOST, b"").rpartition(b",")[2].strip()):
        return told
    return fields.get(b"host", b"")
