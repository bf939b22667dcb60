"""Feedback, score and metadata of stored logs, and deletes, over REST (contract 7.6, 9.4)."""

import asyncio
import json
from contextlib import closing
from urllib.parse import quote

import pytest

from sluice.console import commands as console_commands
from sluice.console.commands import SpooledCommands
from sluice.metrics import Metrics
from sluice.spool.layout import CONSOLES, file_seqs, lock
from sluice.spool.writer import SpoolWriter
from sluice.values.command import Change
from sluice.values.ids import Mint
from sluice.values.log import ShardKey
from sluice.values.settings import SpoolSettings

LOGS = "/gateways/default/logs"
SHARD = ShardKey("local", "0" * 32)
NOBODY = Mint(9).mint()


async def shown(console, log_id: str) -> dict[str, object]:
    found = (await console.operator.get(f"{LOGS}/{log_id}")).json()["result"]
    return {name: found[name] for name in ("feedback", "score", "metadata")}


async def ids(console) -> list[str]:
    return [row["id"] for row in (await console.operator.get(LOGS, params={"per_page": 50})).json()["result"]]


@pytest.fixture
def stored(log, write_logs) -> list[str]:
    """The ids of five logs, oldest first."""
    models, costs = ("b", "a", "c", "a", "b"), (3, None, 1, 5, 2)
    logs = [log(model=model, cost_nano=cost) for model, cost in zip(models, costs, strict=True)]
    write_logs(*logs)
    return [each.entry.id for each in logs]


async def test_a_log_is_given_feedback_score_and_metadata_and_they_are_taken_back(console, stored, keeper):
    async def patch(**body: object) -> dict[str, object]:
        reply = await console.operator.patch(f"{LOGS}/{stored[1].lower()}", json=body)
        assert (reply.status_code, reply.json()) == (
            200,
            {"result": {}, "success": True, "errors": [], "messages": []},
        )
        return await shown(console, stored[1])

    assert await patch(feedback=1) == {"feedback": 1, "score": None, "metadata": {"team": "a"}}
    assert await patch(feedback=-1.0, score=0) == {"feedback": -1, "score": 0.0, "metadata": {"team": "a"}}
    given = {"a": "ü", "b": 1, "c": 0.5, "d": True}
    assert await patch(score=99.5, metadata=given) == {"feedback": -1, "score": 99.5, "metadata": given}
    assert await patch() == {"feedback": -1, "score": 99.5, "metadata": given}
    assert await patch(feedback=0, metadata={}) == {"feedback": 0, "score": 99.5, "metadata": {}}
    assert await patch(feedback=None, score=None, metadata=None) == {"feedback": None, "score": None, "metadata": {}}
    assert await shown(console, stored[0]) == {"feedback": None, "score": None, "metadata": {"team": "a"}}


async def test_metadata_is_kept_by_the_rules_of_its_header(console, stored, keeper):
    metadata = {"cf.user_id": "u", **{str(number): number for number in range(7)}, "big": 10**30}
    assert (await console.operator.patch(f"{LOGS}/{stored[0]}", json={"metadata": metadata})).status_code == 200
    kept = {str(number): number for number in range(5)}
    assert (await shown(console, stored[0]))["metadata"] == kept
    await console.operator.patch(f"{LOGS}/{stored[0]}", json={"metadata": {"big": 10**30}})
    assert (await shown(console, stored[0]))["metadata"] == {"big": 1e30}


@pytest.mark.parametrize(
    ("body", "message", "path"),
    [
        ('{"feedback": 2}', "Feedback must be -1, 0, 1 or null", ["feedback"]),
        ('{"feedback": 0.5}', "Feedback must be -1, 0, 1 or null", ["feedback"]),
        ('{"feedback": "up"}', "Expected number, received string", ["feedback"]),
        ('{"feedback": true}', "Expected number, received boolean", ["feedback"]),
        ('{"score": -1}', "Number must be greater than or equal to 0", ["score"]),
        ('{"score": 100.1}', "Number must be less than or equal to 100", ["score"]),
        ('{"metadata": {"a": null}}', "Expected boolean or number or string, received null", ["metadata"]),
        ('{"metadata": {"a": {}}}', "Expected boolean or number or string, received object", ["metadata"]),
        ('{"metadata": [1]}', "Expected object, received array", ["metadata"]),
        (f'{{"metadata": {{"a": "{"x" * 16_384}"}}}}', "Metadata must have at most 16384 bytes", ["metadata"]),
        (f'{{"metadata": {{"a": {"9" * 400}}}}}', "Number out of range", ["metadata"]),
        ('{"metadata": {"a": "\\ud800"}}', "The body is not valid JSON", []),
        ("[]", "Expected object, received array", []),
        ("", "The body is not valid JSON", []),
    ],
)
async def test_a_change_that_makes_no_sense_is_refused_with_the_field_at_fault(
    console, problem, stored, body, message, path
):
    refused = await console.operator.patch(f"{LOGS}/{stored[0]}", content=body)
    status, code, said, where = problem(refused)
    assert (status, code, said) == (400, 7001, message)
    assert where[: 1 + len(path)] == ["body", *path]


async def test_a_log_that_nobody_has_is_not_found(console, problem, stored, keeper):
    for log_id in (NOBODY, "no-ulid", "Z" * 26):
        refused = await console.operator.patch(f"{LOGS}/{log_id}", json={"feedback": 1})
        assert problem(refused) == (404, 7002, "Not Found", [])
    assert problem(await console.operator.patch("/gateways/none/logs/x", json={}))[:2] == (404, 7002)
    assert problem(await console.operator.delete("/gateways/none/logs"))[:2] == (404, 7002)


def named(*values: str) -> list[tuple[str, str]]:
    """As the SDKs write one filter, whose pairs come in an order of their own."""
    return [("filters.operator", "eq"), ("filters.key", "id"), *(("filters.value", value) for value in values)]


async def test_logs_are_deleted_by_their_ids(console, stored, keeper, problem):
    async def delete(query: object) -> None:
        reply = await console.operator.delete(LOGS, params=query)
        assert (reply.status_code, reply.json()) == (200, {"success": True})

    await delete(named(stored[1], stored[3].lower(), NOBODY, "nonsense"))
    assert await ids(console) == [stored[4], stored[2], stored[0]]
    assert problem(await console.operator.get(f"{LOGS}/{stored[1]}/request"))[0] == 404
    await delete({"filters": json.dumps([{"key": "id", "operator": "eq", "value": [stored[0]]}])})
    assert await ids(console) == [stored[4], stored[2]]
    await delete([*named(stored[2], stored[4]), ("limit", "1")])
    assert await ids(console) == [stored[2]]
    await delete({"filters[0][key]": "id", "filters[0][operator]": "eq", "filters[0][value]": stored[2]})
    assert await ids(console) == []


async def test_more_logs_are_named_for_a_delete_than_for_a_list(console, stored, keeper):
    mint = Mint(8)
    query = named(*[mint.mint() for _ in range(500)], stored[0])
    assert (await console.operator.delete(LOGS, params=query)).json() == {"success": True}
    assert await ids(console) == stored[:0:-1]


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ({}, []),
        ({"limit": 2}, [2, 1, 0]),
        ({"limit": 2, "order_by_direction": "asc"}, [4, 3, 2]),
        ({"limit": 2, "order_by": "model", "order_by_direction": "asc"}, [4, 2, 0]),
        ({"limit": 2, "order_by": "model", "order_by_direction": "desc"}, [3, 1, 0]),
        ({"limit": 2, "order_by": "cost"}, [4, 2, 1]),
        ({"limit": 2, "order_by": "cost", "order_by_direction": "asc"}, [4, 3, 0]),
        ({"filters.key": "model", "filters.operator": "neq", "filters.value": "a"}, [3, 1]),
        ({"filters": '[{"key": "model", "operator": "eq", "value": ["a", "b"]}]', "limit": 3}, [2, 0]),
        ({"filters": '[{"key": "cost", "operator": "gt", "value": 1e-9}]', "limit": 2, "order_by": "cost"}, [4, 2, 1]),
        ({"filters": '[{"key": "id", "operator": "neq", "value": "x"}]', "order_by": "feedback"}, []),
        ({"filters": '[{"key": "model", "operator": "eq", "value": "nobody"}]'}, [4, 3, 2, 1, 0]),
    ],
)
async def test_the_first_that_fit_in_the_order_asked_are_deleted(console, stored, keeper, query, left):
    assert (await console.operator.delete(LOGS, params=query)).json() == {"success": True}
    assert await ids(console) == [stored[index] for index in left]


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("order_by=nonsense", "order_by"),
        ("order_by_direction=up", "order_by_direction"),
        ("model=gpt-4", "model"),
        ("filter=x", "filter"),
        ("filters=x", "filters"),
        ("filters.key=id&filters.operator=eq", "filters"),
        ("filters.key=id&filters.value=x", "filters"),
        ("filters[0][key]=id&filters[0][operator]=eq&filters[1][value]=x", "filters"),
        ("filters.key=id&filters.operator=eq&filters.value=A&filters.other=x", "filters"),
        ("filters.key=model&filters.key=provider&filters.operator=eq&filters.operator=eq"
         "&filters.value=a&filters.value=b&filters.value=openai", "filters"),
        ("filters=", "filters"),
        ("filters=[]", "filters"),
        ("filters.key=model&filters.operator=lt&filters.value=x", "filters"),
        (f"filters={quote(json.dumps([{'key': 'model', 'operator': 'eq', 'value': ['x'] * 101}]))}", "filters"),
    ],
)  # fmt: skip
async def test_what_a_delete_does_not_understand_is_refused_and_nothing_is_deleted(
    console, stored, keeper, problem, query, path
):
    status, code, _, where = problem(await console.operator.delete(f"{LOGS}?{query}"))
    assert (status, code, where) == (400, 7001, ["query", path])
    assert len(await ids(console)) == 5


async def other_gateway(console) -> None:
    numbers = dict.fromkeys(("cache_ttl", "rate_limiting_interval", "rate_limiting_limit"), 0)
    flags = {"cache_invalidate_on_update": False, "collect_logs": True}
    assert (await console.operator.post("/gateways", json={"id": "other", **numbers, **flags})).status_code == 200


async def test_only_who_may_edit_changes_and_deletes(console, stored, keeper, problem):
    await other_gateway(console)
    for call in (("PATCH", f"{LOGS}/{stored[0]}"), ("DELETE", f"{LOGS}?limit=1")):
        for token, expected in [
            (None, 401),
            (console.token("read", "run", "metadata_read"), 403),
            (console.token("edit", gateway="other"), 403),
        ]:
            refused = await console.relayed(token).request(*call, content=b"{}")
            assert problem(refused) == (expected, 10000, "Authentication error", [])
        allowed = await console.relayed(console.token("edit", gateway="default")).request(*call, content=b"{}")
        assert allowed.status_code == 200
    assert len(await ids(console)) == 4


async def test_a_log_of_another_gateway_is_not_reached(console, stored, keeper, problem):
    await other_gateway(console)
    refused = await console.operator.patch(f"/gateways/other/logs/{stored[0]}", json={"feedback": 1})
    assert problem(refused)[:2] == (404, 7002)
    await console.operator.delete("/gateways/other/logs", params=named(stored[0]))
    assert len(await ids(console)) == 5
    assert (await shown(console, stored[0]))["feedback"] is None


def spool_of(tmp_path, **settings: object):
    return lambda: SpoolWriter.open(tmp_path / "spool", SpoolSettings(**settings), Metrics.unseen(), numbers=CONSOLES)


def count(metrics: Metrics, name: str, help: str) -> int:
    return metrics.counter(f"sluice_commands_{name}_total", help).value


async def test_without_a_keeper_a_change_is_late_and_may_still_apply(console, stored, problem, monkeypatch, metrics):
    monkeypatch.setattr(console.desk.commands, "_timeout_s", 0.05)
    refused = await console.operator.patch(f"{LOGS}/{stored[0]}", json={"feedback": 1})
    status, code, message, _ = problem(refused)
    assert (status, code) == (503, 7000)
    assert "may still apply" in message
    assert count(metrics, "late", "Commands of which nothing was heard in time.") == 1
    assert count(metrics, "given", "Commands written to the spool.") == 1


async def test_a_full_spool_refuses_changes(console, stored, problem, monkeypatch, metrics, tmp_path):
    (tmp_path / "spool" / "0").mkdir(parents=True)
    (tmp_path / "spool" / "0" / "0000000001.sp").write_bytes(b"x" * 1_000)
    monkeypatch.setattr(console.desk.commands, "_open_spool", spool_of(tmp_path, max_bytes=1_000))
    monkeypatch.setattr(console.desk.commands, "_timeout_s", 0.01)
    told = [
        problem(await console.operator.patch(f"{LOGS}/{stored[0]}", json={"feedback": 1}))
        for _ in range(2)  # the first one fills it
    ]
    assert told[1] == (503, 7000, "Nothing was changed, for the spool is full: try again later", [])
    assert count(metrics, "refused", "Commands refused, as too many waited or the spool was full.") == 1


async def test_a_spool_that_cannot_be_had_refuses_changes_until_it_can(console, stored, problem, tmp_path, request):
    (tmp_path / "spool").write_text("in the way")
    refused = await console.operator.patch(f"{LOGS}/{stored[0]}", json={"feedback": 1})
    assert "the spool cannot be opened" in problem(refused)[2]
    (tmp_path / "spool").unlink()
    request.getfixturevalue("keeper")
    assert (await console.operator.patch(f"{LOGS}/{stored[0]}", json={"feedback": 1})).status_code == 200


async def test_no_more_changes_wait_than_may(console, stored, problem, monkeypatch):
    monkeypatch.setattr(console_commands, "WAITING", 3)
    monkeypatch.setattr(console.desk.commands, "_timeout_s", 0.2)
    calls = [console.operator.patch(f"{LOGS}/{stored[0]}", json={"feedback": 1}) for _ in range(5)]
    told = [problem(refused)[2] for refused in await asyncio.gather(*calls)]
    assert sorted("too many" in message for message in told) == [False] * 3 + [True] * 2


async def test_a_keeper_that_dies_while_it_is_asked_is_asked_again(tmp_path):
    """The first keeper takes the question to its grave; the second is there a moment later."""
    path = tmp_path / "keeper.sock"
    given = SpooledCommands(spool_of(tmp_path), path, Metrics.unseen())

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()
        first.close()

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command_id = (await reader.readline()).decode().strip()
        writer.write(json.dumps({"id": command_id, "found": 7}).encode() + b"\n")
        writer.close()

    first = await asyncio.start_unix_server(die, path)
    giving = asyncio.create_task(given.give(SHARD, [NOBODY], Change(feedback=1)))
    await first.wait_closed()
    path.unlink(missing_ok=True)
    async with await asyncio.start_unix_server(tell, path):
        assert await giving == 7
    given.close()


async def test_a_console_holds_a_spool_of_its_own_from_its_first_command_on(tmp_path, monkeypatch):
    with closing(SpooledCommands(spool_of(tmp_path), tmp_path / "none", Metrics.unseen(), timeout_s=0.01)) as given:
        assert not (tmp_path / "spool").exists()
        for _ in range(2):
            with pytest.raises(console_commands.ApiError):
                await given.give(SHARD, [NOBODY], None)
        folder = tmp_path / "spool" / str(CONSOLES[0])
        assert len(file_seqs(folder)) == 1
        assert lock(folder) is None
