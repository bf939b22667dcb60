"""A client that reads no more, on a transport of the test's own: no test can know how much a kernel takes for it."""

import asyncio
from math import inf
from types import SimpleNamespace
from typing import Any

from sluice.edge.connection import Downstream
from sluice.outbox import Outbox
from sluice.values.settings import LimitSettings


class Stuck(asyncio.Transport):
    """Never gets rid of its last bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = self.aborted = False

    def get_write_buffer_size(self) -> int:
        return 100

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


async def test_an_idle_connection_whose_last_reply_is_not_read_ends_within_a_deadline():
    loop = asyncio.get_running_loop()
    host: Any = SimpleNamespace(
        limits=LimitSettings(),
        loop=loop,
        outbox=Outbox(loop),
        draining=False,
        joined=lambda _: None,
        trusts=lambda _: False,
    )
    transport, connection = Stuck(), Downstream(host)
    connection.connection_made(transport)
    connection.expired()
    assert transport.ended
    assert connection.deadline < inf
    connection.expired()
    assert transport.aborted
