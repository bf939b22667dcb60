"""A process that knows the list, and processes that fail at it."""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime

import pytest

from sluice.console import price_process
from sluice.console.price_process import PriceListFault, Question, open_price_list

QUESTION = Question(datetime(2026, 1, 2, tzinfo=UTC), [("openai", "gpt-4o-mini")])
ECHO = """
import os, sys
line = sys.stdin.readline()
print('{"asked":[["openai","%d",null]],"listed":[],"parts":1}' % os.getpid(), flush=True)
sys.stdin.read()
"""


def program(source: str) -> list[str]:
    return [sys.executable, "-c", source]


async def test_the_process_ends_with_the_block():
    async with open_price_list(program(ECHO)) as prices:
        answer = await prices.ask(QUESTION)
    with pytest.raises(ProcessLookupError):
        os.kill(int(answer.asked[0].model), 0)


@pytest.mark.parametrize(
    "source",
    [
        "raise SystemExit(1)",
        "import sys; sys.stdin.readline(); print('no answer', flush=True); sys.stdin.read()",
        "import sys; sys.stdin.readline(); print('x' * 200_000, flush=True); sys.stdin.read()",
        "import time; time.sleep(60)",
    ],
    ids=["dies", "talks nonsense", "says too much", "is silent"],
)
async def test_a_process_that_fails_is_a_fault(source, monkeypatch):
    monkeypatch.setattr(price_process, "DEADLINE_S", 0.5)
    monkeypatch.setattr(price_process, "ANSWER_BYTES", 100_000)
    with pytest.raises(PriceListFault):
        async with open_price_list(program(source)) as prices:
            await prices.ask(QUESTION)


async def test_a_console_that_dies_takes_the_process_with_it():
    """Its death closes the pipe that the process reads."""
    starter = f"""
import asyncio, os
from sluice.console.price_process import Question, open_price_list
from datetime import UTC, datetime

async def main():
    async with open_price_list({program(ECHO)!r}) as prices:
        answer = await prices.ask(Question(datetime.now(UTC), []))
        print(answer.asked[0].model, flush=True)
        os.kill(os.getpid(), {int(signal.SIGKILL)})

asyncio.run(main())
"""
    pipe = asyncio.subprocess.PIPE
    console = await asyncio.create_subprocess_exec(*program(starter), stdout=pipe, stderr=pipe)
    said, _ = await console.communicate()  # to the end of stderr, which the orphan holds too
    assert int(said) > 0
    assert console.returncode == -signal.SIGKILL
