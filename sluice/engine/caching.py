"""The cache before the attempt: what is kept is given again, what is not is kept if it may be (contract 5)."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from sluice.engine.cache_key import SHORT_BYTES, key_of
from sluice.engine.cache_rules import LARGEST_BYTES, asks_for_stream, is_good, is_stream, may_ask
from sluice.engine.collected import Collected, Replayed
from sluice.engine.flights import Asking, Flights, Given, Make
from sluice.engine.known_keys import KnownKeys, Letter, letter_of
from sluice.engine.recorder import Record
from sluice.engine.target import Target
from sluice.metrics import Metrics
from sluice.storage.reply_cache import ReplyCache
from sluice.values.caching import KeptReply, Place, ttl_s
from sluice.values.reply import Reply, ReplyBody, WholeBody
from sluice.values.request import DEFAULT_OPTIONS, Step
from sluice.values.tenancy import Gateway

TOLD: Final = (
    b"content-type:",
    b"content-encoding:",
    b"content-language:",
    b"content-disposition:",
    b"retry-after:",
)
"""Fields of a kept reply's head that are told again: others, as ids and quotas, were of that one call."""


class Caching:
    """Stands before `make`. `find` says where a step goes."""

    def __init__(
        self, make: Make, find: Callable[[Step, str], Target], cache: ReplyCache, streams: bool, metrics: Metrics
    ) -> None:
        self._make, self._find, self._cache, self._streams = make, find, cache, streams
        self._flights = Flights(make, cache, finished, streams, metrics)
        self._known = KnownKeys(metrics)
        self._hits = metrics.counter("sluice_cache_hits_total", "Replies out of the cache.")
        self._shared = metrics.counter("sluice_cache_shared_total", "Replies of another request's call.")
        self._misses = metrics.counter("sluice_cache_misses_total", "Requests for which nothing was kept.")

    def make(self, step: Step, record: Record) -> Awaitable[Reply]:
        """The reply, kept or new. Raises what making one raises, and what reading the request body raises."""
        options, of_gateway_s = step.options, record.gateway.cache_ttl_s
        if not of_gateway_s and options is DEFAULT_OPTIONS:
            return self._make(step, record)
        lasts_s = ttl_s(options.cache_ttl_s, options.cache_key != b"", of_gateway_s)
        if not lasts_s:
            return self._make(step, record)
        target, whole = self._find(step, record.account), step.body.whole
        letter = key = None
        if whole is not None and len(whole) <= SHORT_BYTES:  # one that is known may be asked for
            letter = letter_of(record.gateway, step, whole)
            key = self._known.get(letter)
        if key is None and not may_ask(step, target.endpoint):
            return self._make(step, record)
        if whole is not None and len(whole) <= LARGEST_BYTES:
            return self._looked_up(step, record, target, lasts_s, letter, key)
        return self._taken_in(step, record, target, lasts_s)

    async def close(self) -> None:
        """Ends the calls that nobody waits for any more."""
        await self._flights.close()

    async def _taken_in(self, step: Step, record: Record, target: Target, lasts_s: int) -> Reply:
        """Of a request that is still to be read, or is too long to be kept."""
        record.found(target.endpoint)
        length = LARGEST_BYTES if step.body.length is None else step.body.length
        if length <= LARGEST_BYTES:
            await step.body.take_in(LARGEST_BYTES)
        return await self._looked_up(step, record, target, lasts_s)

    async def _looked_up(
        self,
        step: Step,
        record: Record,
        target: Target,
        lasts_s: int,
        letter: Letter | None = None,
        key: bytes | None = None,
    ) -> Reply:
        body = step.body.whole
        if body is None or len(body) > LARGEST_BYTES:
            return await self._make(step, record)
        if key is None and len(body) > SHORT_BYTES:
            key = await asyncio.to_thread(self._computed, step, record.gateway, target, body)
        elif key is None:
            key = self._key(step, record.gateway, target, body, letter)
        if key is None:  # it comes as a stream, which is not to be kept
            return await self._make(step, record)
        fresh = step.options.skip_cache or record.cached  # a kept reply that did not serve is not tried again
        kept = None if fresh else self._cache.at_hand(key)
        if kept is not None:
            self._hits.add()
            return given(step, record, target, kept)
        gateway = record.gateway
        record.cached = False
        asking = Asking(step, record, target, Place(key, gateway.id, gateway.cache_epoch), lasts_s, fresh)
        outcome = await self._flights.join(asking)
        if isinstance(outcome, Given):
            (self._hits if outcome.kept_before else self._shared).add()
            return given(step, record, target, outcome.reply, outcome)
        self._misses.add()
        return await self._make(step, record) if outcome is None else outcome

    def _key(self, step: Step, gateway: Gateway, target: Target, body: bytes, letter: Letter | None) -> bytes | None:
        """The key of a short request; without its letter it was not looked for yet."""
        key = None
        if letter is None:
            letter = letter_of(gateway, step, body)
            key = self._known.get(letter)
        if key is None and (key := self._computed(step, gateway, target, body)) is not None:
            self._known.put(letter, key)
        return key

    def _computed(self, step: Step, gateway: Gateway, target: Target, body: bytes) -> bytes | None:
        if not self._streams and asks_for_stream(step, body):
            return None
        return key_of(gateway.id, gateway.cache_epoch, step, target.host_line + target.path, body)


def given(step: Step, record: Record, target: Target, kept: KeptReply, outcome: Given | None = None) -> Reply:
    """A kept reply, as if its provider had given it now; `outcome` where it was somebody else's."""
    record.given(target.endpoint, step.body, outcome is None or outcome.cached)
    status, data, ends, encoding = kept.status, kept.body, kept.ends, kept.content_encoding
    fields = {b"content-type": kept.content_type}
    if outcome is not None:
        fields = {**outcome.fields, **fields}
    if encoding:
        fields[b"content-encoding"] = encoding
    record.answered(status, fields, target.provider.terminal_line)
    body: ReplyBody = Replayed(data, ends) if ends else WholeBody(data)
    return Reply(status, kept.reason, kept.lines.splitlines(keepends=True), None if ends else len(data), body)


def finished(asking: Asking, reply: Reply, body: Collected) -> KeptReply:
    """A whole reply as it is kept; one that is not to be kept is over at once."""
    record, parts = asking.record, body.parts
    content_type, encoding = record.reply_type, record.reply_encoding
    whole = parts[0] if len(parts) == 1 else b"".join(parts)
    good = reply.status < 400 and len(whole) <= LARGEST_BYTES and is_good(content_type, encoding, whole)
    ends = ends_of(parts) if is_stream(content_type) else ()
    told = [line for line in reply.lines if line.lower().startswith(TOLD)]
    if not ends:
        told.append(b"Content-Length: %d\r\n" % len(whole))
    expires_s = time.time() + asking.ttl_s if good else 0.0
    lines = b"".join(told)
    return KeptReply(reply.status, reply.reason, content_type, encoding, lines, whole, expires_s, ends)


def ends_of(parts: list[bytes]) -> tuple[int, ...]:
    """Where each part ends in the whole."""
    ends, at = [], 0
    for part in parts:
        at += len(part)
        ends.append(at)
    return tuple(ends)
