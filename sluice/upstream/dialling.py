"""How a connection is made."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from sluice.upstream.connection import Connection
from sluice.upstream.origin import Origin
from sluice.values.errors import UpstreamUnreachable

Hosts = Callable[[Origin], Awaitable[list[str]]]
"""What to connect to for an origin that an account has named."""


async def no_foreigner(origin: Origin) -> list[str]:
    """For clients that no account may send anywhere."""
    raise UpstreamUnreachable("Custom providers are not served here")


class Dialling:
    """Dials origins. Raises OSError, TimeoutError, UpstreamUnreachable and what `hosts` raises."""

    def __init__(self, trust: ssl.SSLContext, hosts: Hosts = no_foreigner) -> None:
        self._trust, self._hosts = trust, hosts
        self._loop = asyncio.get_running_loop()

    async def dial(self, origin: Origin, protocol: Callable[[], Connection]) -> Connection:
        if origin.unix:
            _, connection = await self._loop.create_unix_connection(protocol, origin.unix)
            return connection
        if not origin.account:
            return await self._connect(origin, origin.host, protocol)
        failure: Exception = UpstreamUnreachable(f"{origin.host} cannot be reached: it has no address to be dialled")
        for host in await self._hosts(origin):
            try:
                return await self._connect(origin, host, protocol)
            except OSError as error:
                failure = error
        raise failure

    async def _connect(self, origin: Origin, host: str, protocol: Callable[[], Connection]) -> Connection:
        """To a host, which may be an address of the origin; its certificate must be the origin's."""
        name = origin.host if origin.tls else None
        trust = self._trust if origin.tls else None
        _, connection = await self._loop.create_connection(protocol, host, origin.port, ssl=trust, server_hostname=name)
        return connection
