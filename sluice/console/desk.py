"""What the handlers work with: the stores, each behind its own threads, and the settings."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from sluice.console.envelope import busy
from sluice.storage.ports import ControlStore, LogReader
from sluice.values.rates import Rates
from sluice.values.settings import Settings

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

LOG_THREADS: Final = 4


class Desk:
    """One thread asks the control store, for a write waits for the disk; a few read logs, each with its own reader.

    Owned by `serve`, which closes it. The control store stays its opener's.
    """

    def __init__(
        self,
        control: ControlStore,
        open_logs: Callable[[], LogReader],
        *,
        settings: Settings,
        providers: frozenset[str],
        resolve_rates: Callable[[str, str], Rates | None],
    ) -> None:
        self.control = control
        self.settings = settings
        self.providers = providers
        self.resolve_rates = resolve_rates
        self.open_logs = open_logs
        self._readers: list[LogReader] = []
        self._mine = threading.local()
        self._control_thread = ThreadPoolExecutor(1, "control")
        self._log_threads = ThreadPoolExecutor(LOG_THREADS, "logs", initializer=self._take_reader)

    @property
    def metrics_folder(self) -> Path:
        return self.settings.data / "metrics"

    async def ask(self, question: Callable[Given, Answer], *given: Given.args, **named: Given.kwargs) -> Answer:
        """Runs a call to the control store. One that has begun is finished, whatever becomes of its asker."""
        return await asyncio.get_running_loop().run_in_executor(self._control_thread, lambda: question(*given, **named))

    async def read_logs(self, question: Callable[[LogReader], Answer]) -> Answer:
        """Runs a query on a reader of this thread, within the time a query may take."""
        return await self.run_slowly(lambda: question(self._reader))

    async def run_slowly(self, question: Callable[[], Answer]) -> Answer:
        """Likewise, without a reader."""
        budget_s = self.settings.console.query_timeout_s
        try:
            async with asyncio.timeout(budget_s):
                return await asyncio.get_running_loop().run_in_executor(self._log_threads, question)
        except TimeoutError:
            raise busy(f"The query took longer than {budget_s:g} s") from None

    def close(self) -> None:
        self._control_thread.shutdown()
        self._log_threads.shutdown(cancel_futures=True)
        for reader in self._readers:
            reader.close()

    @property
    def _reader(self) -> LogReader:
        reader: LogReader = self._mine.reader
        return reader

    def _take_reader(self) -> None:
        self._mine.reader = self.open_logs()
        self._readers.append(self._mine.reader)
