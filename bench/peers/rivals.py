"""The other AI gateways: TensorZero, Portkey and LiteLLM, their logs off, each as its makers say it is fast."""

import json
import re
import time
from functools import partial
from pathlib import Path
from typing import Final

from bench.machine import BenchFault, free_port
from bench.peers.calls import Call, Mode, naming
from bench.peers.gateways import CHAT, PATIENCE_S, Gateway, Peer, Site, run
from bench.peers.install import Installed, node_of, npm_peer, python_peer

MODEL: Final = "openai/gpt-4o-mini"
TENSORZERO: Final = """
[gateway]
observability.enabled = false

[models.mock]
routing = ["one"]
[models.mock.providers.one]
{provider}
[models.steps]
routing = ["one", "two"]
[models.steps.providers.one]
{provider}
[models.steps.providers.two]
{provider}
"""
TENSORZERO_PROVIDER: Final = """
type = "openai"
model_name = "gpt-4o-mini"
api_base = "{origin}/v1/"
api_key_location = "none"
"""
TENSORZERO_START: Final = """
import signal, sys, tensorzero
gateway = tensorzero._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)
print("at", gateway.base_url, flush=True)
signal.pause()
"""


def tensorzero(cache: Path) -> Peer:
    installed = python_peer("tensorzero", "tensorzero", cache)
    return Peer("tensorzero", installed, partial(_launch_tensorzero, installed))


def _launch_tensorzero(installed: Installed, site: Site) -> Gateway:
    config = site.folder / f"tensorzero-{site.upstream.port}.toml"
    provider = TENSORZERO_PROVIDER.format(origin=site.upstream.origin)
    config.write_text(TENSORZERO.format(provider=provider))
    command = [str(installed.folder / "bin" / "python"), "-c", TENSORZERO_START, str(config)]
    program = run("tensorzero", command, {}, site)
    end = time.monotonic() + PATIENCE_S
    while not (found := re.search(r"^at http://[^:]+:(\d+)", program.said(), re.MULTILINE)):  # it chooses its own port
        if time.monotonic() > end or not program.running:
            raise BenchFault(f"tensorzero did not come up:\n{program.said()}")
        time.sleep(0.005)
    path = "/openai/v1/chat/completions"
    calls: dict[Mode, Call] = {
        "compat": Call(path, {}, naming("tensorzero::model_name::mock"), verbatim=False),
        "universal": Call(path, {}, naming("tensorzero::model_name::steps"), verbatim=False),
    }
    return Gateway("tensorzero", int(found[1]), program, site.cores.gateway, calls)


def portkey(cache: Path) -> Peer:
    installed = npm_peer("portkey", "@portkey-ai/gateway", cache)
    return Peer("portkey", installed, partial(_launch_portkey, installed))


def _launch_portkey(installed: Installed, site: Site) -> Gateway:
    port, origin = free_port(), site.upstream.origin
    server = installed.folder / "npm" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    program = run("portkey", [str(node_of(installed)), str(server), f"--port={port}", "--headless"], {}, site)
    target = {"provider": "openai", "custom_host": f"{origin}/v1", "api_key": "none"}
    fallback = json.dumps({"strategy": {"mode": "fallback"}, "targets": [target, target]})
    one = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{origin}/v1", "authorization": "Bearer none"}
    calls: dict[Mode, Call] = {
        "native": Call("/v1/proxy/chat/completions", one),
        "compat": Call(CHAT, one, verbatim=False),
        "universal": Call(CHAT, {"x-portkey-config": fallback}, verbatim=False),
    }
    return Gateway("portkey", port, program, site.cores.gateway, calls)


LITELLM_KEY: Final = "sk-bench"
LITELLM_SETTINGS: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "OPENAI_API_KEY": "none",
}


def litellm(cache: Path) -> Peer:
    installed = python_peer("litellm", "litellm", cache)
    return Peer("litellm", installed, partial(_launch_litellm, installed))


def _launch_litellm(installed: Installed, site: Site) -> Gateway:
    port, origin = free_port(), site.upstream.origin
    config = site.folder / f"litellm-{port}.yaml"
    config.write_text(json.dumps(_litellm_config(origin)))  # which is YAML
    command = [str(installed.folder / "bin" / "litellm"), "--config", str(config), "--num_workers", "1"]
    environment = {**LITELLM_SETTINGS, "OPENAI_API_BASE": origin}
    program = run("litellm", [*command, "--host", "127.0.0.1", "--port", str(port)], environment, site)
    key = {"authorization": f"Bearer {LITELLM_KEY}"}
    calls: dict[Mode, Call] = {
        "native": Call("/openai/v1/chat/completions", key),
        "universal": Call(CHAT, key, naming(MODEL, fallbacks=["second"]), verbatim=False),
        "compat": Call(CHAT, key, naming(MODEL), verbatim=False),
        "cached": Call(
            CHAT, key, naming(MODEL, cache={"use-cache": True}), verbatim=False, mark="\nx-litellm-cache-key: "
        ),
    }
    return Gateway("litellm", port, program, site.cores.gateway, calls, ("/v1/realtime?model=live", key))


def _litellm_config(origin: str) -> dict[str, object]:
    def model(name: str, of_openai: str, base: str) -> dict[str, object]:
        return {"model_name": name, "litellm_params": {"model": of_openai, "api_base": base, "api_key": "none"}}

    models = [model(MODEL, MODEL, f"{origin}/v1"), model("second", MODEL, f"{origin}/v1")]
    return {
        "model_list": [*models, model("live", "openai/gpt-realtime", origin)],
        "litellm_settings": {"cache": True, "cache_params": {"type": "local", "mode": "default_off"}},
        "general_settings": {"master_key": LITELLM_KEY},
    }
