"""Vendors' own SDKs, unmodified, on their native endpoints: whole, streamed, and what they make of an error."""

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import anthropic
import boto3
import cohere
import groq
import httpx
import openai
import pytest
import websockets.sync.client
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EventStreamError
from google import genai
from google.genai import types
from mistralai.client import Mistral

NOVA = "us.amazon.nova-lite-v1:0"
CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
AWS = {"accessKeyId": "AKIDEXAMPLE", "secretAccessKey": "hush", "region": "eu-west-1", "sessionToken": "session"}
HELLO: Any = [{"role": "user", "content": "hello"}]
TALK: Any = [{"role": "user", "content": [{"text": "hello"}]}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOKENS = (8, 37)
"""Of `hello` and of the answer to it."""


def judge_log(gateway: Any, log_id: str, provider: str, model: str) -> dict[str, Any]:
    log: dict[str, Any] = gateway.log(log_id)
    assert (log["provider"], log["model"], log["success"], log["ending"]) == (provider, model, True, "complete")
    assert (log["tokens_in"], log["tokens_out"]) == TOKENS
    return log


def in_base64(document: object) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


def test_mistral(gateway: Any, provider: Any, marker: str):
    headers = gateway.auth | {"x-sluice-marker": marker}
    with Mistral(api_key="sk", server_url=gateway.inference_url("mistral")) as client:
        whole = client.chat.complete(model="mistral-small-latest", messages=HELLO, http_headers=headers)
        stream = client.chat.stream(model="mistral-small-latest", messages=HELLO, http_headers=headers)
        chunks = [chunk.data for chunk in stream]
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == TOKENS
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert {one["target"] for one in provider.entries(marker, 2)} == {"/mistral/v1/chat/completions"}


def test_groq(gateway: Any):
    with groq.Groq(api_key="sk", base_url=gateway.inference_url("groq"), default_headers=gateway.auth) as client:
        raw = client.chat.completions.with_raw_response.create(model="llama-3.1-8b-instant", messages=HELLO)
        stream = client.chat.completions.create(model="llama-3.1-8b-instant", messages=HELLO, stream=True)
        said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert said == raw.parse().choices[0].message.content
    judge_log(gateway, raw.headers["cf-aig-log-id"], "groq", "llama-3.1-8b-instant")


def test_cohere(gateway: Any):
    with httpx.Client(headers=gateway.auth, trust_env=False) as http:
        client = cohere.ClientV2("sk", base_url=gateway.inference_url("cohere"), httpx_client=http)
        whole = client.chat(model="command-r", messages=HELLO)
        events = list(client.chat_stream(model="command-r", messages=HELLO))
    assert whole.usage is not None
    assert whole.usage.tokens is not None
    assert (whole.usage.tokens.input_tokens, whole.usage.tokens.output_tokens) == TOKENS
    said = "".join(event.delta.message.content.text for event in events if event.type == "content-delta")
    assert said == whole.message.content[0].text


@pytest.fixture
def bedrock(gateway: Any, marker: str) -> Iterator[Any]:
    """boto3 that does not sign, and sends what the gateway is to sign with."""
    url = gateway.inference_url("aws-bedrock") + "/bedrock-runtime/us-east-1"
    config = Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1})
    client = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, config=config)

    def let_in(request: Any, **_: object) -> None:
        sent = {"authorization": f"Bearer {in_base64(AWS)}", "x-sluice-marker": marker, **gateway.auth}
        for name, value in sent.items():
            request.headers[name] = value

    client.meta.events.register("before-send.bedrock-runtime", let_in)
    yield client
    client.close()


def test_boto3_converses(gateway: Any, provider: Any, marker: str, bedrock: Any):
    whole = bedrock.converse(modelId=NOVA, messages=TALK)
    (block,) = whole["output"]["message"]["content"]
    assert (whole["usage"]["inputTokens"], whole["usage"]["outputTokens"]) == TOKENS
    assert whole["stopReason"] == "end_turn"
    log_id = whole["ResponseMetadata"]["HTTPHeaders"]["cf-aig-log-id"]
    log = judge_log(gateway, log_id, "aws-bedrock", NOVA)
    assert (log["path"], log["model_type"]) == (
        "bedrock-runtime/us-east-1/model/us.amazon.nova-lite-v1%3A0/converse",
        "Text Generation",
    )
    streamed = bedrock.converse_stream(modelId=NOVA, messages=TALK)
    with closing(streamed["stream"]) as stream:
        events = list(stream)
    said = "".join(event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event)
    assert said == block["text"]
    assert events[-1]["metadata"]["usage"] == whole["usage"]
    judge_log(gateway, streamed["ResponseMetadata"]["HTTPHeaders"]["cf-aig-log-id"], "aws-bedrock", NOVA)
    for entry in provider.entries(marker, 2):
        judge_signature(entry)


def judge_signature(entry: dict[str, Any]) -> None:
    """The signature that the vendor got is the one that Amazon's signer makes, for Amazon's own host."""
    headers = {name.lower(): value for name, value in entry["headers"]}
    path = entry["target"].removeprefix("/aws-bedrock/bedrock-runtime/us-east-1")
    request = AWSRequest(
        "POST",
        f"https://bedrock-runtime.us-east-1.amazonaws.com{path}",
        data=base64.b64decode(entry["body"]),
        headers={"Content-Type": headers["content-type"], "X-Amz-Date": headers["x-amz-date"]},
    )
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", "hush", "session"), "bedrock", "us-east-1")
    request.context["timestamp"] = headers["x-amz-date"]
    request.headers["X-Amz-Security-Token"] = "session"
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    assert headers["authorization"].endswith(f"Signature={signer.signature(to_sign, request)}")
    assert headers["x-amz-security-token"] == "session"
    assert "hush" not in json.dumps(entry)


def test_boto3_calls_tools_and_sees_errors(bedrock: Any):
    tool: Any = {"toolSpec": {"name": "get_weather", "inputSchema": {"json": SCHEMA}}}
    asked: Any = [{"role": "user", "content": [{"text": "What is the weather in Oslo?"}]}]
    called = bedrock.converse(modelId=NOVA, messages=asked, toolConfig={"tools": [tool]})
    (block,) = called["output"]["message"]["content"]
    assert (called["stopReason"], block["toolUse"]["input"]) == ("tool_use", {"city": "Oslo"})
    with pytest.raises(ClientError) as refused:
        bedrock.converse(modelId=f"{NOVA}~status-429", messages=TALK)
    assert refused.value.response["Error"]["Code"] == "ThrottlingException"
    broken = bedrock.converse_stream(modelId=f"{NOVA}~error-event-3", messages=TALK)["stream"]
    with closing(broken), pytest.raises(EventStreamError, match="unexpected error"):
        list(broken)


def test_boto3_invokes_a_model_in_its_own_shape(gateway: Any, bedrock: Any):
    body = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 500, "messages": HELLO})
    whole = bedrock.invoke_model(modelId=CLAUDE, body=body)
    with whole["body"] as said:
        assert json.loads(said.read())["usage"]["input_tokens"] == 8
    streamed = bedrock.invoke_model_with_response_stream(modelId=CLAUDE, body=body)
    with closing(streamed["body"]) as stream:
        events = [json.loads(event["chunk"]["bytes"]) for event in stream]
    assert events[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] == 37
    for reply in (whole, streamed):
        judge_log(gateway, reply["ResponseMetadata"]["HTTPHeaders"]["cf-aig-log-id"], "aws-bedrock", CLAUDE)


def test_what_a_client_has_signed_itself_goes_on_untouched(gateway: Any, provider: Any, marker: str):
    """It signs AWS's own URL and sends what it has signed to the gateway's (docs/providers.md)."""
    body = json.dumps({"messages": TALK}).encode()
    url = f"https://bedrock-runtime.us-east-1.amazonaws.com/model/{NOVA.replace(':', '%3A')}/converse"
    request = AWSRequest("POST", url, data=body, headers={"Content-Type": "application/json"})
    SigV4Auth(Credentials("AKIDEXAMPLE", "hush"), "bedrock", "us-east-1").add_auth(request)
    ours = url.replace(
        "https://bedrock-runtime.us-east-1.amazonaws.com", "/v1/local/default/bedrock/bedrock-runtime/us-east-1"
    )
    sent = dict(request.headers.items())
    reply = gateway.http.post(ours, content=body, headers=sent | {"x-sluice-marker": marker})
    assert reply.status_code == 200
    (entry,) = provider.entries(marker)
    got = {name.lower(): value for name, value in entry["headers"]}
    assert {name: got[name.lower()] for name in sent} == sent
    assert base64.b64decode(entry["body"]) == body


def test_a_long_body_is_signed_too(gateway: Any, provider: Any, marker: str):
    body = json.dumps({"messages": TALK, "additionalModelRequestFields": {"x": "y" * 1_500_000}}).encode()
    path = "aws-bedrock/bedrock-runtime/us-east-1/model/m/converse"
    headers = {"authorization": f"Bearer {in_base64(AWS)}", "x-sluice-marker": marker, "content-type": "text/json"}
    for content in (body, iter([body[:9], body[9:]])):
        reply = gateway.http.post(f"{gateway.inference_url()[:-6]}{path}", content=content, headers=headers)
        assert reply.status_code == 200
    first, second = provider.entries(marker, 2)
    assert first["body_sha256"] == second["body_sha256"]
    assert all(dict(one["headers"])["Authorization"].startswith("AWS4-HMAC-SHA256 ") for one in (first, second))


@pytest.fixture
def unified(gateway: Any, marker: str, open_sdk: Any) -> Iterator[openai.OpenAI]:
    headers = gateway.auth | {"x-sluice-marker": marker}
    with open_sdk(gateway.inference_url("compat"), headers, in_base64(AWS)) as client:
        yield client


def test_openais_sdk_talks_to_bedrock(gateway: Any, provider: Any, marker: str, unified: openai.OpenAI):
    asked: Any = {"model": f"aws-bedrock/{CLAUDE}", "messages": HELLO}
    raw = unified.chat.completions.with_raw_response.create(**asked)
    whole = raw.parse()
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == TOKENS
    log_id = raw.headers["cf-aig-log-id"]
    assert whole.id == f"chatcmpl-{log_id}"
    assert judge_log(gateway, log_id, "aws-bedrock", CLAUDE)["path"].startswith("bedrock-runtime/eu-west-1/model/")
    streamed = unified.chat.completions.with_raw_response.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(streamed.parse())
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    judge_log(gateway, streamed.headers["cf-aig-log-id"], "aws-bedrock", CLAUDE)
    assert gateway.log_body(streamed.headers["cf-aig-log-id"], "response").count(b":event-type") > 30


def test_openais_sdk_uses_tools_and_pictures_of_bedrock(unified: openai.OpenAI):
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
    messages: Any = [{"role": "user", "content": [
        {"type": "text", "text": "What is the weather in Oslo?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}},
    ]}]  # fmt: skip
    asked: Any = {"model": f"aws-bedrock/{NOVA}", "tools": [tool]}
    for streams in (False, True):
        reply: Any = unified.chat.completions.create(messages=messages, stream=streams, **asked)
        if streams:
            deltas = [call for chunk in reply for call in chunk.choices[0].delta.tool_calls or ()]
            assert json.loads("".join(call.function.arguments for call in deltas)) == {"city": "Oslo"}
            continue
        (call,) = reply.choices[0].message.tool_calls
        answered = [*messages, reply.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
        said: Any = unified.chat.completions.create(messages=answered, **asked)
        assert said.choices[0].message.content.startswith("You said: rain.")


def test_openais_sdk_sees_bedrocks_errors(gateway: Any, unified: openai.OpenAI):
    with pytest.raises(openai.RateLimitError, match="Too many requests") as refused:
        unified.chat.completions.create(model=f"aws-bedrock/{NOVA}~status-429", messages=HELLO)
    assert refused.value.type == "rate_limit_error"
    late = f"aws-bedrock/{NOVA}~error-event-3~pace-100"  # one that comes with the first bytes is still a plain error
    with pytest.raises(openai.APIError, match="unexpected error"):
        list(unified.chat.completions.create(model=late, messages=HELLO, stream=True))
    with pytest.raises(openai.BadRequestError) as none:
        unified.embeddings.create(model="aws-bedrock/amazon.titan-embed-text-v2:0", input="hello")
    assert none.value.response.json()["description"] == "aws-bedrock has no embeddings in OpenAI's shape"


def test_googles_sdk_talks_to_vertex_with_a_service_account(
    gateway: Any, provider: Any, marker: str, service_account: dict[str, str]
):
    headers = gateway.auth | {"x-sluice-marker": marker}
    client = genai.Client(
        vertexai=True,
        api_key=in_base64(service_account | {"region": "europe-west4"}),
        http_options=types.HttpOptions(base_url=gateway.inference_url("google-vertex-ai"), headers=headers),
    )
    whole = client.models.generate_content(model="gemini-2.5-flash", contents="hello")
    stream = client.models.generate_content_stream(model="gemini-2.5-flash", contents="hello")
    assert "".join(chunk.text or "" for chunk in stream) == whole.text
    first, second = provider.entries(marker, 2)
    place = "/google-vertex-ai/v1beta1/projects/my-project/locations/europe-west4/publishers/google/models/"
    assert [one["target"].removeprefix(place).partition("?")[0] for one in (first, second)] == [
        "gemini-2.5-flash:generateContent",
        "gemini-2.5-flash:streamGenerateContent",
    ]
    for entry in (first, second):
        assert entry["key_headers"] == ["Authorization"]
        assert dict(entry["headers"])["Authorization"].startswith("Bearer ya29.simulated-")


def test_anthropics_sdk_talks_to_vertex_with_an_access_token(gateway: Any, provider: Any, marker: str):
    with anthropic.AnthropicVertex(
        region="us-east5",
        project_id="mine",
        access_token="ya29.mine",
        base_url=gateway.inference_url("google-vertex-ai") + "/v1",
        default_headers=gateway.auth | {"x-sluice-marker": marker},
    ) as client:
        asked: Any = {"model": "claude-sonnet-4-5@20250929", "max_tokens": 500, "messages": HELLO}
        raw = client.messages.with_raw_response.create(**asked)
        with client.messages.stream(**asked) as stream:
            said = stream.get_final_text()
    assert said == raw.parse().content[0].text  # type: ignore[union-attr]  # of the blocks there are it is a text
    judge_log(gateway, raw.headers["cf-aig-log-id"], "google-vertex-ai", "claude-sonnet-4-5@20250929")
    sent = [{name.lower(): value for name, value in one["headers"]} for one in provider.entries(marker, 2)]
    assert {headers["authorization"] for headers in sent} == {"Bearer ya29.mine"}


def test_one_token_is_fetched_for_many_requests_and_a_refused_account_is_told(
    gateway: Any, marker: str, service_account: dict[str, str], open_sdk: Any
):
    account = service_account | {"client_email": f"{marker}@example.iam.gserviceaccount.com", "region": "us-central1"}
    before = gateway.http.get("/metrics").text
    asked: Any = {"model": "google-vertex-ai/google/gemini-2.5-flash", "messages": HELLO}
    with open_sdk(gateway.inference_url("compat"), gateway.auth, in_base64(account)) as client:
        for _ in range(4):
            assert client.chat.completions.create(**asked).usage.prompt_tokens == 8
    workers = sum(title.startswith("sluice: worker") for title in gateway.processes())
    assert 1 <= minted(gateway.http.get("/metrics").text) - minted(before) <= workers
    refused = account | {"client_email": "refused@example.iam.gserviceaccount.com"}
    with (
        open_sdk(gateway.inference_url("compat"), gateway.auth, in_base64(refused)) as client,
        pytest.raises(openai.BadRequestError) as none,
    ):
        client.chat.completions.create(**asked)
    told = none.value.response.json()
    assert told["internalCode"] == 2005
    assert told["description"] == "Google refused the service account with status 400: invalid_grant"


def test_geminis_live_api_at_vertex_opens_with_a_service_account(
    gateway: Any, provider: Any, marker: str, service_account: dict[str, str]
):
    url = gateway.inference_url("google-vertex-ai").replace("http://", "ws://")
    headers = gateway.auth | {"x-sluice-marker": marker}
    headers |= {"authorization": f"Bearer {in_base64(service_account | {'region': 'us-central1'})}"}
    live = "ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent"
    with websockets.sync.client.connect(f"{url}/{live}", additional_headers=headers, proxy=None) as socket:
        socket.send(json.dumps({"setup": {"model": "projects/p/locations/l/publishers/google/models/gemini-live"}}))
        assert json.loads(socket.recv(20)) == {"setupComplete": {}}
    (entry,) = provider.entries(marker)
    assert entry["target"] == f"/google-vertex-ai/locations/us-central1/{live}"
    sent = {name.lower(): value for name, value in entry["headers"]}
    assert sent["authorization"].startswith("Bearer ya29.simulated-")


def minted(metrics: str) -> int:
    lines = [line for line in metrics.splitlines() if line.startswith('sluice_google_tokens_total{outcome="minted"}')]
    return sum(int(line.rpartition(" ")[2]) for line in lines)


def test_fals_clients_choose_their_target_by_a_header(gateway: Any, provider: Any, marker: str):
    url = gateway.inference_url("fal")
    headers = {"authorization": "Key theirs", "x-sluice-marker": marker}
    target = {"x-fal-target-url": "https://queue.fal.run/fal-ai/flux/dev?fal_webhook=x"}
    reply = gateway.http.post(url, json={"prompt": "a lock"}, headers=headers | target)
    assert reply.json()["status"] == "IN_QUEUE"
    (entry,) = provider.entries(marker)
    assert entry["target"] == "/fal/queue.fal.run/fal-ai/flux/dev?fal_webhook=x"
    assert "x-fal-target-url" not in {name.lower() for name, _ in entry["headers"]}
    step = {"provider": "fal", "endpoint": "", "headers": target, "query": {"prompt": "a lock"}}
    assert gateway.universal([step]).json()["status"] == "IN_QUEUE"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/fal-ai/flux",
        "https://evilfal.run/x",
        "https://fal.run.evil.example/x",
        "http://fal.run/x",
        "https://fal.run:8443/x",
        "https://fal.run@evil.example/x",
        "https://a@fal.run/x",
        "https://fal.run/../x",
        "nonsense",
    ],
)
def test_a_key_for_fal_goes_to_nobody_else(gateway: Any, url: str):
    reply = gateway.http.post(gateway.inference_url("fal"), json={}, headers={"x-fal-target-url": url})
    assert (reply.status_code, reply.json()["internalCode"]) == (400, 2004)
