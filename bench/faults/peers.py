"""The same faults in front of other gateways: OpenAI's chat completions, and what their clients see of them."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.faults.expectations import FAULTS, Fault
from bench.faults.seeing import Seen, see
from bench.faults.shapes import QUESTION
from bench.faults.sights import ASKED, PATIENCE_S, Sight, Texts, answer_of, judged
from bench.faults.stand import start_simulator
from bench.machine import BenchFault, Program, free_port
from bench.peers.install import Installed, PeerMissing, node_of, npm_peer, python_peer

DEADLINE_S: Final = 2
READY_S: Final = 180.0
AT_ONCE: Final = 6
MODEL: Final = "gpt-4o-mini"
CHAT: Final = "/v1/chat/completions"
KEY: Final = "sk-simulated"
PLAIN: Final = FAULTS["no fault"]
SECOND: Final = Fault("second", "words-7", "served")
"""The answer of who is asked instead, which can be told from the other by its words."""
NO_PROXY: Final = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")


class Asked(NamedTuple):
    """A call; `fallback` where it may be answered by another provider."""

    fault: Fault
    stream: bool
    fallback: bool


class Peer(NamedTuple):
    """A gateway that runs."""

    name: str
    version: str
    port: int
    path: str
    ask: Callable[[Asked], tuple[str, Mapping[str, str]]]
    """The model that it must be asked for, so that the simulator gets the fault, and with which headers."""


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
    return Peer("LiteLLM", installed.version, port, CHAT, lambda asked: (_slug(asked.fault, asked.fallback), key))


def _litellm_config(site: Site) -> Mapping[str, object]:
    def model(fault: Fault, fallback: bool) -> Mapping[str, object]:
        to = {"model": f"openai/{asked_model(fault)}", "api_base": site.base(fault), "api_key": "none"}
        return {"model_name": _slug(fault, fallback), "litellm_params": to}

    instead = [{_slug(fault, True): [_slug(SECOND, False)]} for fault in ASKED]
    return {
        "model_list": [model(fault, fallback) for fault in (*ASKED, SECOND) for fallback in (False, True)],
        "litellm_settings": {"request_timeout": DEADLINE_S, "num_retries": 0, "fallbacks": instead},
        "router_settings": {"disable_cooldowns": True},
        "general_settings": {"master_key": KEY},
    }


def _portkey(installed: Installed, site: Site) -> Peer:
    port = free_port()
    server = installed.folder / "npm" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    site.run("portkey", [str(node_of(installed)), str(server), f"--port={port}", "--headless"], {})

    def target(fault: Fault) -> Mapping[str, object]:
        to = {"provider": "openai", "custom_host": site.base(fault), "api_key": "none"}
        return {**to, "request_timeout": DEADLINE_S * 1000, "override_params": {"model": asked_model(fault)}}

    def ask(asked: Asked) -> tuple[str, Mapping[str, str]]:
        one = {"x-portkey-provider": "openai", "x-portkey-custom-host": site.base(asked.fault)}
        alone = one | {"authorization": "Bearer none", "x-portkey-request-timeout": str(DEADLINE_S * 1000)}
        targets = [target(asked.fault), target(SECOND)]
        config = {"x-portkey-config": json.dumps({"strategy": {"mode": "fallback"}, "targets": targets})}
        return asked_model(asked.fault), config if asked.fallback else alone

    return Peer("Portkey", installed.version, port, CHAT, ask)


_TENSORZERO: Final = """
[models.{slug}]
routing = {routing}
"""
_TENSORZERO_PROVIDER: Final = """
[models.{slug}.providers.{name}]
type = "openai"
model_name = "{model}"
api_base = "{base}/"
api_key_location = "none"
timeouts.non_streaming.total_ms = {deadline_ms}
timeouts.streaming.ttft_ms = {deadline_ms}
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
    models = (_tensorzero_model(site, fault, by) for fault in (*ASKED, SECOND) for by in (False, True))
    config.write_text("[gateway]\nobservability.enabled = false\n" + "".join(models))
    command = [str(installed.folder / "bin" / "python"), "-c", _TENSORZERO_START, str(config)]
    program = site.run("tensorzero", command, {})
    end = time.monotonic() + READY_S
    while not (found := re.search(r"^at http://[^:]+:(\d+)", program.said(), re.MULTILINE)):  # it chooses its own port
        if time.monotonic() > end or not program.running:
            raise BenchFault(f"TensorZero did not come up:\n{program.said()}")
        time.sleep(0.05)
    name, path = "tensorzero::model_name::", "/openai/v1/chat/completions"
    port = int(found[1])
    return Peer(
        "TensorZero", installed.version, port, path, lambda asked: (name + _slug(asked.fault, asked.fallback), {})
    )


def _tensorzero_model(site: Site, fault: Fault, fallback: bool) -> str:
    slug = _slug(fault, fallback)
    providers = {"one": fault, "two": SECOND} if fallback else {"one": fault}
    return _TENSORZERO.format(slug=slug, routing=json.dumps(list(providers))) + "".join(
        _TENSORZERO_PROVIDER.format(
            slug=slug, name=name, model=asked_model(by), base=site.base(by), deadline_ms=DEADLINE_S * 1000
        )
        for name, by in providers.items()
    )


def _slug(fault: Fault, fallback: bool) -> str:
    """A name that any configuration can have for a model."""
    return re.sub(r"[^a-z0-9]+", "-", f"fault {fault.name}{' or second' if fallback else ''}".lower())


_PEERS: Final[Sequence[tuple[str, Callable[[Path], Installed], Callable[[Installed, Site], Peer]]]] = (
    ("LiteLLM", lambda cache: python_peer("litellm", "litellm", cache), _litellm),
    ("Portkey", lambda cache: npm_peer("portkey", "@portkey-ai/gateway", cache), _portkey),
    ("TensorZero", lambda cache: python_peer("tensorzero", "tensorzero", cache), _tensorzero),
)


# --- what their clients see


def compare(folder: Path, cache: Path, say: Callable[[str], None]) -> tuple[list[Sight], list[Sight]]:
    """What clients of each peer that can be had saw of every fault: alone, and with another provider to turn to."""
    alone: list[Sight] = []
    behind: list[Sight] = []
    for name, install, start in _PEERS:
        try:
            installed = install(cache)
        except PeerMissing as missing:
            say(f"without {name}: {missing}")
            continue
        with ExitStack() as stack:
            site = Site(start_simulator(folder, stack), folder, stack)
            peer = start(installed, site)
            asyncio.run(_ready(peer))
            say(f"{peer.name} {peer.version}")
            alone += asyncio.run(_ask_all(peer, fallback=False))
            behind += asyncio.run(_ask_all(peer, fallback=True))
    return alone, behind


async def _ready(peer: Peer) -> None:
    """Returns once it answers as it should where nothing fails."""
    begun = asyncio.get_running_loop().time()
    while (plain := await _ask(peer, Asked(PLAIN, False, False))).status != 200:
        if asyncio.get_running_loop().time() - begun > READY_S:
            raise BenchFault(f"{peer.name} does not answer: {plain.status} {plain.body[:500]!r}")
        await asyncio.sleep(0.25)


async def _ask_all(peer: Peer, *, fallback: bool) -> list[Sight]:
    said = [await _ask(peer, Asked(fault, False, False)) for fault in ((PLAIN, SECOND) if fallback else (PLAIN,))]
    texts = Texts(*(answer_of(seen.body, stream=False).text for seen in said))
    todo = iter([(fault, stream) for fault in ASKED for stream in (False, True) if stream or not fault.streams_only])
    sights: list[Sight] = []

    async def work() -> None:
        for fault, stream in todo:
            seen = await _ask(peer, Asked(fault, stream, fallback))
            sights.append(judged(f"{peer.name} {peer.version}", fault, stream, seen, texts))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return sights


async def _ask(peer: Peer, asked: Asked) -> Seen:
    model, headers = peer.ask(asked)
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
    if asked.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return await see(peer.port, peer.path, headers, json.dumps(body).encode(), PATIENCE_S)
