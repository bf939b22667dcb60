"""Tables of a session's raw figures, in Markdown: medians over the rounds, ratios and differences within a round."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from statistics import median
from typing import Any, Final

from bench.report import Line, Rows, names, of, ratio, table

Found = Mapping[str, Any]
"""A comparison as it lies in JSON."""
YARDSTICK: Final = "nginx"
FULL: Final = 64
"""The number of connections of which all is told, or the one next to it."""
REASON: Final = 160
TITLES: Final = {
    "throughput": "Throughput",
    "tls": "Throughput, the provider by TLS",
    "websocket": "WebSockets relayed: messages there and back",
}


def session(told: Found) -> str:
    """Who was measured, and who was not."""
    lines: list[Line] = [
        [name, peer["version"], peer["bytes"] / 1e6, str(peer["packages"])] for name, peer in told["peers"].items()
    ]
    who = table(["contender", "version", "installed MB", "packages"], lines)
    about = ", ".join(f"{name}: {value}" for name, value in told["machine"].items())
    how = ", ".join(f"{name} {value}" for name, value in told["plan"].items())
    return f"## Who, where and how\n\n{told['started']}; {about}; {how}.\n\n{who}{reasons(told['left_out'])}"


def part(name: str, found: Sequence[Found]) -> str:
    """All tables of a part."""
    if name == "rest":
        return "".join(_rest(each) for each in found)
    if name == "latency":
        return _latencies(found)
    if name == "streams":
        return "".join(_streams(each) for each in found)
    modes = groupby(found, lambda each: each["mode"])
    return "".join(_loads(TITLES[name], mode, list(of_mode)) for mode, of_mode in modes)


def reasons(faults: Mapping[str, str]) -> str:
    """Why somebody is not in a table, a line each; all of it is in the raw figures."""
    return "".join(f"\nWithout {name}: {why.splitlines()[0][:REASON]}\n" for name, why in faults.items())


def _rest(found: Found) -> str:
    titles = ["contender", "start to first 200, s", "idle MB", f"MB at {found['at']:.0f} connections", "MB after"]
    figures = ("first_200_s", "idle_mb", "rss_peak_mb", "after_mb")
    rows = found["rows"]
    lines: list[Line] = [[name, *(of(rows, name, figure) for figure in figures)] for name in names(rows)]
    return f"## Start and memory\n\n{table(titles, lines)}{reasons(found['faults'])}\n"


def _loads(title: str, mode: str, found: Sequence[Found]) -> str:
    """Closed loop: one table of what comes through, one of how long it takes."""
    counts = [f"{each['at']:.0f}" for each in found]
    full = min(found, key=lambda each: abs(each["at"] - FULL))
    rows, at = full["rows"], f"at {full['at']:.0f}"
    titles = ["contender", *(f"/s at {count}" for count in counts), f"of {YARDSTICK} {at}"]
    titles += [f"CPU s per 1,000 {at}", "its core", "client's core", "peak MB"]
    lines: list[Line] = []
    for name in _all_names(found):
        rates = [of(each["rows"], name, "requests_per_s") for each in found]
        rest = [of(rows, name, figure) for figure in ("gateway_busy", "client_busy", "rss_peak_mb")]
        lines.append([name, *rates, ratio(rows, name, YARDSTICK, "requests_per_s"), _cpu_s(rows, name), *rest])
    times = [
        [name, *(_pair(of(each["rows"], name, "p50_ms"), of(each["rows"], name, "p99_ms")) for each in found)]
        for name in _all_names(found)
    ]
    both = table(titles, lines) + "\n" + table(["p50 / p99 ms", *(f"at {count}" for count in counts)], times)
    return f"## {title}: {mode}\n\n{both}{_all_reasons(found)}\n"


def _latencies(found: Sequence[Found]) -> str:
    """Open loop: what each adds to the direct way."""
    shown = ""
    latencies = (each for each in found if each["part"] == "latency")
    for (mode, rate), of_rate in groupby(latencies, lambda each: (each["mode"], each["rate"])):
        each_count = list(of_rate)
        titles = ["added p50 / p99 ms", *(f"at {each['at']:.0f}" for each in each_count)]
        lines: list[Line] = []
        for name in _all_names(each_count):
            if name != "direct":
                lines.append([name, *(_pair(*_added_ms(each["rows"], name)) for each in each_count)])
        direct = [of(each["rows"], "direct", figure) / 1e3 for each in each_count for figure in ("p50_us", "p99_us")]
        lines.append(["direct, whole", *(_pair(*direct[at : at + 2]) for at in range(0, len(direct), 2))])
        shown += f"## Latency at {rate:,.0f} requests/s: {mode}\n\n{table(titles, lines)}{_all_reasons(each_count)}\n"
    return shown


def _added_ms(rows: Rows, name: str) -> tuple[float, float]:
    """The median of the differences to the direct way within a round."""
    return _difference(rows, name, "p50_us") / 1e3, _difference(rows, name, "p99_us") / 1e3


def _difference(rows: Rows, name: str, figure: str) -> float:
    direct = {row["round"]: row[figure] for row in rows if row["contender"] == "direct"}
    own = [row[figure] - direct[row["round"]] for row in rows if row["contender"] == name and row["round"] in direct]
    return median(own) if own else float("nan")


def _streams(found: Found) -> str:
    rows = found["rows"]
    titles = ["contender", "added to first event p50 / p99 ms", "gap p50 / p99 ms", "delay p50 / p99 ms"]
    titles += ["events/s", "CPU s per 1,000 events", "peak MB"]
    lines: list[Line] = []
    for name in names(rows):
        first = _pair(*(_difference(rows, name, figure) / 1e3 for figure in ("first_p50_us", "first_p99_us")))
        gap = _pair(*(of(rows, name, figure) / 1e3 for figure in ("gap_p50_us", "gap_p99_us")))
        delay = _pair(*(of(rows, name, figure) / 1e3 for figure in ("delay_p50_us", "delay_p99_us")))
        rest = [of(rows, name, figure) for figure in ("events_per_s", "cpu_s_per_1000", "rss_peak_mb")]
        lines.append([name, first, gap, delay, *rest])
    title = f"## {found['at']:.0f} streams at once: {found['mode']}"
    return f"{title}\n\n{table(titles, lines)}{reasons(found['faults'])}\n"


def _cpu_s(rows: Rows, name: str) -> float:
    """Milliseconds a request are seconds a thousand; all of a contender's processes."""
    own = [sum(row["cpu_ms_per_request"].values()) for row in rows if row["contender"] == name]
    return median(own) if own else float("nan")


def _all_names(found: Sequence[Found]) -> list[str]:
    return list(dict.fromkeys(name for each in found for name in names(each["rows"])))


def _all_reasons(found: Iterable[Found]) -> str:
    return reasons({f"{name} at {each['at']:.0f}": why for each in found for name, why in each["faults"].items()})


def _pair(first: float, second: float) -> str:
    if first != first:
        return "-"
    return " / ".join(f"{each:,.0f}" if abs(each) >= 100 else f"{each:.3g}" for each in (first, second))
