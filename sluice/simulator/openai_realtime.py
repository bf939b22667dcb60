"""OpenAI's realtime events: what a client may say, and what it is told. https://platform.openai.com/docs/guides/realtime

Text is answered with text, whatever modality was asked for; audio is taken and not listened to.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from sluice.simulator import words
from sluice.simulator.answers import Question, answer, spent
from sluice.simulator.call import Call
from sluice.simulator.faults import base_model
from sluice.simulator.live import Message, Said
from sluice.simulator.script import Refused, to_json
from sluice.simulator.words import Json

_PATH: Final = re.compile(r"(?:.*/)?realtime")


class _Content(msgspec.Struct, frozen=True):
    type: str = ""
    text: str = ""
    transcript: str = ""


class _Item(msgspec.Struct, frozen=True):
    type: str = "message"
    id: str = ""
    role: str = "user"
    content: list[_Content] = []
    output: str = ""

    @property
    def text(self) -> str:
        return " ".join(said for one in self.content if (said := one.text or one.transcript)) or self.output


class _Asked(msgspec.Struct, frozen=True):
    type: str = ""
    event_id: str | None = None
    item: _Item | None = None
    session: dict[str, object] = {}


def open_session(call: Call) -> "Session":
    """A session, for who asks for one. Raises Refused."""
    if not _PATH.fullmatch(call.path):
        raise Refused(404, f"Invalid URL (GET /{call.path})")
    if not call.model and "call_id" not in call.query:
        raise Refused(400, "Missing required parameter: 'model'.")
    return Session(call)


class Session:
    """One conversation: items are gathered until a response is asked for."""

    def __init__(self, call: Call) -> None:
        self.faults = call.faults
        self._model = base_model(call.model)
        self._number = 0
        self._items: list[_Item] = []

    def opening(self) -> Iterator[Said]:
        yield self._event("session.created", session=self._session({}))

    def heard(self, message: Message) -> Iterator[Said]:
        try:
            asked = msgspec.json.decode(message.data, type=_Asked)
        except msgspec.DecodeError:
            yield self._error("Could not parse your JSON body.", None)
            return
        match asked.type:
            case "session.update":
                yield self._event("session.updated", session=self._session(asked.session))
            case "conversation.item.create" if asked.item is not None:
                yield from self._added(asked.item)
            case "input_audio_buffer.append":
                return
            case "input_audio_buffer.commit":
                item = _Item(id=self._id("item"), content=[_Content("input_audio")])
                yield self._event("input_audio_buffer.committed", item_id=item.id, previous_item_id=None)
                yield from self._added(item)
            case "input_audio_buffer.clear":
                yield self._event("input_audio_buffer.cleared")
            case "response.create":
                yield from self._respond()
            case other:
                yield self._error(f"Invalid value: '{other}'.", asked.event_id)

    def _added(self, item: _Item) -> Iterator[Said]:
        if not item.id:
            item = msgspec.structs.replace(item, id=self._id("item"))
        self._items.append(item)
        yield self._event("conversation.item.added", previous_item_id=None, item=_shown(item))
        yield self._event("conversation.item.done", previous_item_id=None, item=_shown(item))

    def _respond(self) -> Iterator[Said]:
        said = answer(Question(self._items[-1].text if self._items else ""), self.faults)
        prompt = 3 + sum(4 + words.count(one.text) for one in self._items)
        used = spent(prompt, [said], self.faults, self._model)
        item = _Item(id=self._id("item"), role="assistant", content=[_Content("output_text", said.text)])
        empty = msgspec.structs.replace(item, content=[])
        response: dict[str, Json] = {"object": "realtime.response", "id": self._id("resp"), "status": "in_progress"}
        at: dict[str, Json] = {"response_id": response["id"], "output_index": 0}
        part = at | {"item_id": item.id, "content_index": 0}
        yield self._event("response.created", response=response | {"output": [], "usage": None})
        yield self._event("response.output_item.added", **at, item=_shown(empty))
        yield self._event("conversation.item.added", previous_item_id=None, item=_shown(empty))
        yield self._event("response.content_part.added", **part, part={"type": "text", "text": ""})
        for piece in said.pieces():
            yield self._event("response.output_text.delta", **part, delta=piece)
        yield self._event("response.output_text.done", **part, text=said.text)
        yield self._event("response.content_part.done", **part, part={"type": "text", "text": said.text})
        yield self._event("response.output_item.done", **at, item=_shown(item))
        yield self._event("conversation.item.done", previous_item_id=None, item=_shown(item))
        self._items.append(item)
        usage: Json = {
            "total_tokens": used.total,
            "input_tokens": used.prompt,
            "output_tokens": used.completion,
            "input_token_details": {"text_tokens": used.prompt, "audio_tokens": 0, "cached_tokens": used.cached},
            "output_token_details": {"text_tokens": used.completion, "audio_tokens": 0},
        }
        told = None if self.faults.no_usage else usage
        done = response | {"status": "completed", "output": [_shown(item)], "usage": told}
        yield self._event("response.done", response=done)

    def _session(self, wanted: dict[str, object]) -> Json:
        kept = {name: value for name, value in wanted.items() if isinstance(value, str)}
        return kept | {
            "type": "realtime",
            "object": "realtime.session",
            "id": "sess_" + words.digest(self._model)[:21],
            "model": self._model,
            "output_modalities": ["text"],
            "tools": [],
            "tool_choice": "auto",
        }

    def _error(self, message: str, event_id: str | None) -> Message:
        error: Json = {"type": "invalid_request_error", "code": "invalid_value", "message": message, "param": "type",
                       "event_id": event_id}  # fmt: skip
        return self._event("error", error=error)

    def _event(self, kind: str, **fields: Json) -> Message:
        return Message(to_json({"type": kind, "event_id": self._id("event")} | fields))

    def _id(self, kind: str) -> str:
        self._number += 1
        return f"{kind}_{words.digest(f'{self._model} {self._number}')[:21]}"


def _shown(item: _Item) -> Json:
    content: list[Json] = [{"type": one.type, "text": one.text} for one in item.content]
    return {
        "id": item.id,
        "object": "realtime.item",
        "type": item.type,
        "status": "completed",
        "role": item.role,
        "content": content,
    }
