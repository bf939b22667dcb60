"""The process log: one JSON object a line on stderr. Nothing secret, no body and no query string may be given to it."""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

Field = str | int | float | bool | None
_encode = msgspec.json.Encoder(enc_hook=repr).encode


class JsonLines(logging.Formatter):
    """`log.info("worker ready", extra=fields(slot=1))` becomes an object with the event and its fields."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Field] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "role": self._role,
            "pid": os.getpid(),
            "event": record.getMessage(),
        }
        given = getattr(record, "fields", None)
        if isinstance(given, Mapping):
            line.update(given)
        if record.exc_info:
            line["trace"] = "".join(traceback.format_exception(*record.exc_info))
        return _encode(line).decode()


def fields(**given: Field) -> dict[str, Mapping[str, Field]]:
    """The `extra` of a log call."""
    return {"fields": given}


def begin(role: str, level: int = logging.INFO) -> None:
    """Sends everything that this process logs, also by libraries, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(role))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a full or closed stderr must not end what runs
    sys.excepthook = lambda kind, error, trace: _died("uncaught exception", error)
    threading.excepthook = lambda found: _died("uncaught exception in a thread", found.exc_value)
    sys.unraisablehook = lambda found: _died("exception that nobody could catch", found.exc_value)


def _died(event: str, error: BaseException | None) -> None:
    logging.getLogger(__name__).critical(event, exc_info=error)
