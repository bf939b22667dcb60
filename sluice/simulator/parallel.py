"""Parallel's wire: runs of tasks, searches, and OpenAI's chat. Start reading at `answer`."""

import re
from typing import Final

import msgspec

from sluice.simulator import answers, openai, words
from sluice.simulator.answers import Question
from sluice.simulator.bodies import has_bad_key, read_body
from sluice.simulator.call import Call
from sluice.simulator.faults import NONE
from sluice.simulator.files import File, Shelf
from sluice.simulator.script import Refused, Script, json_script
from sluice.simulator.vendor import Vendor
from sluice.simulator.words import Json

_RUNS: Final = re.compile(r"v1(?:beta)?/tasks/runs(?:/([^/]+)(/result)?)?")
_CREATED: Final = "2025-01-01T00:00:00Z"


class _Run(msgspec.Struct, frozen=True):
    input: str | dict[str, object]
    processor: str = "base"


class _Search(msgspec.Struct, frozen=True):
    objective: str = ""
    search_queries: list[str] = []


def answer(call: Call, shelf: Shelf) -> Script:
    """The reply to a request. Raises Refused."""
    if has_bad_key(call):
        raise Refused(401)
    if call.method == "POST" and call.path == "v1beta/search":
        return json_script(_found(read_body(call, _Search)))
    found = _RUNS.fullmatch(call.path)
    if found is None:
        return openai.answer(call, shelf)
    if found[1] is None and call.method == "POST":
        return _start(call, shelf)
    file = shelf.get(found[1] or "")
    if file is None or call.method not in ("GET", "HEAD"):
        raise Refused(404, "Run not found")
    return json_script(_result(file) if found[2] else _run(file, "completed"))


def _start(call: Call, shelf: Shelf) -> Script:
    """A run that is queued; what it was asked is kept on the shelf."""
    request = read_body(call, _Run)
    asked = request.input if isinstance(request.input, str) else msgspec.json.encode(request.input).decode()
    file = File("trun_" + call.body.sha256[:32], request.processor, "run", len(asked), asked.encode())
    shelf.put(file)
    return json_script(_run(file, "queued"), status=202)


def _run(file: File, status: str) -> Json:
    return {
        "run_id": file.id,
        "interaction_id": file.id,
        "status": status,
        "is_active": status == "queued",
        "processor": file.filename,
        "metadata": {},
        "warnings": None,
        "error": None,
        "created_at": _CREATED,
        "modified_at": _CREATED,
    }


def _result(file: File) -> Json:
    said = answers.answer(Question((file.data or b"").decode()), NONE).text
    return {"run": _run(file, "completed"), "output": {"type": "text", "content": said, "basis": []}}


def _found(request: _Search) -> Json:
    asked = request.objective or " ".join(request.search_queries)
    results: list[Json] = [
        {"url": f"https://example.com/{number}", "title": words.prose(f"{number}:{asked}", 4),
         "excerpts": [words.prose(f"{number} {asked}", 20)]}
        for number in range(3)
    ]  # fmt: skip
    return {"search_id": "search_" + words.digest(asked)[:32], "results": results}


PARALLEL: Final = Vendor(answer, openai.refusal, openai.error_event, openai.OPENAI.model_in_path)
