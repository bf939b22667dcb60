"""Stored keys that are documents: signed with for Bedrock, exchanged for a token for Vertex AI (docs/providers.md)."""

import base64
import json
from typing import Any

import pytest

TURNS = [{"role": "user", "content": "hello"}]
AWS = {"accessKeyId": "AKIDSTORED", "secretAccessKey": "stored-secret", "region": "ap-south-1"}


@pytest.fixture(scope="module")
def keyed(gateway: Any, service_account: dict[str, str]) -> str:
    """A gateway of the shared server that has a key for both."""
    gateway.cli("gateway", "create", "documents")
    secrets = {
        "aws-bedrock": json.dumps(AWS),
        "google-vertex-ai": json.dumps(service_account | {"region": "europe-west4"}, indent=2),
    }
    for slug, secret in secrets.items():
        body = {"alias": "main", "default_config": True, "provider_slug": slug, "secret": secret}
        made = gateway.manage("POST", "/gateways/documents/provider_configs", json=body)
        assert made.status_code == 200, made.text
    return f"{gateway.base_url}/v1/local/documents"


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("model", "path", "key"),
    [
        (
            "aws-bedrock/amazon.nova-lite-v1:0",
            "/aws-bedrock/bedrock-runtime/ap-south-1/model/amazon.nova-lite-v1%3A0/converse",
            "AWS4-HMAC-SHA256 Credential=AKIDSTORED/",
        ),
        (
            "google-vertex-ai/gemini-2.5-flash",
            "/google-vertex-ai/v1/projects/my-project/locations/europe-west4/endpoints/openapi/chat/completions",
            "Bearer ya29.simulated-",
        ),
    ],
)
async def test_a_stored_document_lets_in_without_a_key_of_the_client(
    gateway: Any, provider: Any, marker: str, keyed: str, model: str, path: str, key: str, streams: bool
):
    body = {"model": model, "messages": TURNS, "stream": streams}
    reply = gateway.http.post(f"{keyed}/compat/chat/completions", json=body, headers={"x-sluice-marker": marker})
    assert reply.status_code == 200, reply.text
    (entry,) = await provider.entries(marker, 1)
    headers = {name.lower(): value for name, value in entry["headers"]}
    assert entry["target"] == path + ("-stream" if streams and "converse" in path else "")
    assert headers["authorization"].startswith(key)
    log = gateway.log(reply.headers["cf-aig-log-id"], "documents")
    assert (log["byok"], log["success"]) == (True, True)
    assert "stored-secret" not in json.dumps(entry) + json.dumps(log) + reply.text


async def test_a_key_of_the_clients_counts_before_the_stored_one(gateway: Any, provider: Any, marker: str, keyed: str):
    own = base64.b64encode(json.dumps(AWS | {"accessKeyId": "AKIDOWN"}).encode()).decode()
    reply = gateway.http.post(
        f"{keyed}/aws-bedrock/bedrock-runtime/us-east-1/model/m/converse",
        json={"messages": [{"role": "user", "content": [{"text": "hello"}]}]},
        headers={"authorization": f"Bearer {own}", "x-sluice-marker": marker},
    )
    assert reply.status_code == 200
    (entry,) = await provider.entries(marker, 1)
    assert "Credential=AKIDOWN/" in dict(entry["headers"])["Authorization"]
    assert gateway.log(reply.headers["cf-aig-log-id"], "documents")["byok"] is False
