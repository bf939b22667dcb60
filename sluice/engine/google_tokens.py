"""Access tokens of Google's for service accounts: minted once, kept until a minute before they end."""

import asyncio
import importlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import msgspec

from sluice.metrics import Metrics
from sluice.providers.vertex import ServiceAccount
from sluice.upstream.http import HttpClient, UpstreamReply
from sluice.upstream.origin import Origin
from sluice.values.errors import CredentialRefused, GatewayError, MalformedCredential, UpstreamBroken, UpstreamTimeout
from sluice.values.request import BytesBody

MOST_TOKENS: Final = 1024
EARLY_S: Final = 60.0
"""A token is not used in its last minute: it must last until the request that bears it is read."""
DEADLINE_S: Final = 10.0
"""For a token, from asking to having it, other requests that want the same before this one included."""
_LONGEST_REPLY: Final = 64 * 1024
_GRANT: Final = "sluice.providers.google_grant"
_PASSING: Final = frozenset((408, 425, 429))
_GOOGLES: Final = frozenset(("oauth2.googleapis.com", "www.googleapis.com", "accounts.google.com"))
"""Where Google has ever said in its files that tokens are to be had; to others nothing of a client's is sent."""
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,16384}")


class _Held(NamedTuple):
    token: bytes
    until_s: float


class _Minted(msgspec.Struct):
    access_token: str
    expires_in: float = 3600.0


class _Refusal(msgspec.Struct):
    error: str = ""


_MINTED: Final = msgspec.json.Decoder(_Minted)
_REFUSAL: Final = msgspec.json.Decoder(_Refusal)


class TokenPlaces:
    """Where tokens may be asked for: an account's `token_uri` comes from clients.

    At https hosts of Google's; where the operator set Vertex's base URL, at that server too; and if Vertex is
    simulated, nowhere but there.
    """

    def __init__(self, base_url: str = "", simulated: bool = False) -> None:
        self._base_url, self._simulated = base_url, simulated

    def url(self, account: ServiceAccount) -> str:
        """The URL to ask at. Raises MalformedCredential."""
        if self._simulated:
            return f"{self._base_url}/token"
        uri = account.token_uri
        try:
            parts, base = urlsplit(uri), urlsplit(self._base_url)
            port = parts.port
        except ValueError:
            raise _misplaced() from None
        if parts.username is not None or not uri.isascii() or not uri.isprintable() or " " in uri:
            raise _misplaced()
        if parts.scheme == "https" and parts.hostname in _GOOGLES and port in (None, 443):
            return uri
        if self._base_url and (parts.scheme, parts.netloc) == (base.scheme, base.netloc):
            return uri
        raise _misplaced()


def _misplaced() -> MalformedCredential:
    return MalformedCredential("The token_uri of the service account for google-vertex-ai is no https URL of Google's")


class GoogleTokens:
    """The tokens at hand, one for each service account. Only one request at a time mints an account's."""

    def __init__(
        self, client: HttpClient, places: TokenPlaces, metrics: Metrics, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._client, self._places, self._clock_s = client, places, clock_s
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        """Kept for as long as somebody waits for one."""
        name, help = "sluice_google_tokens_total", "Access tokens of Google's asked for."
        self._minted = metrics.counter(name, help, outcome="minted")
        self._failed = metrics.counter(name, help, outcome="failed")
        self._kept = metrics.gauge("sluice_google_tokens_held", "Access tokens of Google's at hand.")

    async def token(self, account: ServiceAccount) -> bytes:
        """A token that is good for another minute. Raises MalformedCredential, CredentialRefused, UpstreamFailure."""
        digest = account.digest
        found = self._find(digest)
        if found is not None:
            return found
        turn = self._turns.setdefault(digest, asyncio.Lock())
        try:
            async with asyncio.timeout(DEADLINE_S), turn:
                return self._find(digest) or self._keep(digest, await self._mint(account))
        except TimeoutError as error:
            self._failed.add()
            raise UpstreamTimeout("Google's token endpoint did not answer in time") from error
        except GatewayError:
            self._failed.add()
            raise

    def _find(self, digest: bytes) -> bytes | None:
        held = self._held.get(digest)
        return held.token if held is not None and self._clock_s() < held.until_s else None

    def _keep(self, digest: bytes, minted: _Minted) -> bytes:
        token = minted.access_token.encode()
        self._held.pop(digest, None)
        if len(self._held) >= MOST_TOKENS:
            self._held.popitem(last=False)
        self._held[digest] = _Held(token, self._clock_s() + minted.expires_in - EARLY_S)
        self._minted.add()
        self._kept.set(len(self._held))
        return token

    async def _mint(self, account: ServiceAccount) -> _Minted:
        url = urlsplit(self._places.url(account))
        form = await asyncio.to_thread(_granted, account, int(time.time()))
        tls = url.scheme == "https"
        origin = Origin(url.hostname or "", url.port or (443 if tls else 80), tls)
        head = (
            f"POST {url.path or '/'}{'?' + url.query if url.query else ''} HTTP/1.1\r\nHost: {url.netloc}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\nAccept: application/json\r\n"
        )
        reply = await self._client.send(self._client.pool(origin), b"POST", head.encode(), BytesBody(form))
        return _minted(reply.head.status, await _whole(reply))


def _granted(account: ServiceAccount, now_s: int) -> bytes:
    """The form to ask with. Raises MalformedCredential."""
    grant: Callable[[ServiceAccount, int], bytes] = importlib.import_module(_GRANT).grant
    return grant(account, now_s)


async def _whole(reply: UpstreamReply) -> bytes:
    data = b""
    try:
        while True:
            part = reply.poll() or await reply.read()
            data += part.data
            if len(data) > _LONGEST_REPLY:
                raise UpstreamBroken("Google's token endpoint answers at length")
            if part.last:
                return data
    finally:
        reply.close()


def _minted(status: int, body: bytes) -> _Minted:
    """What the endpoint granted. What it refuses is the account's fault, all else may be over in a moment."""
    if 400 <= status < 500 and status not in _PASSING:
        raise CredentialRefused(f"Google refused the service account with status {status}{_reason(body)}")
    try:
        minted = _MINTED.decode(body) if status == 200 else None
    except (ValueError, RecursionError):
        minted = None
    if minted is None or not _TOKEN.fullmatch(minted.access_token):
        raise UpstreamBroken(f"Google's token endpoint answered with status {status} and no token")
    return minted


def _reason(body: bytes) -> str:
    try:
        reason = _REFUSAL.decode(body).error
    except (ValueError, RecursionError):
        return ""
    return f": {reason}" if re.fullmatch(r"[a-z_]{1,64}", reason) else ""
