"""Memory that holds keys is written to no file: a process that crashes leaves no core of it."""

import contextlib
import resource
from pathlib import Path
from typing import Final

_FILTER: Final = Path("/proc/self/coredump_filter")


def forbid_dumps() -> None:
    """For this process and all that it starts.

    A handler of cores that Linux pipes them to is not bound by the limit, so no memory is let into them either
    (core(5)).
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # not on Linux
        _FILTER.write_text("0")
