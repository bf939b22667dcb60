"""The process that knows the price list."""

import subprocess
from datetime import UTC, datetime

import msgspec

from sluice.console.price_process import Answer, Question
from sluice.wiring.console import PRICES


def test_it_answers_line_by_line_and_ends_with_its_input():
    questions = [Question(datetime.now(UTC), [("openai", "gpt-4o-mini")]), Question(datetime.now(UTC), [], 0)]
    lines = b"".join(msgspec.json.encode(question) + b"\n" for question in questions)
    done = subprocess.run(PRICES, input=lines, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    one, part = [msgspec.json.decode(line, type=Answer) for line in done.stdout.splitlines()]
    assert one.asked[0].rates is not None
    assert len(part.listed) > 5
