"""Who is measured, and where the machine does not have one of them, why not."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.machine import BenchFault
from bench.peers import own, proxies, rivals
from bench.peers.gateways import Gateway, Peer, Site, direct, start
from bench.peers.install import PeerMissing

PEERS: Final[dict[str, Callable[[Path], Peer]]] = {
    "nginx": proxies.nginx,
    "caddy": proxies.caddy,
    "tensorzero": rivals.tensorzero,
    "portkey": rivals.portkey,
    "litellm": rivals.litellm,
    "sluice-no-logs": own.sluice_no_logs,
    "sluice": own.sluice,
}
Faults = dict[str, str]
"""Why somebody has no figure, by name."""


def find(names: Sequence[str], cache: Path, faults: Faults) -> list[Peer]:
    """Installs whom it can."""
    found = []
    for name in names:
        try:
            found.append(PEERS[name](cache))
        except PeerMissing as missing:
            tell(faults, name, missing)
    return found


def start_all(peers: Sequence[Peer], site: Site, faults: Faults, *, with_direct: bool = False) -> list[Gateway]:
    """All that come up, in front of one upstream, until the site's stack ends them."""
    running = [direct(site)] if with_direct else []
    for peer in peers:
        with ExitStack() as own_stack:
            try:
                gateway, _ = start(peer, site._replace(stack=own_stack))
            except BenchFault as fault:
                tell(faults, peer.name, fault)
            else:
                site.stack.enter_context(own_stack.pop_all())
                running.append(gateway)
    return running


def tell(faults: Faults, name: str, fault: Exception) -> None:
    faults[name] = str(fault)
    print(f"without {name}: {str(fault)[:1000]}", file=sys.stderr, flush=True)
