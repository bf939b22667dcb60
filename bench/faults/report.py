"""The scoreboard as text: for people at a terminal, and as the tables of docs/faults.md."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from bench.faults.board import Verdict
from bench.faults.cells import Found
from bench.faults.expectations import WAYS, Way

HEADS = {
    "native": "its own path",
    "universal": "universal, a second step behind it",
    "socket": "the same by WebSocket",
    "unified": "unified",
}

_MOST_NAMED = 3


def lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """What is not true, a line each, and the sum."""
    for verdict in verdicts:
        if verdict.lies:
            yield f"{verdict.found.cell}: {'; '.join(verdict.lies)}"
    true = sum(not verdict.lies for verdict in verdicts)
    yield f"{true:,} of {len(verdicts):,} cells are true ({100 * true / len(verdicts):.1f} %)"


def markdown(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Two tables: what came of each fault by each way, and how many cells of each shape are true."""
    yield "| Fault | " + " | ".join(HEADS[way] for way in WAYS) + " |"
    yield "| --- " * (1 + len(WAYS)) + "|"
    for fault, of_fault in _grouped(verdicts, lambda verdict: verdict.found.cell.fault.name):
        yield f"| {fault} | " + " | ".join(_outcomes(of_fault, way) for way in WAYS) + " |"
    yield ""
    yield "| Shape | cells | true |"
    yield "| --- | --- | --- |"
    for shape, of_shape in _grouped(verdicts, lambda verdict: verdict.found.cell.shape.name):
        yield f"| `{shape}` | {len(of_shape)} | {sum(not verdict.lies for verdict in of_shape)} |"
    yield f"| all | {len(verdicts):,} | {sum(not verdict.lies for verdict in verdicts):,} |"


def _grouped(verdicts: Sequence[Verdict], name: Callable[[Verdict], str]) -> Iterable[tuple[str, list[Verdict]]]:
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(name(verdict), []).append(verdict)
    return groups.items()


def _outcomes(verdicts: Iterable[Verdict], way: Way) -> str:
    """What came of a fault by one way; where that differs, of what."""
    outcomes: dict[str, list[Found]] = {}
    for verdict in verdicts:
        if verdict.found.cell.way == way:
            outcomes.setdefault(_outcome(verdict), []).append(verdict.found)
    if len(outcomes) < 2:
        return "".join(outcomes)
    most = max(outcomes, key=lambda outcome: len(outcomes[outcome]))
    rest = [f"{outcome} ({_of_what(found)})" for outcome, found in outcomes.items() if outcome != most]
    return "; ".join((most, *rest))


def _outcome(verdict: Verdict) -> str:
    found, row = verdict.found, verdict.found.rows[0] if verdict.found.rows else None
    seen = found.seen
    if found.fell_back:
        saw = f"the second step, {seen.view}"
    elif code := found.error_code():
        saw = f"error {code}"
    elif seen.status >= 400:
        saw = f"the provider's {seen.status}"
    else:
        saw = seen.view
    said = "no log" if row is None else f"`{row['ending']}`" + (f" {row['error_code']}" if row["error_code"] else "")
    return f"{'✗ ' if verdict.lies else ''}{saw}, {said}"


def _of_what(found: Sequence[Found]) -> str:
    """Which cells these are, in as few words as do."""
    forms = {one.cell.stream for one in found}
    form = "" if len(forms) > 1 else " streamed" if True in forms else " whole"
    if all(one.cell.retold for one in found):
        return f"translated{form}"
    names = sorted({one.cell.shape.name for one in found})
    return form.strip() if form and len(names) > _MOST_NAMED else ", ".join(names) + form
