"""Damage to one gateway's logs is nobody else's: all others go on, it is named, and once mended nothing is lost."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

HURT, SOUND = "default", "sound"
ROOT_IS_BOUND: list[str] = []
if os.geteuid() == 0:
    ROOT_IS_BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]


def make_gateway(server: Any, name: str) -> None:
    numbers = dict.fromkeys(("cache_ttl", "rate_limiting_interval", "rate_limiting_limit"), 0)
    fields = {"id": name, **numbers, "cache_invalidate_on_update": False, "collect_logs": True}
    assert server.manage("POST", "/gateways", json=fields).status_code == 200


def chat(server: Any, gateway: str, count: int) -> list[str]:
    """The ids of so many new logs."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
    url = f"{server.inference_url(gateway=gateway)}/v1/chat/completions"
    replies = [server.http.post(url, json=body) for _ in range(count)]
    assert {reply.status_code for reply in replies} == {200}
    return [reply.headers["cf-aig-log-id"] for reply in replies]


def folder_of(server: Any, gateway: str) -> Path:
    internal_id = server.manage("GET", f"/gateways/{gateway}").json()["result"]["internal_id"]
    folder: Path = server.data / "shards" / "local" / internal_id.replace("-", "")
    return folder


def overwrite(segment: Path, index: str) -> None:
    """The first page of an index."""
    with closing(sqlite3.connect(segment)) as db:
        size: int = db.execute("PRAGMA page_size").fetchone()[0]
        root: int = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (index,)).fetchone()[0]
    with segment.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xa5" * size)


def held_up(server: Any) -> None:
    """Returns once the keeper has told that logs wait."""
    server.wait_for_event("logs wait for their store")


@pytest.fixture
def served(start_gateway: Any) -> tuple[Any, dict[str, list[str]]]:
    """A server with two gateways that was stopped, and their logs."""
    server = start_gateway("--simulate")
    make_gateway(server, SOUND)
    logs = {name: chat(server, name, 5) for name in (HURT, SOUND)}
    for name in logs:
        server.logs(5, gateway=name)
    folder_of(server, HURT)
    return server, logs


def test_a_damaged_segment_holds_up_its_own_gateway_alone_until_it_is_repaired(start_gateway: Any, served: Any):
    server, logs = served
    segment = folder_of(server, HURT) / "00000001.db"
    server.stop()
    overwrite(segment, "i_model")
    server = start_gateway("--simulate")
    logs[HURT] += chat(server, HURT, 5)
    logs[SOUND] += chat(server, SOUND, 5)
    held_up(server)
    logs[SOUND] += chat(server, SOUND, 5)
    assert {row["id"] for row in server.logs(15, gateway=SOUND)} == {*logs[SOUND]}
    named = server.run_cli("doctor")
    assert named.returncode == 1
    assert [line.split()[:2] for line in named.stdout.splitlines()] == [
        ["damaged", str(segment.relative_to(server.data))]
    ]
    server.stop()
    mended = server.run_cli("doctor", "--repair")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    server = start_gateway("--simulate")
    assert {row["id"] for row in server.logs(10, gateway=HURT)} == {*logs[HURT]}
    assert {row["id"] for row in server.logs(15, gateway=SOUND)} == {*logs[SOUND]}
    for log_id in logs[HURT]:
        assert b"hello" in server.log_body(log_id, "request", HURT)


def test_a_folder_that_may_not_be_written_holds_up_its_own_gateway_alone(start_gateway: Any, served: Any):
    server, logs = served
    folder = folder_of(server, HURT)
    server.stop()
    folder.chmod(0o500)
    start_gateway.before = ROOT_IS_BOUND
    server = start_gateway("--simulate")
    logs[HURT] += chat(server, HURT, 5)
    held_up(server)
    logs[SOUND] += chat(server, SOUND, 5)
    assert {row["id"] for row in server.logs(10, gateway=SOUND)} == {*logs[SOUND]}
    named = server.run_cli("doctor")
    assert (named.returncode, f"chmod 700 {folder}" in named.stdout) == (1, True), named.stdout
    folder.chmod(0o700)
    assert {row["id"] for row in server.logs(10, gateway=HURT)} == {*logs[HURT]}
    assert server.run_cli("doctor").stdout == ""
