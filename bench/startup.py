"""Time from starting the program to its first reply, and its memory at rest."""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import FAMILY, make_token, start_sluice
from bench.exchange import head, reply_body, request_body
from bench.machine import BenchFault, Cores, free_port, rss_mb


@dataclass(frozen=True, slots=True)
class Start:
    first_200_s: float
    rss_mb: dict[str, float]
    """By the title of the process, two seconds after the first reply."""


def measure(upstream: int, cores: Cores, data: Path, rounds: int, *, pure: bool = False) -> list[Start]:
    """Starts Sluice on a data folder that has been started before, again and again."""
    port = free_port()
    with start_sluice(upstream, port, cores.gateway, data, pure=pure) as program:
        program.wait_for_port(port)
        program.wait_for_family(FAMILY)
        token = make_token(data)
    starts = []
    for _ in range(rounds):
        port = free_port()
        began = time.monotonic()
        with start_sluice(upstream, port, cores.gateway, data, pure=pure) as program:
            while not _answers(port, {"cf-aig-authorization": f"Bearer {token}"}):
                if time.monotonic() - began > 30:
                    raise BenchFault(f"no reply 30 s after the start:\n{program.said()}")
                time.sleep(0.002)
            took_s = time.monotonic() - began
            time.sleep(2)
            starts.append(Start(took_s, {title: rss_mb(pid) for title, pid in program.family().items()}))
    return starts


def _answers(port: int, headers: Mapping[str, str]) -> bool:
    body = request_body().encode()
    path = "/v1/local/default/openai/v1/chat/completions"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(head(path, {**headers, "connection": "close"}, len(body)) + body)
            reply = b""
            while piece := connection.recv(65536):
                reply += piece
    except OSError:
        return False
    return reply.startswith(b"HTTP/1.1 200 ") and reply.endswith(reply_body().encode())
