"""A gateway alone: from its start to its first right reply, its memory at rest, under load, and when that is over."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial

from bench.contenders import Contender
from bench.machine import rss_mb
from bench.peers.gateways import Peer, Site, start
from bench.peers.turns import Comparison, Row, Turn
from bench.throughput import by_wrk, measure

SETTLE_S = 2.0
CONNECTIONS = 64


def compare(peers: Sequence[Peer], site: Site, rounds: int, seconds: float) -> Comparison:
    found = Comparison("rest", "compat", CONNECTIONS)
    turns = [Turn(peer.name, partial(_start_once, peer, site), partial(_once, peer, site, seconds)) for peer in peers]
    found.measure(turns, rounds)
    return found


def _start_once(peer: Peer, site: Site) -> None:
    """So that its files are in memory, and what it makes at a first start is there."""
    with ExitStack() as stack:
        start(peer, site._replace(stack=stack))


def _once(peer: Peer, site: Site, seconds: float) -> Row:
    with ExitStack() as stack:
        gateway, first_200_s = start(peer, site._replace(stack=stack))
        way = gateway.some_way()
        time.sleep(SETTLE_S)
        idle_mb = _memory_mb(way)
        load = measure(by_wrk(way, CONNECTIONS, site.cores, site.folder), seconds)
        time.sleep(SETTLE_S)
        return {**asdict(load), "first_200_s": first_200_s, "idle_mb": idle_mb, "after_mb": _memory_mb(way)}


def _memory_mb(way: Contender) -> float:
    """Of all its processes; what they share counts for each."""
    return sum(rss_mb(pid) for pid in way.measured())
