"""Bedrock's credentials, and signatures checked against Amazon's own signer."""

import base64
import json
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sluice.providers import sigv4
from sluice.providers.bedrock import authorized
from sluice.values.errors import MalformedRequest
from sluice.values.request import DEFAULT_OPTIONS, BytesBody, Header, Step

NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
KEYS = {"accessKeyId": "AKIDEXAMPLE", "secretAccessKey": "wJalrXUtnFEMI/K7MDENG", "region": "eu-west-1"}
RUN = "bedrock-runtime/us-east-1/model/m/converse"


def in_base64(document: object) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


def step(endpoint: str, body: bytes = b"{}", query: bytes = b"", **headers: str) -> Step:
    named = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    fields: list[Header] = [(name.lower().encode(), name.encode(), value.encode()) for name, value in named.items()]
    return Step(0, "aws-bedrock", endpoint.encode(), query, b"POST", fields, b"", b"", BytesBody(body), DEFAULT_OPTIONS)


def fields_of(one: Step) -> dict[str, str]:
    assert len({name for name, _, _ in one.headers}) == len(one.headers)
    return {name.decode(): value.decode() for name, _, value in one.headers}


def signed_by_amazon(url: str, body: bytes, service: str, region: str, token: str | None = None) -> dict[str, str]:
    request = AWSRequest("POST", url, data=body, headers={"Content-Type": "application/json"})
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        SigV4Auth(Credentials(KEYS["accessKeyId"], KEYS["secretAccessKey"], token), service, region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@pytest.mark.parametrize("token", [None, "session/token+=="])
@pytest.mark.parametrize(
    ("endpoint", "query", "url", "service"),
    [
        (RUN, "", "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/converse", "bedrock"),
        (
            "bedrock-runtime/us-east-1/model/anthropic.claude-x-v1%3A0/invoke",
            "",
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-x-v1%3A0/invoke",
            "bedrock",
        ),
        (
            "bedrock-runtime/eu-west-1/model/arn%3Aaws%3Abedrock%3A1%3Ax%2Fus.m/converse-stream",
            "b=2&a=1&a=0&c",
            "https://bedrock-runtime.eu-west-1.amazonaws.com/model/arn%3Aaws%3Abedrock%3A1%3Ax%2Fus.m/converse-stream"
            "?b=2&a=1&a=0&c=",
            "bedrock",
        ),
        (
            "bedrock-mantle/us-west-2/v1/chat/completions",
            "",
            "https://bedrock-mantle.us-west-2.api.aws/v1/chat/completions",
            "bedrock-mantle",
        ),
    ],
)
def test_a_signature_is_what_amazons_signer_makes(endpoint: str, query: str, url: str, service: str, token: str | None):
    document = KEYS | ({"sessionToken": token} if token else {})
    body = b'{"messages":[]}'
    asked = step(endpoint, body, query.encode(), Authorization=f"Bearer {in_base64(document)}", X_Amz_Date="stale")
    ours = fields_of(authorized(asked, None, NOW))
    theirs = signed_by_amazon(url, body, service, endpoint.split("/")[1], token)
    assert ours.pop("content-type") == theirs.pop("content-type")
    assert ours == theirs


def test_the_region_of_the_credential_counts_where_the_path_has_none():
    asked = step("bedrock-runtime/model/m/converse", Authorization=f"Bearer {in_base64(KEYS)}")
    done = authorized(asked, None, NOW)
    assert done.endpoint == b"bedrock-runtime/eu-west-1/model/m/converse"
    assert "/eu-west-1/bedrock/aws4_request" in fields_of(done)["authorization"]
    assert authorized(step(RUN), json.dumps(KEYS).encode(), NOW).endpoint == RUN.encode()


@pytest.mark.parametrize(
    ("endpoint", "given", "sent"),
    [
        (RUN, {"Authorization": "Bearer ABSKkey"}, {"authorization": "Bearer ABSKkey"}),
        (RUN, {"Authorization": "AWS4-HMAC-SHA256 Credential=x", "X_Amz_Date": "d"},
         {"authorization": "AWS4-HMAC-SHA256 Credential=x", "x-amz-date": "d"}),
        (RUN, {}, {}),
        ("bedrock-mantle/us-east-1/v1/models", {"Authorization": "Bearer ABSKkey"}, {"x-api-key": "ABSKkey"}),
        ("bedrock-mantle/us-east-1/v1/models", {"x_api_key": "ABSKkey"}, {"x-api-key": "ABSKkey"}),
    ],
)  # fmt: skip
def test_any_other_key_goes_where_amazon_looks_for_it(endpoint: str, given: dict[str, str], sent: dict[str, str]):
    done = authorized(step(endpoint, **given), None, NOW)
    assert fields_of(done) == {"content-type": "application/json"} | sent
    assert done.endpoint == endpoint.encode()


@pytest.mark.parametrize("secret", [b"ABSKstored", json.dumps(KEYS).encode()])
def test_a_stored_key_takes_the_place_of_all_that_the_client_sent(secret: bytes):
    done = authorized(step(RUN, Authorization="Bearer theirs", x_api_key="theirs"), secret, NOW)
    assert "theirs" not in str(done.headers)
    assert fields_of(done)["authorization"].startswith(("Bearer ABSKstored", "AWS4-HMAC-SHA256 "))


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"accessKeyId": "a", "region": "us-east-1"}, "secretAccessKey"),
        ({"accessKeyId": 5, "secretAccessKey": "hush"}, "accessKeyId"),
        ({"accessKeyId": "a\r\nx: y", "secretAccessKey": "hush"}, "characters that no key has"),
        (KEYS | {"region": "evil.example.com/"}, "no region"),
    ],
)
def test_a_document_that_does_not_fit_is_named_without_its_values(document: Any, told: str):
    with pytest.raises(MalformedRequest) as caught:
        authorized(step(RUN, Authorization=f"Bearer {in_base64(document)}"), None, NOW)
    assert told in caught.value.said
    assert "hush" not in caught.value.said


def test_a_key_is_not_shown():
    assert sigv4.Key("a", "b").access_key_id == "a"
    assert "hush" not in repr(sigv4.Key("a", "hush", "hush"))
