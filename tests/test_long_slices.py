import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

GETATTR = {"x86_64": 315, "aarch64": 275}


def slice_ns(pid: int) -> int:
    """What the kernel keeps as the slice of a process that was given one (sched_getattr(2))."""
    attributes = ctypes.create_string_buffer(48)
    assert ctypes.CDLL(None).syscall(GETATTR[platform.machine()], pid, attributes, 48, 0) == 0
    return int.from_bytes(attributes.raw[24:32], sys.byteorder)


def release() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split(".")[:2]) if sys.platform == "linux" else (0,)


SLICED = pytest.mark.skipif(
    release() < (6, 12) or platform.machine() not in GETATTR, reason="a scheduler without slices"
)


@SLICED
def test_the_keeper_takes_long_slices_and_the_workers_do_not(gateway: Any) -> None:
    processes = gateway.processes()
    gateway.until(lambda: slice_ns(processes["sluice: keeper"]) == 30_000_000, "the keeper, which has its name before")
    assert slice_ns(processes["sluice: worker 1"]) < 30_000_000


@SLICED
def test_gives_a_process_long_slices_and_leaves_its_niceness_alone() -> None:
    imports = "import os; from sluice.long_slices import take_long_slices"
    code = f"{imports}; was = os.nice(3); print(take_long_slices(), os.nice(0) - was, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as taking:
        assert taking.stdout is not None
        assert taking.stdout.readline() == "True 0\n"
        assert slice_ns(taking.pid) == 30_000_000
        taking.communicate("\n")
