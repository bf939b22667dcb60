"""The cells of the scoreboard: a fault in one shape, streamed or not, by one way; how each is asked, and judged."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from bench.faults.expectations import WAYS, Expected, Fault, Way, expected
from bench.faults.seeing import Seen
from bench.faults.shapes import CHAT_COUNTS, Counts, Shape, unified_body

SECOND: Final = "deepseek"
"""Who answers for a step that failed."""
CHAT_END: Final = b"data: [DONE]"
_GATEWAY: Final = "/v1/local/default"


class Cell(NamedTuple):
    """One call. Its `mark` names it in the log and to the simulator; the step behind it has `mark` and a `+`."""

    mark: str
    shape: Shape
    fault: Fault
    way: Way
    stream: bool

    @property
    def expected(self) -> Expected:
        return expected(self.fault, self.way, self.shape.translated, self.stream, not self.shape.binary)

    @property
    def retold(self) -> bool:
        """Whether the client gets other words than the provider's."""
        return self.way == "unified" and self.shape.translated

    @property
    def model(self) -> str:
        return f"{self.shape.model}~{self.fault.ask}" if self.fault.ask else self.shape.model

    @property
    def terminal(self) -> bytes:
        """What the last event of its stream has, as the client gets it."""
        is_chat = self.way == "unified" and self.shape.unified != "responses"
        return CHAT_END if is_chat or self.expected.falls_back else self.shape.terminal

    @property
    def counts(self) -> Counts:
        """Where the provider's words, as the log has them, tell the usage."""
        is_chat = self.way == "unified" and self.shape.unified != "responses" and not self.shape.translated
        return CHAT_COUNTS if is_chat else self.shape.counts

    def __str__(self) -> str:
        how = "streamed" if self.stream else "whole"
        return f"{self.fault.name}, {self.shape.name}, {self.way}, {how}"


def cells_of(shapes: Iterable[Shape], faults: Iterable[Fault], first: int = 0) -> Iterator[Cell]:
    """Every cell of these shapes and faults that there is."""
    number = first
    for fault in faults:
        for shape in shapes:
            for way in WAYS:
                for stream in (False, True):
                    if (way == "unified" and not shape.unified) or (fault.streams_only and not stream):
                        continue
                    number += 1
                    yield Cell(f"cell-{number:05d}", shape, fault, way, stream)


def asking(cell: Cell) -> tuple[str, Mapping[str, str], bytes]:
    """Path, headers and body of its request."""
    shape, model = cell.shape, cell.model
    ours = {"cf-aig-event-id": cell.mark}
    wishes = {"x-sluice-marker": cell.mark}
    if cell.fault.framing:
        wishes["x-sluice-framing"] = cell.fault.framing
    theirs = wishes | shape.headers
    endpoint = shape.endpoint(model, cell.stream)
    match cell.way:
        case "native":
            path, asked = f"{_GATEWAY}/{shape.provider}/{endpoint}", shape.body(model, cell.stream)
        case "unified":
            path, asked = f"{_GATEWAY}/compat/{shape.unified}", unified_body(shape, model, cell.stream)
            theirs = {**wishes, "authorization": "Bearer simulated"}
        case "universal" | "socket":
            query = shape.body(model, cell.stream)
            step = {"provider": shape.provider, "endpoint": endpoint, "headers": theirs, "query": query}
            named = {"eventId": cell.mark} if cell.way == "socket" else {}
            return _GATEWAY, ours, json.dumps([step | named, _second(cell)]).encode()
    return path, ours | theirs, json.dumps(asked).encode()


def _second(cell: Cell) -> Mapping[str, object]:
    query = {"model": "second", "stream": cell.stream, "messages": [{"role": "user", "content": "Stand in."}]}
    headers = {"authorization": "Bearer simulated", "x-sluice-marker": f"{cell.mark}+"}
    return {"provider": SECOND, "endpoint": "chat/completions", "headers": headers, "query": query}


@dataclass(slots=True)
class Found:
    """All that is known of a cell afterwards."""

    cell: Cell
    seen: Seen
    calls: list[Mapping[str, Any]] = field(default_factory=list)
    """What the provider saw of it; of the step behind it, `second`."""
    second: list[Mapping[str, Any]] = field(default_factory=list)
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    """Its logs, by step; their replies as stored, `bodies`."""
    bodies: list[bytes] = field(default_factory=list)

    @property
    def fell_back(self) -> bool:
        return len(self.rows) > 1

    def error_code(self) -> int:
        """The code of an error of ours that the client got; 0 where it got none."""
        try:
            told = json.loads(self.seen.body)
        except ValueError:
            return 0
        ours = isinstance(told, dict) and told.get("name") == "AiGatewayError"
        return int(told["internalCode"]) if ours else 0
