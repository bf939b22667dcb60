"""Reads the reply of a step to its end, and that into its log, before another step begins."""

import asyncio
from typing import Final

from sluice.engine.held import MOST_HELD_BYTES
from sluice.engine.recorder import Record
from sluice.values.errors import GatewayError, UpstreamBroken
from sluice.values.reply import Reply

MOST_DRAINED_BYTES: Final = 2 * MOST_HELD_BYTES
"""More than may have been held of it already."""
DRAIN_S: Final = 2.0


async def drain(record: Record, reply: Reply) -> None:
    """Returns once the record is ended, truthfully: no client waits without bounds for a reply that it does not get."""
    record.watch(reply.body)
    try:
        async with asyncio.timeout(DRAIN_S):
            ended = await _read(record)
    except TimeoutError:
        ended = False
    except GatewayError:
        record.close()  # it has ended itself
        return
    except BaseException:
        record.close()
        raise
    if not ended:
        await record.spoil(UpstreamBroken("The rest of a reply that did not serve was not waited for"))
        record.close()


async def _read(record: Record) -> bool:
    """Whether the reply came to its end within the bound."""
    size = 0
    while size <= MOST_DRAINED_BYTES:
        part = record.poll() or await record.read()
        size += len(part.data)
        if part.last:
            return True
    return False
