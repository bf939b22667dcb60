"""Whether a step is tried once more, and when. Pure: the caller does the waiting (contract 2.5)."""

from typing import Final

from sluice.values.errors import GatewayError
from sluice.values.request import ONE_TRY, Options, RetryPolicy

RETRIED: Final = frozenset((408, 409, 425, 429))
"""Statuses below 500 that may be others the next time."""
LOOP_DETECTED: Final = 508
"""A gateway that a custom provider leads to has said so: each on the way would try again."""
LONGEST_DELAY_MS: Final = 60_000

Failure = GatewayError | int
"""Why a try failed: no reply could be had, or one with this status."""


def next_delay_ms(policy: RetryPolicy, attempt: int, failure: Failure | None) -> int | None:
    """The wait before the next try, counted from 1; None where the step has succeeded or is to be given up."""
    if failure is None or attempt >= policy.max_attempts or not may_pass(failure):
        return None
    factor = {"constant": 1, "linear": attempt, "exponential": 1 << (attempt - 1)}[policy.backoff]
    return min(policy.delay_ms * factor, LONGEST_DELAY_MS)


def may_pass(failure: Failure) -> bool:
    """Whether trying again may help."""
    if isinstance(failure, GatewayError):
        return failure.retryable
    return (failure >= 500 and failure != LOOP_DETECTED) or failure in RETRIED


def policy_for(options: Options, default: RetryPolicy) -> RetryPolicy:
    """What the client asks for, and the gateway's own setting where it says nothing (contract 2.4)."""
    asked, delay_ms, backoff = options.max_attempts, options.retry_delay_ms, options.backoff
    if asked is None and delay_ms is None and backoff is None:
        return default
    policy = RetryPolicy(
        default.max_attempts if asked is None else asked,
        default.delay_ms if delay_ms is None else delay_ms,
        backoff or default.backoff,
    )
    return ONE_TRY if policy.max_attempts <= 1 else policy
