"""What a worker loads before it is ready."""

import subprocess
import sys

HEAVY = ("cryptography", "genai_prices", "obstore", "starlette", "uvicorn", "click", "rich")
"""Megabytes each, that only other processes need, or the first request of some kind."""


def test_a_worker_starts_without_what_most_of_its_requests_do_not_need():
    look = f"import sys; import sluice.wiring.worker; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
