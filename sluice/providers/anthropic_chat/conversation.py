"""Gathers what was said into Anthropic's turns, from whatever shape it came in."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from sluice.providers.anthropic_chat.decoding import refused
from sluice.providers.anthropic_chat.messages import Block, Document, Image, Text, ToolResult, ToolUse, Turn

Shown = Text | Image | Document
_ARGUMENTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NO_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")
"""Not in Anthropic's ids; other vendors' calls, which a conversation may carry on, have dots and colons in theirs."""
_BETWEEN_SYSTEM_TURNS: Final = "\n\n"


@dataclass(slots=True)
class _OpenTurn:
    """A turn that more may join. Anthropic wants the results of tools before all else in it."""

    role: Literal["user", "assistant"]
    results: list[Block] = field(default_factory=list)
    others: list[Block] = field(default_factory=list)


class Conversation:
    """The system text and the turns so far: what one side says in a row becomes one turn."""

    __slots__ = ("_system", "_turns")

    def __init__(self) -> None:
        self._system: list[str] = []
        self._turns: list[_OpenTurn] = []

    def instruct(self, blocks: Iterable[Shown], place: str) -> None:
        """A system or developer message, wherever it stands."""
        for block in blocks:
            if not isinstance(block, Text):
                raise refused(place, "a system message can only be text")
            self._system.append(block.text)

    def say(self, role: Literal["user", "assistant"], blocks: Iterable[Block]) -> None:
        """Adds to the turn of this side. Nothing said opens no turn, so that its neighbours meet."""
        said = list(blocks)
        if said:
            self._turn(role).others += said

    def give(self, result: ToolResult) -> None:
        """Adds what a tool has answered."""
        self._turn("user").results.append(result)

    def finished(self, place: str) -> tuple[str | None, list[Turn]]:
        """The system text and the turns; where there is nothing but system text, that is asked as a user."""
        turns = [Turn(turn.role, turn.results + turn.others) for turn in self._turns]
        text = _BETWEEN_SYSTEM_TURNS.join(self._system) or None
        if turns:
            return text, turns
        if text is None:
            raise refused(place, "there is no text in them")
        return None, [Turn("user", [Text(text)])]

    def _turn(self, role: Literal["user", "assistant"]) -> _OpenTurn:
        if not self._turns or self._turns[-1].role != role:
            self._turns.append(_OpenTurn(role))
        return self._turns[-1]


def to_use(call_id: str, name: str, arguments: str, place: str) -> ToolUse:
    """A call. Its arguments go along as they are written, once it is sure that they are a JSON object."""
    if blank(arguments):
        return ToolUse(call_id, name, msgspec.Raw("{}"))
    try:
        _ARGUMENTS.decode(arguments)
    except (ValueError, RecursionError):
        raise refused(place, "not a JSON object") from None
    return ToolUse(call_id, name, msgspec.Raw(arguments))


def to_result(call_id: str, content: object, blocks: list[Shown]) -> ToolResult:
    """What a tool has answered: as text where it came so, as blocks otherwise."""
    if isinstance(content, str) and blocks:
        return ToolResult(call_id, content)
    return ToolResult(call_id, blocks or None)


def fitting_id(call_id: str | None, place: str) -> str:
    """The id of a call in the characters that Anthropic takes."""
    if not call_id:
        raise refused(place, "missing")
    return _NO_ID.sub("_", call_id)


def plain(text: str | None) -> list[Text]:
    """A block for this text, none where it is blank, for Anthropic refuses that."""
    return [] if text is None or blank(text) else [Text(text)]


def blank(text: str) -> bool:
    return not text or text.isspace()
