"""Closed-loop throughput by wrk, every reply compared with the one expected."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.contenders import Contender
from bench.exchange import reply_body
from bench.machine import BenchFault, Cores, cpu_s, rss_mb, wait_until_quiet, watching_rss

SCRIPT = """
wrk.method, wrk.path, wrk.body = "POST", %(path)s, %(body)s
for name, value in pairs(%(headers)s) do wrk.headers[name] = value end
local expected, pieces, threads = %(reply)s, %(pieces)s, {}
wrong = 0
local function right(body)
    for _, piece in ipairs(pieces) do
        if not body:find(piece, 1, true) then return false end
    end
    return #pieces > 0 or body == expected
end
function setup(thread) table.insert(threads, thread) end
function response(status, headers, body)
    if status ~= 200 or not right(body) then
        if wrong == 0 then io.stderr:write("unexpected reply: ", status, " ", body:sub(1, 500), "\\n") end
        wrong = wrong + 1
    end
end
function done(summary, latency, requests)
    local bad = 0
    for _, thread in ipairs(threads) do bad = bad + thread:get("wrong") end
    local e = summary.errors
    io.stderr:write(string.format('RESULT {"requests":%%d,"duration_us":%%d,"wrong":%%d,"p50_us":%%d,"p99_us":%%d}\\n',
        summary.requests, summary.duration, bad + e.connect + e.read + e.write + e.status + e.timeout,
        latency:percentile(50), latency:percentile(99)))
end
"""


class Load(NamedTuple):
    """What a client did, and how long it took."""

    requests: int
    duration_us: int
    p50_us: int
    p99_us: int


class Way(NamedTuple):
    """A contender as it is called, and the client that calls it for so many seconds."""

    name: str
    contender: Contender
    connections: int
    drive: Callable[[float], Load]


@dataclass(frozen=True, slots=True)
class Run:
    """One contender under full load for a few seconds."""

    contender: str
    connections: int
    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms_per_request: dict[str, float]
    """By the title of the process; what its later work (the keeper's) costs is in it."""
    rss_mb: dict[str, float]
    """Right after the load, by the title of the process."""
    rss_peak_mb: float
    """Of the measured processes together, while under load."""
    gateway_busy: float
    """The part of its core that the gateway used under load; where it is not 1, something else was the limit."""
    client_busy: float


def measure(way: Way, duration_s: float) -> Run:
    contender = way.contender
    family, measured = contender.processes(), contender.measured()
    pids = list(family.values())
    before = {title: cpu_s([pid]) for title, pid in family.items()}
    began, own, of_client = time.monotonic(), cpu_s(measured), _client_cpu_s()
    with watching_rss(measured) as samples:
        load = way.drive(duration_s)
    took_s = time.monotonic() - began
    gateway_busy, client_busy = (cpu_s(measured) - own) / took_s, (_client_cpu_s() - of_client) / took_s
    rss = {title: rss_mb(pid) for title, pid in family.items()}
    wait_until_quiet(pids)
    spent = {title: cpu_s([pid]) - before[title] for title, pid in family.items()}
    return Run(
        contender=way.name,
        connections=way.connections,
        requests=load.requests,
        requests_per_s=load.requests / load.duration_us * 1e6,
        p50_ms=load.p50_us / 1e3,
        p99_ms=load.p99_us / 1e3,
        cpu_ms_per_request={title: seconds * 1e3 / load.requests for title, seconds in spent.items()},
        rss_mb=rss,
        rss_peak_mb=max(samples, default=0.0),
        gateway_busy=gateway_busy,
        client_busy=client_busy,
    )


def _client_cpu_s() -> float:
    """Of this process, and of those that it started and that have ended, as wrk has."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def run_wrk(contender: Contender, connections: int, duration_s: float, *, cores: Cores, folder: Path) -> Load:
    """Runs wrk on the load's core. Raises BenchFault where one reply was not the one expected."""
    script = folder / f"{contender.name}.lua"
    table = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in contender.headers.items())
    parts = {
        "path": json.dumps(contender.path),
        "body": json.dumps(contender.body),
        "headers": f'{{["content-type"] = "application/json", {table}}}',
        "reply": json.dumps(reply_body()),
        "pieces": f"{{{', '.join(json.dumps(piece) for piece in contender.pieces)}}}",
    }
    script.write_text(SCRIPT % parts)
    command = ["taskset", "--cpu-list", str(cores.load), "wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{max(1, round(duration_s))}s", "--timeout", "30s", "--script", str(script)]
    done = subprocess.run([*command, f"http://127.0.0.1:{contender.port}"], capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        raise BenchFault(f"wrk failed against {contender.name}:\n{done.stdout}{done.stderr}")
    result: dict[str, int] = json.loads(lines[0].removeprefix("RESULT "))
    if result["wrong"]:
        raise BenchFault(f"{contender.name} gave {result['wrong']} wrong replies:\n{done.stderr[:2000]}")
    if not result["requests"]:
        raise BenchFault(f"{contender.name} answered nothing")
    return Load(*(result[field] for field in Load._fields))


def by_wrk(contender: Contender, connections: int, cores: Cores, folder: Path) -> Way:
    drive = partial(run_wrk, contender, connections, cores=cores, folder=folder)
    return Way(contender.name, contender, connections, drive)


def compare(
    contenders: Sequence[Contender], connections: int, rounds: int, duration_s: float, cores: Cores, folder: Path
) -> list[dict[str, object]]:
    return in_turn([by_wrk(contender, connections, cores, folder) for contender in contenders], rounds, duration_s)


def in_turn(ways: Sequence[Way], rounds: int, duration_s: float) -> list[dict[str, object]]:
    """All of them in turn, as often as there are rounds; a first short run warms each up and is not counted."""
    for way in ways:
        way.drive(1)
        wait_until_quiet(list(way.contender.processes().values()))
    runs = []
    for number in range(rounds):
        turn = number % len(ways)
        for way in (*ways[turn:], *ways[:turn]):
            runs.append({"round": number, **asdict(measure(way, duration_s))})
    return runs
