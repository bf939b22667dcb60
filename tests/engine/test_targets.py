"""Where a provider's endpoint is found: its own host, or the operator's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from sluice.deadlines import Deadlines
from sluice.edge.body import ArrivedBody
from sluice.engine.targets import MOST_ROOTS, MOST_TARGETS, Targets
from sluice.metrics import Metrics
from sluice.outbox import Outbox
from sluice.providers.registry import PROVIDERS
from sluice.upstream.http import HttpClient
from sluice.values.errors import MalformedRequest
from sluice.values.request import DEFAULT_OPTIONS, Step
from sluice.values.settings import UpstreamSettings


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    loop = asyncio.get_running_loop()
    with (
        closing(Deadlines(loop)) as deadlines,
        closing(HttpClient(UpstreamSettings(), deadlines, Outbox(loop), Metrics.unseen())) as one,
    ):
        yield one


def step(provider: str, endpoint: str) -> Step:
    return Step(0, provider, endpoint.encode(), b"", b"POST", [], b"", b"", ArrivedBody(b""), DEFAULT_OPTIONS)


@pytest.mark.parametrize(
    ("provider", "endpoint", "host", "path", "logged"),
    [
        ("openai", "chat/completions", "api.openai.com", "/v1/chat/completions", "v1/chat/completions"),
        ("groq", "v1/models", "api.groq.com", "/openai/v1/models", "models"),
        (
            "workers-ai",
            "@cf/meta/x",
            "api.cloudflare.com",
            "/client/v4/accounts/acme/ai/run/@cf/meta/x",
            "run/@cf/meta/x",
        ),
        (
            "azure-openai",
            "Res/dep/embeddings",
            "res.openai.azure.com",
            "/openai/deployments/dep/embeddings",
            "Res/openai/deployments/dep/embeddings",
        ),
        ("baseten", "model/a1", "model-a1.api.baseten.co", "/production/predict", "model/a1"),
        ("huggingface", "org/model", "api-inference.huggingface.co", "/models/org/model", "org/model"),
    ],
)
async def test_an_endpoint_is_at_the_vendors_own_host(client, provider, endpoint, host, path, logged):
    target = Targets({}, client).find(step(provider, endpoint), "acme")
    assert target.host_line == f"Host: {host}\r\n".encode()
    assert (target.path.decode(), target.endpoint) == (path, logged)
    assert (target.pool.origin.host, target.pool.origin.port, target.pool.origin.tls) == (host, 443, True)


ENDPOINTS = {
    "azure-openai": "res/dep/chat/completions",
    "aws-bedrock": "bedrock-mantle/us-east-1/v1/chat/completions",
}


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
async def test_every_provider_goes_where_the_operator_says(client, provider):
    endpoint = ENDPOINTS.get(provider, "v1/chat/completions")
    targets = Targets({provider: "http://127.0.0.1:9000/mirror/"}, client)
    target = targets.find(step(provider, endpoint), "acme")
    assert target.host_line == b"Host: 127.0.0.1:9000\r\n"
    assert target.path.decode() == f"/mirror/{target.endpoint}"
    assert targets.known[provider, endpoint.encode()] is target


async def test_accounts_do_not_share_what_is_found_for_one(client):
    targets = Targets({}, client)
    one, other = (targets.find(step("workers-ai", "@cf/x"), account) for account in ("one", "other"))
    assert (b"/accounts/one/" in one.path, b"/accounts/other/" in other.path) == (True, True)
    assert targets.find(step("workers-ai", "@cf/x"), "one") is one
    assert targets.known == {}


@pytest.mark.parametrize(
    "endpoint",
    [
        "../x",
        "run/../../../y",
        "a/%2E%2e/b",
        "a/..",
        "./a",
        "a/.%2e/b",
        "..",
        "a/%2e",
        "..%2Fa",
        "a%2f..%2F",
        "a\\..\\b",
        "..;/a",
        "%5C..",
    ],
)
async def test_a_path_does_not_lead_out_of_an_account(client, endpoint):
    with pytest.raises(MalformedRequest):
        Targets({}, client).find(step("workers-ai", endpoint), "acme")


@pytest.mark.parametrize("endpoint", ["a b", "a\r\nb", "a\tb", "a\0b", "a\x7fb", "a?b", "a#b"])
async def test_what_ends_a_path_or_its_line_is_in_none(client, endpoint):
    with pytest.raises(MalformedRequest):
        Targets({}, client).find(step("openai", endpoint), "acme")


@pytest.mark.parametrize("endpoint", ["a..b/c", "models/gpt-4.1", ".well-known/x", "a/...", "v1/files/x..json"])
async def test_dots_in_names_are_left_alone(client, endpoint):
    assert Targets({}, client).find(step("deepseek", endpoint), "acme").endpoint == endpoint


async def test_ever_new_hosts_take_no_memory(client):
    targets = Targets({}, client)
    for number in range(3 * MOST_ROOTS):
        targets.find(step("azure-openai", f"r{number}/d/x"), "acme")
    assert len(client._pools) <= MOST_ROOTS
    assert len(targets._roots) <= MOST_ROOTS


async def test_ever_new_paths_take_no_memory(client):
    targets = Targets({}, client)
    for number in range(2 * MOST_TARGETS):
        targets.find(step("openai", f"v1/responses/{number}"), "acme")
        targets.find(step("workers-ai", f"@cf/{number}"), "acme")
    assert len(targets.known) + len(targets._own) <= MOST_TARGETS
    targets.find(step("openai", "v1/" + "x" * 1000), "acme")
    assert ("openai", b"v1/" + b"x" * 1000) not in targets.known
