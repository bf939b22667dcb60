"""When a step is tried once more, and by whose policy."""

from itertools import count, takewhile
from typing import Any

import pytest

from sluice.engine.retry import next_delay_ms, policy_for
from sluice.values.errors import Overloaded, TemplateFailure, UpstreamTimeout, UpstreamUnreachable
from sluice.values.request import DEFAULT_OPTIONS, ONE_TRY, Options, RetryPolicy


def delays(policy: RetryPolicy) -> list[int | None]:
    found = (next_delay_ms(policy, attempt, 503) for attempt in count(1))
    return list(takewhile(lambda delay: delay is not None, found))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (ONE_TRY, []),
        (RetryPolicy(4), [0, 0, 0]),
        (RetryPolicy(4, 100), [100, 100, 100]),
        (RetryPolicy(4, 100, "linear"), [100, 200, 300]),
        (RetryPolicy(5, 100, "exponential"), [100, 200, 400, 800]),
        (RetryPolicy(5, 40_000, "exponential"), [40_000, 60_000, 60_000, 60_000]),
        (RetryPolicy(2, 60_000, "linear"), [60_000]),
    ],
)
def test_the_delay_grows_as_the_backoff_says_up_to_a_minute(policy: RetryPolicy, expected: list[int]):
    assert delays(policy) == expected


@pytest.mark.parametrize("failure", [408, 409, 425, 429, 500, 502, 599, UpstreamTimeout("slow"), Overloaded()])
def test_what_may_pass_is_tried_again(failure: Any):
    assert next_delay_ms(RetryPolicy(2, 7), 1, failure) == 7


@pytest.mark.parametrize("failure", [400, 401, 403, 404, 413, 422, 424, 451, 508, TemplateFailure()])
def test_what_will_not_pass_is_not_tried_again(failure: Any):
    assert next_delay_ms(RetryPolicy(5), 1, failure) is None


def test_a_success_is_not_tried_again():
    assert next_delay_ms(RetryPolicy(5), 1, None) is None
    assert next_delay_ms(RetryPolicy(2), 1, UpstreamUnreachable("gone")) == 0


@pytest.mark.parametrize(
    ("options", "default", "expected"),
    [
        (DEFAULT_OPTIONS, ONE_TRY, ONE_TRY),
        (DEFAULT_OPTIONS, RetryPolicy(3, 10, "linear"), RetryPolicy(3, 10, "linear")),
        (Options(max_attempts=2), RetryPolicy(3, 10, "linear"), RetryPolicy(2, 10, "linear")),
        (Options(retry_delay_ms=0), RetryPolicy(3, 10, "linear"), RetryPolicy(3, 0, "linear")),
        (Options(backoff="constant"), RetryPolicy(3, 10, "linear"), RetryPolicy(3, 10)),
        (Options(max_attempts=1), RetryPolicy(3, 10, "linear"), ONE_TRY),
        (Options(retry_delay_ms=10), ONE_TRY, ONE_TRY),
    ],
)
def test_a_request_says_more_than_its_gateway(options: Options, default: RetryPolicy, expected: RetryPolicy):
    assert policy_for(options, default) == expected
