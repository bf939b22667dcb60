"""One exchange as a worker saw it: what a log frame carries beside the two bodies."""

from typing import Literal

import msgspec

from sluice.values.limits import Reservation

Ending = Literal["complete", "broken", "abandoned", "refused"]
"""complete: the client was handed the whole reply. broken: the upstream failed after the first byte.
abandoned: the client left. refused: no provider reply at all, the gateway answered with an error of its own."""


class Exchange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The meta of a log frame, msgpack in array form: new fields go to the end, with a default.

    Times: `started_ms` Unix milliseconds, the others microseconds since then. Headers stay the raw bytes they were.
    """

    id: str
    account: str
    provider: str
    path: str
    """The endpoint called upstream without its query, as `v1/chat/completions`."""
    method: str
    request_type: str
    """provider, universal, compat, websocket, realtime, workers-binding or rest (contract 7.1)."""
    started_ms: int
    latency_us: int | None
    """To the head of the reply; None when there was none."""
    duration_us: int
    status: int
    """What the client was answered with."""
    ending: Ending
    error: int
    """The catalogue's code of a gateway error, 0 for none."""
    step: int
    attempts: int
    authenticated: bool
    payload: bool
    """Whether the bodies may be stored (cf-aig-collect-log-payload)."""
    request_content_type: bytes
    request_encoding: bytes
    response_content_type: bytes
    response_encoding: bytes
    user_agent: bytes
    metadata: bytes
    """The raw value of cf-aig-metadata; the keeper applies the rules of contract 7.5."""
    custom_cost: bytes
    """The raw value of cf-aig-custom-cost."""
    request_bytes: int
    """Length of the whole request body, stored or not; likewise response_bytes."""
    response_bytes: int
    cached: bool = False
    byok: bool = False
    wholesale: bool = False
    compat: bool = False
    connection_id: str = ""
    request_id: str = ""
    """Groups the rows of one request; empty where it is `id`. Likewise `event_id`."""
    event_id: str = ""
    detail: str = ""
    """Why it failed, in our words, for people; never a secret."""
    model: str = ""
    """The model that was asked for, where neither body nor path may say it."""
    reservation: Reservation | None = None
    """What was set aside for its cost, which its log settles."""
    unlogged: bool = False
    """Whether it is here for its reservation alone: nothing of it is stored."""
    head_tokens: tuple[int | None, int | None] | None = None
    """Tokens in and out by the head of the reply, where a vendor tells them there."""
    unserved: bool = False
    """Whether the reply did not go to a client: what of it came, even all, was of no use."""
    given_up: int = 0
    """How many of its attempts were not waited for to their end, because the client said how long (contract 2.5)."""
    idle: bool = False
    """Whether its client left between two attempts."""


class ExchangeId(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An exchange of which only the id is decoded."""

    id: str
