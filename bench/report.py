"""Medians, ratios and the table; the raw figures go to a file beside it."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

from bench.websocket.idle import Run as Idle

Rows = Sequence[dict[str, Any]]
"""Raw measurements as they go to JSON."""


Line = Sequence[str | float]


def of(rows: Rows, contender: str, figure: str) -> float:
    """The median over the rounds; not a number where the contender was not measured."""
    figures = [row[figure] for row in rows if row["contender"] == contender]
    return median(figures) if figures else float("nan")


def names(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["contender"] for row in rows))


def ratio(rows: Rows, contender: str, to: str, figure: str) -> float:
    """The median of the ratios of one round, which forgives a machine that speeds up and slows down."""
    by_round = {(row["round"], row["contender"]): row[figure] for row in rows}
    ratios: list[float] = [
        value / by_round[number, to]
        for (number, name), value in by_round.items()
        if name == contender and (number, to) in by_round
    ]
    return median(ratios) if ratios else float("nan")


def table(titles: Sequence[str], lines: Iterable[Line]) -> str:
    """A Markdown table; numbers with three significant digits."""
    shown = [titles, ["---"] * len(titles), *([_shown(cell) for cell in line] for line in lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in shown) + "\n"


def throughput(rows: Rows, yardstick: str = "nginx") -> str:
    """`CPU us` is that of the busiest process for each request, which a noisy machine disturbs least."""
    titles = [
        "contender",
        "req/s",
        f"of {yardstick}",
        "p50 ms",
        "p99 ms",
        "CPU us",
        f"{yardstick}'s part",
        "all processes us",
        "peak MB",
    ]
    lines: list[Line] = []
    for name in names(rows):
        figures = [of(rows, name, figure) for figure in ("p50_ms", "p99_ms")]
        share = ratio(rows, name, yardstick, "requests_per_s")
        busiest, all_of_them = _cpu_us(rows, name, max), _cpu_us(rows, name, sum)
        cpu = [busiest, _cpu_us(rows, yardstick, max) / busiest, all_of_them]
        lines.append([name, of(rows, name, "requests_per_s"), share, *figures, *cpu, of(rows, name, "rss_peak_mb")])
    return table(titles, lines)


def websocket(rows: Rows) -> str:
    """Beside the throughput how much of their cores gateway and client used: only one that is full is the limit."""
    yardstick = names(rows)[0]
    titles = [
        "way",
        "req/s",
        "of the first",
        "p50 ms",
        "p99 ms",
        "CPU us",
        "gateway's core",
        "client's core",
        "peak MB",
    ]
    lines: list[Line] = []
    for name in names(rows):
        share = ratio(rows, name, yardstick, "requests_per_s")
        rest = [of(rows, name, figure) for figure in ("gateway_busy", "client_busy", "rss_peak_mb")]
        times = [of(rows, name, figure) for figure in ("p50_ms", "p99_ms")]
        lines.append([name, of(rows, name, "requests_per_s"), share, *times, _cpu_us(rows, name, max), *rest])
    return table(titles, lines)


def idle(run: Idle) -> str:
    lines: list[Line] = [
        ["worker before, MB", run.before_mb],
        ["with all of them open, MB", run.open_mb],
        ["all idle again after a request each, MB", run.used_mb],
        ["opened a second, by one client", run.opened_per_s],
        ["CPU us of an opening", run.cpu_us_per_opening],
    ]
    return table(["what", "figure"], lines)


def ways(rows: Rows) -> str:
    titles = ["way", "total s", "p50 ms", "p99 ms", "client CPU us", "worker CPU us", "TLS CPU us"]
    figures = ["total_s", "p50_ms", "p99_ms", "client_us", "worker_us", "front_us"]
    return table(titles, [[name, *(of(rows, name, figure) for figure in figures)] for name in names(rows)])


def _cpu_us(rows: Rows, contender: str, fold: Callable[[Iterable[float]], float]) -> float:
    own = [fold(row["cpu_ms_per_request"].values()) * 1e3 for row in rows if row["contender"] == contender]
    return median(own) if own else float("nan")


def latency(rows: Rows) -> str:
    def added(name: str, figure: str) -> float:
        direct = {row["round"]: row[figure] for row in rows if row["contender"] == "direct"}
        differences: list[float] = [row[figure] - direct[row["round"]] for row in rows if row["contender"] == name]
        return median(differences) / 1e3

    titles = ["contender", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms"]
    lines: list[Line] = []
    for name in names(rows):
        whole = [of(rows, name, figure) / 1e3 for figure in ("p50_us", "p99_us")]
        lines.append([name, *whole, added(name, "p50_us"), added(name, "p99_us")])
    return table(titles, lines)


def streams(rows: Rows, yardstick: str = "nginx") -> str:
    titles = ["contender", "streams", "events/s", "events/s per core", f"of {yardstick}"]
    titles += ["delay p50 ms", "p99 ms", "first p50 ms", "peak MB"]
    lines: list[Line] = []
    for name in names(rows):
        pace = [of(rows, name, figure) for figure in ("streams", "events_per_s", "events_per_cpu_s")]
        delays = [of(rows, name, figure) / 1e3 for figure in ("delay_p50_us", "delay_p99_us", "first_p50_us")]
        share = ratio(rows, name, yardstick, "events_per_cpu_s")
        lines.append([name, *pace, share, *delays, of(rows, name, "rss_peak_mb")])
    return table(titles, lines)


def _shown(cell: str | float) -> str:
    if isinstance(cell, str):
        return cell
    if cell != cell:
        return "-"
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
