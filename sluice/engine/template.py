"""Tags that stand for the words of an earlier step, put into a step before it is sent (contract 2.6). Pure.

A tag is looked for in the text of a string, and the string is written anew where one was found. All other bytes of a
query stay the client's own, so that numbers keep their digits. What is put in is never looked through again.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote

import msgspec

from sluice.values.errors import TemplateFailure
from sluice.values.request import BytesBody, Header, Step

TAG: Final = re.compile(r"<prompt-response\s+id\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^\s'\"<>/]+))\s*/>")
"""Without quotes too: a shell takes those of a tag away that stands in a command line's single quotes."""
MOST_FILLED_BYTES: Final = 32 * 1024 * 1024
"""No step grows past this by what is put into it: ten tags may each ask for the same ten megabytes."""
LONGEST_FILLED_PATH: Final = 16 * 1024
LONGEST_FILLED_HEADER: Final = 16 * 1024
"""More is no name of anything, and no server takes it."""
_STRING: Final = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")(\s*:)?')
"""A string of a JSON text; with a colon behind it, it is the name of a field."""
_decode_text: Final = msgspec.json.Decoder(str).decode
_encode_text: Final = msgspec.json.Encoder().encode


def ids_in(step: Step) -> list[str]:
    """The steps whose words this one asks for."""
    texts = [step.endpoint.decode(), step.query.decode()]
    texts += [value.decode() for _, _, value in step.headers]
    texts += [text for _, text in _tagged_strings(step.body.whole or b"")]
    return [id_in(found) for text in texts for found in TAG.finditer(text)]


def id_in(tag: re.Match[str]) -> str:
    """The step that a tag names."""
    return tag[1] or tag[2] or tag[3] or ""


def filled(step: Step, words: Mapping[str, str]) -> Step:
    """The step with the words in their places. Raises TemplateFailure."""
    budget = _Budget(words)
    return msgspec.structs.replace(
        step,
        endpoint=_filled_path(step.endpoint, budget),
        query=_filled_path(step.query, budget),
        headers=[_filled_header(header, budget) for header in step.headers],
        body=BytesBody(_filled_json(step.body.whole or b"", budget)),
        tagged=False,
    )


class _Budget:
    """The words to be put in, and how many bytes of them still may be."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words, self._left = words, MOST_FILLED_BYTES

    def replace(self, text: str) -> str:
        return TAG.sub(self.word, text)

    def word(self, found: re.Match[str]) -> str:
        name = id_in(found)
        word = self._words.get(name)
        if word is None:
            raise TemplateFailure(f"There is no response to put in for the step '{name}': it has not completed")
        self._left -= len(word)
        if self._left < 0:
            raise TemplateFailure(f"A step grows past {MOST_FILLED_BYTES} bytes by the responses put into it")
        return word


def _tagged_strings(body: bytes) -> Iterator[tuple[re.Match[bytes], str]]:
    """The strings of a JSON text that have a tag, with their text."""
    if b"prompt-response" not in body and b"\\u" not in body:
        return
    for found in _STRING.finditer(body):
        token = found[1]
        if not found[2] and (b"prompt-response" in token or b"\\u" in token):
            try:
                text = _decode_text(token)
            except msgspec.DecodeError:  # half of a character: a provider may make sense of it
                continue
            if TAG.search(text):
                yield found, text


def _filled_json(body: bytes, budget: _Budget) -> bytes:
    pieces: list[bytes] = []
    at = 0
    for found, text in _tagged_strings(body):
        pieces += (body[at : found.start()], _encode_text(budget.replace(text)))
        at = found.end()
    return b"".join((*pieces, body[at:])) if pieces else body


def _filled_path(path: bytes, budget: _Budget) -> bytes:
    """Words are written in percent, slashes too: they name something and lead nowhere else."""
    if b"prompt-response" not in path:
        return path
    filled_path = TAG.sub(lambda found: quote(budget.word(found), safe=""), path.decode()).encode()
    if len(filled_path) > LONGEST_FILLED_PATH:
        raise TemplateFailure(f"A path grows past {LONGEST_FILLED_PATH} bytes by the responses put into it")
    return filled_path


def _filled_header(header: Header, budget: _Budget) -> Header:
    name, sent, value = header
    if b"prompt-response" not in value:
        return header
    text = budget.replace(value.decode()).strip()
    if not text.isprintable():
        raise TemplateFailure(f"A response cannot be put into the header {sent.decode('latin-1')}: it is not one line")
    if len(text) > LONGEST_FILLED_HEADER:
        raise TemplateFailure(f"A response is too long for the header {sent.decode('latin-1')}")
    return name, sent, text.encode()
