"""Has large blocks go back to the system when they are freed."""

import ctypes
import os
import sys
from typing import Final

LARGE_BYTES: Final = 512 * 1024
"""Above the 256 KB that each read by TLS asks for; left to itself, the library comes to take 32 MB from its heap."""
SPARE_BYTES: Final = 1024 * 1024
"""So much may lie free at the end of the heap."""
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""As glibc's malloc.h numbers them."""
_TUNED: Final = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


def return_large_blocks() -> bool:
    """Blocks of 512 KB and more have memory of their own, and leave no holes in the heap.

    glibc raises that size to that of the largest block freed so far: a few bodies of megabytes among many small ones,
    and a heap of 15 MB has 40 MB of holes in it (docs/hardening.md). Returns False, and changes nothing, where the C
    library has no such thing, or was told what to do by its environment. Source: mallopt(3).
    """
    tuned = any(name in os.environ for name in _TUNED) or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or tuned:
        return False
    try:
        tell = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False  # musl
    return bool(tell(_MMAP_THRESHOLD, LARGE_BYTES) == tell(_TRIM_THRESHOLD, SPARE_BYTES) == 1)
