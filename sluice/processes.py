"""Where a child process begins: `sluice.processes ROLE FD`, started by the supervisor and by nobody else."""

import asyncio
import contextlib
import importlib
import inspect
import logging
import resource
import signal
import sys
from typing import Final

from sluice import journal
from sluice.child import Child
from sluice.dumps import forbid_dumps

ROLES: Final = {
    "worker": ("sluice.wiring.worker", "run_worker"),
    "keeper": ("sluice.wiring.keeper", "run_keeper"),
    "console": ("sluice.wiring.console", "run_console"),
    "runner": ("sluice.wiring.runner", "run_runner"),
    "simulator": ("sluice.wiring.simulator", "run_simulator"),
}
"""Loaded by name once the role is known: a worker must not pay for what a console imports."""

FILES: Final = 1 << 18
SUPERVISORS_OWN: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
"""Meant for the whole process group by a terminal; a child ends by its orders alone."""


def main() -> None:
    """Runs one child to its end."""
    role, fd = sys.argv[-2:]
    ignore_signals()
    raise_file_limit()
    forbid_dumps()
    journal.begin(role)
    try:
        with contextlib.closing(Child.receive(int(fd))) as child:
            run(child)
    except Exception:
        logging.getLogger(__name__).critical("process failed", exc_info=True)
        sys.exit(1)


def ignore_signals() -> None:
    """The supervisor starts children with these signals blocked, lest one kill a child before this line."""
    for number in SUPERVISORS_OWN:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SUPERVISORS_OWN)


def raise_file_limit() -> None:
    """Each connection is a descriptor, and so is each open shard: the usual soft limit of 1,024 is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(child: Child) -> None:
    """Runs the role's own function: on an event loop if it is a coroutine, as it is if not."""
    module, name = ROLES[child.role]
    function = getattr(importlib.import_module(module), name)
    if not inspect.iscoroutinefunction(function):
        function(child)
        return
    with asyncio.Runner(loop_factory=importlib.import_module("uvloop").new_event_loop) as runner:
        runner.run(function(child))


if __name__ == "__main__":
    main()
