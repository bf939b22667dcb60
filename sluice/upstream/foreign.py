"""The way to origins that accounts name: public addresses by TLS alone, unless the operator allows more."""

from collections.abc import Iterable
from typing import Final

from sluice.metrics import Metrics
from sluice.upstream.addresses import is_public
from sluice.upstream.names import Names
from sluice.upstream.origin import Origin
from sluice.upstream.pool import Pool
from sluice.values.errors import Overloaded, UpstreamUnreachable
from sluice.values.settings import CustomProviderSettings

MOST_POOLS: Final = 256
MOST_OF_ACCOUNT: Final = 128
"""More than it may have providers: those that it had before are idle soon."""


class Foreign:
    """What may be dialled, and the pools of what was; one for each worker."""

    def __init__(self, rule: CustomProviderSettings, metrics: Metrics, names: Names | None = None) -> None:
        self._rule, self._names = rule, names or Names()
        self._pools: dict[Origin, Pool] = {}
        """The one used last at the end."""
        self._count = metrics.gauge("sluice_custom_origins", "Origins of custom providers with a pool of connections.")
        self._refused = metrics.counter(
            "sluice_custom_origins_refused_total", "Connections to custom providers refused for their addresses."
        )

    async def hosts(self, origin: Origin) -> list[str]:
        """What to connect to, in order: addresses that have been looked at, so no name is resolved a second time.

        Empty for a name that leads inside, as for one that leads nowhere: its caller is not to tell them apart. Raises
        Overloaded, and UpstreamUnreachable where the origin is not to be dialled at all.
        """
        if not (origin.tls or self._rule.allow_http):
            self._refused.add()
            raise UpstreamUnreachable("Custom providers must be at https addresses")
        found = await self._names.addresses(origin.host, origin.port, origin.account)
        if self._rule.allow_private:
            return found
        public = [address for address in found if is_public(address)]
        if found and not public:
            self._refused.add()
        return public

    def pool(self, origin: Origin) -> Pool | None:
        """The pool of an origin, if there is one."""
        pool = self._pools.pop(origin, None)
        if pool is not None:
            self._pools[origin] = pool
        return pool

    def keep(self, pool: Pool) -> Pool:
        """Keeps a new pool, in the place of the one that has been idle longest. Raises Overloaded where none is."""
        own = [other for other in self._pools.values() if other.origin.account == pool.origin.account]
        if len(own) >= MOST_OF_ACCOUNT:
            self._make_room(own)
        elif len(self._pools) >= MOST_POOLS:
            self._make_room(self._pools.values())
        self._pools[pool.origin] = pool
        self._count.set(len(self._pools))
        return pool

    def _make_room(self, among: Iterable[Pool]) -> None:
        idle = next((pool for pool in among if pool.is_idle), None)
        if idle is None:
            raise Overloaded
        del self._pools[idle.origin]
        idle.close()

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
