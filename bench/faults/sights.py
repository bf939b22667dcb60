"""What a client can tell of a reply in OpenAI's shape: the measure that all gateways are held to, and its table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from bench.faults.cells import Found
from bench.faults.expectations import FAULTS, Fault
from bench.faults.seeing import Seen

PATIENCE_S: Final = 10.0
"""How long the client waits; every gateway that has deadlines was told some of 2 s."""
ASKED: Final = tuple(fault for fault in FAULTS.values() if not fault.framing)
"""What a peer can be asked for: it passes a model's name on, and no header."""
FAILS: Final = frozenset({"unbegun", "bodiless", "broken", "status", "error body", "error event"})
FALLS_BACK: Final = frozenset({"unbegun", "bodiless", "status"})
"""Where nothing had come that could have gone to the client, so that another must be asked."""
Mark = Literal["true", "false", "silent"]


class Texts(NamedTuple):
    """What is answered where nothing fails, and by the one that is asked instead; empty where nobody is."""

    first: str
    second: str = ""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a client saw of one fault, in words, and whether it could tell what had become of its call."""

    peer: str
    fault: Fault
    stream: bool
    words: str
    mark: Mark


class Answer(NamedTuple):
    """What a reply says to whoever reads OpenAI's shape."""

    text: str
    error: bool
    """Whether it tells of an error."""
    done: bool
    """Whether its stream has its terminal event."""
    damaged: bool
    """Whether there is something in it that is no JSON."""


def answer_of(body: bytes, stream: bool) -> Answer:
    """What can be read of a reply; nothing of what cannot."""
    pieces = [line[5:].strip() for line in body.split(b"\n") if line.startswith(b"data:")] if stream else [body]
    done = b"[DONE]" in pieces
    decoded = [_decoded(piece) for piece in pieces if piece != b"[DONE]"]
    documents = [document for document in decoded if isinstance(document, dict)]
    text = "".join(_text(document, "delta" if stream else "message") for document in documents)
    return Answer(text, any(document.get("error") for document in documents), done, None in decoded)


def _decoded(piece: bytes) -> object:
    try:
        return json.loads(piece)
    except ValueError:
        return None


def _text(document: Mapping[str, Any], place: str) -> str:
    try:
        return "".join(choice[place].get("content") or "" for choice in document.get("choices") or ())
    except (KeyError, TypeError, AttributeError):
        return ""


def judged(peer: str, fault: Fault, stream: bool, seen: Seen, texts: Texts) -> Sight:
    """Whole where all came, and only there: what failed must show, by a status, an error or a missing end.

    Where there is another to be asked, it must have been if nothing had come, and its words behind nobody else's.
    """
    answer = answer_of(seen.body, stream)
    if texts.second and texts.second in answer.text:
        alone = answer.text == texts.second and seen.view == "whole" and not answer.error
        words = f"the second's, {_ending(seen, answer, stream)}" if alone else "a part, then the second's"
        return Sight(peer, fault, stream, words, "true" if alone and fault.kind in FAILS | {"garbled"} else "false")
    truth = _shows_truth(fault, seen, answer, texts.first) and not (texts.second and fault.kind in FALLS_BACK)
    mark: Mark = "true" if truth else "silent" if seen.view == "silent" else "false"
    return Sight(peer, fault, stream, _words(seen, answer, stream, texts.first), mark)


def _shows_truth(fault: Fault, seen: Seen, answer: Answer, text: str) -> bool:
    shows = seen.view in ("cut", "reset", "nothing") or seen.status >= 400 or answer.error
    all_came = seen.status == 200 and answer.text == text and not answer.error
    if fault.kind == "tail":
        return shows or (all_came and answer.done)
    if fault.kind == "garbled":
        return shows or answer.damaged
    return shows if fault.kind in FAILS else all_came and seen.view == "whole"


def _words(seen: Seen, answer: Answer, stream: bool, text: str) -> str:
    if seen.view == "nothing":
        return "closed without a reply"
    if seen.view == "silent" and not answer.done:
        return f"silent for {PATIENCE_S:g} s"
    if seen.status >= 400:
        return f"status {seen.status}" + ("" if seen.view == "whole" else ", cut")
    told = "all" if answer.text == text else "a part" if answer.text else "nothing"
    damage = ["the damage"] if answer.damaged and seen.view == "whole" else []
    return ", ".join((told, *damage, *(["an error"] if answer.error else []), _ending(seen, answer, stream)))


def _ending(seen: Seen, answer: Answer, stream: bool) -> str:
    if seen.view != "whole" or not stream:
        return seen.view
    return "`[DONE]`" if answer.done else "ended, no `[DONE]`"


def of_sluice(found: Sequence[Found], fallback: bool) -> Iterator[Sight]:
    """The same of what Sluice's clients saw: by the provider's own path, or by the universal one."""
    way = "universal" if fallback else "native"
    asked = [one for one in found if one.cell.shape.name == "openai-chat" and one.cell.way == way]
    first = (one for one in asked if one.cell.fault.kind == "served" and not one.cell.stream)
    second = (one for one in asked if one.fell_back and not one.cell.stream)
    said = [
        answer_of(one.seen.body, stream=False).text if one else "" for one in (next(first, None), next(second, None))
    ]
    for one in asked:
        if not one.cell.fault.framing:
            yield judged("Sluice", one.cell.fault, one.cell.stream, one.seen, Texts(*said))


# --- as a table


MARKS: Final[Mapping[Mark, str]] = {"true": "", "false": "✗ ", "silent": "… "}


def table(sights: Sequence[Sight]) -> Iterator[str]:
    """A row for each fault, streamed and not, a column for each peer, and how many of each are true."""
    names = list(dict.fromkeys(sight.peer for sight in sights))
    found = {(sight.peer, sight.fault.name, sight.stream): sight for sight in sights}
    yield "| Fault | | " + " | ".join(names) + " |"
    yield "| --- " * (2 + len(names)) + "|"
    for fault in ASKED:
        for stream in (False, True):
            row = [found.get((name, fault.name, stream)) for name in names]
            if any(row):
                cells = (f"{MARKS[one.mark]}{one.words}" if one else "" for one in row)
                yield f"| {fault.name} | {'streamed' if stream else 'whole'} | " + " | ".join(cells) + " |"
    yield "| true | | " + " | ".join(_share(sights, name) for name in names) + " |"


def _share(sights: Sequence[Sight], name: str) -> str:
    marks = [sight.mark for sight in sights if sight.peer == name]
    return f"{marks.count('true')} of {len(marks)}" + (f", {n} silent" if (n := marks.count("silent")) else "")
