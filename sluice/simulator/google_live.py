"""Gemini's live messages, over a WebSocket in binary frames, as Google sends them. https://ai.google.dev/api/live"""

from collections.abc import Iterator

import msgspec

from sluice.simulator.answers import Question, answer, spent
from sluice.simulator.call import Call
from sluice.simulator.faults import NONE, FaultError, base_model, parse_faults
from sluice.simulator.google_content import Content, camel, counted
from sluice.simulator.live import Goodbye, Message, Said
from sluice.simulator.script import Refused, to_json
from sluice.simulator.words import Json

_METHODS = ("BidiGenerateContent", "BidiGenerateContentConstrained")


class _Setup(msgspec.Struct, frozen=True):
    model: str = ""


class _ClientContent(msgspec.Struct, frozen=True, rename="camel"):
    turns: list[Content] = []
    turn_complete: bool = False


class _RealtimeInput(msgspec.Struct, frozen=True):
    text: str | None = None


class _Asked(msgspec.Struct, frozen=True, rename="camel"):
    setup: _Setup | None = None
    client_content: _ClientContent | None = None
    realtime_input: _RealtimeInput | None = None


def open_session(call: Call) -> "Session":
    """A session, for who asks for one. Raises Refused."""
    if not call.path.startswith("ws/") or call.path.rpartition(".")[2] not in _METHODS:
        raise Refused(404)
    return Session(call)


class Session:
    """One conversation. Its faults come by header, or with the model that the setup names."""

    def __init__(self, call: Call) -> None:
        self.faults = call.faults
        self._model: str | None = None
        self._turns: list[Content] = []

    def opening(self) -> Iterator[Said]:
        return iter(())

    def heard(self, message: Message) -> Iterator[Said]:
        try:
            asked = msgspec.convert(camel(msgspec.json.decode(message.data)), _Asked)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            yield Goodbye(1007, f"Invalid JSON payload received. {error}")
            return
        if self._model is None:
            yield self._set_up(asked.setup)
        elif asked.client_content is not None:
            self._turns += asked.client_content.turns
            if asked.client_content.turn_complete:
                yield from self._respond()
        elif asked.realtime_input is not None and asked.realtime_input.text is not None:
            self._turns.append(msgspec.convert({"parts": [{"text": asked.realtime_input.text}]}, Content))
            yield from self._respond()

    def _set_up(self, setup: _Setup | None) -> Said:
        if setup is None:
            return Goodbye(1007, "setup must be the first message and only the first")
        try:
            faults = parse_faults(setup.model, "")
        except FaultError as error:
            return Goodbye(1007, str(error))
        self.faults = self.faults if faults is NONE else faults
        self._model = base_model(setup.model)
        return _message({"setupComplete": {}})

    def _respond(self) -> Iterator[Said]:
        said = answer(Question(self._turns[-1].text if self._turns else ""), self.faults)
        used = spent(3 + sum(4 + turn.tokens for turn in self._turns), [said], self.faults, self._model or "")
        for piece in said.pieces():
            yield _message({"serverContent": {"modelTurn": {"role": "model", "parts": [{"text": piece}]}}})
        yield _message({"serverContent": {"generationComplete": True}})
        self._turns.append(msgspec.convert({"role": "model", "parts": [{"text": said.text}]}, Content))
        usage: dict[str, Json] = {
            "promptTokenCount": used.prompt,
            "responseTokenCount": used.completion,
            "totalTokenCount": used.total,
            "promptTokensDetails": counted("TEXT", used.prompt),
            "responseTokensDetails": counted("TEXT", used.completion),
        }
        told: dict[str, Json] = {} if self.faults.no_usage else {"usageMetadata": usage}
        yield _message({"serverContent": {"turnComplete": True}} | told)


def _message(value: Json) -> Message:
    return Message(msgspec.json.format(to_json(value), indent=2) + b"\n", text=False)
