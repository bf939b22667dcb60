"""What a store of replies promises, for every backend."""

from typing import Protocol

from sluice.values.caching import KeptReply, Place


class ReplyCache(Protocol):
    """Replies kept for a while. One that is lost is a miss, never an error; none is given out past its time."""

    def at_hand(self, key: bytes) -> KeptReply | None:
        """What can be had without waiting."""
        ...

    async def find(self, key: bytes) -> KeptReply | None:
        """What is kept wherever it is, found off the event loop."""
        ...

    def keep(self, place: Place, reply: KeptReply) -> None:
        """Keeps a reply until its time is over, or room is wanted. Never waits, and never raises."""
        ...
