"""Identical requests at the same time share one call: who asked first leads, the others wait for what it gets."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from sluice.engine.cache_rules import LARGEST_BYTES, may_share
from sluice.engine.collected import PART_BYTES, Collected
from sluice.engine.recorder import NO_FIELDS, Record
from sluice.engine.target import Target
from sluice.metrics import Metrics
from sluice.storage.reply_cache import ReplyCache
from sluice.upstream.pool import GRACE_S
from sluice.values.caching import KeptReply, Place
from sluice.values.errors import GatewayError, InternalFault, UpstreamFailure
from sluice.values.limits import Reservation
from sluice.values.reply import Reply, ReplyBody
from sluice.values.request import Step

_log = logging.getLogger(__name__)

Make = Callable[[Step, Record], Awaitable[Reply]]
Finish = Callable[["Asking", Reply, Collected], KeptReply]
"""What a whole reply is to others, its expiry 0 where it is not to be kept."""

MOST_WAITING: Final = 16_384
"""Requests that wait for the reply of another, in a worker; those past it make calls of their own."""
MOST_COLLECTED_BYTES: Final = 64 * 1024 * 1024
"""Of replies on their way, in a worker; those past it are passed on and not kept."""
MOST_FAILURES: Final = 2
"""Calls that end without a reply before all who wait are told so: the first, and that of one new leader."""


class Asking(NamedTuple):
    """A request for a reply that may be shared."""

    step: Step
    record: Record
    target: Target
    place: Place
    ttl_s: int
    fresh: bool
    """Whether it is to have a reply of its own, whatever is kept."""


class Given(NamedTuple):
    """A reply that somebody else's call got; `cached` where it costs its receiver nothing."""

    reply: KeptReply
    cached: bool
    kept_before: bool = False
    """Whether it was got before anybody here asked."""
    fields: Mapping[bytes, bytes] = NO_FIELDS
    """The head of the provider's reply where that is on its receiver's bill: it may tell what was used."""


Outcome = Reply | Given | None
"""One's own reply, that of another, or none: then one's own call is to be made, alone."""


class Seat:
    """A request that waits."""

    __slots__ = ("asking", "future")

    def __init__(self, asking: Asking) -> None:
        self.asking = asking
        self.future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def settle(self, outcome: Outcome) -> bool:
        """False where nobody waits any more."""
        if self.future.done():
            return False
        self.future.set_result(outcome)
        return True

    def fail(self, error: GatewayError) -> bool:
        """The same."""
        if self.future.done():
            return False
        self.future.set_exception(error)
        return True


class Flights:
    """All calls on their way that others may join."""

    def __init__(self, make: Make, cache: ReplyCache, finish: Finish, streams: bool, metrics: Metrics) -> None:
        self.make, self.cache, self.finish, self.streams = make, cache, finish, streams
        self.collected_bytes = 0
        self._by_key: dict[bytes, Flight] = {}
        self._all: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._waiters = metrics.gauge("sluice_cache_waiting", "Requests that wait for the reply of an identical one.")
        self._gathered = metrics.gauge("sluice_cache_gathered_bytes", "Replies that are gathered to be kept.")

    async def join(self, asking: Asking) -> Outcome:
        """The reply that this request's call, or another's, gets. Raises what making it raises."""
        key = asking.place.key
        flight = None if asking.fresh else self._by_key.get(key)
        if flight is None:
            flight = Flight(self, asking)
            if not asking.fresh:
                self._by_key[key] = flight
            task = flight.task = asyncio.get_running_loop().create_task(flight.run())
            self._all.add(task)
            task.add_done_callback(self._all.discard)
            return await self._wait(flight, flight.leader)
        if self._waiting >= MOST_WAITING:
            return None
        seat = Seat(asking)
        flight.seats[seat] = None
        self.count(1)
        return await self._wait(flight, seat)

    async def close(self) -> None:
        """Ends what is on its way: nobody waits for it any more."""
        for task in self._all:
            task.cancel()
        await asyncio.gather(*self._all, return_exceptions=True)

    def land(self, flight: "Flight") -> None:
        """Nobody may join it any more."""
        key = flight.leader.asking.place.key
        if self._by_key.get(key) is flight:
            del self._by_key[key]

    def gather(self, change: int) -> None:
        """So many bytes of replies more, or fewer, are in memory while they come."""
        self.collected_bytes += change
        self._gathered.add(change)

    def count(self, change: int) -> None:
        self._waiting += change
        self._waiters.set(self._waiting)

    async def _wait(self, flight: "Flight", seat: Seat) -> Outcome:
        try:
            return await seat.future
        except asyncio.CancelledError:
            if seat.future.done() and not seat.future.cancelled() and seat.future.exception() is None:
                outcome = seat.future.result()
                if isinstance(outcome, Reply):
                    outcome.body.close()
            else:
                flight.leave(seat)
            raise


class Flight:
    """One call. It is nobody's own: it goes on while anybody waits, and is cancelled with the last who leaves."""

    task: "asyncio.Task[None]"

    def __init__(self, flights: Flights, asking: Asking) -> None:
        self._flights = flights
        self.leader = Seat(asking)
        self.seats: dict[Seat, None] = {}
        """Who waits beside the leader, in the order in which they came."""
        self._deserted = False
        """The leader has left: what its call gets is for the others."""
        self._served = False
        """The leader has left behind the last event of a stream: nobody else is to pay for it."""
        self._owed: Reservation | None = None
        """What was set aside for the cost of a call whose leader has left."""
        self._over = False
        self._failures = 0
        self._body: Collected | None = None
        """What the leader reads, while it is being filled."""

    def leave(self, seat: Seat) -> None:
        """Its client waits no more."""
        if seat is self.leader:
            self._desert()
        elif seat in self.seats:
            del self.seats[seat]
            self._flights.count(-1)
            if self._deserted and not self.seats:
                self._owe(seat)
                self._cancel()

    async def run(self) -> None:
        """Gets a reply, by one leader or, where that fails, by another."""
        try:
            if await self._found():
                return
            while self._deserted or not await self._led():
                if not self._elect():
                    return
                await asyncio.sleep(0)  # a thousand may be refused by a limit, one after another
        except asyncio.CancelledError:
            raise
        except Exception:  # a last resort: who waits must be answered
            _log.exception("shared call failed")
            self._fail_all(InternalFault())
        finally:
            self._end()
            for seat in (self.leader, *self.seats):
                seat.fail(InternalFault())
            self._flights.count(-len(self.seats))
            self.seats.clear()

    async def _found(self) -> bool:
        """Whether another worker, or an earlier one, has kept the reply."""
        asking = self.leader.asking
        found = None if asking.fresh else await self._flights.cache.find(asking.place.key)
        if found is None:
            return False
        self._end()
        self._give_all(Given(found, True, kept_before=True))
        return True

    async def _led(self) -> bool:
        """The leader's call; whether it ended the flight. Its failure is its own."""
        flights, leader = self._flights, self.leader
        try:
            reply = await flights.make(leader.asking.step, leader.asking.record)
            if not may_share(reply.status, leader.asking.record.reply_fields, flights.streams):
                self._part(reply)
                return True
            await self._collect(reply)
        except GatewayError as error:
            leader.fail(error)
            if isinstance(error, UpstreamFailure):
                self._failures += 1
                if self._failures == MOST_FAILURES:
                    self._end()
                    self._fail_all(error)
        return self._over

    def _elect(self) -> bool:
        """The next in order leads."""
        leader = next(iter(self.seats), None)
        if leader is None:
            return False
        del self.seats[leader]
        self._flights.count(-1)
        if self._deserted:
            self._owed = self._owed or self.leader.asking.record.hand_over()
        self.leader, self._deserted = leader, False
        self._owe(leader)
        return True

    def _part(self, reply: Reply) -> None:
        """The reply is for the leader alone: each of the others is to make a call of its own."""
        self._end()
        if not self.leader.settle(reply):
            reply.body.close()
        self._give_all(None)

    async def _collect(self, reply: Reply) -> None:
        """Reads a reply to its end, the leader reading with it. Raises UpstreamFailure."""
        flights, source, leader = self._flights, reply.body, self.leader
        body = self._body = Collected(lambda complete: self._read_out(leader, body, complete))
        shown = Reply(reply.status, reply.reason, list(reply.lines), reply.length, body)  # its head is still completed
        try:
            part = source.poll()
            if not leader.settle(shown):
                body.close()
            while True:
                part = part or await source.read()
                flights.gather(len(part.data) + PART_BYTES)
                body.add(part)
                if part.last:
                    return self._finish(reply, body)
                if body.size > LARGEST_BYTES or flights.collected_bytes > MOST_COLLECTED_BYTES:
                    return self._overflow(source, body)
                part = source.poll()
        except BaseException as error:
            source.close()
            if isinstance(error, GatewayError):
                body.fail(error)
            raise
        finally:
            self._body = None
            if body.left:
                flights.gather(-body.weight)

    def _finish(self, reply: Reply, body: Collected) -> None:
        asking = self.leader.asking
        whole, is_free = self._flights.finish(asking, reply, body), reply.status < 400
        self._end()
        if whole.expires_s:
            self._flights.cache.keep(asking.place, whole)
        if self._deserted and is_free and not self._served:
            self._pay(whole)
        self._give_all(Given(whole, is_free))

    def _pay(self, whole: KeptReply) -> None:
        """Whose call it was has left: the call is the next one's, lest nobody's log should have what it cost."""
        for seat in list(self.seats):
            del self.seats[seat]
            self._flights.count(-1)
            if seat.settle(Given(whole, False, fields=self.leader.asking.record.reply_fields)):
                return self._owe(seat)

    def _overflow(self, source: ReplyBody, body: Collected) -> None:
        """It is too long to be kept."""
        self._end()
        if self._deserted:
            source.close()
        else:
            body.let_go(source)
        self._give_all(None)

    # --- who is there

    def _give_all(self, outcome: Outcome) -> None:
        if isinstance(outcome, Given):
            self.leader.settle(outcome)
        for seat in self.seats:
            if seat.settle(outcome):
                self._owe(seat)

    def _fail_all(self, error: GatewayError) -> None:
        for seat in self.seats:
            if seat.fail(error):
                self._owe(seat)

    def _read_out(self, leader: Seat, body: Collected, complete: bool) -> None:
        """A leader's client has read all, or left; one that left behind the last event has its log, and paid."""
        if body is not self._body:
            self._flights.gather(-body.weight)
        elif leader is self.leader and not body.ended:
            self._served = complete
            if complete and not self.seats:
                asyncio.get_running_loop().call_later(GRACE_S, self._give_up)
            else:
                self._desert()

    def _give_up(self) -> None:
        """What was to come behind the last event has had its moment."""
        if not self._over and not self._deserted:
            self._desert()

    def _desert(self) -> None:
        self._deserted = True
        if self.seats:
            self._owed = self.leader.asking.record.hand_over() or self._owed
        elif not self._over:
            self._cancel()

    def _owe(self, seat: Seat) -> None:
        """What was set aside for a call is settled with the log of whoever has it after its leader."""
        record, left = seat.asking.record, self.leader.asking.record
        if record.reservation is None:
            late = left.hand_over() if self._deserted and left is not record else None
            record.reservation, self._owed = self._owed or late, None
            record.attempts = record.attempts or left.attempts

    def _cancel(self) -> None:
        self._end()
        self.task.cancel()

    def _end(self) -> None:
        if not self._over:
            self._flights.land(self)
            self._over = True
