"""Tags that stand for the words of an earlier step, put into a step before it is sent (contract 2.6). Pure.

A tag is looked for in the text of a string, and the string is written anew where one was found. All other bytes of a
query stay the client's own, so that numbers keep their digits. What is put in is never looked through again.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final
from urllib.parse import quote

import msgspec

from sluice.values.errors import TemplateFailure
from sluice.values.request import BytesBody, Header, Step

TAG: Final = re.compile(r"<prompt-response\s+id\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^\s'\"<>/]+))\s*/>")
"""Without quotes too: a shell takes those of a tag away that stands in a command line's single quotes."""
NAME: Final = "prompt-response"
MOST_TAGS: Final = 10_000
"""In one step; likewise strings that have but the name of a tag."""
MOST_FILLED_BYTES: Final = 32 * 1024 * 1024
"""No step grows past this by what is put into it: ten tags may each ask for the same ten megabytes."""
MOST_FILLED_LINE_BYTES: Final = 16 * 1024
"""The same for its path with its query, and for its headers."""
_NAME: Final = NAME.encode()
_COLON: Final = re.compile(rb"\s*:")
_decode_text: Final = msgspec.json.Decoder(str).decode
_encode_text: Final = msgspec.json.Encoder().encode


def ids_in(step: Step) -> list[str]:
    """The steps whose words this one asks for. Raises TemplateFailure where it does so too often."""
    texts = [step.endpoint.decode(), step.query.decode()]
    texts += [value.decode() for _, _, value in step.headers]
    texts += [text for _, _, text in _tagged_strings(step.body.whole or b"")]
    found = list(islice((id_in(tag) for text in texts for tag in TAG.finditer(text)), MOST_TAGS + 1))
    if len(found) > MOST_TAGS:
        raise TemplateFailure(f"A step may not ask for more than {MOST_TAGS} responses")
    return found


def id_in(tag: re.Match[str]) -> str:
    """The step that a tag names."""
    return tag[1] or tag[2] or tag[3] or ""


def filled(step: Step, words: Mapping[str, str]) -> Step:
    """The step with the words in their places. Raises TemplateFailure."""
    line, fields = _Budget(words, MOST_FILLED_LINE_BYTES), _Budget(words, MOST_FILLED_LINE_BYTES)
    return msgspec.structs.replace(
        step,
        endpoint=_filled_path(step.endpoint, line),
        query=_filled_path(step.query, line),
        headers=[_filled_header(header, fields) for header in step.headers],
        body=BytesBody(_filled_json(step.body.whole or b"", _Budget(words, MOST_FILLED_BYTES))),
        tagged=False,
    )


class _Budget:
    """The words to be put in, and how many bytes of them still may be."""

    def __init__(self, words: Mapping[str, str], most_bytes: int) -> None:
        self._words, self._most, self._left = words, most_bytes, most_bytes

    def replace(self, text: str) -> str:
        return TAG.sub(self.word, text)

    def word(self, found: re.Match[str]) -> str:
        name = id_in(found)
        word = self._words.get(name)
        if word is None:
            raise TemplateFailure(f"There is no response to put in for the step '{name}': it has not completed")
        self._left -= len(word) if word.isascii() else len(word.encode())
        if self._left < 0:
            raise TemplateFailure(f"A step grows past {self._most} bytes by the responses put into it")
        return word


def _tagged_strings(body: bytes) -> Iterator[tuple[int, int, str]]:
    """The strings of a JSON text that have a tag: where each begins and ends, and its text.

    The name of a tag can stand in strings alone, so those around it are found without going through all others: with
    100 MB of short strings that takes half a minute.
    """
    if _NAME not in body:
        return
    quotes = body.replace(b"\\\\", b"__").replace(b'\\"', b"__")  # those that begin and end strings are left
    end = 0
    for _ in range(MOST_TAGS):
        at = body.find(_NAME, end)
        if at < 0:
            return
        start, end = quotes.rfind(b'"', end, at), quotes.find(b'"', at) + 1
        text = "" if _COLON.match(body, end) else _text_of(body[start:end])  # with a colon it is the name of a field
        if TAG.search(text):
            yield start, end, text
    if body.find(_NAME, end) >= 0:
        raise TemplateFailure(f"A step may not ask for more than {MOST_TAGS} responses")


def _text_of(token: bytes) -> str:
    try:
        return _decode_text(token)
    except msgspec.DecodeError:  # half of a character: a provider may make sense of it
        return ""


def _filled_json(body: bytes, budget: _Budget) -> bytes:
    pieces: list[bytes] = []
    at = 0
    for start, end, text in _tagged_strings(body):
        pieces += (body[at:start], _encode_text(budget.replace(text)))
        at = end
    return b"".join((*pieces, body[at:])) if pieces else body


def _filled_path(path: bytes, budget: _Budget) -> bytes:
    """Words are written in percent, slashes too: they name something and lead nowhere else."""
    if _NAME not in path:
        return path
    return TAG.sub(lambda found: quote(budget.word(found), safe=""), path.decode()).encode()


def _filled_header(header: Header, budget: _Budget) -> Header:
    name, sent, value = header
    if _NAME not in value:
        return header
    text = budget.replace(value.decode()).strip()
    if not text.isprintable():
        raise TemplateFailure(f"A response cannot be put into the header {sent.decode('latin-1')}: it is not one line")
    return name, sent, text.encode()
