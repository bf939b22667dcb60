"""How a connection is made: directly, to the first address that answers, or through the operator's proxy."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from sluice.upstream.connection import Connection
from sluice.upstream.names import Names
from sluice.upstream.origin import Origin
from sluice.upstream.proxy import Proxy
from sluice.upstream.racing import first_made, interleaved
from sluice.values.errors import UpstreamUnreachable

Hosts = Callable[[Origin], Awaitable[list[str]]]
"""What to connect to for an origin that an account has named."""


async def no_foreigner(origin: Origin) -> list[str]:
    """For clients that no account may send anywhere."""
    raise UpstreamUnreachable("Custom providers are not served here")


class Dialling:
    """Dials origins. Raises OSError, TimeoutError, UpstreamUnreachable and what `hosts` raises."""

    def __init__(
        self,
        trust: ssl.SSLContext,
        hosts: Hosts = no_foreigner,
        names: Names | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self._trust, self._hosts, self._names, self._proxy = trust, hosts, names or Names(), proxy
        self._loop = asyncio.get_running_loop()

    async def dial(self, origin: Origin, protocol: Callable[[], Connection]) -> Connection:
        if origin.unix:
            _, connection = await self._loop.create_unix_connection(protocol, origin.unix)
            return connection
        if self._proxy is not None and self._proxy.serves(origin):
            return await self._dial_through(self._proxy, origin, protocol)
        return await first_made(
            interleaved(await self._addresses(origin)), lambda host: self._connect(origin, host, protocol)
        )

    async def _addresses(self, origin: Origin) -> list[str]:
        """Those of an account's origin are public ones alone."""
        if origin.account:
            found = await self._hosts(origin)
        else:
            found = await self._names.addresses(origin.host, origin.port)
        if not found:
            raise UpstreamUnreachable(f"{origin.host} cannot be reached: it has no address to be dialled")
        return found

    async def _connect(self, origin: Origin, host: str, protocol: Callable[[], Connection]) -> Connection:
        """To a host, which may be an address of the origin; its certificate must be the origin's."""
        name = origin.host if origin.tls else None
        trust = self._trust if origin.tls else None
        _, connection = await self._loop.create_connection(protocol, host, origin.port, ssl=trust, server_hostname=name)
        return connection

    async def _dial_through(self, proxy: Proxy, origin: Origin, protocol: Callable[[], Connection]) -> Connection:
        """The proxy finds an operator's origin by its name. Of an account's it gets an address that was looked at."""
        host = (await self._addresses(origin))[0] if origin.account else origin.host
        to_proxy = interleaved(await self._names.addresses(proxy.host, proxy.port))
        if not to_proxy:
            raise UpstreamUnreachable("The proxy cannot be reached: it has no address to be dialled")
        tunnel = await first_made(to_proxy, lambda address: proxy.connect(address, host, origin.port))
        try:
            connection = protocol()
            transport = await self._loop.start_tls(
                tunnel.transport, connection, self._trust, server_hostname=origin.host
            )
        except BaseException:
            tunnel.abort()
            raise
        if transport is None:
            raise UpstreamUnreachable(f"{origin.host} cannot be reached: the proxy has closed the connection")
        connection.connection_made(transport)
        return connection
