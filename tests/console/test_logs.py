"""Logs over REST (contract 9.4, sample B.4)."""

import gzip
import json
import os

import pytest
import zstandard

from sluice.storage.embedded.reader import EmbeddedLogReader

LOGS = "/gateways/default/logs"


async def test_a_log_is_listed_in_the_documented_shape(console, log, write_logs):
    stored = log()
    write_logs(stored)
    page = (await console.operator.get(LOGS)).json()
    assert page["result_info"] == {"page": 1, "per_page": 20, "count": 1, "total_count": 1}
    (row,) = page["result"]
    sample = {
        "id": stored.entry.id,
        "created_at": "2026-01-02T03:04:05.678Z",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "model_type": "Text Generation",
        "path": "v1/chat/completions",
        "request_type": "provider",
        "request_content_type": "application/json",
        "response_content_type": "application/json",
        "status_code": 200,
        "success": True,
        "cached": False,
        "duration": 812,
        "timings": {"total": 812, "latency": 790},
        "tokens_in": 12,
        "tokens_out": 34,
        "cost": 0.0000222,
        "custom_cost": False,
        "metadata": {"team": "a"},
        "step": 0,
        "event_id": "e-1",
        "feedback": None,
        "score": None,
        "user_agent": "OpenAI/Python",
        "authentication": True,
        "wholesale": False,
        "byok": False,
        "dlp_action": None,
    }
    assert {name: row[name] for name in sample} == sample


async def test_a_gateway_without_logs_has_an_empty_list(console, problem):
    assert (await console.operator.get(LOGS)).json() == {
        "success": True,
        "errors": [],
        "messages": [],
        "result": [],
        "result_info": {"page": 1, "per_page": 20, "count": 0, "total_count": 0},
    }
    assert problem(await console.operator.get("/gateways/nothing/logs"))[:2] == (404, 7002)


async def test_pages_and_order_are_as_asked(console, log, write_logs):
    stored = [log(model=model) for model in ("b", "c", "a")]
    write_logs(*stored)

    async def models(**query: str | int) -> list[str]:
        page = (await console.operator.get(LOGS, params=query)).json()
        assert page["result_info"]["total_count"] == 3
        return [row["model"] for row in page["result"]]

    assert await models() == ["a", "c", "b"]
    assert await models(order_by_direction="asc") == ["b", "c", "a"]
    assert await models(direction="asc") == ["b", "c", "a"]
    assert await models(order_by="model", order_by_direction="asc") == ["a", "b", "c"]
    assert await models(page=2, per_page=2) == ["b"]
    assert await models(page=3, per_page=2) == []
    assert await models(page=1_000_000_000, per_page=50) == []
    assert await models(meta_info="false", search="", unheard_of="1") == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("query", "message", "field"),
    [
        ({"per_page": 51}, "Number must be less than or equal to 50", "per_page"),
        ({"per_page": 0}, "Number must be greater than or equal to 1", "per_page"),
        ({"order_by": "path"}, "Invalid enum value: path", "order_by"),
        (
            {"order_by": "cost", "page": 201, "per_page": 50},
            "The order of cost has no page past 10000 logs: filter",
            "page",
        ),
        ({"order_by_direction": "up"}, "Invalid enum value: up", "order_by_direction"),
    ],
)
async def test_a_query_out_of_range_is_refused(console, problem, query, message, field):
    assert problem(await console.operator.get(LOGS, params=query)) == (400, 7001, message, ["query", field])


async def listed(console, **query) -> list[str]:
    answer = await console.operator.get(LOGS, params=query)
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()["result"]]


async def test_a_list_is_filtered_as_either_sdk_asks(console, log, write_logs):
    logs = [
        log(model=model, cost_nano=cost) for model, cost in (("a", 10**8), ("b", 2 * 10**8), ("a", 3 * 10**8), ("c", 1))
    ]
    write_logs(*logs)
    wanted = [logs[2].entry.id, logs[1].entry.id]
    rows = "filters.key=model&filters.operator=eq&filters.value=a&filters.value=b"
    rows += "&filters.key=cost&filters.operator=gt&filters.value=0.1"
    columns = "filters.operator=eq&filters.operator=gt&filters.key=model&filters.key=cost"
    columns += "&filters.value=a&filters.value=b&filters.value=0.1"
    for query in (rows, columns):
        answer = await console.operator.get(f"{LOGS}?{query}")
        assert [row["id"] for row in answer.json()["result"]] == wanted
        assert answer.json()["result_info"] == {"page": 1, "per_page": 20, "count": 2, "total_count": 2}


async def test_a_filter_that_is_none_is_refused(console, problem):
    for query, said in (
        ("filters.key=colour&filters.operator=eq&filters.value=a", "There is no filter key 'colour'"),
        ("filters.key=model&filters.operator=like&filters.value=a", "There is no operator 'like'"),
        ("filters.key=model&filters.operator=lt&filters.value=a", "model cannot be compared by lt"),
        ("filters.key=cost&filters.operator=gt&filters.value=much", "cost is a number"),
        ("filters=[", "filters is a JSON list"),
        ("filters.keys=model", "filters.keys is no part of a filter"),
    ):
        status, code, message, path = problem(await console.operator.get(f"{LOGS}?{query}"))
        assert (status, code, path) == (400, 7001, ["query", "filters"])
        assert message.startswith(said)
    status, _, message, path = problem(await console.operator.get(LOGS, params={"min_cost": "x"}))
    assert (status, path) == (400, ["query", "min_cost"])
    assert message.startswith("cost is a number")


async def test_the_parameters_of_before_still_filter_and_their_bounds_are_within(console, log, write_logs):
    logs = [
        log(duration_ms=ms, cost_nano=ms * 1000, feedback=feedback) for ms, feedback in ((10, 1), (20, -1), (30, None))
    ]
    write_logs(*logs)
    first, second, third = (each.entry.id for each in logs)
    assert await listed(console, min_duration=20) == [third, second]
    assert await listed(console, max_duration=20) == [second, first]
    assert await listed(console, min_cost="0.00002", max_cost="0.00002") == [second]
    assert await listed(console, feedback=0) == [second]
    assert await listed(console, feedback=1) == [first]
    assert await listed(console, success="false") == []
    assert await listed(console, provider="openai", model="gpt-4o-mini") == [third, second, first]
    assert await listed(console, start_date="2100-01-01T00:00:00Z") == []


async def test_a_search_finds_ids_and_metadata(console, log, write_logs):
    logs = [log(metadata={"team": "Blue Whale"}), log(event_id="e-2"), log()]
    write_logs(*logs)
    assert await listed(console, search="blue wh") == [logs[0].entry.id]
    assert await listed(console, search="e-2") == [logs[1].entry.id]
    assert await listed(console, search=logs[2].entry.id.lower()) == [logs[2].entry.id]
    assert await listed(console, search="nothing of that kind") == []


async def test_meta_info_tells_least_and_most_of_what_fits(console, log, write_logs):
    write_logs(*[log(duration_ms=ms, model=model) for ms, model in ((10, "a"), (20, "b"), (30, "b"))])
    query = {"meta_info": "true", "filters": '[{"key":"model","operator":"eq","value":["b"]}]'}
    info = (await console.operator.get(LOGS, params=query)).json()["result_info"]
    assert (info["min_duration"], info["max_duration"], info["total_count"]) == (20, 30, 2)
    assert (info["min_cost"], info["min_total_tokens"], info["max_tokens_out"]) == (0.0000222, 46, 34)
    nothing = (await console.operator.get(LOGS, params={**query, "search": "nowhere"})).json()["result_info"]
    assert (nothing["min_duration"], nothing["max_cost"]) == (None, None)


async def test_a_cursor_goes_on_where_the_page_before_ended(console, log, write_logs):
    logs = [log(model="a" if number % 2 else "b") for number in range(9)]
    write_logs(*logs)
    expected = [each.entry.id for each in reversed(logs) if each.entry.model == "b"]
    found, cursor = [], {}
    while True:
        answer = (await console.operator.get(LOGS, params={"model": "b", "per_page": 2, **cursor})).json()
        found += [row["id"] for row in answer["result"]]
        write_logs(log(model="b"))  # newer ones do not push the pages on
        if "next_cursor" not in answer["result_info"]:
            break
        cursor = {"cursor": answer["result_info"]["next_cursor"]}
    assert found == expected


async def test_the_detail_adds_the_beginnings_of_the_bodies(console, log, write_logs):
    stored = log(request=b"q" * 70_000, response="schön".encode())
    write_logs(stored)
    detail = (await console.operator.get(f"{LOGS}/{stored.entry.id}")).json()["result"]
    assert (detail["request_head"], detail["request_head_complete"]) == ("q" * 65_536, False)
    assert (detail["response_head"], detail["response_head_complete"]) == ("schön", True)
    assert (detail["request_size"], detail["response_size"]) == (70_000, 6)


async def test_bodies_come_as_they_went_over_the_wire(console, log, write_logs):
    body = os.urandom(300_000)
    stored = log(request=b'{"model": "gpt-4o" }', response=body, response_content_type="audio/mpeg")
    write_logs(stored)
    request = await console.operator.get(f"{LOGS}/{stored.entry.id}/request")
    assert (request.content, request.headers["content-type"]) == (b'{"model": "gpt-4o" }', "application/json")
    response = await console.operator.get(f"{LOGS}/{stored.entry.id}/response")
    assert (response.content, response.headers["content-type"]) == (body, "audio/mpeg")
    assert response.headers["content-security-policy"] == "sandbox"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("accepted", ["gzip, deflate", "identity"])
@pytest.mark.parametrize(("coding", "encode"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
async def test_an_encoded_body_reads_the_same_whatever_the_client_decodes(
    console, log, write_logs, accepted, coding, encode
):
    plain = json.dumps({"text": os.urandom(200_000).hex()}).encode()
    stored = log(response=encode(plain), response_encoding=coding)
    write_logs(stored)
    url = f"{LOGS}/{stored.entry.id}/response"
    response = await console.operator.get(url, headers={"accept-encoding": accepted})
    assert response.content == plain
    assert response.headers.get("content-encoding") == (coding if coding in accepted else None)
    assert response.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("accepted", ["gzip", "identity"])
async def test_the_head_of_a_body_is_told_without_reading_it(console, log, write_logs, monkeypatch, accepted):
    stored = log(response=gzip.compress(os.urandom(1_000_000)), response_encoding="gzip")
    missing = log(request=None, response=None, payload=False)
    write_logs(stored, missing)
    url, asked = f"{LOGS}/{stored.entry.id}/response", {"accept-encoding": accepted}
    whole = await console.operator.get(url, headers=asked)
    monkeypatch.delattr(EmbeddedLogReader, "body")
    head = await console.operator.head(url, headers=asked)
    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) == dict(whole.headers)
    assert (await console.operator.head(f"{LOGS}/{missing.entry.id}/response")).status_code == 404


async def test_an_encoding_that_we_do_not_know_passes_with_its_name(console, log, write_logs):
    stored = log(response=b"\x0b\x02\x80", response_encoding="x-odd")
    write_logs(stored)
    url = f"{LOGS}/{stored.entry.id}/response"
    response = await console.operator.get(url, headers={"accept-encoding": "gzip"})
    assert (response.content, response.headers["content-encoding"]) == (b"\x0b\x02\x80", "x-odd")


async def test_what_is_not_stored_is_not_found(console, problem, log, write_logs):
    stored = log(request=None, response=None, payload=False)
    write_logs(stored)
    for path in (f"{stored.entry.id}/request", f"{stored.entry.id}/response", "01JC3R94FRD97JBCBX3S0ZAXKW", "nothing"):
        assert problem(await console.operator.get(f"{LOGS}/{path}")) == (404, 7002, "Not Found", [])
    detail = (await console.operator.get(f"{LOGS}/{stored.entry.id}")).json()["result"]
    assert (detail["request_head"], detail["response_head"]) == ("", "")


async def test_metadata_read_shows_no_part_of_a_body(console, problem, log, write_logs):
    stored = log(request=b"a secret prompt")
    write_logs(stored)
    client = console.relayed(console.token("metadata_read"))
    assert [row["id"] for row in (await client.get(LOGS)).json()["result"]] == [stored.entry.id]
    detail = (await client.get(f"{LOGS}/{stored.entry.id}")).json()["result"]
    assert (detail["request_head"], detail["request_head_complete"]) == ("", False)
    assert detail["request_size"] == len(b"a secret prompt")
    assert problem(await client.get(f"{LOGS}/{stored.entry.id}/request"))[:2] == (403, 10000)
    assert problem(await client.get(f"{LOGS}/{stored.entry.id}/response"))[:2] == (403, 10000)


async def test_a_gateway_of_the_same_name_does_not_inherit_the_logs(console, problem, log, write_logs):
    stored = log()
    write_logs(stored)
    await console.operator.delete("/gateways/default")
    assert problem(await console.operator.get(LOGS))[:2] == (404, 7002)
    await console.operator.put("http://console/internal/accounts/local/default-gateway")
    assert (await console.operator.get(LOGS)).json()["result"] == []
    assert problem(await console.operator.get(f"{LOGS}/{stored.entry.id}"))[:2] == (404, 7002)


async def test_text_in_bodies_is_found_by_whoever_may_read_them(console, log, write_logs, problem):
    stored = [log(b'{"ask": "about my Refund"}'), log(b'{"ask": "x"}', b"refunds are slow"), log(b'{"ask": "y"}')]
    write_logs(*stored)
    reply = (await console.operator.get(LOGS, params={"body": "refund", "per_page": 1})).json()
    assert [row["id"] for row in reply["result"]] == [stored[1].entry.id]
    info = reply["result_info"]
    assert (info["count"], info["complete"], info["total_count_exact"]) == (1, False, False)
    rest = (await console.operator.get(LOGS, params={"body": "refund", "cursor": info["next_cursor"]})).json()
    assert [row["id"] for row in rest["result"]] == [stored[0].entry.id]
    assert rest["result_info"]["looked_through"] == 1
    assert "next_cursor" not in rest["result_info"] or rest["result_info"]["next_cursor"] is None

    async with console.relayed(console.token("metadata_read")) as client:
        assert problem(await client.get(LOGS, params={"body": "refund"}))[0] == 403
    for wrong in ({"body": "re"}, {"body": "refund", "page": 2}, {"body": "refund", "order_by": "model"}):
        assert problem(await console.operator.get(LOGS, params=wrong))[0] == 400
