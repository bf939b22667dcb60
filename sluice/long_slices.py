"""Asks the kernel to run a process in few long turns, and to let others in between at once."""

import ctypes
import os
import platform
import struct
import sys
from typing import Final

SLICE_S: Final = 0.03
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
"""The call's number; glibc has a name for it only since 2.41."""
_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQ")
"""`struct sched_attr` in its first version: size, policy, flags, nice, priority, runtime, deadline, period."""


def take_long_slices() -> bool:
    """The calling thread, and those it will start, keep their share of a core, and let in whoever wakes up.

    Linux's scheduler (EEVDF, since 6.12) has a process that wakes run before one with a longer slice; with the usual
    ones it waits until the running one's ends, 1 to 3 ms, and that was the added latency's p99 where keeper and clients
    share a core (docs/performance.md). Returns False, and changes nothing, where the system has no such thing.
    Source: sched(7), sched_setattr(2); Documentation/scheduler/sched-eevdf.rst in Linux.
    """
    number = _SCHED_SETATTR.get(platform.machine()) if sys.platform == "linux" else None
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, int(SLICE_S * 1e9), 0, 0)
    return bool(ctypes.CDLL(None).syscall(number, 0, attributes, 0) == 0)
