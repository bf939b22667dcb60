"""The price list in a process of its own: genai-prices takes 0.4 s of processor to load, and 80 MB.

Down goes a question a line, up comes its answer. End-of-file ends the process, so the console's death does too.
"""

import asyncio
import contextlib
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from sluice.values.rates import Rates

DEADLINE_S: Final = 30
"""For one answer, the loading of the list included; it takes 1 s where a core is free."""
ANSWER_BYTES: Final = 8 * 1024 * 1024
"""The whole list is 0.3 MB."""


class Listed(NamedTuple):
    """A line of the list."""

    provider: str
    model: str
    rates: Rates


class Asked(NamedTuple):
    """What the list says of a model; None where it does not know it."""

    provider: str
    model: str
    rates: Rates | None


class Question(msgspec.Struct, frozen=True):
    now: datetime
    """Prices are dated."""
    asked: list[tuple[str, str]]
    """Provider and model each."""
    part: int | None = None
    """Which part of the list is wanted too. It comes in parts, so that no model has to wait for all of it."""


class Answer(msgspec.Struct, frozen=True):
    asked: list[Asked]
    listed: list[Listed]
    parts: int
    """How many the list has."""


class PriceListFault(Exception):
    """The process died, said too much, or took too long."""


class PriceList:
    """A running process that knows the list."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def ask(self, question: Question) -> Answer:
        """Raises PriceListFault; then the process is of no more use."""
        down, up = self._process.stdin, self._process.stdout
        assert down is not None
        assert up is not None
        try:
            async with asyncio.timeout(DEADLINE_S):
                down.write(msgspec.json.encode(question) + b"\n")
                await down.drain()
                return msgspec.json.decode(await up.readuntil(b"\n"), type=Answer)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, msgspec.MsgspecError) as error:
            raise PriceListFault(f"{type(error).__name__}: {error}") from error


@contextlib.asynccontextmanager
async def open_price_list(program: Sequence[str]) -> AsyncIterator[PriceList]:
    """Starts the process; it ends with the block. Raises OSError where none can be had."""
    process = await asyncio.create_subprocess_exec(*program, stdin=PIPE, stdout=PIPE, limit=ANSWER_BYTES)
    try:
        yield PriceList(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()  # it has nothing to lose
        await process.communicate()  # not wait(): that hangs where an answer too long has held up the pipe
