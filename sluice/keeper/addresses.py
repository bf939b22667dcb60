"""Which shard the frames of a gateway belong to, at hand as long as its account has not changed."""

from typing import Final, NamedTuple

from sluice.storage.ports import ControlReader, Generations
from sluice.values.log import ShardKey

_KNOWN: Final = 10_000


class _Known(NamedTuple):
    generation: int
    shard: ShardKey | None


class Addresses:
    def __init__(self, control: ControlReader, generations: Generations) -> None:
        self._control, self._generations = control, generations
        self._known: dict[bytes, _Known] = {}
        self._deleted: set[str] = set()

    def shard(self, gateway_id: bytes, account: str) -> ShardKey | None:
        """Where this gateway's logs go, None once it is deleted. Raises StoreFault.

        A gateway that is neither known nor deleted, as after a restored backup, keeps its logs under the account
        that its frames name.
        """
        generation = self._generations.of(account)
        known = self._known.get(gateway_id)
        if known is None or known.generation != generation:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            known = self._known[gateway_id] = _Known(generation, self._look_up(gateway_id, account))
        return known.shard

    def newly_deleted(self) -> list[ShardKey]:
        """Deleted gateways whose shards were not reported with `dropped` yet. None of their frames gets a shard."""
        fresh = [shard for shard in self._control.deleted_gateways() if shard.gateway not in self._deleted]
        for shard in fresh:
            gateway_id = bytes.fromhex(shard.gateway)
            self._known[gateway_id] = _Known(self._generations.of(shard.account), None)
        return fresh

    def dropped(self, shard: ShardKey) -> None:
        self._deleted.add(shard.gateway)

    def _look_up(self, gateway_id: bytes, account: str) -> ShardKey | None:
        gateway = self._control.gateway_by_id(gateway_id)
        if gateway is not None:
            return ShardKey(gateway.account, gateway_id.hex())
        name = gateway_id.hex()
        if name in self._deleted or any(shard.gateway == name for shard in self._control.deleted_gateways()):
            return None
        return ShardKey(account, name)
