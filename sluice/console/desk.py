"""What the handlers work with: the stores, each behind its own threads, and the settings."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from pathlib import Path
from typing import Final, ParamSpec, Protocol, TypeVar

from sluice.console.envelope import busy
from sluice.console.wanted import WantedPrices
from sluice.storage.custom_ports import CustomProviderStore
from sluice.storage.ports import AnalyticsReader, ControlStore, LogReader, UsageReader
from sluice.storage.provider_keys import ProviderKeyStore
from sluice.values.command import Change
from sluice.values.log import ShardKey
from sluice.values.settings import Settings

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

_LONGEST_NAME: Final = 64
LOG_THREADS: Final = 4
SEARCH_THREADS: Final = 2
SEARCH_S: Final = 5.0
"""How long one may look for logs that are not wanted at once, as those of a delete."""

BODY_SEARCH_S: Final = 2.0
"""How long one call may look through bodies; the next one goes on from there."""


class Commands(Protocol):
    """The way to whoever may change stored logs."""

    async def give(self, shard: ShardKey, log_ids: Sequence[str], change: Change | None) -> int:
        """Has these logs changed, without a change deleted; returns how many of them there were. Raises ApiError."""
        ...


class SpendReader(Protocol):
    """What was spent under the rules of spend limits."""

    def spent(self, buckets: Sequence[bytes]) -> list[list[tuple[int, int]]]:
        """For each bucket pairs of a time, in microseconds since the epoch, and nano-USD. Raises StoreFault."""
        ...


class Desk:
    """One thread asks the control store, for a write waits for the disk; a few read logs and files.

    The stores stay their opener's, who closes the desk first.
    """

    def __init__(
        self,
        control: ControlStore,
        logs: LogReader,
        analytics: AnalyticsReader,
        usage: UsageReader,
        commands: Commands,
        *,
        keys: ProviderKeyStore,
        customs: CustomProviderStore,
        spend: SpendReader,
        settings: Settings,
        providers: frozenset[str],
    ) -> None:
        self.control = control
        self.customs = customs
        self.logs = logs
        self.analytics = analytics
        self.usage = usage
        self.commands = commands
        self.keys = keys
        """On the control store's thread, for it is one with it."""
        self.spend = spend
        self.settings = settings
        self.providers = providers
        self.wanted = WantedPrices()
        self._control_thread = ThreadPoolExecutor(1, "control")
        self._reading_threads = ThreadPoolExecutor(LOG_THREADS, "reading")
        self._searching_threads = ThreadPoolExecutor(SEARCH_THREADS, "searching")

    @property
    def metrics_folder(self) -> Path:
        return self.settings.data / "metrics"

    def no_provider(self, name: str) -> str:
        """That there is none of this name, with the one that may be meant."""
        near = get_close_matches(name[:_LONGEST_NAME].lower(), sorted(self.providers), 1)
        return f"There is no provider {name[:_LONGEST_NAME]}" + (f": is {near[0]} meant?" if near else "")

    async def ask(self, question: Callable[Given, Answer], *given: Given.args, **named: Given.kwargs) -> Answer:
        """Runs a call to the control store. One that has begun is finished, whatever becomes of its asker."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._control_thread, lambda: question(*given, **named))

    async def read(self, question: Callable[Given, Answer], *given: Given.args, **named: Given.kwargs) -> Answer:
        """Runs something that reads logs or files. The store bounds a query; this bounds the wait for a thread too."""
        budget_s = self.settings.console.query_timeout_s
        return await _within(2 * budget_s, self._reading_threads, lambda: question(*given, **named))

    async def search(self, question: Callable[Given, Answer], *given: Given.args, **named: Given.kwargs) -> Answer:
        """Runs something that reads logs for up to SEARCH_S, on threads of its own: lists go on beside it."""
        return await _within(2 * SEARCH_S, self._searching_threads, lambda: question(*given, **named))

    async def read_all(self, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces, each read by a thread; none is held while the client takes its time."""

        def following() -> bytes | None:
            return next(pieces, None)

        while (piece := await self.read(following)) is not None:
            yield piece

    def close(self) -> None:
        self._control_thread.shutdown()
        self._reading_threads.shutdown(cancel_futures=True)
        self._searching_threads.shutdown(cancel_futures=True)


async def _within(timeout_s: float, threads: ThreadPoolExecutor, question: Callable[[], Answer]) -> Answer:
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().run_in_executor(threads, question)
    except TimeoutError:
        raise busy("The logs cannot be read at present, try again") from None
