"""Gives commands to the keeper: a frame in the console's own spool, the outcome over the keeper's socket."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from sluice.console.envelope import ApiError, busy
from sluice.metrics import Metrics
from sluice.spool.writer import SpoolRefuses, SpoolTaken, SpoolWriter
from sluice.values.command import Change, Command, Outcome
from sluice.values.log import ShardKey

WAITING: Final = 100
"""So many commands may wait for the keeper at once."""
TIMEOUT_S: Final = 5.0
_RETRY_S: Final = 0.05


class SpooledCommands:
    """All methods belong to the event loop's thread. The spool is opened by the first command."""

    def __init__(
        self, open_spool: Callable[[], SpoolWriter], keeper: Path, metrics: Metrics, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._open_spool, self._keeper, self._timeout_s = open_spool, str(keeper), timeout_s
        self._spool: SpoolWriter | None = None
        self._waiting = 0
        self._given = metrics.counter("sluice_commands_given_total", "Commands written to the spool.")
        self._refused = metrics.counter(
            "sluice_commands_refused_total", "Commands refused, as too many waited or the spool was full."
        )
        self._late = metrics.counter("sluice_commands_late_total", "Commands of which nothing was heard in time.")

    async def give(self, shard: ShardKey, log_ids: Sequence[str], change: Change | None) -> int:
        """Has these logs changed, without a change deleted; returns how many of them there were.

        When it returns the command is on disk, and done. Raises ApiError where it was refused, or is late: then it may
        still apply.
        """
        spool, command_id = self._write(shard, log_ids, change)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                found, _ = await asyncio.gather(self._outcome(command_id), spool.durable())
        except TimeoutError:
            self._late.add()
            raise busy(
                "The change was taken and may still apply, but it has not yet: look before you repeat it"
            ) from None
        finally:
            self._waiting -= 1
        return found

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _write(self, shard: ShardKey, log_ids: Sequence[str], change: Change | None) -> tuple[SpoolWriter, str]:
        if self._waiting >= WAITING:
            raise self._refusal("too many changes wait")
        try:
            spool = self._spool = self._spool or self._open_spool()
            command = Command(spool.mint.mint(), shard.account, list(dict.fromkeys(log_ids)), change)
            spool.order(bytes.fromhex(shard.gateway), command)
        except SpoolRefuses as error:
            raise self._refusal(str(error)) from error
        except (OSError, SpoolTaken) as error:
            raise self._refusal("the spool cannot be opened") from error
        self._given.add()
        return spool, command.id

    def _refusal(self, why: str) -> ApiError:
        self._refused.add()
        return busy(f"Nothing was changed, for {why}: try again later")

    async def _outcome(self, command_id: str) -> int:
        """Asks until the keeper tells: it may be starting, or die while it is asked."""
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_unix_connection(self._keeper)
                try:
                    writer.write(f"{command_id}\n".encode())
                    line = await reader.readline()
                finally:
                    writer.close()
                if line.endswith(b"\n"):
                    return msgspec.json.decode(line, type=Outcome).found
            await asyncio.sleep(_RETRY_S)
