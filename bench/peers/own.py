"""Sluice, as two of those that are compared: its logs off, as others publish their figures, and full bodies logged."""

import sys
import sysconfig
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from bench.contenders import COMPILED, FAMILY, ROOT, SLUICE, build, make_token
from bench.machine import Program, free_port
from bench.peers.calls import Call, Mode, naming, steps
from bench.peers.gateways import Gateway, Peer, Site, run
from bench.peers.install import Installed, Size, size_of_python
from bench.peers.upstreams import Upstream
from sluice import __version__

_BASE: Final = "/v1/local/default"


def sluice(_: Path) -> Peer:
    return _peer("sluice", {})


def sluice_no_logs(_: Path) -> Peer:
    return _peer("sluice-no-logs", {"cf-aig-collect-log": "false"})


def _peer(name: str, headers: dict[str, str]) -> Peer:
    return Peer(name, _installed(), partial(_launch, name, headers), partial(_prepare, name))


def _installed() -> Installed:
    if COMPILED is not None:
        return Installed(f"{__version__}, compiled", Path(sys.prefix), size_of_python(Path(COMPILED)))
    libraries = size_of_python(Path(sysconfig.get_path("platlib")))
    own = sum(path.stat().st_size for path in (ROOT / "sluice").rglob("*") if path.suffix in (".py", ".sql"))
    return Installed(f"{__version__}, not compiled", Path(sys.prefix), Size(libraries.bytes + own, libraries.packages))


def _prepare(name: str, site: Site) -> None:
    """Has a data folder made, and makes a token, once."""
    data = _data(name, site)
    if data.exists():
        return
    with ExitStack() as stack:
        _serve(name, free_port(), site._replace(stack=stack)).wait_for_family(FAMILY)
        _token(name, site).write_text(make_token(data))


def _launch(name: str, headers: dict[str, str], site: Site) -> Gateway:
    port = free_port()
    program = _serve(name, port, site)
    token = {"cf-aig-authorization": f"Bearer {_token(name, site).read_text()}"}
    return Gateway(name, port, program, site.cores.gateway, *_ways({**token, **headers}))


def _serve(name: str, port: int, site: Site) -> Program:
    command = [*SLUICE, "serve", "--data", str(_data(name, site)), "--port", str(port), "--workers", "1"]
    return run(name, command, {**_settings(site.upstream), **build()}, site)


def _settings(upstream: Upstream) -> dict[str, str]:
    origin = {"SLUICE_PROVIDERS__OPENAI__BASE_URL": upstream.origin}
    return origin | ({"SLUICE_UPSTREAM__CA_FILE": str(upstream.authority)} if upstream.authority else {})


def _ways(headers: dict[str, str]) -> tuple[dict[Mode, Call], tuple[str, dict[str, str]]]:
    native, kept = f"{_BASE}/openai/v1/chat/completions", {**headers, "cf-aig-cache-ttl": "3600"}
    calls: dict[Mode, Call] = {
        "native": Call(native, headers),
        "universal": Call(_BASE, headers, steps),
        "compat": Call(f"{_BASE}/compat/chat/completions", headers, naming("openai/gpt-4o-mini")),
        "cached": Call(native, kept, mark="\ncf-aig-cache-status: hit\r"),
    }
    return calls, (f"{_BASE}/openai/v1/realtime?model=gpt-realtime", headers)


def _data(name: str, site: Site) -> Path:
    return site.folder / f"data-{name}-{site.upstream.port}"


def _token(name: str, site: Site) -> Path:
    return site.folder / f"token-{name}-{site.upstream.port}"
