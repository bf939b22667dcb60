"""The gateways that are measured side by side, each as a running program with the address to call it by."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from bench.exchange import compat_body, request_body, universal_body
from bench.machine import BenchFault, Cores, Program, free_port, pin

ROOT = Path(__file__).parent.parent
SLUICE = (sys.executable, "-P", "-c", "import sys; from sluice.cli.main import main; sys.exit(main())")
CERTIFICATE = ROOT / "tests" / "journeys" / "localhost.pem"
"""For localhost, with its key, signed by itself."""
FAMILY = ("sluice: worker 1", "sluice: keeper", "sluice: console")
"""Its processes are started when the data folder is made, which is after its port is taken."""
COMPILED = os.environ.get("SLUICE_COMPILED")
"""Where the packages of the compiled build lie; the scripts tell, if there is one of the present sources."""

Name = Literal[
    "direct",
    "nginx",
    "prototype",
    "sluice",
    "sluice-pure",
    "sluice-one-core",
    "sluice-no-logs",
    "sluice-universal",
    "sluice-compat",
    "sluice-fresh",
    "sluice-hit",
    "sluice-key",
    "sluice-rate",
    "sluice-sliding",
    "sluice-spend",
]
"""sluice: the worker alone on the gateway's core and full bodies logged, as the budgets say, compiled if there is such
a build; sluice-pure: the same, not compiled; sluice-one-core: all of it there; sluice-no-logs: nothing logged, as peers
publish their figures; sluice-universal, sluice-compat: the gateway `sluice` by these
endpoints; sluice-fresh, sluice-hit: the same natively, each reply kept anew, or given out of the cache; sluice-key and
the rest: the same through gateways that put a stored key in, or count requests, or money (bench/features.py)."""
NAMES: dict[str, Name] = {name: name for name in get_args(Name)}


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to the upstream: straight, or through a gateway."""

    name: str
    port: int
    path: str
    headers: Mapping[str, str]
    program: Program | None
    core: int
    body: str = request_body()
    pieces: tuple[str, ...] = ()
    """What its replies must hold, where it writes them anew; if nothing, they must be the upstream's to the byte."""

    @property
    def token(self) -> str:
        return self.headers["cf-aig-authorization"].removeprefix("Bearer ")

    def processes(self) -> dict[str, int]:
        family = self.program.family() if self.program else {}
        return {title: pid for title, pid in family.items() if title != "sluice: prices"}  # ends when it has answered

    def measured(self) -> list[int]:
        """The processes whose time and memory count as the gateway's own: the ones on the gateway's core."""
        return [pid for pid in self.processes().values() if os.sched_getaffinity(pid) == {self.core}]

    def process(self, title: str) -> int:
        """The process whose title begins so."""
        for known, pid in self.processes().items():
            if known.startswith(title):
                return pid
        raise BenchFault(f"{self.name} has no process {title!r}, but {sorted(self.processes())}")


def start(
    names: Sequence[Name], upstream: int, cores: Cores, folder: Path, prototype: Path | None, stack: ExitStack
) -> list[Contender]:
    """Starts the named contenders in front of the upstream port; the stack ends them."""
    started = []
    for name in names:
        if name == "direct":
            started.append(Contender("direct", upstream, "/v1/chat/completions", {}, None, cores.gateway))
        elif name == "nginx":
            started.append(_nginx(upstream, cores, folder, stack))
        elif name == "prototype":
            if prototype is None or not prototype.exists():
                print(f"without the prototype: {prototype or 'none given'} is not there", file=sys.stderr)
                continue
            started.append(_prototype(prototype, upstream, cores, folder, stack))
        else:
            started.append(sluice(name, upstream, cores, folder / f"data-{name}-{upstream}", stack))
    return started


def sluice(name: Name, upstream: int | str, cores: Cores, data: Path, stack: ExitStack) -> Contender:
    """Sluice with one worker, as the name says. `upstream` is a port of this machine, or an origin."""
    port = free_port()
    pure = name == "sluice-pure"
    program = stack.enter_context(start_sluice(upstream, port, cores.gateway, data, pure=pure))
    program.wait_for_port(port)
    program.wait_for_family(FAMILY)
    headers = {"cf-aig-authorization": f"Bearer {make_token(data)}"}
    if name == "sluice-no-logs":
        headers["cf-aig-collect-log"] = "false"
    if name != "sluice-one-core":
        for title, pid in program.family().items():
            if not title.startswith("sluice: worker"):
                pin(pid, cores.load)
    return Contender(name, port, "/v1/local/default/openai/v1/chat/completions", headers, program, cores.gateway)


def endpoints(native: Contender) -> list[Contender]:
    """The same gateway called in three ways: the provider's own endpoint, the universal and the unified one."""
    gateway = "/v1/local/default"
    universal = replace(native, name=NAMES["sluice-universal"], path=gateway, body=universal_body())
    compat = replace(native, name=NAMES["sluice-compat"], path=f"{gateway}/compat/chat/completions", body=compat_body())
    return [native, universal, compat]


def cached(native: Contender) -> list[Contender]:
    """The same gateway with its cache off, with one that only takes replies in, and with one that gives them."""
    kept = {**native.headers, "cf-aig-cache-ttl": "3600"}
    fresh = replace(native, name=NAMES["sluice-fresh"], headers={**kept, "cf-aig-skip-cache": "true"})
    return [native, fresh, replace(native, name=NAMES["sluice-hit"], headers=kept)]


def start_sluice(
    upstream: int | str,
    port: int,
    core: int | None,
    data: Path,
    workers: int = 1,
    *,
    pure: bool = False,
    env: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> Program:
    """`before` are words to put before the command."""
    command = [*before, *SLUICE, "serve", "--data", str(data), "--port", str(port), "--workers", str(workers)]
    origin = upstream if isinstance(upstream, str) else f"http://127.0.0.1:{upstream}"
    environment = {"SLUICE_PROVIDERS__OPENAI__BASE_URL": origin, **build(pure=pure), **(env or {})}
    if origin.startswith("https:"):
        environment["SLUICE_UPSTREAM__CA_FILE"] = str(CERTIFICATE)
    return Program(command, core, data.with_suffix(".log"), environment)


def make_token(data: Path) -> str:
    words = ["token", "create", "--account", "local", "--permissions", "run,read,edit", "--data", str(data), "--json"]
    done = subprocess.run(
        [*SLUICE, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **build(pure=True)},
    )
    if done.returncode:
        raise BenchFault(f"no token could be made:\n{done.stderr}")
    token: str = json.loads(done.stdout)["token"]
    return token


def build(*, pure: bool = False) -> dict[str, str]:
    """The environment of a process that is to import Sluice, compiled if it may be and is."""
    return {"PYTHONPATH": str(ROOT) if pure or COMPILED is None else COMPILED}


NGINX = """
worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log stderr;
events {{ worker_connections 8192; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; client_body_buffer_size 64k;
    {inside}
}}
"""
PROXY = """
    upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_read_timeout 600s;
        }}
    }}
"""
PROXY_TO_TLS = PROXY.replace(
    "proxy_pass http://up;",
    "proxy_pass https://up; proxy_ssl_trusted_certificate {certificate}; proxy_ssl_verify on; proxy_ssl_name localhost;"
    " proxy_ssl_server_name on;",
)
TLS = """
    map $http_upgrade $connection_header {{ default upgrade; "" ""; }}
    upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} ssl backlog=4096;
        ssl_certificate {certificate}; ssl_certificate_key {certificate};
        location / {{
            proxy_pass http://up; proxy_http_version 1.1; proxy_read_timeout 600s; proxy_buffering off;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_header;
        }}
    }}
"""
INSTANT = """
    server {{
        listen 127.0.0.1:{port} backlog=4096{tls};
        location / {{ default_type application/json; return 200 '{reply}'; }}
    }}
"""
BY_TLS = f" ssl; ssl_certificate {CERTIFICATE}; ssl_certificate_key {CERTIFICATE}"


def nginx(name: str, inside: str, port: int, core: int, folder: Path, stack: ExitStack) -> Program:
    """An nginx of one worker that does what the inside of its http block says."""
    if shutil.which("nginx") is None:
        raise BenchFault("nginx is needed as upstream and as yardstick: apt install nginx-light")
    config = folder / f"{name}.conf"
    config.write_text(NGINX.format(folder=folder, name=name, inside=inside))
    command = ["nginx", "-p", str(folder), "-c", str(config)]
    program = stack.enter_context(Program(command, core, folder / f"{name}.log"))
    program.wait_for_port(port)
    return program


def instant_upstream(reply: str, cores: Cores, folder: Path, stack: ExitStack, *, tls: bool = False) -> int:
    """An upstream that answers everything at once with the same reply; returns its port."""
    port = free_port()
    inside = INSTANT.format(port=port, tls=BY_TLS if tls else "", reply=reply)
    nginx("upstream", inside, port, cores.load, folder, stack)
    return port


def by_tls(upstream: int, cores: Cores, folder: Path, stack: ExitStack) -> list[Contender]:
    """nginx and Sluice in front of an upstream that speaks TLS, whose certificate both verify."""
    port = free_port()
    inside = PROXY_TO_TLS.format(upstream=upstream, port=port, certificate=CERTIFICATE)
    program = nginx(f"proxy-{upstream}", inside, port, cores.gateway, folder, stack)
    yardstick = Contender("nginx", port, "/v1/chat/completions", {}, program, cores.gateway)
    return [yardstick, sluice("sluice", f"https://localhost:{upstream}", cores, folder / "data-tls", stack)]


def tls_front(behind: int, cores: Cores, folder: Path, stack: ExitStack) -> tuple[int, Program]:
    """An nginx on the load's core that takes TLS off for what listens on a port; returns its own port too."""
    port = free_port()
    inside = TLS.format(upstream=behind, port=port, certificate=CERTIFICATE)
    return port, nginx("tls", inside, port, cores.load, folder, stack)


def _nginx(upstream: int, cores: Cores, folder: Path, stack: ExitStack) -> Contender:
    port = free_port()
    inside = PROXY.format(upstream=upstream, port=port)
    program = nginx(f"proxy-{upstream}", inside, port, cores.gateway, folder, stack)
    return Contender("nginx", port, "/v1/chat/completions", {}, program, cores.gateway)


def _prototype(script: Path, upstream: int, cores: Cores, folder: Path, stack: ExitStack) -> Contender:
    port = free_port()
    environment = {"UP": str(upstream), "SPOOL": str(folder / f"prototype-{upstream}.spool")}
    command = [sys.executable, str(script), str(port)]
    program = stack.enter_context(Program(command, cores.gateway, folder / "prototype.log", environment))
    program.wait_for_port(port)
    headers = {"cf-aig-authorization": "Bearer tok"}
    return Contender("prototype", port, "/v1/acct/gw/openai/chat/completions", headers, program, cores.gateway)
