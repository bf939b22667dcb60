"""The operator's proxy to providers: a tunnel by CONNECT (RFC 9110, 9.3.6), TLS to the provider within it."""

import asyncio
import re
from base64 import b64encode
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final, Self, cast
from urllib.parse import unquote, urlsplit

from sluice.upstream.addresses import parsed
from sluice.upstream.origin import Origin
from sluice.values.errors import UpstreamUnreachable
from sluice.values.secret import Secret

HEAD_BYTES: Final = 16 * 1024
_KIND: Final = (
    "a proxy is http://host:port, perhaps with user:password@ before the host, where characters other than letters and"
    " digits are written as %23 is for #"
)
_ANSWER: Final = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r\n)")


class Proxy:
    """Which origins go through it, and how. Its credential is shown to nobody but the proxy."""

    def __init__(self, host: str, port: int, credential: Secret, direct: Sequence[str] = ()) -> None:
        """`direct` names what is dialled without it: see `is_direct`."""
        self.host, self.port, self._credential, self._direct = host, port, credential, direct

    @classmethod
    def of(cls, url: str, direct: Sequence[str]) -> Self | None:
        """From `http://[user:password@]host[:port]`; None for no URL. Raises ValueError for another kind of URL."""
        if not url:
            return None
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host, port = None, 0  # what is wrong with it may be a part of the password, and is not told
        if not host or parts.scheme != "http" or parts.path not in ("", "/") or parts.query or "#" in url:
            raise ValueError(_KIND)
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else ""
        return cls(host, port, Secret(user), tuple(direct))

    def serves(self, origin: Origin) -> bool:
        """Whether connections to an origin go through it: those by TLS do."""
        return origin.tls and not is_direct(origin.host, origin.port, self._direct)

    async def connect(self, address: str, host: str, port: int) -> "Tunnel":
        """A tunnel to the host through the proxy at this address. Raises OSError, UpstreamUnreachable."""
        _, tunnel = await asyncio.get_running_loop().create_connection(Tunnel, address, self.port)
        try:
            await tunnel.open(self._request(host, port))
        except BaseException:
            tunnel.abort()
            raise
        return tunnel

    def _request(self, host: str, port: int) -> bytes:
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self._credential:
            word = b64encode(self._credential.reveal().encode()).decode()
            lines.append(f"Proxy-Authorization: Basic {word}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")


class Tunnel(asyncio.Protocol):
    """A connection to the proxy until the proxy has connected it to somebody else."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._heard = b""
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self, request: bytes) -> None:
        """Raises UpstreamUnreachable where the proxy refuses."""
        self.transport.write(request)
        await self._answered

    def abort(self) -> None:
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, end, rest = self._heard.partition(b"\r\n\r\n")
        if not end and len(self._heard) <= HEAD_BYTES:
            return
        answer = _ANSWER.match(head + end)
        if answer is None or rest or not end:
            self._settle("it answered something that is not HTTP")
        elif not 200 <= int(answer[1]) < 300:
            self._settle(f"it answered {answer[1].decode()}")
        else:
            self._settle("")

    def connection_lost(self, error: Exception | None) -> None:
        self._settle("it closed the connection")

    def _settle(self, why: str) -> None:
        if self._answered.done():
            return
        if why:
            self._answered.set_exception(UpstreamUnreachable(f"The proxy does not let the call through: {why}"))
            self._answered.exception()  # who waited for it may have left
        else:
            self._answered.set_result(None)


def is_direct(host: str, port: int, direct: Sequence[str]) -> bool:
    """Whether a host is dialled without the proxy: this machine is, and what `direct` has.

    That is as curl and Go read NO_PROXY: `*`, a host with its subdomains, with or without a dot before it, an address
    or a network of addresses; a port after a host or an address confines it to that port.
    """
    host = host.lower().rstrip(".")
    address = parsed(host)
    if host == "localhost" or (address and address.is_loopback):
        return True
    for entry in direct:
        name, colon, its_port = entry.strip().lower().rpartition(":")
        if not (colon and its_port.isdecimal()) or (":" in name and not name.startswith("[")):
            name, its_port = entry.strip().lower(), ""
        if its_port and int(its_port) != port:
            continue
        if name == "*" or (_holds(name.strip("[]"), address) if address else _is_within(host, name)):
            return True
    return False


def _is_within(host: str, domain: str) -> bool:
    domain = domain.lstrip("*").strip(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _holds(network: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return address in ip_network(network, strict=False)
    except ValueError:
        return False
