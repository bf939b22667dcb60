"""The description of the management API: that it tells of what is there, all of it, and of nothing else."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sluice.console.app import PATHS
from sluice.console.openapi.operations import OPERATIONS
from sluice.console.unbuilt import PATHS as UNBUILT

URL = "http://console/client/v4/openapi.json"


async def described_to(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get(URL)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    told: dict[str, Any] = answer.json()
    return told


@pytest.fixture
async def described(console) -> dict[str, Any]:
    return await described_to(console.operator)


def operations_of(described: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}


def everything_in(told: object) -> Iterator[tuple[str, Any]]:
    """Every name with its value, however deep."""
    if isinstance(told, dict):
        yield from told.items()
    for deeper in told.values() if isinstance(told, dict) else told if isinstance(told, list) else ():
        yield from everything_in(deeper)


async def test_every_method_that_it_names_is_served_and_every_other_is_refused_with_these(console, described):
    for path, told in described["paths"].items():
        url = "http://console" + re.sub(r"\{\w+\}", "local", path)
        answer = await console.operator.request("TRACE", url)
        assert answer.status_code == 405, path
        assert answer.headers["allow"] == ", ".join(sorted(method.upper() for method in told)), path


async def test_every_path_of_the_table_is_in_it(described):
    unbuilt = {(method, stem) for methods, stem, _ in UNBUILT for method in methods}
    assert {(path.method, path.pattern) for path in PATHS} | unbuilt <= operations_of(described)


async def test_clients_are_told_of_no_path_that_only_the_operator_reaches(console, described):
    told = operations_of(await described_to(console.relayed(None)))
    hidden = operations_of(described) - told
    assert hidden
    assert {path.partition("/")[2].partition("/")[0] for _, path in hidden} == {"internal"}


async def test_every_parameter_of_a_path_is_told(described):
    for path, told in described["paths"].items():
        for operation in told.values():
            names = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
            assert names == re.findall(r"\{(\w+)\}", path)


async def test_every_reference_leads_somewhere_and_every_component_is_referred_to(described):
    references = {value for name, value in everything_in(described) if name == "$ref"}
    assert references == {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}


async def test_patterns_are_such_as_every_language_reads(described):
    patterns = [value for name, value in everything_in(described) if name == "pattern"]
    assert patterns
    assert [text for text in patterns if "\\Z" in text] == []


async def test_what_is_needed_of_a_new_one_is_not_needed_of_a_change(described):
    path = "/client/v4/accounts/{account}/ai-gateway/custom-providers"
    new = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    change = described["paths"][f"{path}/{{provider}}"]["patch"]["requestBody"]["content"]["application/json"]["schema"]
    schemas = described["components"]["schemas"]
    needed, free = (schemas[one["$ref"].rpartition("/")[2]] for one in (new, change))
    assert (needed["required"], free["required"]) == (["name", "slug", "base_url"], [])
    assert needed["properties"] == free["properties"]


async def test_of_a_reply_it_tells_what_is_always_there(described):
    schemas = described["components"]["schemas"]
    always, sometimes = set(schemas["ShownConfig"]["required"]), {"rate_limit", "rate_limit_period"}
    assert always == set(schemas["ShownConfig"]["properties"]) - sometimes
    assert set(schemas["ShownGateway"]["required"]) == set(schemas["ShownGateway"]["properties"])
    assert "next_cursor" not in schemas["LogPageInfo"]["required"]


async def test_a_query_has_nothing_where_json_has_null(described):
    told = described["paths"]["/client/v4/accounts/{account}/ai-gateway/gateways/{gateway}/logs"]["get"]
    cursor = next(one for one in told["parameters"] if one["name"] == "cursor")
    assert cursor["schema"] == {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}


def test_nothing_is_described_that_no_path_leads_to():
    assert set(OPERATIONS) == {path.handler for path in PATHS}
