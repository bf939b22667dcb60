"""Large blocks do not stay with a process that has freed them."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

MALLOPT = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallinfo2")
TUNED = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
CODE = """
import ctypes
from sluice.heap import return_large_blocks
FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
Info = type("Info", (ctypes.Structure,), {"_fields_": [(name, ctypes.c_size_t) for name in FIELDS.split()]})
library = ctypes.CDLL(None)
library.mallinfo2.restype = Info
done = return_large_blocks()
for _ in range(3):
    bytes(8 << 20)  # the library raises its threshold when such a one is freed
before = library.mallinfo2().hblks
held = [bytes(600 << 10) for _ in range(10)]
print(done, library.mallinfo2().hblks - before)
"""


@pytest.mark.skipif(not MALLOPT, reason="a C library that does not tell of its heap")
@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "True 10"),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=0"}, "False 0"),
        ({"GLIBC_TUNABLES": "glibc.pthread.rseq=1"}, "True 10"),
    ],
)
def test_large_blocks_have_memory_of_their_own_unless_the_environment_says_otherwise(
    environment: dict[str, str], said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={name: text for name, text in os.environ.items() if name not in TUNED} | environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.stdout.strip() == said
