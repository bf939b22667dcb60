"""The same faults in front of other gateways: OpenAI's chat completions, and what their clients see of them."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from bench.faults.cells import Found
from bench.faults.expectations import FAULTS, Fault
from bench.faults.seeing import Seen, see
from bench.faults.shapes import QUESTION
from bench.faults.stand import start_simulator
from bench.machine import BenchFault, Program, free_port
from bench.peers.install import Installed, PeerMissing, node_of, npm_peer, python_peer

PATIENCE_S: Final = 10.0
"""How long the client waits; every gateway that has deadlines was told some of 2 s."""
DEADLINE_S: Final = 2
READY_S: Final = 180.0
AT_ONCE: Final = 6
MODEL: Final = "gpt-4o-mini"
CHAT: Final = "/v1/chat/completions"
KEY: Final = "sk-simulated"
ASKED: Final = tuple(fault for fault in FAULTS.values() if not fault.framing)
"""What a peer can be asked for: it passes a model's name on, and no header."""
NO_PROXY: Final = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")


class Peer(NamedTuple):
    """A gateway that runs."""

    name: str
    version: str
    port: int
    path: str
    model: Callable[[Fault], str]
    """What it must be asked for, so that the simulator gets the fault."""
    headers: Callable[[Fault], Mapping[str, str]]


class Site(NamedTuple):
    """Where peers are started: before this simulator, with files of theirs in this folder, ended by the stack."""

    simulator: int
    folder: Path
    stack: ExitStack

    def base(self, fault: Fault) -> str:
        """OpenAI's base URL, which fails in TLS where that is the fault."""
        return f"{'https' if fault.over_tls else 'http'}://127.0.0.1:{self.simulator}/openai/v1"

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Program:
        program = Program(command, None, self.folder / f"{name}.log", {**environment, **NO_PROXY})
        self.stack.enter_context(program)
        self.stack.callback(program.end, 1.0)
        return program


def asked_model(fault: Fault) -> str:
    """The model by the provider's name for it."""
    return f"{MODEL}~{fault.ask}" if fault.ask else MODEL


# --- how each is started


def _litellm(installed: Installed, site: Site) -> Peer:
    port = free_port()
    config = site.folder / "litellm.yaml"
    config.write_text(json.dumps(_litellm_config(site)))  # which is YAML
    command = [str(installed.folder / "bin" / "litellm"), "--config", str(config), "--num_workers", "1"]
    settings = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"}
    site.run("litellm", [*command, "--host", "127.0.0.1", "--port", str(port)], settings)
    key = {"authorization": f"Bearer {KEY}"}
    return Peer("LiteLLM", installed.version, port, CHAT, _slug, lambda fault: key)


def _litellm_config(site: Site) -> Mapping[str, object]:
    def model(fault: Fault) -> Mapping[str, object]:
        to = {"model": f"openai/{asked_model(fault)}", "api_base": site.base(fault), "api_key": "none"}
        return {"model_name": _slug(fault), "litellm_params": to}

    return {
        "model_list": [model(fault) for fault in ASKED],
        "litellm_settings": {"request_timeout": DEADLINE_S, "num_retries": 0},
        "router_settings": {"disable_cooldowns": True},
        "general_settings": {"master_key": KEY},
    }


def _portkey(installed: Installed, site: Site) -> Peer:
    port = free_port()
    server = installed.folder / "npm" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    site.run("portkey", [str(node_of(installed)), str(server), f"--port={port}", "--headless"], {})

    def headers(fault: Fault) -> Mapping[str, str]:
        told = {"x-portkey-provider": "openai", "x-portkey-custom-host": site.base(fault)}
        return told | {"authorization": "Bearer none", "x-portkey-request-timeout": str(DEADLINE_S * 1000)}

    return Peer("Portkey", installed.version, port, CHAT, asked_model, headers)


_TENSORZERO: Final = """
[models.{slug}]
routing = ["one"]
timeouts.non_streaming.total_ms = {deadline_ms}
timeouts.streaming.ttft_ms = {deadline_ms}
[models.{slug}.providers.one]
type = "openai"
model_name = "{model}"
api_base = "{base}/"
api_key_location = "none"
"""
_TENSORZERO_START: Final = """
import signal, sys, tensorzero
gateway = tensorzero._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)
print("at", gateway.base_url, flush=True)
signal.pause()
"""


def _tensorzero(installed: Installed, site: Site) -> Peer:
    config = site.folder / "tensorzero.toml"
    models = (
        _TENSORZERO.format(
            slug=_slug(fault), model=asked_model(fault), base=site.base(fault), deadline_ms=DEADLINE_S * 1000
        )
        for fault in ASKED
    )
    config.write_text("[gateway]\nobservability.enabled = false\n" + "".join(models))
    command = [str(installed.folder / "bin" / "python"), "-c", _TENSORZERO_START, str(config)]
    program = site.run("tensorzero", command, {})
    end = time.monotonic() + READY_S
    while not (found := re.search(r"^at http://[^:]+:(\d+)", program.said(), re.MULTILINE)):  # it chooses its own port
        if time.monotonic() > end or not program.running:
            raise BenchFault(f"TensorZero did not come up:\n{program.said()}")
        time.sleep(0.05)
    name = "tensorzero::model_name::"
    path = "/openai/v1/chat/completions"
    return Peer("TensorZero", installed.version, int(found[1]), path, lambda fault: name + _slug(fault), lambda _: {})


def _slug(fault: Fault) -> str:
    """A name that any configuration can have for a model."""
    return re.sub(r"[^a-z0-9]+", "-", f"fault {fault.name}".lower())


_PEERS: Final[Sequence[tuple[str, Callable[[Path], Installed], Callable[[Installed, Site], Peer]]]] = (
    ("LiteLLM", lambda cache: python_peer("litellm", "litellm", cache), _litellm),
    ("Portkey", lambda cache: npm_peer("portkey", "@portkey-ai/gateway", cache), _portkey),
    ("TensorZero", lambda cache: python_peer("tensorzero", "tensorzero", cache), _tensorzero),
)


# --- what their clients see


Mark = Literal["true", "false", "silent"]


@dataclass(frozen=True, slots=True)
class Sight:
    """What a client saw of one fault, in words, and whether it could tell what had become of its call."""

    peer: str
    fault: Fault
    stream: bool
    words: str
    mark: Mark


def compare(folder: Path, cache: Path, say: Callable[[str], None]) -> list[Sight]:
    """What clients of every peer that can be had saw of every fault."""
    sights: list[Sight] = []
    for name, install, start in _PEERS:
        try:
            installed = install(cache)
        except PeerMissing as missing:
            say(f"without {name}: {missing}")
            continue
        with ExitStack() as stack:
            site = Site(start_simulator(folder, stack), folder, stack)
            sights += asyncio.run(_ask_all(start(installed, site), say))
    return sights


async def _ask_all(peer: Peer, say: Callable[[str], None]) -> list[Sight]:
    """What its clients see, once it answers as it should where nothing fails."""
    begun = asyncio.get_running_loop().time()
    while (plain := await _ask(peer, FAULTS["no fault"], stream=False)).status != 200:
        if asyncio.get_running_loop().time() - begun > READY_S:
            raise BenchFault(f"{peer.name} does not answer: {plain.status} {plain.body[:500]!r}")
        await asyncio.sleep(0.25)
    text = answer_of(plain.body, stream=False).text
    say(f"{peer.name} {peer.version}")
    todo = iter([(fault, stream) for fault in ASKED for stream in (False, True) if stream or not fault.streams_only])
    sights: list[Sight] = []

    async def work() -> None:
        for fault, stream in todo:
            sights.append(judged(f"{peer.name} {peer.version}", fault, stream, await _ask(peer, fault, stream), text))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return sights


async def _ask(peer: Peer, fault: Fault, stream: bool) -> Seen:
    asked: dict[str, Any] = {"model": peer.model(fault), "messages": [{"role": "user", "content": QUESTION}]}
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return await see(peer.port, peer.path, peer.headers(fault), json.dumps(asked).encode(), PATIENCE_S)


def of_sluice(found: Sequence[Found]) -> Iterator[Sight]:
    """The same of what Sluice's clients saw of this shape, by the provider's own path."""
    asked = [one for one in found if one.cell.shape.name == "openai-chat" and one.cell.way == "native"]
    plain = next((one for one in asked if one.cell.fault.kind == "served" and not one.cell.stream), None)
    text = answer_of(plain.seen.body, stream=False).text if plain else ""
    for one in asked:
        if not one.cell.fault.framing:
            yield judged("Sluice", one.cell.fault, one.cell.stream, one.seen, text)


class Answer(NamedTuple):
    """What a reply says to whoever reads OpenAI's shape."""

    text: str
    error: bool
    """Whether it tells of an error."""
    done: bool
    """Whether its stream has its terminal event."""
    damaged: bool
    """Whether there is something in it that is no JSON."""


def answer_of(body: bytes, stream: bool) -> Answer:
    """What can be read of a reply; nothing of what cannot."""
    pieces = [line[5:].strip() for line in body.split(b"\n") if line.startswith(b"data:")] if stream else [body]
    done = b"[DONE]" in pieces
    decoded = [_decoded(piece) for piece in pieces if piece != b"[DONE]"]
    documents = [document for document in decoded if isinstance(document, dict)]
    text = "".join(_text(document, "delta" if stream else "message") for document in documents)
    return Answer(text, any(document.get("error") for document in documents), done, None in decoded)


def _decoded(piece: bytes) -> object:
    try:
        return json.loads(piece)
    except ValueError:
        return None


def _text(document: Mapping[str, Any], place: str) -> str:
    try:
        return "".join(choice[place].get("content") or "" for choice in document.get("choices") or ())
    except (KeyError, TypeError, AttributeError):
        return ""


def judged(peer: str, fault: Fault, stream: bool, seen: Seen, text: str) -> Sight:
    """Whole where all came, and only there: what failed must show, by a status, an error or a missing end."""
    answer = answer_of(seen.body, stream)
    fails = fault.kind in ("unbegun", "bodiless", "broken", "status", "error body", "error event")
    shows = seen.view in ("cut", "reset", "nothing") or seen.status >= 400 or answer.error
    all_came = seen.status == 200 and answer.text == text and not answer.error
    truth = shows if fails else all_came and seen.view == "whole"
    if fault.kind == "tail":
        truth = shows or (all_came and answer.done)
    elif fault.kind == "garbled":
        truth = shows or answer.damaged
    mark: Mark = "true" if truth else "silent" if seen.view == "silent" else "false"
    return Sight(peer, fault, stream, _words(seen, answer, stream, text), mark)


def _words(seen: Seen, answer: Answer, stream: bool, text: str) -> str:
    if seen.view == "nothing":
        return "closed without a reply"
    if seen.view == "silent" and not answer.done:
        return f"silent for {PATIENCE_S:g} s"
    if seen.status >= 400:
        return f"status {seen.status}" + ("" if seen.view == "whole" else ", cut")
    told = "all" if answer.text == text else "a part" if answer.text else "nothing"
    ending = seen.view if seen.view != "whole" or not stream else "`[DONE]`" if answer.done else "ended, no `[DONE]`"
    damage = ["the damage"] if answer.damaged and seen.view == "whole" else []
    return ", ".join((told, *damage, *(["an error"] if answer.error else []), ending))


# --- as a table


MARKS: Final[Mapping[Mark, str]] = {"true": "", "false": "✗ ", "silent": "… "}


def table(sights: Sequence[Sight]) -> Iterator[str]:
    """A row for each fault, streamed and not, a column for each peer, and how many of each are true."""
    names = list(dict.fromkeys(sight.peer for sight in sights))
    found = {(sight.peer, sight.fault.name, sight.stream): sight for sight in sights}
    yield "| Fault | | " + " | ".join(names) + " |"
    yield "| --- " * (2 + len(names)) + "|"
    for fault in ASKED:
        for stream in (False, True):
            row = [found.get((name, fault.name, stream)) for name in names]
            if any(row):
                cells = (f"{MARKS[one.mark]}{one.words}" if one else "" for one in row)
                yield f"| {fault.name} | {'streamed' if stream else 'whole'} | " + " | ".join(cells) + " |"
    yield "| true | | " + " | ".join(_share(sights, name) for name in names) + " |"


def _share(sights: Sequence[Sight], name: str) -> str:
    marks = [sight.mark for sight in sights if sight.peer == name]
    return f"{marks.count('true')} of {len(marks)}" + (f", {n} silent" if (n := marks.count("silent")) else "")
