"""Has large blocks go back to the system when they are freed."""

import ctypes
import os
import sys
from typing import Final

LARGE_BYTES: Final = 128 * 1024
"""What the C library begins with; left to itself, it comes to take blocks of up to 32 MB from its heap."""
_MMAP_THRESHOLD: Final = -3
"""`M_MMAP_THRESHOLD` of glibc's malloc.h."""
_TUNED: Final = ("MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def return_large_blocks() -> bool:
    """Blocks of 128 KB and more have memory of their own, whatever their number, and leave no holes in the heap.

    glibc raises that size to that of the largest block freed so far: a few bodies of megabytes among many small ones,
    and a heap of 15 MB has 40 MB of holes in it (docs/hardening.md). Returns False, and changes nothing, where the C
    library has no such thing, or was told what to do by its environment. Source: mallopt(3).
    """
    if sys.platform != "linux" or any(name in os.environ for name in _TUNED):
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, LARGE_BYTES) == 1)
    except AttributeError:
        return False  # musl
