"""`scripts/bench --peers` without peers: their locks, its clients against its upstreams, its tables' arithmetic."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench.machine import BenchFault, Cores
from bench.peers import paced, pacing, sockets, tables, upstreams
from bench.peers.calls import PIECES, judge_completion
from bench.peers.gateways import Gateway, Site, answer, check, direct
from bench.peers.install import LOCKS, forbidden
from bench.peers.pacing import Pace
from bench.peers.parts import too_slow
from bench.peers.turns import Comparison, Turn

ROOT = Path(__file__).parent.parent
PYTHON_LOCKS = sorted(LOCKS.glob("*.lock"))


@pytest.mark.parametrize("lock", PYTHON_LOCKS, ids=lambda lock: lock.stem)
def test_a_peer_is_locked_with_hashes_and_never_in_a_forbidden_release(lock: Path):
    text = lock.read_text()
    packages = re.findall(r"^[a-z0-9][^\n]*==[^\n]*\\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(packages) == len(re.findall(r"^[a-z0-9][^\n]*==", text, re.MULTILINE)) > 0
    assert forbidden(text) is None
    assert not re.search(r"https?://", text)


@pytest.mark.parametrize("version", ["1.82.7", "1.82.8", "1.107", "1.107.0", "1.107.12.post1"])
def test_a_forbidden_release_is_recognised(version: str):
    assert forbidden(f"# a lock\nlitellm=={version} \\\n    --hash=sha256:00\n") == f"litellm=={version}"


@pytest.mark.parametrize("version", ["1.82.6", "1.82.70", "1.106.9", "1.108.7"])
def test_other_releases_are_not(version: str):
    assert forbidden(f"litellm=={version} \\\n    --hash=sha256:00\n") is None


def test_npm_packages_are_locked_with_their_overrides_and_hashes():
    wanted = json.loads((LOCKS / "portkey" / "package.json").read_bytes())
    locked = json.loads((LOCKS / "portkey" / "package-lock.json").read_bytes())["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted["overrides"]} == wanted["overrides"]
    assert all(package["integrity"].startswith("sha512-") for name, package in locked.items() if name)
    assert not any("resolved" in package for package in locked.values())


CORES = Cores(*(sorted(os.sched_getaffinity(0)) * 2)[:2])


@pytest.fixture(scope="module")
def paced_upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("paced")
    with ExitStack() as stack:
        yield direct(Site(pacing.upstream(CORES, folder, stack), CORES, folder, stack))


def test_streams_are_timed_event_by_event(paced_upstream: Gateway):
    pace = Pace(3, 20, 5)
    run = pacing.measure(pacing.way(paced_upstream, paced_upstream.calls["native"], pace), pace)
    assert run.events == 60
    assert run.events_per_s < 60 / 0.095  # the last of a stream is written 95 ms after the first, however busy all are
    assert 0 <= run.gap_p50_us <= run.gap_p99_us
    assert 0 < run.delay_p50_us <= run.delay_p99_us
    assert 0 < run.first_p50_us <= run.first_p99_us


def test_a_stream_that_lacks_events_is_refused(paced_upstream: Gateway):
    pace = Pace(1, 5, 1)
    asked_for_less = pacing.way(paced_upstream, paced_upstream.calls["native"], pace._replace(events=4))
    with pytest.raises(BenchFault, match="direct gave a wrong stream"):
        pacing.measure(asked_for_less, pace)


def test_a_stream_without_its_end_tells_nothing():
    whole = pacing.event({"content": "a "}) + pacing.event({"content": "b "}) + pacing.event({}, "stop") + pacing.DONE
    assert pacing.told(whole.replace(b"\n", b"\r\n")) == ("a b ", ["stop"])
    assert pacing.told(whole.removesuffix(pacing.DONE)) is None
    assert pacing.told(b"data: {}\n\ndata: [DONE]\n\n") is None


def test_requests_start_by_the_clock(paced_upstream: Gateway):
    way = paced_upstream.some_way()
    run = paced.measure(way, rate=200, connections=4, requests=100)
    assert (run.requests, run.connections, run.reopened) == (100, 4, 0)
    assert 0 < run.p50_us <= run.p99_us <= run.max_us


def test_a_reply_without_its_pieces_is_wrong_to_every_client(paced_upstream: Gateway):
    way = paced_upstream.some_way()
    with pytest.raises(BenchFault, match="direct gave a wrong reply"):
        paced.measure(replace(way, pieces=("nobody says this",)), rate=200, connections=1, requests=1)
    told = answer(way)
    assert told is not None
    reply = told.body
    judge_completion(reply, "direct")
    judge_completion(json.dumps({"more": 1, **json.loads(reply)}, separators=(",", ":")).encode(), "a rewriter")
    with pytest.raises(BenchFault, match="gave a wrong reply"):
        judge_completion(reply.replace(b'"completion_tokens": 87', b'"completion_tokens": 88'), "a miscounter")


def test_a_reply_that_is_not_out_of_the_cache_is_refused(paced_upstream: Gateway):
    check(paced_upstream, "native")
    marked = replace(paced_upstream.calls["native"], mark="\ncf-aig-cache-status: hit\r")
    with pytest.raises(BenchFault, match="does not say that it gave a reply out of its cache"):
        check(replace(paced_upstream, calls={"native": marked, "cached": marked}), "cached")


def test_the_pieces_are_in_a_reply_that_is_written_anew():
    anew = json.dumps(json.loads(upstreams.reply_body()), separators=(",", ":"))
    assert all(piece in anew for piece in PIECES)


def test_messages_come_back_over_every_websocket(tmp_path: Path):
    with ExitStack() as stack:
        echo = direct(Site(upstreams.echoing(CORES, tmp_path, stack), CORES, tmp_path, stack))
        way = echo.socket_way()
        assert way is not None
        load = sockets.echoed(way, 3, 0.2)
    assert load.requests > 3
    assert load.p50_us <= load.p99_us


def turn(name: str, figures: list[float], broken_at: int = -1) -> Turn:
    left = iter(enumerate(figures))

    def run() -> dict[str, object]:
        number, figure = next(left)
        if number == broken_at:
            raise BenchFault(f"{name} gave a wrong reply")
        return {"contender": name, "figure": figure}

    return Turn(name, lambda: None, run)


def test_one_wrong_reply_takes_all_figures_of_a_contender_and_no_others():
    found = Comparison("throughput", "native", 1)
    found.measure([turn("steady", [1, 2, 3]), turn("wrong", [1, 2, 3], broken_at=2)], 3)
    assert [(row["round"], row["contender"], row["figure"]) for row in found.rows] == [
        (0, "steady", 1),
        (1, "steady", 2),
        (2, "steady", 3),
    ]
    assert found.faults == {"wrong": "wrong gave a wrong reply"}


def load_row(number: int, contender: str, rate: float) -> dict[str, object]:
    cpu = {"worker": 0.02, "keeper": 0.01}
    busy = {"gateway_busy": 1.0, "client_busy": 0.5, "rss_peak_mb": 60.0}
    return {
        "round": number,
        "contender": contender,
        "requests_per_s": rate,
        "p50_ms": 1.5,
        "p99_ms": 250.0,
        "cpu_ms_per_request": cpu,
        **busy,
    }


def test_throughput_is_shown_as_medians_and_as_ratios_within_a_round():
    rates = [("nginx", 100.0), ("sluice", 50.0), ("nginx", 1000.0), ("sluice", 100.0), ("nginx", 10.0), ("sluice", 4.0)]
    rows = [load_row(at // 2, name, rate) for at, (name, rate) in enumerate(rates)]
    found = Comparison("throughput", "native", 64, rows=rows, faults={"other": "it was down\nand said so"})
    shown = tables.part("throughput", [asdict(found)])
    assert "| sluice | 50 | 0.4 | 0.03 | 1 | 0.5 | 60 |" in shown
    assert "| sluice | 1.5 / 250 |" in shown
    assert "Without other at 64: it was down\n" in shown
    assert "said so" not in shown


def test_latency_is_what_is_added_to_the_direct_way_of_the_same_round():
    whole = {("direct", 0): 100, ("direct", 1): 500, ("sluice", 0): 400, ("sluice", 1): 900}
    rows = [
        {"round": number, "contender": name, "p50_us": us, "p99_us": us * 10} for (name, number), us in whole.items()
    ]
    shown = tables.part("latency", [asdict(Comparison("latency", "compat", 16, 300, rows=rows))])
    assert "## Latency at 300 requests/s: compat" in shown
    assert "| sluice | 0.35 / 3.5 |" in shown
    assert "| direct, whole | 0.3 / 3 |" in shown


def test_a_rate_is_for_those_who_carry_more():
    probe = Comparison("capacity", "compat", 64, rows=[load_row(0, "slow", 100.0), load_row(0, "quick", 4000.0)])
    assert [too_slow(probe, rate) for rate in (60, 61, 2400, 2401)] == [[], ["slow"], ["slow"], ["slow", "quick"]]


def print_tables(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.peers", "--peers", "--markdown", "--raw", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_kept_figures_are_printed_again(tmp_path: Path):
    peer = {"version": "1.2.3", "bytes": 2_500_000, "packages": 7}
    told = {"started": "then", "machine": {"cores": 2}, "plan": {"rounds": 5}, "peers": {"nginx": peer}}
    (tmp_path / "session.json").write_text(json.dumps({**told, "left_out": {"litellm": "no such thing"}}))
    found = Comparison("tls", "compat", 64, rows=[load_row(0, "nginx", 100.0)])
    (tmp_path / "tls.json").write_text(json.dumps([asdict(found)]))
    done = print_tables(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "| nginx | 1.2.3 | 2.5 | 7 |" in done.stdout
    assert "Without litellm: no such thing" in done.stdout
    assert "| nginx | 100 | 1 | 0.03 | 1 | 0.5 | 60 |" in done.stdout


def test_a_session_that_is_ended_leaves_nothing_but_its_figures(tmp_path: Path):
    command = [sys.executable, "-m", "bench.peers", "--peers", "--raw", str(tmp_path / "raw"), "--cache", str(tmp_path)]
    (tmp_path / "own").mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "own")}
    words = ["--contenders", "nginx", "websocket"]
    with subprocess.Popen([*command, *words], env=environment, stderr=subprocess.PIPE) as run:
        assert run.stderr
        while b" websocket ..." not in (line := run.stderr.readline()):
            assert line
        run.terminate()
        assert run.wait(30) == 128 + signal.SIGTERM
    assert list((tmp_path / "own").iterdir()) == []
    assert json.loads((tmp_path / "raw" / "session.json").read_bytes())["plan"]["rounds"] == 5


def test_a_folder_without_figures_is_refused(tmp_path: Path):
    done = print_tables(tmp_path)
    assert done.returncode == 2
    assert "holds no raw figures: name the folder of a session by --raw" in done.stderr
