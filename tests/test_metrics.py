"""The mapped counters: what one process counts, another reads; nothing goes backwards."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.metrics import SLOTS, Metrics, render, retire


def test_counts_are_summed_over_files_and_labels_stay_apart(tmp_path: Path):
    for number, file in enumerate(("worker-1.map", "worker-2.map"), start=1):
        metrics = Metrics.open(tmp_path / file)
        metrics.counter("requests_total", "Requests.", gateway="a").add(number)
        metrics.counter("requests_total", "Requests.", gateway="b").add(10)
        metrics.gauge("open_connections", "Open now.").set(number)
    text = render(sorted(tmp_path.iterdir()))
    assert 'requests_total{gateway="a"} 3\n' in text
    assert 'requests_total{gateway="b"} 20\n' in text
    assert "# HELP requests_total Requests.\n# TYPE requests_total counter\n" in text
    assert text.count("# TYPE requests_total") == 1
    assert "open_connections 3\n" in text


def test_the_same_name_and_labels_are_the_same_series_whatever_their_order(tmp_path: Path):
    metrics = Metrics.open(tmp_path / "a.map")
    metrics.counter("seen_total", "Seen.", a="1", b="2").add(2)
    metrics.counter("seen_total", "Seen.", b="2", a="1").add(3)
    assert 'seen_total{a="1",b="2"} 5\n' in render([tmp_path / "a.map"])


def test_a_name_cannot_change_its_kind(tmp_path: Path):
    metrics = Metrics.open(tmp_path / "a.map")
    metrics.counter("seen", "Seen.")
    with pytest.raises(ValueError, match="seen is a counter already"):
        metrics.gauge("seen", "Seen.")


def test_a_successor_goes_on_with_the_counters_and_starts_its_gauges_anew(tmp_path: Path):
    path = tmp_path / "worker-1.map"
    first = Metrics.open(path)
    first.counter("requests_total", "Requests.").add(7)
    first.gauge("open_connections", "Open now.").set(5)
    del first
    second = Metrics.open(path)
    second.counter("requests_total", "Requests.").add(1)
    second.counter("fresh_total", "New with the successor.").add(4)
    assert second.gauge("open_connections", "Open now.").value == 0
    text = render([path])
    assert "requests_total 8\n" in text
    assert "fresh_total 4\n" in text


def test_a_retired_file_keeps_its_counters_in_the_sum_and_loses_its_gauges(tmp_path: Path):
    path = tmp_path / "worker-1.map"
    metrics = Metrics.open(path)
    metrics.counter("requests_total", "Requests.").add(7)
    metrics.gauge("open_connections", "Open now.").set(5)
    retire(path)
    assert "requests_total 7\n" in render([path])
    assert "open_connections 0\n" in render([path])
    retire(tmp_path / "never-made.map")
    assert not (tmp_path / "never-made.map").exists()


def test_a_histogram_is_cumulative_and_its_bounds_are_inclusive(tmp_path: Path):
    histogram = Metrics.open(tmp_path / "a.map").histogram("wait_seconds", "Wait.", (0.1, 1.0), role="x")
    for seconds in (0.1, 0.5, 2.0):
        histogram.observe(seconds)
    assert render([tmp_path / "a.map"]).startswith(
        "# HELP wait_seconds Wait.\n"
        "# TYPE wait_seconds histogram\n"
        'wait_seconds_bucket{role="x",le="0.1"} 1\n'
        'wait_seconds_bucket{role="x",le="1"} 2\n'
        'wait_seconds_bucket{role="x",le="+Inf"} 3\n'
        'wait_seconds_sum{role="x"} 2.6\n'
        'wait_seconds_count{role="x"} 3\n'
    )


def test_no_time_is_too_short_or_too_long_to_be_observed(tmp_path: Path):
    histogram = Metrics.open(tmp_path / "a.map").histogram("wait_seconds", "Wait.", (0.1, 1.0))
    for seconds in (-5.0, 9e9, 9e9):
        histogram.observe(seconds)
    text = render([tmp_path / "a.map"])
    assert 'wait_seconds_bucket{le="0.1"} 1\n' in text
    assert "wait_seconds_count 3\n" in text
    assert 0 <= float(text.partition("wait_seconds_sum ")[2].split()[0]) < 9e9 * 2


def test_seconds_are_counted_in_nanoseconds(tmp_path: Path):
    Metrics.open(tmp_path / "a.map").seconds("cpu_seconds_total", "CPU.").add(1_500_000_000)
    assert "cpu_seconds_total 1.5\n" in render([tmp_path / "a.map"])


def test_hostile_label_values_stay_inside_their_quotes(tmp_path: Path):
    Metrics.open(tmp_path / "a.map").counter("seen_total", "Seen.", name='a"} 1\nfake_total 2\\').add(1)
    assert 'seen_total{name="a\\"} 1\\nfake_total 2\\\\"} 1\n' in render([tmp_path / "a.map"])


def test_series_past_the_bound_share_one_overflow_counter(tmp_path: Path):
    metrics = Metrics.open(tmp_path / "a.map")
    for number in range(SLOTS):
        metrics.counter("seen_total", "Seen.", number=str(number)).add(1)
    metrics.histogram("wait_seconds", "Wait.", (0.1, 1.0)).observe(0.5)
    text = render([tmp_path / "a.map"])
    assert text.count("seen_total{") == SLOTS - 2
    assert "sluice_metrics_overflow_total 3\n" in text
    assert "wait_seconds" not in text


def test_long_names_fill_the_text_and_then_overflow(tmp_path: Path):
    metrics = Metrics.open(tmp_path / "a.map")
    for number in range(50):
        metrics.counter("seen_total", "Seen.", name=f"{number}" + "x" * 20_000).add(1)
    text = render([tmp_path / "a.map"])
    assert text.count("seen_total{") + int(text.split("sluice_metrics_overflow_total ")[-1]) == 50
    assert Metrics.open(tmp_path / "a.map")


@pytest.mark.parametrize("content", [b"", b"SLUMET01", b"\0" * 600_000, b"SLUMET01" + b"\xff" * 524_280])
def test_a_file_that_is_none_of_ours_is_left_out_of_the_sum_and_made_anew(tmp_path: Path, content: bytes):
    path = tmp_path / "a.map"
    path.write_bytes(content)
    assert "seen_total" not in render([path, tmp_path / "missing.map"])
    Metrics.open(path).counter("seen_total", "Seen.").add(1)
    assert "seen_total 1\n" in render([path])


def test_unseen_metrics_count_without_a_file():
    counter = Metrics.unseen().counter("seen_total", "Seen.")
    counter.add(2)
    assert counter.value == 2


def test_what_was_counted_survives_a_kill(tmp_path: Path):
    count = """
import sys
from pathlib import Path
from sluice.metrics import Metrics
counter = Metrics.open(Path(sys.argv[1])).counter("seen_total", "Seen.")
for _ in range(1000):
    counter.add()
print("counted", flush=True)
sys.stdin.read()
"""
    path = tmp_path / "a.map"
    command = [sys.executable, "-c", count, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert "seen_total 1000\n" in render([path])
