"""The scoreboard of docs/faults.md in short: one shape with every fault, all shapes cut; and a judge that sees lies."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bench.faults.board import Verdict, score
from bench.faults.cells import Found, cells_of
from bench.faults.expectations import FAULTS
from bench.faults.judging import lies
from bench.faults.report import lines, markdown
from bench.faults.seeing import Seen, View
from bench.faults.shapes import SHAPES
from bench.faults.sights import Texts, judged, of_sluice, table
from bench.faults.stand import Waits

Verdicts = list[Verdict]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    chat = SHAPES["openai-chat"]
    rest = [shape for shape in SHAPES.values() if shape is not chat]
    every = list(cells_of([chat], FAULTS.values()))
    cut = list(cells_of(rest, [FAULTS["cut"]], first=len(every)))
    return asyncio.run(score(tmp_path_factory.mktemp("faults"), [*every, *cut], Waits(1.5, 1.0)))


def found_of(verdicts: Verdicts, fault: str, way: str = "native", stream: bool = True) -> Found:
    """What was found of a fault in OpenAI's chat."""
    [found] = [
        verdict.found
        for verdict in verdicts
        if (verdict.found.cell.fault.name, verdict.found.cell.way) == (fault, way)
        and (verdict.found.cell.shape.name, verdict.found.cell.stream) == ("openai-chat", stream)
    ]
    return found


def test_every_cell_is_true(verdicts: Verdicts):
    told = list(lines(verdicts))
    assert told == [f"{len(verdicts)} of {len(verdicts)} cells are true (100.0 %)"]


def test_every_fault_and_every_shape_is_on_the_board(verdicts: Verdicts):
    assert {verdict.found.cell.fault.name for verdict in verdicts} == FAULTS.keys()
    assert {verdict.found.cell.shape.name for verdict in verdicts} == SHAPES.keys()
    table = "\n".join(markdown(verdicts))
    assert all(f"| {fault} |" in table for fault in FAULTS)
    assert "✗" not in table


def row(found: Found, number: int = 0, **fields: Any) -> Found:
    """The same with another log."""
    rows = [dict(one) for one in found.rows]
    rows[number] |= fields
    return replace(found, rows=rows)


DOCTORED: dict[str, tuple[str, str, Callable[[Found], Found]]] = {
    "a cut stream that seems whole": ("cut", "native", lambda one: replace(one, seen=replace(one.seen, view="whole"))),
    "a cut stream with an end": (
        "cut", "native", lambda one: replace(one, seen=replace(one.seen, body=one.seen.body + b"data: [DONE]\n\n")),
    ),
    "a cut stream with a reason to finish": (
        "cut", "native", lambda one: replace(one, seen=replace(one.seen, body=b'{"finish_reason":"stop"}')),
    ),
    "a cut stream that is logged as complete": ("cut", "native", lambda one: row(one, ending="complete")),
    "a cut stream that is logged as a success": ("cut", "native", lambda one: row(one, success=True)),
    "a cut stream with tokens that nobody told": ("cut", "native", lambda one: row(one, tokens_out=7)),
    "a cut stream without a reason": ("cut", "native", lambda one: row(one, error_message=None)),
    "a cut stream stored otherwise": ("cut", "native", lambda one: replace(one, bodies=[one.bodies[0] + b" "])),
    "a cut stream that is not logged": ("cut", "native", lambda one: replace(one, rows=[], bodies=[])),
    "a cut stream that is logged twice": ("cut", "native", lambda one: replace(one, rows=one.rows * 2)),
    "a cut stream with a fallback": ("cut", "universal", lambda one: replace(one, second=one.calls)),
    "a failure without a fallback": ("not HTTP", "universal", lambda one: replace(one, second=[])),
    "a provider asked twice": ("not HTTP", "native", lambda one: replace(one, calls=one.calls * 2)),
    "a provider held on to": (
        "stalled", "native", lambda one: replace(one, calls=[{**one.calls[0], "ended": "running"}]),
    ),
    "a failure as the provider's own reply": (
        "not HTTP", "native", lambda one: replace(one, seen=replace(one.seen, body=b"{}")),
    ),
    "wrong usage put right": ("wrong usage", "native", lambda one: row(one, tokens_in=13)),
    "usage that was not told": ("no usage", "native", lambda one: row(one, tokens_in=13)),
    "another log's id": ("no fault", "native", lambda one: row(one, id="another")),
    "a failed second step": ("not HTTP", "universal", lambda one: row(one, 1, success=False)),
}  # fmt: skip


@pytest.mark.parametrize("what", DOCTORED)
def test_the_judge_sees(verdicts: Verdicts, what: str):
    fault, way, doctor = DOCTORED[what]
    found = found_of(verdicts, fault, way)
    assert lies(found) == []
    assert lies(doctor(found))


# --- what is told of others


@pytest.mark.parametrize("fallback", [False, True])
def test_sluice_is_true_by_the_measure_of_the_others_too(verdicts: Verdicts, fallback: bool):
    sights = list(of_sluice([verdict.found for verdict in verdicts], fallback))
    assert [sight for sight in sights if sight.mark != "true"] == []
    assert list(table(sights))[-1] == f"| true | | {len(sights)} of {len(sights)} |"


PIECE = b'data: {"choices":[{"delta":{"content":"All"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"cut"}}\n\n'
SIGHTS: dict[str, tuple[str, View, int, bytes, str]] = {
    "all of it": ("no fault", "whole", 200, PIECE + DONE, "true"),
    "a part of it": ("no fault", "whole", 200, DONE, "false"),
    "all, and cut": ("no fault", "cut", 200, PIECE, "false"),
    "cut behind the end": ("cut behind the terminal event", "cut", 200, PIECE + DONE, "true"),
    "a cut that shows": ("cut", "cut", 200, PIECE, "true"),
    "a cut that is told": ("cut", "whole", 200, PIECE + ERROR + DONE, "true"),
    "a cut that has an end": ("cut", "whole", 200, PIECE + DONE, "false"),
    "a cut that just ends": ("cut", "whole", 200, PIECE, "false"),
    "a failure with a status": ("not HTTP", "whole", 502, b"{}", "true"),
    "a failure as an empty answer": ("not HTTP", "whole", 200, DONE, "false"),
    "an error that is hidden": ("200 with an error", "whole", 200, DONE, "false"),
    "an error that is passed on": ("200 with an error", "whole", 200, ERROR, "true"),
    "damage that is passed on": ("damaged JSON", "whole", 200, PIECE + b"data: {\n\n" + DONE, "true"),
    "damage that is left out": ("damaged JSON", "whole", 200, PIECE + DONE, "false"),
    "a stall that nobody ends": ("stalled", "silent", 200, PIECE, "silent"),
}


@pytest.mark.parametrize("what", SIGHTS)
def test_others_are_judged_by_what_their_clients_can_tell(what: str):
    fault, view, status, body, mark = SIGHTS[what]
    assert judged("Another", FAULTS[fault], True, Seen(status, {}, body, view), Texts("All")).mark == mark


OTHER = PIECE.replace(b"All", b"Other")
FALLBACKS: dict[str, tuple[str, View, int, bytes, str]] = {
    "another that answers": ("not HTTP", "whole", 200, OTHER + DONE, "true"),
    "another in place of damage": ("damaged JSON", "whole", 200, OTHER + DONE, "true"),
    "another that is asked for nothing": ("no fault", "whole", 200, OTHER + DONE, "false"),
    "nobody that is asked": ("not HTTP", "whole", 502, b"{}", "false"),
    "two answers in one": ("cut", "whole", 200, PIECE + OTHER + DONE, "false"),
    "a cut that shows": ("cut", "cut", 200, PIECE, "true"),
    "a cut in time for another": ("cut", "whole", 200, OTHER + DONE, "true"),
}


@pytest.mark.parametrize("what", FALLBACKS)
def test_another_is_to_be_asked_where_nothing_came_and_only_there(what: str):
    fault, view, status, body, mark = FALLBACKS[what]
    assert judged("Another", FAULTS[fault], True, Seen(status, {}, body, view), Texts("All", "Other")).mark == mark
