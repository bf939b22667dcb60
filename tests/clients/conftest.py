"""The simulator behind the shared gateway, seen directly, and SDK clients on both ways to it."""

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import openai
import pytest

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}
DEADLINE_S = 20.0


class Raw(NamedTuple):
    """A reply as it came over the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def provider_headers(self) -> list[tuple[str, str]]:
        """The headers in their order and case, without hop-by-hop ones and ours."""
        return [
            (name, value)
            for name, value in self.headers
            if name.lower() not in HOP_BY_HOP and not name.lower().startswith("cf-aig-")
        ]


class Provider:
    """The simulator itself."""

    def __init__(self, authority: str) -> None:
        self.authority = authority
        self.base_url = f"http://{authority}/openai"

    def entries(self, marker: str, ended: int = 1) -> list[dict[str, Any]]:
        """What the simulator received with this marker, once so many requests have ended."""
        query = f"marker={marker}&ended={ended}&wait_ms={DEADLINE_S * 500:.0f}&last=1000"
        answer = raw(f"http://{self.authority}/_simulator/requests?{query}", "GET", b"", {})
        found: list[dict[str, Any]] = json.loads(answer.body)["requests"]
        return found


def raw(url: str, method: str, body: bytes, headers: Mapping[str, str]) -> Raw:
    """One request by a client that hides nothing."""
    parsed = httpx.URL(url)
    connection = http.client.HTTPConnection(parsed.host, parsed.port, timeout=DEADLINE_S)
    try:
        connection.request(method, parsed.raw_path.decode(), body or None, dict(headers))
        reply = connection.getresponse()
        return Raw(reply.status, reply.getheaders(), reply.read())
    finally:
        connection.close()


def sdk(base_url: str, headers: dict[str, str], key: str = "sk-test") -> openai.OpenAI:
    """The SDK, without its own retries: what the gateway does shows at once."""
    return openai.OpenAI(base_url=base_url, api_key=key, default_headers=headers, max_retries=0, timeout=DEADLINE_S)


@pytest.fixture(scope="session")
def provider_of() -> Callable[[Any], Provider]:
    """Where a gateway's upstream is, told by its echo."""
    return lambda gateway: Provider(dict(gateway.chat(model="echo").json()["headers"])["Host"])


@pytest.fixture(scope="session")
def provider(gateway: Any, provider_of: Callable[[Any], Provider]) -> Provider:
    """The provider behind the shared gateway."""
    return provider_of(gateway)


@pytest.fixture
def marker() -> str:
    """A name for the requests of one test in the simulator's journal."""
    return uuid4().hex


@pytest.fixture
def client(gateway: Any, marker: str) -> Iterator[openai.OpenAI]:
    """The official SDK, told the gateway's address and token; the marker is the tests' own."""
    with sdk(gateway.inference_url(), gateway.auth | {"x-sluice-marker": marker}) as made:
        yield made


@pytest.fixture(scope="session")
def open_sdk() -> Callable[..., openai.OpenAI]:
    """Makes a client of another address, other headers or another key."""
    return sdk


@pytest.fixture
def direct(provider: Provider, marker: str) -> Iterator[openai.OpenAI]:
    """The same SDK, straight to the provider."""
    headers = {"x-sluice-marker": marker}
    with openai.OpenAI(
        base_url=provider.base_url + "/v1",
        api_key="sk-test",
        default_headers=headers,
        max_retries=0,
        timeout=DEADLINE_S,
    ) as made:
        yield made


@pytest.fixture
def both_ways(gateway: Any, provider: Provider) -> Any:
    """Asks the gateway and the provider the same, and returns both replies."""

    def ask(method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> tuple[Raw, Raw]:
        payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {"Authorization": "Bearer sk-test", "Content-Type": "application/json"} | dict(headers or {})
        through = raw(f"{gateway.inference_url()}/{path}", method, payload, sent | gateway.auth)
        return through, raw(f"{provider.base_url}/v1/{path.removeprefix('v1/')}", method, payload, sent)

    return ask
