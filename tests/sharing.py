"""Lets several runs of pytest share the test files: `pytest -p tests.sharing --share=FOLDER`, as scripts/test does.

Each takes the next file that none has taken, whole, and collects it only then; those that take longest come first.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

LONGEST: Final = (
    "tests/test_store_bench.py",
    "tests/journeys/test_kill.py",
    "tests/journeys/test_websocket_bounds.py",
    "tests/journeys/test_memory.py",
    "tests/journeys/test_long_exchanges.py",
    "tests/journeys/test_logpush.py",
    "tests/contracts/test_objects.py",
    "tests/storage/embedded/test_away.py",
    "tests/test_peer_bench.py",
    "tests/test_fault_scoreboard.py",
    "tests/test_abuse.py",
    "tests/journeys/test_hardships.py",
    "tests/journeys/test_steady.py",
    "tests/journeys/test_backup.py",
    "tests/journeys/test_upgrade.py",
    "tests/supervisor/test_handover.py",
    "tests/journeys/test_realtime.py",
    "tests/storage/embedded/test_repair.py",
    "tests/journeys/test_universal_faults.py",
    "tests/journeys/test_damage.py",
    "tests/journeys/test_ends.py",
    "tests/cli/test_serve.py",
    "tests/storage/embedded/test_shard.py",
    "tests/keeper/test_keeper.py",
    "tests/journeys/test_log_changes.py",
    "tests/journeys/test_faults.py",
    "tests/journeys/test_moving.py",
    "tests/cli/test_export.py",
    "tests/journeys/test_websocket_bench.py",
    "tests/clients/test_pages.py",
    "tests/supervisor/test_supervisor.py",
)
"""What should not be begun last, in the order in which it is begun."""
TOGETHER: Final = LONGEST[LONGEST.index("tests/journeys/test_logpush.py") :][:3]
"""Taken as one: they share an S3 server, which takes seconds to start."""
LONG_S: Final = 25.0


class Share:
    """One run's part of all test files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, pytest.Collector] = {}
        self._found = False
        self._mine: set[str] = set()
        self.took_s: dict[str, float] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> pytest.CollectReport | None:
        """While pytest looks for files, none is imported: it may be another run that takes it."""
        if self._found or not isinstance(collector, pytest.File):
            return None
        self._files[collector.nodeid] = collector
        return pytest.CollectReport(collector.nodeid, "passed", None, [])

    def items(self, session: pytest.Session) -> Iterator[pytest.Item]:
        """The tests of one file after another, each collected once it is taken."""
        self._found = True
        for name in in_order(self._files):
            if not self._take(name):
                continue
            begun_s = time.monotonic()
            items = list(session.genitems(self._files[name]))
            session.config.hook.pytest_collection_modifyitems(session=session, config=session.config, items=items)
            session.testscollected += len(items)
            yield from items
            self.took_s[name] = time.monotonic() - begun_s

    def _take(self, name: str) -> bool:
        first = TOGETHER[0] if name in TOGETHER else name
        if first not in self._mine:
            try:
                (self._folder / first.replace("/", ",")).touch(exist_ok=False)
            except FileExistsError:
                return False
            self._mine.add(first)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Runs all that it can take: the next test is known before one ends, as fixtures that both have must stay."""
        items = self.items(session)
        item = next(items, None)
        while item is not None:
            following = next(items, None)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldstop or session.shouldfail:
                raise session.Interrupted(session.shouldstop or session.shouldfail)
            item = following
        return True

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Others may have taken all."""
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name, took_s in self.took_s.items():
            if took_s > LONG_S and name not in LONGEST:
                terminalreporter.write_line(f"{name} took {took_s:.0f} s: it may have a place in tests/sharing.py")


def in_order(names: Iterable[str]) -> list[str]:
    """Files of tests, those that take longest first."""
    found = set(names)
    first = [name for name in LONGEST if name in found]
    return [*first, *sorted(found.difference(first))]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", type=Path, metavar="FOLDER", help="Run what no other run with this folder has taken.")


def pytest_configure(config: pytest.Config) -> None:
    if "--share" in config.invocation_params.args:
        raise pytest.UsageError("write --share=FOLDER: pytest takes a FOLDER that stands alone for one of tests")
    if folder := config.getoption("--share"):
        config.pluginmanager.register(Share(folder), "share")
