"""What the simulator answers to a question, whichever vendor's wire it came over."""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from sluice.simulator import words
from sluice.simulator.faults import Faults
from sluice.simulator.script import FILL
from sluice.simulator.words import Schema

FILLER: Final = " sluices" * 8192
"""64 KiB of text, which JSON carries as it is, in 8192 tokens."""
FILLER_TOKENS: Final = 8192
_CACHE_FROM: Final = 1024
_CACHE_STEP: Final = 128
_THINKS: Final = re.compile(r"o\d|gpt-5")
_REASONING: Final = {"none": 0, "minimal": 0, "low": 16, "medium": 64, "high": 256}
_MENTION: Final = re.compile(r"[a-z]{4,}")
_WRONG: Final = 1000


class Tool(NamedTuple):
    name: str
    parameters: Schema


class Question(NamedTuple):
    """What was asked. `forced` is a tool's name, `*` for any tool, `-` for none, or empty where the prompt decides."""

    prompt: str
    """The text of the last message."""
    tools: Sequence[Tool] = ()
    forced: str = ""
    schema: Schema | None = None
    """What the answer has to be JSON of; None where it is prose."""
    most_tokens: int | None = None
    stops: Sequence[str] = ()
    """Texts before which the answer ends."""


class ToolCall(NamedTuple):
    id: str
    name: str
    arguments: str


class Answer(NamedTuple):
    """Text, or calls of tools."""

    text: str
    calls: Sequence[ToolCall] = ()
    cut_off: bool = False
    blocks: int = 0
    """Blocks of filler that the text ends with."""
    stop: str | None = None
    """The text before which it ended."""
    refused: bool = False

    @property
    def filled(self) -> str:
        """The text, with a stand-in for its filler."""
        return self.text + FILL * bool(self.blocks)

    @property
    def tokens(self) -> int:
        called = sum(words.count(one.name) + words.count(one.arguments) for one in self.calls)
        return words.count(self.text) + called + self.blocks * FILLER_TOKENS

    def pieces(self) -> Iterator[str]:
        """The text as a stream tells it: token by token, then block by block."""
        yield from words.tokens(self.text)
        for _ in range(self.blocks):
            yield FILLER


class Spent(NamedTuple):
    """The token counts to report. `completion` has the reasoning in it, as OpenAI counts."""

    prompt: int
    completion: int
    total: int
    cached: int
    reasoning: int
    written: int = 0
    """Tokens of the prompt that were written to the cache, where a vendor counts them."""


def answer(question: Question, faults: Faults, variant: int = 0) -> Answer:
    """The answer that follows from the question, the same every time."""
    called = [] if question.forced == "-" else _called(question)
    if called:
        return Answer("", [_call(tool, question.prompt, variant) for tool in called])
    text = words.reply(question.prompt, variant, faults.words)
    if question.schema is not None:
        value = words.sample(question.schema, text)
        return Answer(msgspec.json.encode(value).decode())
    text, stop = _stopped(text, question.stops)
    text, cut_off = words.cut(text, question.most_tokens)
    blocks = (faults.huge or 0) << 4
    return Answer(text, (), cut_off, blocks, None if cut_off else stop, bool(faults.refusal))


def spent(
    prompt: int,
    answers: Sequence[Answer],
    faults: Faults,
    model: str = "",
    effort: str | None = None,
    caches: bool = True,
) -> Spent:
    """What was spent: a model that thinks spends reasoning too, and a long prompt counts as mostly cached."""
    reasoning = faults.reasoning
    if reasoning is None:
        reasoning = _REASONING.get(effort or "medium", 64) if _THINKS.match(model) else 0
    cached = faults.cached
    if cached is None:
        cached = prompt // _CACHE_STEP * _CACHE_STEP if caches and prompt >= _CACHE_FROM else 0
    completion = sum(one.tokens for one in answers) + reasoning
    if faults.wrong_usage:
        return Spent(prompt + _WRONG, completion + _WRONG, 1, cached, reasoning)
    cached = min(cached, prompt)
    written = min(faults.cache_write or 0, prompt - cached)
    return Spent(prompt, completion, prompt + completion, cached, reasoning, written)


def _stopped(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """The text up to the first of the stops, and which one that was."""
    found = [(text.find(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return text, None
    place, stop = min(found)
    return text[:place], stop


def _called(question: Question) -> list[Tool]:
    """The tools to call: those that were demanded, else those that the prompt mentions by a word of their name."""
    tools = question.tools
    if question.forced == "*":
        return list(tools[:1])
    if question.forced:
        return [tool for tool in tools if tool.name == question.forced][:1]
    said = set(_MENTION.findall(question.prompt.lower()))
    return [tool for tool in tools if said.intersection(_MENTION.findall(tool.name.lower()))]


def _call(tool: Tool, prompt: str, variant: int) -> ToolCall:
    arguments = words.sample(tool.parameters, words.last_word(prompt)) if tool.parameters else {}
    number = words.digest(f"{variant}:{tool.name}:{prompt}")[:24]
    return ToolCall(f"call_{number}", tool.name, msgspec.json.encode(arguments).decode())
