"""Cloudflare's GraphQL Analytics API over roll-ups: its datasets, filters and orders, and what it refuses."""

import pytest
from graphql import get_introspection_query

from sluice.storage.embedded.usage import EmbeddedUsageStore
from sluice.storage.ports import GatewayUsage
from sluice.values.gateway import GatewayConfig
from sluice.values.log import ShardKey, Usage

URL = "http://console/client/v4/graphql"
AT_MS = 1_767_323_045_678  # 2026-01-02T03:04:05.678Z


async def sent(client, query: str, **body: object):
    return await client.post(URL, json={"query": query, **body})


async def groups(client, dataset: str, arguments: str, fields: str, **body: object):
    """The groups of one dataset of the account `local`."""
    arguments = f"({arguments})" if arguments else ""
    query = (
        f'{{ viewer {{ accounts(filter: {{accountTag: "local"}}) {{ found: {dataset}{arguments} {{ {fields} }} }} }} }}'
    )
    answer = await sent(client, query, **body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["errors"] is None, answer.text
    return answer.json()["data"]["viewer"]["accounts"][0]["found"]


async def refused(client, query: str, **body: object) -> list[str]:
    answer = await sent(client, query, **body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"] is None
    return [error["message"] for error in answer.json()["errors"]]


def requests(arguments: str, fields: str = "count") -> str:
    dataset = f"aiGatewayRequestsAdaptiveGroups({arguments}) {{ {fields} }}"
    return f'{{ viewer {{ accounts(filter: {{accountTag: "local"}}) {{ {dataset} }} }} }}'


@pytest.fixture
def client(console, log, write_logs):
    console.control.create_gateway("local", "other", GatewayConfig())
    write_logs(
        log(created_ms=AT_MS, model="a", cost_nano=2_000_000_000, usage=Usage(10, 20)),
        log(created_ms=AT_MS + 60_000, model="a", cached=True, cost_nano=0, usage=Usage(5, 7)),
        log(created_ms=AT_MS + 3_600_000, model="b", status_code=500, success=False, cost_nano=None, usage=Usage()),
        log(created_ms=AT_MS + 3_600_000, model="b", status_code=429, success=False, cost_nano=None, usage=Usage()),
    )
    write_logs(log(created_ms=AT_MS + 86_400_000, model="c", provider="anthropic"), gateway="other")
    return console.relayed(console.token("metadata_read"))


async def test_requests_have_the_sums_and_dimensions_of_the_product(client):
    found = await groups(
        client,
        "aiGatewayRequestsAdaptiveGroups",
        'limit: 10, filter: {datetimeHour_geq: "2026-01-02T03:00:00Z", datetimeHour_leq: "2026-01-02T03:00:00Z"}',
        "count sum { cachedRequests erroredRequests cachedTokensIn cachedTokensOut"
        " uncachedTokensIn uncachedTokensOut cost }"
        " dimensions { model provider gateway date hour: datetimeHour ts: datetimeMinute statusCode cached error }",
    )
    plain = {
        "model": "a",
        "provider": "openai",
        "gateway": "default",
        "date": "2026-01-02",
        "statusCode": 200,
        "error": 0,
    }
    sums = {"cachedRequests": 0, "erroredRequests": 0, "cachedTokensIn": 0, "cachedTokensOut": 0}
    assert found == [
        {
            "count": 1,
            "sum": {**sums, "uncachedTokensIn": 10, "uncachedTokensOut": 20, "cost": 2.0},
            "dimensions": {**plain, "cached": 0, "hour": "2026-01-02T03:00:00Z", "ts": "2026-01-02T03:04:00Z"},
        },
        {
            "count": 1,
            "sum": {
                **sums,
                "cachedRequests": 1,
                "cachedTokensIn": 5,
                "cachedTokensOut": 7,
                "uncachedTokensIn": 0,
                "uncachedTokensOut": 0,
                "cost": 0.0,
            },
            "dimensions": {**plain, "cached": 1, "hour": "2026-01-02T03:00:00Z", "ts": "2026-01-02T03:05:00Z"},
        },
    ]


async def test_errors_the_cache_and_what_is_stored_have_datasets_of_their_own(client, console, settings):
    errors = await groups(client, "aiGatewayErrorsAdaptiveGroups", "", "count dimensions { statusCode }")
    assert errors == [{"count": 1, "dimensions": {"statusCode": code}} for code in (500, 429)]
    cache = await groups(
        client, "aiGatewayCacheAdaptiveGroups", "orderBy: [cacheStatus_ASC]", "count dimensions { cacheStatus }"
    )
    assert cache == [
        {"count": 1, "dimensions": {"cacheStatus": "hit"}},
        {"count": 4, "dimensions": {"cacheStatus": "miss"}},
    ]
    usage = EmbeddedUsageStore.open(settings.data / "usage.db")
    gateway = console.control.gateway("local", "default")
    usage.report([GatewayUsage(ShardKey("local", gateway.id.hex()), 123, 0, 0)])
    usage.close()
    size = await groups(
        client,
        "aiGatewaySizeAdaptiveGroups",
        'filter: {date_geq: "2026-01-01"}, orderBy: [max_rows_DESC]',
        "max { rows } dimensions { gateway }",
    )
    assert size == [
        {"max": {"rows": 123}, "dimensions": {"gateway": "default"}},
        {"max": {"rows": 0}, "dimensions": {"gateway": "other"}},
    ]
    past = 'filter: {date_leq: "2026-01-01"}'
    assert await groups(client, "aiGatewaySizeAdaptiveGroups", past, "max { rows }") == []


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        ("{}", 5),
        ('{model: "a"}', 2),
        ('{model_neq: "a"}', 3),
        ('{model_in: ["a", "c", "d"]}', 3),
        ('{provider: "openai", error: 1}', 2),
        ("{error: 0}", 3),
        ("{cached_neq: 0}", 1),
        ("{statusCode_geq: 429}", 2),
        ("{statusCode_gt: 429}", 1),
        ("{statusCode_lt: 429}", 3),
        ("{statusCode_leq: 429}", 4),
        ('{gateway: "other"}', 1),
        ('{date: "2026-01-02"}', 4),
        ('{date_gt: "2026-01-02"}', 1),
        ('{datetimeHour: "2026-01-02T04:00:00Z"}', 2),
        ('{datetimeHour: "2026-01-02T04:30:00Z"}', 0),
        ('{datetimeHour_gt: "2026-01-02T03:30:00Z"}', 3),
        ('{datetimeHour_geq: "2026-01-02T03:30:00Z"}', 3),
        ('{datetimeHour_lt: "2026-01-02T04:00:00Z"}', 2),
        ('{datetimeMinute_leq: "2026-01-02T03:04:00Z"}', 1),
        ('{datetime_geq: "2026-01-02T03:05:00Z", datetime_leq: "2026-01-02T05:00:00+00:00"}', 3),
        ('{OR: [{model: "a"}, {statusCode: 500}]}', 3),
        ('{AND: [{model: "b"}, {OR: [{statusCode: 500}, {cached: 1}]}]}', 1),
        ('{datetimeHour_geq: "2026-01-03T00:00:00Z", datetimeHour_leq: "2026-01-02T00:00:00Z"}', 0),
    ],
)
async def test_filters_mean_what_they_mean_there(client, conditions, count):
    found = await groups(client, "aiGatewayRequestsAdaptiveGroups", f"filter: {conditions}", "count")
    assert sum(group["count"] for group in found) == count


async def test_groups_come_in_the_order_that_is_asked_and_no_more_than_that(client):
    dataset = "aiGatewayRequestsAdaptiveGroups"
    asked = "limit: 2, orderBy: [sum_cost_DESC, model_ASC]"
    found = await groups(client, dataset, asked, "dimensions { model }")
    assert [group["dimensions"]["model"] for group in found] == ["a", "c"]
    found = await groups(client, dataset, "orderBy: [datetimeHour_DESC]", "dimensions { datetimeHour }")
    assert [group["dimensions"]["datetimeHour"][:13] for group in found] == [
        "2026-01-03T03",
        "2026-01-02T04",
        "2026-01-02T03",
    ]


async def test_variables_fragments_and_directives_work(client):
    query = """
        query Usage($tag: string!, $from: Time, $most: uint64!, $by: Boolean!, $order: [String!]) {
          viewer { accounts(filter: {accountTag: $tag}) {
            accountTag
            a: aiGatewayRequestsAdaptiveGroups(limit: $most, filter: {date_geq: $from}, orderBy: $order) { ...parts }
          } }
        }
        fragment parts on AccountAiGatewayRequestsAdaptiveGroups {
          count
          dimensions { model @include(if: $by) ... on AccountAiGatewayRequestsAdaptiveGroupsDimensions { provider } }
        }
        query Other { viewer { accounts { accountTag } } }"""
    variables = {"tag": "local", "from": "2026-01-02", "most": 10, "order": ["count_DESC"]}
    answer = await sent(client, query, variables={**variables, "by": False}, operationName="Usage")
    account = answer.json()["data"]["viewer"]["accounts"][0]
    assert account == {
        "accountTag": "local",
        "a": [
            {"count": 4, "dimensions": {"provider": "openai"}},
            {"count": 1, "dimensions": {"provider": "anthropic"}},
        ],
    }
    answer = await sent(client, query, variables={**variables, "by": True}, operationName="Usage")
    account = answer.json()["data"]["viewer"]["accounts"][0]
    assert [group["dimensions"]["model"] for group in account["a"]] == ["a", "b", "c"]


async def test_tools_can_read_the_schema(client):
    answer = await sent(client, get_introspection_query())
    assert "AccountAiGatewayRequestsAdaptiveGroups" in {
        found["name"] for found in answer.json()["data"]["__schema"]["types"]
    }


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (requests("limit: 1", "dimensions{rateLimited}"), "Cannot query field 'rateLimited'"),
        (requests("limit: 1", "avg{cost}"), "Cannot query field 'avg'"),
        (requests("filter: {colorful: 1}"), "Field 'colorful' is not defined"),
        (requests("orderBy: [model_ASC]"), "needs model among the dimensions"),
        (requests("orderBy: [size_ASC]"), "does not exist in"),
        (requests("limit: 0"), "limit: expected a number from 1 to 10000"),
        (requests("limit: 10001"), "limit: expected a number from 1 to 10000"),
        (requests("filter: {statusCode: true}"), "statusCode: expected a whole number"),
        (requests("filter: {model_in: [1]}"), "model_in: expected a text"),
        (requests("filter: {model: null}"), "model: null matches nothing"),
        (requests('filter: {date: "2026"}'), "date: expected a time like 2026-01-31"),
        (requests("filter: {datetimeHour_geq: 5}"), "datetimeHour_geq: expected a time like"),
        (requests('filter: {OR: [{date: "2026-01-01"}]}'), "OR: times cannot stand in it"),
        (requests("filter: " + "{AND: [" * 7 + "]}" * 7), "nested at most 5 deep"),
        ("{ viewer { accounts { accountTag } } }", "accounts: name one"),
        ('{ viewer { accounts(filter: {accountTag: "acme"}) { accountTag } } }', "Not authorized for that account"),
        ("{ viewer", "Syntax Error"),
        ("mutation { x }", "Schema is not configured"),
        ("{ " + "viewer { accounts { " * 11 + "x" + "} } " * 11 + "}", "nested more than 20 deep"),
        ("{ ...a } fragment a on Query { ...a }", "nested more than 20 deep"),
        ("{ viewer { " + "x " * 1_001 + " } }", "1000 fields"),
        ("{ ...a } " + " ".join(
            f"fragment {a} on Query {{ {f'...{b} ' * 9} }}" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        ) + " fragment i on Query { viewer { __typename } }", "1000 fields"),
        ('{ viewer { accounts(filter: {accountTag: "local"}) {'
         + " ".join(f"a{n}: aiGatewayErrorsAdaptiveGroups {{ count }}" for n in range(21)) + " } } }", "20 datasets"),
        ("{ " + "a " * 2_001 + "}", "2000"),
    ],
)  # fmt: skip
async def test_what_cannot_be_told_is_a_graphql_error(client, query, said):
    assert any(said in message for message in await refused(client, query))


async def test_a_body_that_is_no_query_is_refused_in_graphqls_form(client):
    for content in (b"{", b"[]", b'{"query": 5}', b"{}", b"[" * 40_000):
        answer = await client.post(URL, content=content)
        assert answer.status_code == 400
        assert answer.json()["data"] is None
        assert [error["extensions"]["code"] for error in answer.json()["errors"]] == [7001]
    answer = await client.post(URL, content=b"x" * (64 * 1024 + 1))
    assert (answer.status_code, answer.json()["data"]) == (413, None)


async def test_a_token_sees_its_own_account_and_gateway_alone(client, console):
    answer = await sent(console.relayed(None), "{ viewer { __typename } }")
    assert (answer.status_code, answer.json()["data"]) == (401, None)
    (message,) = await refused(console.relayed(console.token("run")), requests("limit: 1"))
    assert message == "Not authorized for that account."
    scoped = console.relayed(console.token("read", gateway="other"))
    found = await groups(scoped, "aiGatewayRequestsAdaptiveGroups", "", "count dimensions { gateway }")
    assert found == [{"count": 1, "dimensions": {"gateway": "other"}}]
    found = await groups(scoped, "aiGatewaySizeAdaptiveGroups", "", "dimensions { gateway }")
    assert found == [{"dimensions": {"gateway": "other"}}]
    assert len(await groups(console.operator, "aiGatewaySizeAdaptiveGroups", "", "dimensions { gateway }")) == 2
    found = await sent(console.operator, '{ viewer { accounts(filter: {accountTag: "none"}) { accountTag } } }')
    assert found.status_code == 200


async def test_what_fails_inside_is_not_told(client, console, settings):
    gateway = console.control.gateway("local", "default")
    (settings.data / "shards" / "local" / gateway.id.hex() / "stats.db").write_bytes(b"no database " * 500)
    answer = await sent(client, requests("limit: 1"))
    assert (answer.status_code, answer.json()["data"]) == (500, None)
    assert [error["message"] for error in answer.json()["errors"]] == ["Internal error"]
