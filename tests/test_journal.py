"""The process log."""

import json
import logging
import os
import sys

from sluice.journal import JsonLines, fields
from sluice.values.secret import Secret


def line(**extra: object) -> dict[str, object]:
    record = logging.makeLogRecord({"levelname": "INFO", "msg": "worker %s", "args": ("up",), "created": 0.5, **extra})
    text = JsonLines("supervisor").format(record)
    assert "\n" not in text
    parsed: dict[str, object] = json.loads(text)
    return parsed


def test_a_line_says_when_who_and_what():
    assert line(**fields(slot=1, url=None)) == {
        "ts": "1970-01-01T00:00:00.500Z",
        "level": "info",
        "role": "supervisor",
        "pid": os.getpid(),
        "event": "worker up",
        "slot": 1,
        "url": None,
    }


def test_a_secret_shows_as_stars():
    assert "sluice_abc" not in str(line(fields={"token": Secret("sluice_abc")}))


def test_a_trace_stays_on_the_line_of_its_event():
    try:
        raise ZeroDivisionError("no")
    except ZeroDivisionError:
        found = line(exc_info=sys.exc_info())
    assert str(found["trace"]).endswith("ZeroDivisionError: no\n")
