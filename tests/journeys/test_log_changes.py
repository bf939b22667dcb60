"""Feedback given right after a reply, and changes to logs under which processes stop and die."""

import asyncio
import json
import os
import random
import signal
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.spool.frames import decode_command, is_command
from sluice.spool.layout import CONSOLES
from sluice.spool.reader import SpoolTail

LOGS = "/gateways/default/logs"
KILLS = 6


def commands_in(data: Path) -> int:
    """How many commands the console's spool has."""
    folder = data / "spool" / str(CONSOLES[0])
    if not folder.exists():
        return 0
    with closing(SpoolTail(folder, set_aside=False)) as tail:
        return sum(is_command(each.data) and bool(decode_command(each.data)) for each in tail.take())


def rate(gateway: Any, log_id: str, **body: Any) -> httpx.Response:
    reply: httpx.Response = gateway.manage("PATCH", f"{LOGS}/{log_id}", json=body)
    return reply


@pytest.mark.parametrize("stream", [False, True])
def test_feedback_sent_on_the_last_byte_of_a_reply_finds_its_log_every_time(gateway: Any, stream: bool):
    rated = {}
    for number in range(50):
        reply = gateway.chat(stream=stream)
        log_id = reply.headers["cf-aig-log-id"]
        score = rated[log_id] = float(number)
        answer = rate(gateway, log_id, feedback=1, score=score)
        assert (answer.status_code, answer.json()["result"]) == (200, {})
        log = gateway.manage("GET", f"{LOGS}/{log_id}").json()["result"]  # at once, for the change is in force
        assert (log["feedback"], log["score"], log["success"]) == (1, score, True)
    assert len(rated) == 50


def test_feedback_finds_its_log_though_the_keeper_is_behind(start_gateway: Any):
    own = start_gateway("--simulate", "--workers", "1")
    keeper = own.processes()["sluice: keeper"]
    os.kill(keeper, signal.SIGSTOP)
    ids = [own.chat().headers["cf-aig-log-id"] for _ in range(50)]
    with ThreadPoolExecutor(1) as asking:
        answer = asking.submit(rate, own, ids[-1], feedback=-1)
        own.until(lambda: commands_in(own.data) == 1, "the command")
        os.kill(keeper, signal.SIGCONT)
        assert answer.result().status_code == 200
    assert own.log(ids[-1])["feedback"] == -1


def test_a_change_that_the_keeper_does_not_come_to_in_time_is_late_and_applies_all_the_same(start_gateway: Any):
    own = start_gateway("--simulate", "--workers", "1")
    keeper = own.processes()["sluice: keeper"]
    os.kill(keeper, signal.SIGSTOP)
    log_id = own.chat().headers["cf-aig-log-id"]
    late = rate(own, log_id, feedback=1)
    assert (late.status_code, late.json()["errors"][0]["code"]) == (503, 7000)
    assert "may still apply" in late.json()["errors"][0]["message"]
    os.kill(keeper, signal.SIGCONT)
    own.until(lambda: own.log(log_id)["feedback"] == 1, "the change")


def test_logs_are_deleted_with_their_bodies(start_gateway: Any):
    own = start_gateway("--simulate", "--workers", "1")
    ids = [own.chat().headers["cf-aig-log-id"] for _ in range(5)]
    filters = json.dumps([{"key": "id", "operator": "eq", "value": ids[3:]}])
    answer = own.manage("DELETE", LOGS, params={"filters": filters})  # the last of them has just ended
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert [log["id"] for log in own.logs(3)] == ids[2::-1]
    assert own.manage("GET", f"{LOGS}/{ids[4]}/response").status_code == 404
    assert own.manage("DELETE", LOGS, params={"limit": 1}).json() == {"success": True}
    assert [log["id"] for log in own.logs()] == ids[1::-1]
    page = own.http.get("/metrics").text
    assert "\nsluice_commands_done_total 2\n" in page
    assert "\nsluice_logs_deleted_total 3\n" in page


class Said:
    """What one log's client asked for, in order, and which of it was confirmed."""

    def __init__(self) -> None:
        self.confirmed: float | None = None
        self.since: list[float | None] = []

    def may_be(self, score: float | None) -> bool:
        return score == self.confirmed or score in self.since


async def test_every_confirmed_change_holds_however_often_keeper_and_console_are_killed(start_gateway: Any):
    own = await asyncio.to_thread(start_gateway, "--simulate", "--workers", "1")
    ids = [(await asyncio.to_thread(own.chat)).headers["cf-aig-log-id"] for _ in range(20)]
    said: defaultdict[str, Said] = defaultdict(Said)
    gone: set[str] = set()
    stop = asyncio.Event()
    headers = {"authorization": f"Bearer {own.token}"}
    base = f"{own.base_url}/client/v4/accounts/local/ai-gateway"
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=20, trust_env=False) as client:

        async def score(log_id: str) -> int:
            count = 0
            while not stop.is_set():
                wanted = random.randrange(10_000) / 100
                said[log_id].since.append(wanted)
                answer = await client.patch(f"{LOGS}/{log_id}", json={"score": wanted})
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 200:
                    said[log_id].confirmed, said[log_id].since = wanted, []
                    count += 1
            return count

        async def delete(log_id: str) -> None:
            filters = json.dumps([{"key": "id", "operator": "eq", "value": [log_id]}])
            while (await client.delete(LOGS, params={"filters": filters})).status_code != 200:
                pass
            gone.add(log_id)

        scoring = [asyncio.create_task(score(log_id)) for log_id in ids[:10]]
        for number in range(KILLS):
            victim = ("sluice: keeper", "sluice: console")[number % 2]
            deleting = asyncio.create_task(delete(ids[10 + number]))
            pid = await asyncio.to_thread(own.until, lambda name=victim: own.processes().get(name), victim)
            os.kill(pid, signal.SIGKILL)
            await deleting
            await asyncio.to_thread(own.until, lambda name=victim: own.processes().get(name), f"the next {victim}")
        stop.set()
        confirmed = sum(await asyncio.gather(*scoring))
    assert confirmed > 50
    left = {log["id"]: log["score"] for log in await asyncio.to_thread(own.logs)}
    assert set(left) == set(ids) - gone
    assert {log_id: left[log_id] for log_id, one in said.items() if not one.may_be(left[log_id])} == {}
    assert len(gone) == KILLS
