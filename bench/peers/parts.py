"""What is measured: each part starts the gateways in front of an upstream of its own and compares them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.contenders import Contender
from bench.machine import Cores, wait_until_quiet
from bench.peers import paced, pacing, rest, roster, sockets, upstreams
from bench.peers.calls import Call, Mode
from bench.peers.gateways import Gateway, Peer, Site, check
from bench.peers.pacing import Pace
from bench.peers.turns import Comparison, Turn
from bench.throughput import Way, by_wrk, measure

PROBE_CONNECTIONS: Final = 64
MOST_OF_CAPACITY: Final = 0.6
"""A fixed rate beyond this part of what a gateway can do measures its queue, not what it adds."""
WARM_UP_EVENTS: Final = 10
WARM_UP_CONNECTIONS: Final = 16
WARM_UP_S: Final = 2.0
LEAST_REPLIES: Final = 10
"""That each connection should get in a turn under load, if the turn need not be longer than MOST_S for it."""
MOST_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to measure, how, and for how long."""

    peers: Sequence[Peer]
    cores: Cores
    folder: Path
    rounds: int
    seconds: float
    connections: Sequence[int]
    modes: Sequence[Mode]
    rates: Sequence[float]
    least_requests: int
    """Of a turn at a fixed rate: it takes longer where the rate is low."""
    stream_events: int
    stream_every_ms: float
    starts: int


Part = Callable[[Plan, ExitStack, roster.Faults], Iterator[Comparison]]


def at_rest(plan: Plan, stack: ExitStack, faults: roster.Faults) -> Iterator[Comparison]:
    site = Site(upstreams.instant(plan.cores, plan.folder, stack), plan.cores, plan.folder, stack)
    yield rest.compare(plan.peers, site, plan.starts, plan.seconds)


def throughput(plan: Plan, stack: ExitStack, faults: roster.Faults) -> Iterator[Comparison]:
    upstream = upstreams.instant(plan.cores, plan.folder, stack)
    gateways = _start(plan, upstream, stack, faults)
    for mode in plan.modes:
        yield from _loads("throughput", mode, gateways, plan)


def tls(plan: Plan, stack: ExitStack, faults: roster.Faults) -> Iterator[Comparison]:
    """The provider by TLS: each gateway trusts and checks the upstream's certificate."""
    upstream = upstreams.instant_by_tls(plan.cores, plan.folder, stack)
    yield from _loads("tls", "compat", _start(plan, upstream, stack, faults), plan)


def websocket(plan: Plan, stack: ExitStack, faults: roster.Faults) -> Iterator[Comparison]:
    upstream = upstreams.echoing(plan.cores, plan.folder, stack)
    gateways = _start(plan, upstream, stack, faults, with_direct=True)
    ways = [way for gateway in gateways if (way := gateway.socket_way())]
    for count in plan.connections:
        found = Comparison("websocket", "realtime", count)
        found.measure([_turn(partial(sockets.way, way), count, plan.seconds) for way in ways], plan.rounds)
        yield found


def latency(plan: Plan, stack: ExitStack, faults: roster.Faults) -> Iterator[Comparison]:
    upstream = upstreams.instant(plan.cores, plan.folder, stack)
    gateways = _start(plan, upstream, stack, faults, with_direct=True)
    for mode in _two_modes(plan):
        ways = _ways(gateways, mode)
        probe = Comparison("capacity", mode, PROBE_CONNECTIONS)
        probe.measure([_turn(_by_wrk(way, plan), PROBE_CONNECTIONS, min(2, plan.seconds)) for way in ways], 1)
        yield probe
        for rate in plan.rates:
            slow = dict.fromkeys(too_slow(probe, rate), f"{rate:,} requests/s are too near to what it carries")
            able = [way for way in ways if way.name not in slow | probe.faults]
            requests = max(plan.least_requests, round(rate * plan.seconds))
            for connections in plan.connections:
                found = Comparison("latency", mode, connections, rate, faults=slow | probe.faults)
                found.measure([_paced(way, rate, connections, requests) for way in able], plan.rounds)
                yield found


def streams(plan: Plan, stack: ExitStack, faults: roster.Faults) -> Iterator[Comparison]:
    upstream = pacing.upstream(plan.cores, plan.folder, stack)
    gateways = _start(plan, upstream, stack, faults, with_direct=True)
    for mode in _two_modes(plan):
        for count in plan.connections:
            pace = Pace(count, plan.stream_events, plan.stream_every_ms)
            found = Comparison("streams", mode, count)
            calls = [(gateway, call) for gateway in gateways if (call := gateway.call(mode))]
            found.measure([_streamed(*each, pace) for each in calls], plan.rounds)
            yield found


def too_slow(probe: Comparison, rate: float) -> list[str]:
    """Who cannot be asked at this rate, by what the probe found."""
    most = {str(row["contender"]): float(str(row["requests_per_s"])) for row in probe.rows}
    return [name for name, carries in most.items() if rate > carries * MOST_OF_CAPACITY]


PARTS: Final[dict[str, Part]] = {
    "rest": at_rest,
    "throughput": throughput,
    "latency": latency,
    "streams": streams,
    "websocket": websocket,
    "tls": tls,
}


def _start(
    plan: Plan, upstream: upstreams.Upstream, stack: ExitStack, faults: roster.Faults, *, with_direct: bool = False
) -> list[Gateway]:
    site = Site(upstream, plan.cores, plan.folder, stack)
    return roster.start_all(plan.peers, site, faults, with_direct=with_direct)


def _two_modes(plan: Plan) -> list[Mode]:
    return [mode for mode in plan.modes if mode in ("native", "compat")]


def _ways(gateways: Sequence[Gateway], mode: Mode) -> list[Contender]:
    return [way for gateway in gateways if (way := gateway.way(mode))]


def _loads(part: str, mode: Mode, gateways: Sequence[Gateway], plan: Plan) -> Iterator[Comparison]:
    for count in plan.connections:
        found = Comparison(part, mode, count)
        able = [(gateway, way) for gateway in gateways if (way := gateway.way(mode))]
        turns = [_checked(gateway, mode, _turn(_by_wrk(way, plan), count, plan.seconds)) for gateway, way in able]
        found.measure(turns, plan.rounds)
        yield found


def _checked(gateway: Gateway, mode: Mode, turn: Turn) -> Turn:
    def warm_up() -> None:
        check(gateway, mode)
        turn.warm_up()

    return turn._replace(warm_up=warm_up)


def _by_wrk(way: Contender, plan: Plan) -> Callable[[int], Way]:
    return lambda connections: by_wrk(way, connections, plan.cores, plan.folder)


def _turn(at: Callable[[int], Way], connections: int, seconds: float) -> Turn:
    """A slow gateway gets longer than was asked for, or its connections' first replies would be most that is seen."""
    way, few = at(connections), at(min(connections, WARM_UP_CONNECTIONS))
    long_s = [seconds]

    def warm_up() -> None:
        load = few.drive(WARM_UP_S)
        wanted_s = LEAST_REPLIES * connections * load.duration_us / 1e6 / load.requests
        long_s[0] = max(seconds, min(MOST_S, wanted_s))
        wait_until_quiet(list(way.contender.processes().values()))

    return Turn(way.name, warm_up, lambda: asdict(measure(way, long_s[0])))


def _paced(way: Contender, rate: float, connections: int, requests: int) -> Turn:
    once = partial(paced.measure, way, rate, connections)

    def run() -> dict[str, object]:
        wait_until_quiet(list(way.processes().values()))
        return asdict(once(requests))

    return Turn(way.name, partial(once, paced.WARM_UP), run)


def _streamed(gateway: Gateway, call: Call, pace: Pace) -> Turn:
    """Each turn waits by itself until all is quiet."""

    def run(pace: Pace) -> dict[str, object]:
        return asdict(pacing.measure(pacing.way(gateway, call, pace), pace))

    return Turn(gateway.name, partial(run, pace._replace(events=WARM_UP_EVENTS)), partial(run, pace))
