"""Exchanges that look like an application's: who asks what of which model, and the bodies that go with it.

Text is made from the words of docs/ by a chain of pairs, which compresses worse than real prose (storage.md 2.5). Two
thirds of the requests begin with one of thirty system prompts, two fifths of the replies are streams.
"""

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

DOCS: Final = Path(__file__).parent.parent.parent / "docs"
PAIRS: Final = 6_000
"""So many different exchanges; then they come again."""
MODELS: Final = (
    ("openai", "gpt-4o-mini", 40),
    ("openai", "gpt-4o", 20),
    ("openai", "gpt-4.1", 9),
    ("openai", "o3-mini", 5),
    ("openai", "text-davinci-rare", 0.02),
    ("mistral", "mistral-large-latest", 10),
    ("groq", "llama-3.3-70b-versatile", 10),
    ("deepseek", "deepseek-chat", 6),
)
"""Provider, model, share."""
STATUSES: Final = ((200, 96.5), (429, 2), (500, 1), (400, 0.5))
TEAMS: Final = 20
USERS: Final = 20_000


class Pair(NamedTuple):
    """One exchange, but for its id and times."""

    provider: str
    model: str
    status: int
    streamed: bool
    request: bytes
    response: bytes


class Corpus:
    """The same for the same seed."""

    def __init__(self, seed: int = 1, pairs: int = PAIRS) -> None:
        self._chance = random.Random(seed)
        self._words = re.findall(r"\S+", " ".join(path.read_text() for path in sorted(DOCS.glob("*.md"))))
        self._following: dict[tuple[str, str], list[str]] = defaultdict(list)
        for first, second, third in zip(self._words, self._words[1:], self._words[2:], strict=False):
            self._following[first, second].append(third)
        self._prompts = [self._text(self._chance.randrange(60, 250)) for _ in range(30)]
        self.pairs = [self._pair() for _ in range(pairs)]

    def metadata(self, number: int) -> bytes:
        """Of the log with this number: one of a few teams, one of many users."""
        return b'{"team":"team-%d","user":"user-%d"}' % (number % TEAMS, number * 7919 % USERS)

    def endless(self) -> Iterator[Pair]:
        while True:
            yield from self.pairs

    def _pair(self) -> Pair:
        chance = self._chance
        provider, model, _ = chance.choices(MODELS, [share for _, _, share in MODELS])[0]
        status: int = chance.choices(STATUSES, [share for _, share in STATUSES])[0][0]
        streamed = status == 200 and chance.random() < 0.4
        asked = self._text(int(chance.lognormvariate(4.2, 0.8)) + 5)
        answered = self._text(int(chance.lognormvariate(3.9, 0.7)) + 5)
        return Pair(
            provider,
            model,
            status,
            streamed,
            self._request(model, asked, streamed=streamed),
            self._stream(model, answered) if streamed else self._reply(model, answered, status),
        )

    def _request(self, model: str, asked: str, *, streamed: bool) -> bytes:
        messages = [{"role": "user", "content": asked}]
        if self._chance.random() < 0.67:
            messages.insert(0, {"role": "system", "content": self._chance.choice(self._prompts)})
        wanted = {"model": model, "messages": messages, "temperature": 0.7, "max_tokens": 1024}
        return json.dumps(
            wanted | ({"stream": True, "stream_options": {"include_usage": True}} if streamed else {})
        ).encode()

    def _reply(self, model: str, answered: str, status: int) -> bytes:
        if status != 200:
            return json.dumps({"error": {"message": answered[:80], "type": "error", "code": str(status)}}).encode()
        choice = {"index": 0, "message": {"role": "assistant", "content": answered}, "finish_reason": "stop"}
        return json.dumps(
            {**self._head(model, "chat.completion"), "choices": [choice], "usage": self._usage()}
        ).encode()

    def _stream(self, model: str, answered: str) -> bytes:
        head = self._head(model, "chat.completion.chunk")
        deltas = [{"role": "assistant", "content": ""}, *({"content": f" {word}"} for word in answered.split(" "))]
        events: list[object] = [
            {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None}
            for delta in deltas
        ]
        events.append({**head, "choices": [], "usage": self._usage()})
        return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"

    def _head(self, model: str, kind: str) -> dict[str, object]:
        number = self._chance.getrandbits(96)
        return {"id": f"chatcmpl-{number:024x}", "object": kind, "created": 1767323045, "model": model}

    def _usage(self) -> dict[str, int]:
        asked, answered = self._chance.randrange(20, 900), self._chance.randrange(10, 700)
        return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}

    def _text(self, words: int) -> str:
        at = self._chance.randrange(len(self._words) - 1)
        said = [self._words[at], self._words[at + 1]]
        while len(said) < words:
            said.append(self._chance.choice(self._following.get((said[-2], said[-1])) or self._words))
        return " ".join(said[:words])
