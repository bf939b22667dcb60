"""A thousand generated workflows, run by the interpreter and by a reference of another make: the same outcome.

The reference goes through the client's own JSON; the interpreter gets it parsed and compiled to a plan, its attempts
made by a script, its logs in a real spool.
"""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from sluice.edge.native import Names
from sluice.edge.steps import parse_steps
from sluice.engine.planning import compile_plan
from sluice.engine.recorder import Record, Recorder, Trace
from sluice.engine.workflow import Run
from sluice.metrics import Metrics
from sluice.spool.frames import decode_log_frame
from sluice.spool.reader import SpoolTail
from sluice.spool.writer import SpoolWriter
from sluice.values.errors import GatewayError, UpstreamBroken, UpstreamUnreachable
from sluice.values.reply import Part, Reply, ReplyBody, WholeBody
from sluice.values.request import DEFAULT_OPTIONS, ONE_TRY, Request, Step
from sluice.values.settings import SpoolSettings
from sluice.values.tenancy import Admission, Gateway

Shape = dict[str, Any]
WORKFLOWS = 1000
GOOD = ["200", "201", "half"]
BAD = ["400", "404", "429", "500", "unreachable", "broken"]
RETRIED = {"429", "500", "unreachable", "broken"}
TAG = re.compile("<prompt-response id='(.*?)' />")
ADMISSION = Admission(Gateway(bytes(16), "acme", "default", False, True), False)


class Outcome(NamedTuple):
    """What a client gets from which element, what providers got, and what the log says of each step."""

    answer: str
    step: int
    sent: list[str]
    logged: list[tuple[str, int, str]]


def answer_of(model: str, attempt: int, how: str) -> str:
    return f"{how} to {model} at {attempt}"


# --- the reference, which knows nothing of positions


class Reference:
    def __init__(self) -> None:
        self.sent: list[str] = []
        self.logged: list[tuple[str, int, str]] = []
        self.words: dict[str, str] = {}
        self.answer, self.index = "", 0

    def run(self, workflow: list[Shape]) -> Outcome:
        any(self.step(step, index, follows=False) for index, step in enumerate(workflow))
        if self.answer.startswith("error"):
            self.logged[-1] = (*self.logged[-1][:2], "refused")
        return Outcome(self.answer, self.index, self.sent, self.logged)

    def step(self, step: Shape, index: int, *, follows: bool) -> bool:
        """Whether it succeeded, with all that follows it."""
        self.index = index
        model, prompt, script = step["query"]["model"], step["query"]["prompt"], step["query"]["script"]
        following = step["option"].get("onComplete", [])
        if follows and not set(TAG.findall(prompt)) <= self.words.keys():
            self.answer = "error 2004"
            self.logged.append(("", 0, "refused"))
            return False
        if follows:
            prompt = TAG.sub(lambda tag: self.words[tag[1]], prompt)
        attempt = 0
        for said in script:
            attempt += 1
            how = "broken" if said == "half" and following else said  # it is taken in whole, before it is a success
            self.sent.append(prompt)
            if how not in RETRIED:
                break
        ending = {"unreachable": "refused", "broken": "broken", "half": "broken"}.get(how, "complete")
        self.logged.append((model, attempt, ending))
        self.answer = "error 2005" if how in ("unreachable", "broken") else answer_of(model, attempt, how)
        if how not in GOOD:
            return False
        if following and step["id"]:
            self.words[step["id"]] = self.answer
        return not following or any(self.step(each, index, follows=True) for each in following)


# --- generated workflows


class Author:
    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._count = 0
        self._names: list[str] = []

    def workflow(self) -> list[Shape]:
        return [self._step(0) for _ in range(self._random.choice([1, 1, 2, 3, 4]))]

    def _step(self, depth: int) -> Shape:
        choice = self._random.choice
        self._count += 1
        model = f"m{self._count}"
        tags = [f"<prompt-response id='{choice(self._names)}' />" for _ in range(choice([0, 1, 2])) if self._names]
        script = [choice(choice([GOOD, BAD])) for _ in range(choice([1, 1, 2, 3]))]
        step: Shape = {"provider": "openai", "endpoint": "x", "id": choice(["", model, model, "shared"])}
        step["query"] = {"model": model, "prompt": f"{model}: {' and '.join(tags)}", "script": script}
        step["option"] = {"retry": len(script) - 1}
        if step["id"]:
            self._names.append(step["id"])
        if depth < 3 and self._random.random() < 0.45 and self._count < 20:
            step["option"]["onComplete"] = [self._step(depth + 1) for _ in range(choice([1, 1, 2, 3]))]
        return step


# --- the interpreter, with a scripted provider and a real log


class Cut:
    """A body that breaks behind what it has."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def poll(self) -> Part | None:
        data, self._data = self._data, b""
        return Part(data, False) if data else None

    async def read(self) -> Part:
        raise UpstreamBroken("scripted")

    def close(self, complete: bool = False) -> None:
        self._data = b""


class Script:
    """Makes attempts as each step's own query tells."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def make(self, step: Step, record: Record) -> Reply:
        query = json.loads(step.body.whole or b"")
        record.called("x", step.body)
        self.sent.append(query["prompt"])
        how = query["script"][record.attempts - 1]
        if how == "unreachable":
            raise UpstreamUnreachable("scripted")
        text = answer_of(query["model"], record.attempts, how).encode()
        body: ReplyBody = WholeBody(text) if how.isdigit() else Cut(text if how == "half" else b"")
        status = int(how) if how.isdigit() else 200
        record.answered(status, {b"content-type": b"text/plain"}, b"")
        return Reply(status, None, [], None, body)


class House:
    """Runs workflows, and reads what they leave in the spool."""

    def __init__(self, root: Path, spool: SpoolWriter, tail: SpoolTail) -> None:
        self._recorder, self._tail = Recorder(spool, 400, waits_for_sync=False), tail

    async def run(self, workflow: list[Shape]) -> Outcome:
        steps = parse_steps(json.dumps(workflow).encode(), DEFAULT_OPTIONS, Names())
        request = Request("acme", "default", None, "universal", b"", DEFAULT_OPTIONS, steps)
        script = Script()
        with self._recorder.open(request) as trace:
            trace.admitted = ADMISSION
            reply = trace.follow(await self._reply(request, script, trace))
        answer = await read_all(reply.body)
        index = re.search(rb"cf-aig-step: (\d+)", b"".join(reply.lines))
        assert index
        return Outcome(answer, int(index[1]), script.sent, self._logged())

    async def _reply(self, request: Request, script: Script, trace: Trace) -> Reply:
        try:
            return await Run(script.make, compile_plan(request, ONE_TRY), trace).reply()
        except GatewayError as error:
            return trace.refuse(error)

    def _logged(self) -> list[tuple[str, int, str]]:
        frames = [decode_log_frame(found.data) for found in self._tail.take()]
        rows = [frame.exchange for frame in frames]
        assert {row.request_id or row.id for row in rows} == {rows[0].id}
        assert {row.event_id or row.id for row in rows} == {rows[0].id}
        models = [json.loads(bytes(frame.request))["model"] if frame.request else "" for frame in frames]
        return [(model, row.attempts, row.ending) for model, row in zip(models, rows, strict=True)]


async def read_all(body: ReplyBody) -> str:
    """What a client reads of a reply; an error of ours by its code."""
    data = b""
    try:
        while True:
            part = body.poll() or await body.read()
            data += part.data
            if part.last:
                break
    except UpstreamBroken:
        body.close()
    return f"error {json.loads(data)['internalCode']}" if data.startswith(b"{") else data.decode()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with (
        closing(SpoolWriter.open(tmp_path, SpoolSettings(), Metrics.unseen())) as spool,
        closing(SpoolTail(tmp_path / "0")) as tail,
    ):
        yield House(tmp_path, spool, tail)


async def test_the_interpreter_and_the_reference_agree(house: House):
    seen: set[str] = set()
    for seed in range(WORKFLOWS):
        workflow = Author(seed).workflow()
        expected = Reference().run(workflow)
        assert await house.run(workflow) == expected, f"seed {seed}"
        seen |= {expected.answer.split(" to ")[0], f"step {expected.step}", f"{len(expected.logged)} rows"}
    assert seen >= {"200", "half", "404", "500", "error 2004", "error 2005", "step 0", "step 3", "1 rows", "9 rows"}
