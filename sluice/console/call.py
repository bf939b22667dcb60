"""One management request on its way to a handler."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from sluice.console.access import Caller, Need
from sluice.console.desk import Desk
from sluice.console.envelope import ApiError, refusal
from sluice.console.parsing import read_body


@dataclass(frozen=True, slots=True)
class Call:
    request: Request
    desk: Desk
    caller: Caller

    @property
    def account(self) -> str:
        return self.named("account")

    @property
    def gateway(self) -> str:
        return self.named("gateway")

    def named(self, part: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[part])

    async def body(self) -> bytes:
        return await read_body(self.request, self.desk.settings.console.body_bytes)


Handler = Callable[[Call], Awaitable[Response]]
Refuse = Callable[[ApiError], Response]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True)
class Path:
    """A row of the table of paths."""

    method: Method
    pattern: str
    handler: Handler
    need: Need
    refuse: Refuse = refusal
    """How its errors are told."""
