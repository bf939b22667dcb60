"""Google's tokens: minted once, by one request at a time, and only where an account may ask for them."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sluice.deadlines import Deadlines
from sluice.engine.google_tokens import MOST_TOKENS, GoogleTokens, TokenPlaces
from sluice.metrics import Metrics
from sluice.outbox import Outbox
from sluice.providers.google_grant import SCOPE, grant
from sluice.providers.vertex import ServiceAccount
from sluice.upstream.http import HttpClient
from sluice.values.errors import CredentialRefused, MalformedRequest, UpstreamFailure
from sluice.values.settings import UpstreamSettings

Answer = Callable[[bytes], Awaitable[tuple[int, object]]]


class Desk:
    """Google's token endpoint, as a test wants it, and tokens from there by a clock of the test's own."""

    def __init__(self, port: int, tokens: GoogleTokens, account: ServiceAccount) -> None:
        self.tokens, self.account = tokens, account
        self.url = f"http://127.0.0.1:{port}/token"
        self.asked: list[bytes] = []
        self.came = asyncio.Event()
        self.now_s = 1000.0


@asynccontextmanager
async def desk(answer: Answer, document: dict[str, str]) -> AsyncIterator[Desk]:
    open_one: Desk

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        open_one.asked.append(await reader.readexactly(length))
        open_one.came.set()
        status, said = await answer(open_one.asked[-1])
        body = json.dumps(said).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    with (
        closing(Deadlines(loop)) as deadlines,
        closing(HttpClient(UpstreamSettings(), deadlines, Outbox(loop), Metrics.unseen())) as client,
    ):
        places = TokenPlaces(f"http://127.0.0.1:{port}")
        tokens = GoogleTokens(client, places, Metrics.unseen(), lambda: open_one.now_s)
        account = msgspec.convert(document | {"token_uri": f"http://127.0.0.1:{port}/token"}, ServiceAccount)
        open_one = Desk(port, tokens, account)
        yield open_one
    server.close()
    await server.wait_closed()


def granted(number: int = 1, expires_in: int = 3600) -> tuple[int, object]:
    return 200, {"access_token": f"ya29.{number}", "expires_in": expires_in, "token_type": "Bearer"}


async def test_a_token_is_kept_until_a_minute_before_it_ends(service_account: dict[str, str]):
    numbers = iter(range(9))

    async def answer(_: bytes) -> tuple[int, object]:
        return granted(next(numbers))

    async with desk(answer, service_account) as google:
        found = []
        for now_s in (0, 1, 3539.9, 3540, 3541, 7080):
            google.now_s = now_s
            found.append(await google.tokens.token(google.account))
        assert found == [b"ya29.0"] * 3 + [b"ya29.1"] * 2 + [b"ya29.2"]


async def test_one_request_mints_and_the_others_wait_for_it(service_account: dict[str, str]):
    everybody_waits = asyncio.Event()

    async def answer(_: bytes) -> tuple[int, object]:
        await everybody_waits.wait()
        return granted()

    async with desk(answer, service_account) as google:
        waiting = [asyncio.create_task(google.tokens.token(google.account)) for _ in range(20)]
        await google.came.wait()
        waiting[0].cancel()  # its client has left: the next one asks
        everybody_waits.set()
        assert set(await asyncio.gather(*waiting[1:])) == {b"ya29.1"}
        assert len(google.asked) == 2


@pytest.mark.parametrize(
    ("status", "said", "error", "told"),
    [
        (400, {"error": "invalid_grant", "error_description": "hush"}, CredentialRefused, "status 400: invalid_grant"),
        (401, {"error": "<hush>"}, CredentialRefused, "status 401"),
        (503, {"error": "hush"}, UpstreamFailure, "status 503"),
        (429, {"error": "hush"}, UpstreamFailure, "status 429"),
        (200, {"token": "hush"}, UpstreamFailure, "no token"),
        (200, {"access_token": "a\r\nhush: b"}, UpstreamFailure, "no token"),
        (200, {"access_token": "a" * 70_000}, UpstreamFailure, "at length"),
    ],
)
async def test_a_refusal_is_told_without_what_it_says_and_is_not_kept(
    service_account: dict[str, str], status: int, said: object, error: type[UpstreamFailure], told: str
):
    answers = iter(((status, said), granted()))

    async def answer(_: bytes) -> tuple[int, object]:
        return next(answers)

    async with desk(answer, service_account) as google:
        with pytest.raises(error, match=told) as caught:
            await google.tokens.token(google.account)
        assert "hush" not in caught.value.detail + caught.value.told
        assert isinstance(caught.value, CredentialRefused) is not caught.value.retryable
        assert await google.tokens.token(google.account) == b"ya29.1"


async def test_no_more_tokens_are_kept_than_there_is_room_for(service_account: dict[str, str]):
    async def answer(_: bytes) -> tuple[int, object]:
        return granted()

    async with desk(answer, service_account) as google:
        await google.tokens.token(google.account)
        held = google.tokens._held
        for number in range(MOST_TOKENS):
            held[b"%d" % number] = held[google.account.digest]
        other = msgspec.structs.replace(google.account, client_email="other")
        await google.tokens.token(other)
        assert len(held) <= MOST_TOKENS + 1


def test_an_assertion_is_signed_for_an_hour(service_account: dict[str, str]):
    account = msgspec.convert(service_account, ServiceAccount)
    form = parse_qs(grant(account, 1_700_000_000).decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    header, claims, signature = form["assertion"][0].split(".")
    assert decoded(header) == {"alg": "RS256", "typ": "JWT", "kid": "0123abcd"}
    assert decoded(claims) == {
        "iss": "caller@my-project.iam.gserviceaccount.com",
        "scope": SCOPE,
        "aud": "https://oauth2.googleapis.com/token",
        "iat": 1_700_000_000,
        "exp": 1_700_003_600,
    }
    public: Any = load_pem_private_key(service_account["private_key"].encode(), None)
    public.public_key().verify(plain(signature), f"{header}.{claims}".encode(), PKCS1v15(), SHA256())


@pytest.mark.parametrize("key", ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_is_none_is_told_without_it(key: str, service_account: dict[str, str]):
    account = msgspec.convert(service_account | {"private_key": key}, ServiceAccount)
    with pytest.raises(MalformedRequest, match="no RSA key in PEM"):
        grant(account, 0)


@pytest.mark.parametrize(
    "uri",
    [
        "http://oauth2.googleapis.com/token",
        "https://evil.example.com/token",
        "https://evilgoogleapis.com/token",
        "https://oauth2.googleapis.com.evil.example/token",
        "https://oauth2.googleapis.com:8443/token",
        "https://a@oauth2.googleapis.com/token",
        "https://oauth2.googleapis.com/to ken",
        "https://oauth2.googleapis.com/token\r\nx: y",
        "http://127.0.0.1:80/token",
        "http://[::1/token",
        "",
    ],
)
def test_an_account_cannot_send_the_gateway_anywhere(uri: str, service_account: dict[str, str]):
    account = msgspec.convert(service_account | {"token_uri": uri}, ServiceAccount)
    for base_url in ("", "http://127.0.0.1:9000/mirror"):
        with pytest.raises(MalformedRequest, match="token_uri"):
            TokenPlaces(base_url).url(account)
    assert TokenPlaces("http://127.0.0.1:9000/v", simulated=True).url(account) == "http://127.0.0.1:9000/v/token"


def test_googles_own_hosts_and_the_operators_may_be_asked(service_account: dict[str, str]):
    account = msgspec.convert(service_account, ServiceAccount)
    assert TokenPlaces("http://127.0.0.1:9000/v").url(account) == "https://oauth2.googleapis.com/token"
    own = msgspec.structs.replace(account, token_uri="http://127.0.0.1:9000/else/token")
    assert TokenPlaces("http://127.0.0.1:9000/v").url(own) == "http://127.0.0.1:9000/else/token"


def plain(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def decoded(part: str) -> object:
    found: object = json.loads(plain(part))
    return found
