"""Who is believed what a client asked: the operator's own proxies, and nobody else."""

import asyncio
from typing import Any

import pytest

from sluice.edge.proxies import TrustedProxies, host_asked


class FromPeer(asyncio.BaseTransport):
    """A connection whose other end has this address."""

    def __init__(self, *address: Any) -> None:
        super().__init__({"peername": address or None})


@pytest.mark.parametrize(
    ("networks", "peer", "trusted"),
    [
        ((), ("127.0.0.1", 1), False),
        (("127.0.0.1",), ("127.0.0.1", 1), True),
        (("127.0.0.1",), ("127.0.0.2", 1), False),
        (("10.0.0.0/8", "192.0.2.7"), ("10.255.0.1", 1), True),
        (("10.0.0.0/8",), ("::ffff:10.1.2.3", 1, 0, 0), True),
        (("10.0.0.0/8",), ("::1", 1, 0, 0), False),
        (("fd00::/8",), ("fd12::1", 1, 0, 0), True),
        (("fe80::/10",), ("fe80::1%eth0", 1, 0, 2), True),
        (("10.0.0.0/8",), (), False),
    ],
)
def test_a_peer_in_a_network_of_theirs_is_trusted(networks: tuple[str, ...], peer: tuple[Any, ...], trusted: bool):
    assert TrustedProxies(networks).trusts(FromPeer(*peer)) is trusted


@pytest.mark.parametrize("network", ["10.0.0.1/8", "proxy.example.com", "", "10.0.0.0/40"])
def test_what_is_no_network_is_refused(network: str):
    with pytest.raises(ValueError, match=r"host bits set|does not appear to be"):
        TrustedProxies((network,))


@pytest.mark.parametrize(
    ("told", "proxied", "host"),
    [
        (None, True, b"inside:8787"),
        (b"", True, b"inside:8787"),
        (b"a.example.com", False, b"inside:8787"),
        (b"a.example.com", True, b"a.example.com"),
        (b"forged.example.com, a.example.com:443", True, b"a.example.com:443"),
    ],
)
def test_the_host_is_the_one_that_the_nearest_trusted_proxy_saw(told: bytes | None, proxied: bool, host: bytes):
    fields = {b"host": b"inside:8787"} | ({} if told is None else {b"x-forwarded-host": told})
    assert host_asked(fields, proxied) == host
