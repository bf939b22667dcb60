"""Whether a cell is true: the log agrees with what the client saw and what the provider did, and all with the table."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any, Final

from bench.faults.cells import Found
from bench.faults.expectations import EXPECTED

_FINISHED: Final = re.compile(rb'"finish_reason"\s*:\s*"')
"""A chunk of a chat that says that the answer is over."""


def lies(found: Found) -> list[str]:
    """Everything in a cell that is not as it must be, in words; nothing where all is true."""
    told = [*_client(found), *_provider(found), *_count(found)]
    return told if told else [*_log(found), *_usage(found), *_words(found)]


def _client(found: Found) -> Iterator[str]:
    """What the client must have seen. An end is shown only where there was one."""
    cell, seen, due = found.cell, found.seen, found.cell.expected
    if (seen.view, seen.status) != (due.view, due.status):
        yield f"the client saw {seen.view} {seen.status}, not {due.view} {due.status}"
    if found.error_code() != due.code:
        yield f"the client got error {found.error_code()}, not {due.code}"
    if due.ending == "broken" and not due.falls_back and _FINISHED.search(seen.body):
        yield "the client was told that the answer is over"
    if not cell.stream or seen.status != 200 or cell.way == "socket":
        return  # over a WebSocket the last event is not passed on, but a message in place of it
    ended = cell.terminal in seen.body
    if ended != due.ends and cell.fault.kind != "error event" and cell.fault.kind != "error body":
        yield "the client saw " + ("a terminal event" if ended else "no terminal event")


def _provider(found: Found) -> Iterator[str]:
    """It was asked once, and no more than that, nobody hangs on to it, and the one behind it only if it failed."""
    cell, due = found.cell, found.cell.expected
    least = 0 if cell.fault.over_tls else 1
    most = 2 if cell.fault.name == "closed without a reply" else least  # a kept connection that was closed: once more
    if not least <= len(found.calls) <= most:
        yield f"the provider was asked {len(found.calls)} times"
    if any(call["ended"] == "running" for call in (*found.calls, *found.second)):
        yield "the provider's connection was held on to"
    if len(found.second) != due.falls_back:
        yield f"the second provider was asked {len(found.second)} times"


def _count(found: Found) -> Iterator[str]:
    due = 1 + found.cell.expected.falls_back
    if len(found.rows) != due:
        yield f"there are {len(found.rows)} logs, not {due}"
    step = found.seen.headers.get("cf-aig-step", "0")
    if step != str(due - 1):
        yield f"the client was told of step {step}"


def _log(found: Found) -> Iterator[str]:
    due, row = found.cell.expected, found.rows[0]
    said = (row["ending"], row["status_code"], row["error_code"] or 0, row["success"])
    if said != (due.ending, due.log_status, due.log_code, due.success):
        yield f"the log says {said}, not {(due.ending, due.log_status, due.log_code, due.success)}"
    if bool(row["error_message"]) != bool(due.log_code):
        yield f"the log gives the reason {row['error_message']!r}"
    if due.falls_back:
        last = found.rows[1]
        if (last["ending"], last["status_code"], last["success"]) != ("complete", 200, True):
            yield f"the log says of the second step {(last['ending'], last['status_code'], last['success'])}"
    answering = found.rows[-1]["id"]
    if found.seen.headers.get("cf-aig-log-id") != answering:
        yield "the client was told of another log"


def _usage(found: Found) -> Iterator[str]:
    """The log's tokens are those that the provider told as far as it came, right or wrong, and null else."""
    row, body = found.rows[0], found.bodies[0]
    told = (None, None) if _is_ours(row) else found.cell.counts.told(body)
    said = (row["tokens_in"], row["tokens_out"])
    damaged = found.cell.fault.kind == "garbled"  # of what cannot be read nothing need be told
    if said != told and not (damaged and said == (None, None)):
        yield f"the log says {said} tokens, the provider {told}"
    if found.cell.fault.kind == "served" and (None in said) != (found.cell.fault.name == "no usage"):
        yield f"the log says {said} tokens"
    if found.cell.fault.name == "wrong usage" and (row["tokens_in"] or 0) < 1000:
        yield f"the log says {said} tokens, which are not the provider's wrong ones"


def _words(found: Found) -> Iterator[str]:
    """The stored reply is what the client got; of a translated one, no more than what the provider sent."""
    if found.cell.way == "socket":
        if (told := _told(found)) is not None and told != found.seen.body:
            yield f"{len(told)} bytes are stored, the client got {len(found.seen.body)} or others"
    elif not found.cell.retold:
        if found.bodies[-1] != found.seen.body:
            yield f"{len(found.bodies[-1])} bytes are stored, the client got {len(found.seen.body)} or others"
    elif not _is_ours(found.rows[0]) and found.calls and len(found.bodies[0]) > found.calls[0]["sent_bytes"]:
        yield "more is stored than the provider sent"


def _told(found: Found) -> bytes | None:
    """What a WebSocket's client must have been told of the stored reply; None of what was held and never told."""
    cell, stored = found.cell, found.bodies[-1]
    if cell.expected == EXPECTED[cell.fault.kind]["held"] and cell.expected.view == "whole" and cell.expected.code:
        return None
    if not cell.stream or found.seen.status != 200:
        return _line(stored)
    if cell.shape.binary and not found.fell_back:
        return json.dumps(b64encode(stored).decode()).encode() + b"\n"
    datas = [line[5:].strip() for line in stored.split(b"\n") if line.startswith(b"data:")]
    return b"".join(_line(data) for data in datas if data != b"[DONE]")


def _line(data: bytes) -> bytes:
    """A reply, or an event of it, as its message tells it: its JSON, or its text."""
    try:
        told = json.loads(data)
    except ValueError:
        told = data.decode("utf-8", "replace")
    return json.dumps(told).encode() + b"\n"


def _is_ours(row: Mapping[str, Any]) -> bool:
    return bool(row["ending"] == "refused")
