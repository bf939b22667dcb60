"""Filters from the wire: every order in which clients send the parts (contract 9.1)."""

import json
from contextlib import suppress
from itertools import permutations
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.console.envelope import ApiError
from sluice.console.filters import parse_filters
from sluice.values.log_filter import Filter

MODEL = Filter("model", "eq", ("a", "b"))
COST = Filter("cost", "gt", (0.1,))


def parsed(query: str) -> tuple[Filter, ...]:
    return parse_filters(parse_qsl(query, keep_blank_values=True))


@pytest.mark.parametrize(
    "query",
    [
        "filters.key=model&filters.operator=eq&filters.value=a&filters.value=b"
        "&filters.key=cost&filters.operator=gt&filters.value=0.1",
        "filters.operator=eq&filters.operator=gt&filters.key=model&filters.key=cost"
        "&filters.value=a&filters.value=b&filters.value=0.1",
        "filters.value=a&filters.value=b&filters.value=0.1&filters.key=model&filters.key=cost"
        "&filters.operator=eq&filters.operator=gt",
        "filters[0][key]=model&filters[0][operator]=eq&filters[0][value][]=a&filters[0][value][]=b"
        "&filters[1][key]=cost&filters[1][operator]=gt&filters[1][value]=0.1",
        "filters="
        + json.dumps(
            [
                {"key": "model", "operator": "eq", "value": ["a", "b"]},
                {"key": "cost", "operator": "gt", "value": [0.1]},
            ]
        ),
        "filters="
        + json.dumps(
            [{"key": "model", "operator": "eq", "value": ["a", "b"]}, {"key": "cost", "operator": "gt", "value": 0.1}]
        ),
    ],
)
def test_two_filters_in_every_order_of_the_wire(query: str):
    assert parsed(query) == (MODEL, COST)


@pytest.mark.parametrize("order", list(permutations(("key", "operator", "value"))))
def test_one_filter_takes_all_values_whatever_comes_first(order: tuple[str, ...]):
    parts = {"key": "filters.key=model", "operator": "filters.operator=neq", "value": "filters.value=a&filters.value=b"}
    assert parsed("&".join(parts[name] for name in order)) == (Filter("model", "neq", ("a", "b")),)


def test_other_parameters_are_none_of_it():
    assert parsed("page=1&search=filters&filter=x") == ()


@pytest.mark.parametrize(
    ("keys", "operators", "values", "expected"),
    [
        (["model", "success"], ["eq", "eq"], ["a", "true"], [("a",), (True,)]),
        (["model", "success"], ["eq", "eq"], ["a", "b", "true"], [("a", "b"), (True,)]),
        (["success", "model"], ["eq", "eq"], ["true", "a", "b"], [(True,), ("a", "b")]),
        (["cost", "model", "tokens"], ["gt", "eq", "lt"], ["1", "2", "3", "4"], [(1,), ("2", "3"), (4,)]),
        (["model", "provider"], ["eq", "eq"], ["a", "b", "c"], [("a", "b"), ("c",)]),
        (["feedback", "model"], ["eq", "contains"], ["null", "1", "x"], [(None, 1), ("x",)]),
    ],
)
def test_in_columns_the_values_are_divided_so_that_each_fits(
    keys: list[str], operators: list[str], values: list[str], expected: list[tuple[object, ...]]
):
    pairs = [("filters.key", key) for key in keys]
    pairs += [("filters.operator", operator) for operator in operators] + [("filters.value", value) for value in values]
    assert [found.values for found in parse_filters(pairs)] == expected


def columns(keys: list[str], values: list[str]) -> list[tuple[str, str]]:
    pairs = [("filters.key", key) for key in keys] + [("filters.operator", "eq") for _ in keys]
    return pairs + [("filters.value", value) for value in values]


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (["model", "provider"], ["a", "b", "c"]),
        (["model", "success"], ["a", "true", "true"]),
        (["provider", "model", "user_agent"], ["a", "b", "c", "d"]),
    ],
)
def test_where_values_could_be_divided_otherwise_nothing_is_guessed_that_must_be_certain(
    keys: list[str], values: list[str]
):
    assert len(parse_filters(columns(keys, values))) == len(keys)
    with pytest.raises(ApiError, match="in more than one way") as refused:
        parse_filters(columns(keys, values), certain=True)
    assert (refused.value.status, refused.value.problem.code) == (400, 7001)


@pytest.mark.parametrize(
    ("keys", "values", "expected"),
    [
        (["model", "provider"], ["a", "b"], [("a",), ("b",)]),
        (["model"], ["a", "b"], [("a", "b")]),
        (["model", "success"], ["a", "b", "true"], [("a", "b"), (True,)]),
        (["success", "cost", "model"], ["true", "false", "1", "a"], [(True, False), (1,), ("a",)]),
    ],
)
def test_where_there_is_one_way_to_divide_values_it_is_certain(
    keys: list[str], values: list[str], expected: list[tuple[object, ...]]
):
    assert [found.values for found in parse_filters(columns(keys, values), certain=True)] == expected


@pytest.mark.parametrize(
    "query",
    [
        "filters.key=model",
        "filters.operator=eq",
        "filters.value=a",
        "filters.key=model&filters.operator=eq",
        "filters.key=model&filters.operator=eq&filters.value=a&filters.key=cost",
        "filters.key=cost&filters.key=tokens&filters.operator=gt&filters.operator=lt"
        "&filters.value=1&filters.value=2&filters.value=3",
        "filters.key=cost&filters.key=success&filters.operator=eq&filters.operator=eq&filters.value=1&filters.value=2&filters.value=x",
        "filters[0][key]=model",
        "filters[0][colour]=red",
        'filters={"key":"model"}',
        'filters=[{"key":"model","operator":"eq","value":[]}]',
        'filters=[{"key":"model","operator":"eq","value":[{}]}]',
        "filters=" + "[" * 5000,
        "filters.key=cost&filters.operator=lt&filters.value=null",
        "filters.key=created_at&filters.operator=gt&filters.value=yesterday",
        "filters.key=success&filters.operator=contains&filters.value=true",
        "filters.key=tokens&filters.operator=gt&filters.value=1&filters.value=2",
        "filters.key=tokens&filters.operator=gt&filters.value=nan",
        "&".join(["filters.key=model&filters.operator=eq&filters.value=a"] * 51),
        "filters.key=model&filters.operator=eq" + "&filters.value=a" * 101,
        "filters.key=model&filters.operator=eq&filters.value=" + "a" * 3000,
    ],
)
def test_what_is_no_filter_is_a_400_that_names_the_parameter(query: str):
    with pytest.raises(ApiError) as refused:
        parsed(query)
    assert (refused.value.status, refused.value.problem.code) == (400, 7001)
    assert refused.value.problem.path == ("query", "filters")


PARTS = st.sampled_from(
    ["filters.key", "filters.operator", "filters.value", "filters", "filters[0][key]", "filters[1].value"]
)
TEXTS = st.sampled_from(
    ["model", "cost", "success", "eq", "gt", "contains", "1", "true", "null", "", "[]", "2026-01-01"]
)


@given(st.lists(st.tuples(PARTS, TEXTS), max_size=12))
def test_any_pairs_are_filters_or_a_clear_refusal(pairs: list[tuple[str, str]]):
    found: tuple[Filter, ...] = ()
    with suppress(ApiError):  # any other exception fails
        found = parse_filters(pairs)
    assert all(each.values for each in found)
