"""The link of the chain that counts requests and money, and refuses what is too much (contract 6)."""

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Final, Literal

from sluice.engine.compat import LONGEST_MODEL, model_or_none
from sluice.engine.estimates import Estimates
from sluice.engine.recorder import Record
from sluice.engine.remarks import seconds
from sluice.formats.metadata import parse_metadata
from sluice.formats.multipart import form_field
from sluice.journal import fields
from sluice.metrics import Metrics
from sluice.providers.endpoints import is_billed, model_in_path, model_named
from sluice.providers.registry import PROVIDERS
from sluice.storage.ports import StoreFault
from sluice.storage.windows import WindowStore
from sluice.values.credential import Credential
from sluice.values.errors import MalformedRequest, Overloaded, RateLimited, SpendLimited
from sluice.values.limits import BUCKET_BYTES, Permit, RateLimit, Reservation, SpendLimit
from sluice.values.reply import Reply
from sluice.values.request import Step

_log = logging.getLogger(__name__)

Broken = Literal["refuse", "allow"]
WEIGHED_BYTES: Final = 1024 * 1024
"""So much of a body is waited for, to see which model it asks for; of a longer one only its length counts."""
COMPLAIN_S: Final = 60.0
REFUSED: Final = "Requests that a limit refused, by its kind."
UNCOUNTED: Final = "Requests and calls that no limit counted, for the table of windows could not be used."
EVICTED: Final = "Sums of money that made room for others in the full table of windows."


class Limits:
    """Makes attempts through `onward` where the gateway's limits allow it.

    A request is counted once, however many steps and attempts it has; each step sets its own cost aside.
    """

    def __init__(
        self,
        onward: Callable[[Step, Record], Awaitable[Reply]],
        windows: WindowStore,
        estimates: Estimates,
        metrics: Metrics,
        when_broken: Broken,
    ) -> None:
        """`when_broken` says whether money is spent that cannot be counted."""
        self._onward, self._windows, self._estimates, self._when_broken = onward, windows, estimates, when_broken
        self._rate_limited = metrics.counter("sluice_limit_refusals_total", REFUSED, kind="rate")
        self._spend_limited = metrics.counter("sluice_limit_refusals_total", REFUSED, kind="spend")
        self._rate_uncounted = metrics.counter("sluice_limit_faults_total", UNCOUNTED, kind="rate")
        self._spend_uncounted = metrics.counter("sluice_limit_faults_total", UNCOUNTED, kind="spend")
        self._evictions = metrics.counter("sluice_limit_evictions_total", EVICTED)
        self._evicted = 0
        self._silent_until_s = 0.0
        self._unpriced = metrics.counter("sluice_spend_unpriced_total", "Calls under a spend limit without a price.")

    def make(self, step: Step, record: Record) -> Awaitable[Reply]:
        """The reply. Raises RateLimited, SpendLimited, Overloaded, and what going on raises."""
        limited = record.gateway.limited
        if limited is not None:
            if limited.spend:
                return self._make(step, record)
            self._count(limited.rate, step, record)
        if step.credential is not None:
            self._count_key(step.credential, step, record)
        return self._onward(step, record)

    async def admit(self, step: Step, record: Record) -> None:
        """Counts the request and its cost.

        Raises RateLimited, SpendLimited, Overloaded, and what reading the request body raises.
        """
        limited = record.gateway.limited
        if limited is not None:
            self._count(limited.rate, step, record)
            if limited.spend:
                await self._weigh(limited.spend, step, record)
        if step.credential is not None:  # last, for it may be the key of other gateways too
            self._count_key(step.credential, step, record)

    async def _weigh(self, rules: tuple[SpendLimit, ...], step: Step, record: Record) -> None:
        """Sets the step's cost aside, once its body is there to be looked at."""
        if step.body.whole is None:
            record.found(path_of(step, record.account))
            await step.body.take_in(WEIGHED_BYTES)
        if record.reservation is None:
            self._reserve(rules, step, record)

    def _count_key(self, credential: Credential, step: Step, record: Record) -> None:
        """Counts the step at the limit of its stored key, once however often it is tried."""
        limit = credential.limit
        if limit is None or record.counted_key == limit.id:
            return
        record.counted_key = limit.id
        bucket = blake2b(limit.id.encode(), digest_size=BUCKET_BYTES).digest()
        permit = self._take(bucket, RateLimit(limit.limit, limit.period_s))
        if permit is not None and not permit.allowed:
            record.found(path_of(step, record.account))
            raise self._rate_limited_by(permit)

    def _count(self, rate: RateLimit | None, step: Step, record: Record) -> None:
        """Counts the request, unless it is."""
        if rate is None or record.permit is not None:
            return
        record.permit = permit = self._take(record.gateway.id, rate)
        if permit is not None and not permit.allowed:
            record.found(path_of(step, record.account))
            raise self._rate_limited_by(permit)

    async def _make(self, step: Step, record: Record) -> Reply:
        await self.admit(step, record)
        return await self._onward(step, record)

    def _take(self, bucket: bytes, rate: RateLimit) -> Permit | None:
        """None where it could not be counted: then it is let through."""
        try:
            return self._windows.take(bucket, rate)
        except StoreFault as error:
            self._rate_uncounted.add()
            self._complain("request not counted", error)
            return None

    def _rate_limited_by(self, permit: Permit) -> RateLimited:
        self._rate_limited.add()
        return RateLimited(max(seconds(permit.reset_us), 1))

    def _reserve(self, rules: tuple[SpendLimit, ...], step: Step, record: Record) -> None:
        """Sets the step's cost aside in every sum that it belongs to, or in none."""
        models = models_of(step, record.account)
        metadata = parse_metadata(step.options.metadata) if step.options.metadata else {}
        named = [(rule, rule.bucket(record.gateway.id, step.provider, models, metadata)) for rule in rules]
        subject = [(rule, bucket) for rule, bucket in named if bucket is not None]
        if not subject:
            return
        path = path_of(step, record.account)
        if not models and not record.collects and is_billed(step.method.decode(), path):
            self._spend_limited.add()
            record.found(path)
            raise SpendLimited(unseen(subject[0][0]))
        record.model_seen = models[0] if models else ""
        priced = [self._estimates.nano(step, model, record.account) for model in models or ("",)]
        nano = max((price for price in priced if price is not None), default=None)
        if nano is None:
            self._unpriced.add()
        record.reservation, refusing = self._set_aside(subject, nano or 0)
        if self._windows.evicted != self._evicted:
            self._evictions.add(self._windows.evicted - self._evicted)
            self._evicted = self._windows.evicted
        if refusing is not None:
            self._spend_limited.add()
            record.found(path_of(step, record.account))
            raise SpendLimited(told_of(refusing, step.provider, models[0] if models else ""))

    def _set_aside(
        self, subject: list[tuple[SpendLimit, bytes]], nano: int
    ) -> tuple[Reservation | None, SpendLimit | None]:
        """The reservation, or the rule that refuses it. Raises Overloaded where money is not spent uncounted."""
        held: list[tuple[bytes, int, int]] = []
        for rule, bucket in subject:
            try:
                until = self._windows.reserve(bucket, rule, nano)
            except StoreFault as error:
                self._spend_uncounted.add()
                self._complain("cost not counted", error)
                if self._when_broken == "allow":
                    continue
                self._give_back(held, nano)
                raise Overloaded(None, "Spend limits cannot be kept") from error
            if until is None:
                self._give_back(held, nano)
                return None, rule
            held.append((bucket, rule.window_s, until))
        return Reservation(nano, tuple(held)) if held else None, None

    def _complain(self, event: str, error: StoreFault) -> None:
        """Once a minute: the metrics count each."""
        if time.monotonic() >= self._silent_until_s:
            self._silent_until_s = time.monotonic() + COMPLAIN_S
            _log.error(event, extra=fields(error=str(error)))

    def _give_back(self, held: list[tuple[bytes, int, int]], nano: int) -> None:
        """What cannot be given back ends by itself."""
        with suppress(StoreFault):
            for bucket, _, until in held:
                self._windows.release(bucket, nano, until)


def path_of(step: Step, account: str) -> str:
    """The endpoint for the log of a step that is not made."""
    provider, endpoint = PROVIDERS.get(step.provider), step.endpoint
    if provider is not None:
        with suppress(MalformedRequest):  # whoever makes it will say so
            endpoint = provider.address(endpoint, account).endpoint
    return endpoint.decode("ascii", "replace")


def models_of(step: Step, account: str) -> tuple[str, ...]:
    """The models that a step asks for; none where that cannot be known before.

    The first is the one that its log will name. Where a vendor goes by the model of the path, and the body names
    another, the path's is the last one.
    """
    if step.compat or step.translation is not None:
        return (step.model,) if step.model else ()
    body = step.body.whole
    named = model_named(step.provider, _model_in(body, step.content_type)) if body else None
    in_path = model_in_path(step.provider, path_of(step, account))
    return tuple(dict.fromkeys(model for model in (named, in_path) if model)) or ((step.model,) if step.model else ())


def _model_in(body: bytes, content_type: bytes) -> str | None:
    if content_type[:10].lower() != b"multipart/":
        return model_or_none(body)
    value = form_field(body, content_type, b"model")
    return value.decode("utf-8", "replace").strip()[:LONGEST_MODEL] if value else None


def unseen(rule: SpendLimit) -> str:
    """What to say of a call that nobody could price, before it is made or after."""
    return (
        f"Spend limit: rule '{rule.id}' cannot count a call without a log whose model cannot be seen: in a body of more"
        " than 1 MB, or an encoded one"
    )


def told_of(rule: SpendLimit, provider: str, model: str) -> str:
    """The words of contract 6.2."""
    return (
        f"Spend limit exceeded: rule '{rule.id}' (cost limit {rule.said} per {rule.window_s}s, {rule.technique})"
        f" for {provider} {model}"
    )
