"""Every provider through a real gateway: what its vendor receives, and what the log says (docs/providers.md)."""

from typing import Any

import pytest

from sluice.providers.registry import ALIASES, PROVIDERS, SLUGS

CHAT = "v1/chat/completions"
PLACE = "v1/projects/p/locations/europe-west4"
CALLS = [
    ("openai/chat/completions", "openai/v1/chat/completions", CHAT),
    ("anthropic/messages", "anthropic/v1/messages", "v1/messages"),
    ("anthropic/v1/messages", "anthropic/v1/messages", "v1/messages"),
    (
        "google-ai-studio/v1beta/models/gemini-x:streamGenerateContent?alt=sse&key=k",
        "google-ai-studio/v1beta/models/gemini-x:streamGenerateContent?alt=sse&key=k",
        "v1beta/models/gemini-x:streamGenerateContent",
    ),
    ("google/v1/models/gemini-x:generateContent", "google-ai-studio/v1/models/gemini-x:generateContent", ""),
    ("workers-ai/@cf/meta/llama-x", "workers-ai/run/@cf/meta/llama-x", "run/@cf/meta/llama-x"),
    ("workers-ai/run/@cf/meta/llama-x", "workers-ai/run/@cf/meta/llama-x", "run/@cf/meta/llama-x"),
    (f"workers-ai/{CHAT}", f"workers-ai/{CHAT}", CHAT),
    (
        "azure-openai/res/dep/chat/completions?api-version=2024-10-21",
        "azure-openai/res/openai/deployments/dep/chat/completions?api-version=2024-10-21",
        "res/openai/deployments/dep/chat/completions",
    ),
    ("Azure/res/dep/embeddings", "azure-openai/res/openai/deployments/dep/embeddings", ""),
    (
        "azure-openai/res/openai/v1/responses",
        "azure-openai/res/openai/v1/responses",
        "res/openai/v1/responses",
    ),
    ("openai/v1/v1/chat/completions", f"openai/{CHAT}", CHAT),
    ("groq/v1/chat/completions", "groq/chat/completions", "chat/completions"),
    (f"mistral/{CHAT}", f"mistral/{CHAT}", CHAT),
    ("cohere/chat", "cohere/v1/chat", "v1/chat"),
    (f"cohere/compatibility/{CHAT}", f"cohere/compatibility/{CHAT}", f"compatibility/{CHAT}"),
    (f"deepseek/{CHAT}", f"deepseek/{CHAT}", CHAT),
    ("openrouter/chat/completions", f"openrouter/{CHAT}", CHAT),
    (f"cerebras/{CHAT}", f"cerebras/{CHAT}", CHAT),
    ("fireworks/chat/completions", "fireworks/chat/completions", "chat/completions"),
    ("fireworks/inference/v1/chat/completions", "fireworks/chat/completions", "chat/completions"),
    (f"baseten/{CHAT}", f"baseten/{CHAT}", CHAT),
    ("replicate/v1/predictions", "replicate/v1/predictions", "v1/predictions"),
    ("parallel/v1beta/search", "parallel/v1beta/search", "v1beta/search"),
    ("fal", "fal/", ""),
    ("OpenAI/chat/completions", f"openai/{CHAT}", CHAT),
    ("bedrock/bedrock-mantle/eu-west-1/v1/chat/completions",
     "aws-bedrock/bedrock-mantle/eu-west-1/v1/chat/completions", ""),
    ("groq/openai/v1/chat/completions", "groq/chat/completions", "chat/completions"),
    ("groq/chat/completions", "groq/chat/completions", "chat/completions"),
    ("mistral/chat/completions", f"mistral/{CHAT}", CHAT),
    ("cohere/v1/chat", "cohere/v1/chat", "v1/chat"),
    ("cohere/v2/chat", "cohere/v2/chat", "v2/chat"),
    ("perplexity-ai/chat/completions", "perplexity-ai/chat/completions", "chat/completions"),
    ("perplexity/chat/completions", "perplexity-ai/chat/completions", "chat/completions"),
    ("grok/chat/completions", f"grok/{CHAT}", CHAT),
    ("xai/v1/chat/completions", f"grok/{CHAT}", CHAT),
    ("deepseek/chat/completions", "deepseek/chat/completions", "chat/completions"),
    ("openrouter/v1/v1/chat/completions", f"openrouter/{CHAT}", CHAT),
    ("cerebras/chat/completions", f"cerebras/{CHAT}", CHAT),
    ("fireworks/v1/chat/completions", "fireworks/chat/completions", "chat/completions"),
    ("baseten/chat/completions", f"baseten/{CHAT}", CHAT),
    ("baseten/model/abc123", "baseten/model/abc123", "model/abc123"),
    ("huggingface/bigcode/starcoder", "huggingface/bigcode/starcoder", "bigcode/starcoder"),
    ("replicate/predictions", "replicate/v1/predictions", "v1/predictions"),
    ("parallel/v1/tasks/runs", "parallel/v1/tasks/runs", "v1/tasks/runs"),
    ("cartesia/tts/bytes", "cartesia/tts/bytes", "tts/bytes"),
    ("elevenlabs/v1/text-to-speech/voice", "elevenlabs/v1/text-to-speech/voice", "v1/text-to-speech/voice"),
    ("deepgram/v1/listen?model=nova-3", "deepgram/v1/listen?model=nova-3", "v1/listen"),
    ("fal/fal-ai/flux/dev", "fal/fal-ai/flux/dev", "fal-ai/flux/dev"),
    ("fal/queue.fal.run/fal-ai/flux/dev", "fal/queue.fal.run/fal-ai/flux/dev", ""),
    ("ideogram/v1/ideogram-v3/generate", "ideogram/v1/ideogram-v3/generate", ""),
    ("adobe-firefly/v3/images/generate", "adobe-firefly/v3/images/generate", ""),
    (f"google-vertex-ai/{PLACE}/publishers/google/models/gemini-x:predict?a=b",
     f"google-vertex-ai/{PLACE}/publishers/google/models/gemini-x:predict?a=b", ""),
    (f"google-vertex/{PLACE}/endpoints/openapi/chat/completions",
     f"google-vertex-ai/{PLACE}/endpoints/openapi/chat/completions", ""),
    ("aws-bedrock/bedrock-runtime/us-east-1/model/a.b-v1%3A0/converse",
     "aws-bedrock/bedrock-runtime/us-east-1/model/a.b-v1%3A0/converse", ""),
    ("bedrock/bedrock-runtime/model/m/invoke", "aws-bedrock/bedrock-runtime/us-east-1/model/m/invoke", ""),
]  # fmt: skip
KEYS = {
    "Authorization": "Token theirs",
    "x-api-key": "theirs",
    "x-goog-api-key": "theirs",
    "api-key": "theirs",
    "xi-api-key": "theirs",
    "anthropic-version": "2023-06-01",
}


def call(gateway: Any, path: str, **headers: str) -> Any:
    body = {"model": "a-model", "messages": [{"role": "user", "content": "hi"}]}
    echo = {"x-sluice-echo": "1", **headers}
    return gateway.http.post(f"{gateway.base_url}/v1/local/default/{path}", json=body, headers=echo)


@pytest.mark.parametrize(("path", "target", "logged"), CALLS)
def test_each_form_of_path_reaches_its_vendor_and_the_log(gateway: Any, path: str, target: str, logged: str):
    reply = call(gateway, path, **KEYS)
    seen = reply.json()
    assert (reply.status_code, seen["target"]) == (200, f"/{target}")
    got = {name.lower(): value for name, value in seen["headers"]}
    slug = target.partition("/")[0]
    keys = {name: value for name, value in KEYS.items() if slug != "aws-bedrock" or name in ("api-key", "xi-api-key")}
    assert {name: got.get(name.lower()) for name in keys} == keys
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert (log["provider"], log["path"]) == (slug, logged or target.partition("/")[2].partition("?")[0])


def test_every_provider_and_alias_is_called_here():
    assert {target.partition("/")[0] for _, target, _ in CALLS} == PROVIDERS.keys()
    assert ALIASES.keys() <= {path.partition("/")[0].lower() for path, _, _ in CALLS}


@pytest.mark.parametrize("slug", sorted(SLUGS))
def test_every_provider_has_its_url_in_the_management_api(gateway: Any, slug: str):
    url = gateway.manage("GET", f"/gateways/default/url/{slug}").json()["result"]
    assert url == f"{gateway.base_url}/v1/local/default/{slug}"


@pytest.mark.parametrize(
    "path",
    [
        "azure-openai/res",
        "aws-bedrock/bedrock-runtime/evil.example.com/model/m/converse",
        "google-vertex-ai/v1/projects/p/locations/evil.example.com/publishers/google/models/m:predict",
        "azure-openai/evil.example.com/dep/chat/completions",
        "baseten/model/evil.example.com",
        "workers-ai/run/%2e%2e/%2e%2e/%2e%2e/user/tokens",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused_and_logged(gateway: Any, path: str, error_body: Any):
    reply = call(gateway, path)
    told = reply.json()
    assert (reply.status_code, told) == (400, error_body(400, 2004, told["message"]))
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert (log["error_code"], log["ending"], log["attempts"]) == (2004, "refused", 0)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("custom-mine/x", "This account has no custom provider 'custom-mine' that is enabled"),
        ("nobody/x", "This version of Sluice has no provider 'nobody'"),
    ],
)
def test_a_provider_that_is_unknown_is_refused(gateway: Any, path: str, told: str, error_body: Any):
    reply = call(gateway, path)
    assert (reply.status_code, reply.json()) == (400, error_body(400, 2008, "Invalid provider", told))


@pytest.fixture(scope="module")
def mirrored(start_shared_gateway: Any, provider: Any) -> Any:
    """A gateway whose providers are all elsewhere, some with a version at the end of their base URL."""
    bases = {slug: {"base_url": f"http://{provider.authority}/mirror/{slug}"} for slug in PROVIDERS}
    bases["grok"]["base_url"] += "/v1"
    return start_shared_gateway(providers=bases)


@pytest.mark.parametrize(("path", "target", "logged"), CALLS)
def test_every_provider_goes_where_its_base_url_says(mirrored: Any, path: str, target: str, logged: str):
    assert call(mirrored, path).json()["target"] == f"/mirror/{target}"
