"""Gateways and tokens at hand: a bounded memory in front of the control store."""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final, TypeVar

from sluice.engine.remembered import LONGEST_KEY, Remembered
from sluice.storage.ports import ControlReader, Generations
from sluice.values.errors import GatewayNotFound, Unauthorized
from sluice.values.ids import wall_ms
from sluice.values.request import Request
from sluice.values.tenancy import DEFAULT_GATEWAY, Admission, Token

MOST_ENTRIES: Final = 65_536

K = TypeVar("K", bound=tuple[str | bytes | None, ...])
V = TypeVar("V")


class Directory:
    """Answers from memory what the control store said, until that account's generation has moved on.

    An entry keeps the generation read before its query, so a change made meanwhile is never missed. What does not exist
    is remembered too: an unknown token or gateway costs one look-up.
    """

    def __init__(
        self, control: ControlReader, generations: Generations, create_default: Callable[[str], Awaitable[None]]
    ) -> None:
        self._control, self._generations, self._create_default = control, generations, create_default
        self._gateway = Remembered(control.gateway, generations, MOST_ENTRIES).of
        self._tokens: dict[tuple[str, bytes], tuple[int, Token | None]] = {}
        self._admissions: dict[tuple[str, str, bytes | None], tuple[int, Admission]] = {}

    def known(self, request: Request) -> Admission | None:
        """Lets the request in; None where its gateway does not exist. Raises Unauthorized."""
        account, key = request.account, (request.account, request.gateway, request.token)
        generation = self._generations.of(account)
        entry = self._admissions.get(key)
        if entry is not None and entry[0] == generation:
            return entry[1]
        gateway = self._gateway(account, request.gateway)
        if gateway is None:
            return None
        token = self._token_of(request)
        if gateway.authentication and token is None:
            raise Unauthorized
        admission = Admission(gateway, token is not None)
        if token is None or token.expires_ms is None:
            _keep(self._admissions, key, (generation, admission))
        return admission

    async def admit(self, request: Request) -> Admission:
        """Lets the request in, making the `default` gateway where a token asks for it (contract 0.4).

        Raises GatewayNotFound and Unauthorized.
        """
        admission = self.known(request)
        if admission is not None:
            return admission
        if request.gateway != DEFAULT_GATEWAY or not self._control.account_exists(request.account):
            raise GatewayNotFound
        if self._token_of(request) is None:
            raise Unauthorized
        await self._create_default(request.account)
        admission = self.known(request)
        if admission is None:
            raise GatewayNotFound
        return admission

    def vouched(self, request: Request, admission: Admission) -> Admission:
        """The admission of a request that needs a token even where its gateway asks for none. Raises Unauthorized."""
        if admission.authenticated:
            return admission
        if self._token_of(request) is None:
            raise Unauthorized
        return Admission(admission.gateway, True)

    def token(self, account: str, text: bytes) -> Token | None:
        """The token with this text, if it is one of that account."""
        digest = sha256(text).digest()
        generation = self._generations.of(account)
        entry = self._tokens.get((account, digest))
        if entry is None or entry[0] != generation:
            found = self._control.token(digest)
            if found is not None and found.account != account:
                found = None
            entry = (generation, found)
            _keep(self._tokens, (account, digest), entry)
        return entry[1]

    def _token_of(self, request: Request) -> Token | None:
        """The request's token, if it may send the request."""
        token = None if request.token is None else self.token(request.account, request.token)
        return token if token is not None and may_run(token, request.gateway) else None


def may_run(token: Token, gateway: str) -> bool:
    """Whether this token may send requests to that gateway of its account, now."""
    return (
        "run" in token.permissions
        and token.gateway in (None, gateway)
        and (token.expires_ms is None or token.expires_ms > wall_ms())
    )


def _keep(entries: dict[K, V], key: K, value: V) -> None:
    """Remembers, forgetting the oldest past the bound."""
    if sum(len(part) for part in key if part is not None) > LONGEST_KEY:
        return
    entries.pop(key, None)
    if len(entries) >= MOST_ENTRIES:
        del entries[next(iter(entries))]
    entries[key] = value
