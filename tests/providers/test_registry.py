"""Where each provider is called, by every form of path that clients use (contract 1.2), and how it takes a key."""

from pathlib import Path

import pytest

from sluice.providers.custom import CUSTOM
from sluice.providers.provider import Address
from sluice.providers.registry import ALIASES, PROVIDERS, SLUGS, canonical, find, row
from sluice.values.errors import MalformedRequest

CHAT = "v1/chat/completions"
ACCOUNT = "https://api.cloudflare.com/client/v4/accounts/3ebb/ai"
GEMINI = "https://generativelanguage.googleapis.com/ws/google.ai.generativelanguage."
URLS = [
    ("openai", "chat/completions", "https://api.openai.com/v1/chat/completions"),
    ("openai", CHAT, "https://api.openai.com/v1/chat/completions"),
    ("openai", "v1/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
    ("anthropic", "messages", "https://api.anthropic.com/v1/messages"),
    ("anthropic", "v1/messages", "https://api.anthropic.com/v1/messages"),
    ("anthropic", "v1/v1/messages/count_tokens", "https://api.anthropic.com/v1/messages/count_tokens"),
    (
        "google-ai-studio",
        "v1beta/models/gemini-2.5-pro:streamGenerateContent",
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:streamGenerateContent",
    ),
    (
        "google-ai-studio",
        "v1/models/gemini-2.5-pro:generateContent",
        "https://generativelanguage.googleapis.com/v1/models/gemini-2.5-pro:generateContent",
    ),
    ("workers-ai", "@cf/meta/llama-3.1-8b-instruct", f"{ACCOUNT}/run/@cf/meta/llama-3.1-8b-instruct"),
    ("workers-ai", "%40cf/meta/llama-3.1-8b-instruct", f"{ACCOUNT}/run/%40cf/meta/llama-3.1-8b-instruct"),
    ("workers-ai", "@hf/mistral/mistral-7b", f"{ACCOUNT}/run/@hf/mistral/mistral-7b"),
    ("workers-ai", "run/@cf/meta/llama-3.1-8b-instruct", f"{ACCOUNT}/run/@cf/meta/llama-3.1-8b-instruct"),
    ("workers-ai", CHAT, f"{ACCOUNT}/v1/chat/completions"),
    ("workers-ai", "v1/v1/embeddings", f"{ACCOUNT}/v1/embeddings"),
    (
        "azure-openai",
        "my-res/gpt-4o/chat/completions",
        "https://my-res.openai.azure.com/openai/deployments/gpt-4o/chat/completions",
    ),
    (
        "azure-openai",
        "My-Res/openai/deployments/gpt-4o/embeddings",
        "https://my-res.openai.azure.com/openai/deployments/gpt-4o/embeddings",
    ),
    ("azure-openai", "r/openai/v1/responses", "https://r.openai.azure.com/openai/v1/responses"),
    ("azure-openai", "r/openai/responses", "https://r.openai.azure.com/openai/responses"),
    ("azure-openai", "r/openai/responses/resp_1/cancel", "https://r.openai.azure.com/openai/responses/resp_1/cancel"),
    ("azure-openai", "r/openai/files", "https://r.openai.azure.com/openai/files"),
    ("azure-openai", "r/openai/models/gpt-4o", "https://r.openai.azure.com/openai/models/gpt-4o"),
    ("azure-openai", "r/openai/batches/b1", "https://r.openai.azure.com/openai/batches/b1"),
    ("azure-openai", "r/openai/assistants", "https://r.openai.azure.com/openai/assistants"),
    ("azure-openai", "r/openai/threads/t/runs", "https://r.openai.azure.com/openai/threads/t/runs"),
    ("azure-openai", "r/openai/vector_stores/", "https://r.openai.azure.com/openai/vector_stores/"),
    ("azure-openai", "r/openai/fine_tuning/jobs", "https://r.openai.azure.com/openai/fine_tuning/jobs"),
    ("azure-openai", "r/openai/filesystem", "https://r.openai.azure.com/openai/deployments/openai/filesystem"),
    (
        "azure-openai",
        "r/openai/chat/completions",
        "https://r.openai.azure.com/openai/deployments/openai/chat/completions",
    ),
    ("groq", "chat/completions", "https://api.groq.com/openai/v1/chat/completions"),
    ("groq", CHAT, "https://api.groq.com/openai/v1/chat/completions"),
    ("groq", "openai/v1/chat/completions", "https://api.groq.com/openai/v1/chat/completions"),
    ("groq", "openai/v1/v1/models", "https://api.groq.com/openai/v1/models"),
    ("mistral", "chat/completions", "https://api.mistral.ai/v1/chat/completions"),
    ("mistral", CHAT, "https://api.mistral.ai/v1/chat/completions"),
    ("mistral", "v1/v1/ocr", "https://api.mistral.ai/v1/ocr"),
    ("cohere", "chat", "https://api.cohere.com/v1/chat"),
    ("cohere", "v1/chat", "https://api.cohere.com/v1/chat"),
    ("cohere", "v2/chat", "https://api.cohere.com/v2/chat"),
    ("cohere", "v1/v1/rerank", "https://api.cohere.com/v1/rerank"),
    ("cohere", f"compatibility/{CHAT}", "https://api.cohere.com/compatibility/v1/chat/completions"),
    ("perplexity-ai", "chat/completions", "https://api.perplexity.ai/chat/completions"),
    ("grok", "chat/completions", "https://api.x.ai/v1/chat/completions"),
    ("grok", "v1/messages", "https://api.x.ai/v1/messages"),
    ("deepseek", "chat/completions", "https://api.deepseek.com/chat/completions"),
    ("deepseek", CHAT, "https://api.deepseek.com/v1/chat/completions"),
    ("deepseek", "anthropic/v1/messages", "https://api.deepseek.com/anthropic/v1/messages"),
    ("openrouter", "chat/completions", "https://openrouter.ai/api/v1/chat/completions"),
    ("openrouter", CHAT, "https://openrouter.ai/api/v1/chat/completions"),
    ("cerebras", "chat/completions", "https://api.cerebras.ai/v1/chat/completions"),
    ("cerebras", CHAT, "https://api.cerebras.ai/v1/chat/completions"),
    ("fireworks", "chat/completions", "https://api.fireworks.ai/inference/v1/chat/completions"),
    ("fireworks", CHAT, "https://api.fireworks.ai/inference/v1/chat/completions"),
    ("fireworks", "inference/v1/models", "https://api.fireworks.ai/inference/v1/models"),
    ("baseten", CHAT, "https://inference.baseten.co/v1/chat/completions"),
    ("baseten", "chat/completions", "https://inference.baseten.co/v1/chat/completions"),
    ("baseten", "model/abc123", "https://model-abc123.api.baseten.co/production/predict"),
    ("baseten", "model/abc123/", "https://model-abc123.api.baseten.co/production/predict"),
    (
        "baseten",
        "model/abc123/environments/staging/predict",
        "https://model-abc123.api.baseten.co/environments/staging/predict",
    ),
    ("huggingface", "bigcode/starcoder", "https://api-inference.huggingface.co/models/bigcode/starcoder"),
    ("replicate", "predictions", "https://api.replicate.com/v1/predictions"),
    ("replicate", "v1/predictions", "https://api.replicate.com/v1/predictions"),
    ("parallel", "v1/tasks/runs", "https://api.parallel.ai/v1/tasks/runs"),
    ("parallel", "v1beta/search", "https://api.parallel.ai/v1beta/search"),
    ("cartesia", "tts/bytes", "https://api.cartesia.ai/tts/bytes"),
    ("elevenlabs", "v1/text-to-speech/voice", "https://api.elevenlabs.io/v1/text-to-speech/voice"),
    ("deepgram", "v1/listen", "https://api.deepgram.com/v1/listen"),
    ("fal", "fal-ai/flux/dev", "https://fal.run/fal-ai/flux/dev"),
    ("fal", "", "https://fal.run/"),
    ("fal", "queue.fal.run/fal-ai/flux/dev", "https://queue.fal.run/fal-ai/flux/dev"),
    ("fal", "evil.example.com/flux", "https://fal.run/evil.example.com/flux"),
    ("fal", "evilfal.run/flux", "https://fal.run/evilfal.run/flux"),
    ("ideogram", "v1/ideogram-v3/generate", "https://api.ideogram.ai/v1/ideogram-v3/generate"),
    ("adobe-firefly", "v3/images/generate", "https://firefly-api.adobe.io/v3/images/generate"),
    (
        "google-vertex-ai",
        "v1/projects/p/locations/us-central1/publishers/google/models/gemini-x:generateContent",
        "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/publishers/google/models/"
        "gemini-x:generateContent",
    ),
    (
        "google-vertex-ai",
        "v1/v1/projects/p/locations/global/endpoints/openapi/chat/completions",
        "https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/openapi/chat/completions",
    ),
    (
        "google-vertex-ai",
        "v1beta1/projects/p/locations/eu/publishers/anthropic/models/claude-x@20250929:rawPredict",
        "https://aiplatform.eu.rep.googleapis.com/v1beta1/projects/p/locations/eu/publishers/anthropic/models/"
        "claude-x@20250929:rawPredict",
    ),
    (
        "google-vertex-ai",
        "v1/publishers/google/models/gemini-x:generateContent",
        "https://aiplatform.googleapis.com/v1/publishers/google/models/gemini-x:generateContent",
    ),
    (
        "aws-bedrock",
        "bedrock-runtime/us-east-1/model/anthropic.claude-x-v1%3A0/converse",
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-x-v1%3A0/converse",
    ),
    (
        "aws-bedrock",
        "bedrock-runtime/us-gov-west-1/model/x/invoke",
        "https://bedrock-runtime.us-gov-west-1.amazonaws.com/model/x/invoke",
    ),
    (
        "aws-bedrock",
        "bedrock-runtime/cn-north-1/model/x/invoke",
        "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/model/x/invoke",
    ),
    (
        "aws-bedrock",
        "bedrock-runtime/model/x/converse",
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/x/converse",
    ),
    (
        "aws-bedrock",
        "bedrock-mantle/eu-west-1/v1/chat/completions",
        "https://bedrock-mantle.eu-west-1.api.aws/v1/chat/completions",
    ),
    ("azure-openai", "r/openai/realtime", "https://r.openai.azure.com/openai/realtime"),
]
UNDER_ANOTHER_BASE = [
    ("azure-openai", "my-res/gpt-4o/chat/completions", "my-res/openai/deployments/gpt-4o/chat/completions"),
    ("azure-openai", "My-Res/openai/v1/responses", "My-Res/openai/v1/responses"),
    ("workers-ai", "@cf/meta/llama-3.1-8b-instruct", "run/@cf/meta/llama-3.1-8b-instruct"),
    ("workers-ai", CHAT, CHAT),
    ("baseten", "model/abc123", "model/abc123"),
    ("baseten", "model/abc123/", "model/abc123"),
    ("baseten", "model/abc123/development/predict", "model/abc123/development/predict"),
    ("baseten", "chat/completions", CHAT),
    ("groq", "openai/v1/chat/completions", "chat/completions"),
    ("aws-bedrock", "bedrock-runtime/us-east-1/model/x/converse", "bedrock-runtime/us-east-1/model/x/converse"),
    ("aws-bedrock", "bedrock-runtime/model/x/converse", "bedrock-runtime/us-east-1/model/x/converse"),
    ("fal", "queue.fal.run/fal-ai/flux/dev", "queue.fal.run/fal-ai/flux/dev"),
]


def address(slug: str, endpoint: str) -> Address:
    return PROVIDERS[slug].address(endpoint.encode(), "3ebb")


@pytest.mark.parametrize(("slug", "endpoint", "url"), URLS)
def test_every_form_of_a_path_leads_to_the_vendors_own(slug: str, endpoint: str, url: str):
    found = address(slug, endpoint)
    assert f"{found.base_url}/{found.path.decode()}" == url


@pytest.mark.parametrize(("slug", "endpoint", "path"), UNDER_ANOTHER_BASE)
def test_under_a_base_url_of_the_operators_the_path_tells_what_the_host_did(slug: str, endpoint: str, path: str):
    assert address(slug, endpoint).endpoint.decode() == path


@pytest.mark.parametrize(
    ("slug", "endpoint"),
    [
        ("azure-openai", ""),
        ("azure-openai", "res"),
        ("azure-openai", "res/"),
        ("azure-openai", "/gpt-4o/chat/completions"),
        ("azure-openai", "evil.example.com/gpt-4o/chat"),
        ("azure-openai", "evil.example.com%2f/gpt-4o/chat"),
        ("azure-openai", "evil.example.com#/gpt-4o/chat"),
        ("azure-openai", "a@b/gpt-4o/chat"),
        ("azure-openai", "-res/gpt-4o/chat"),
        ("azure-openai", "r" * 64 + "/gpt-4o/chat"),
        ("azure-openai", "r\n/gpt-4o/chat"),
        ("aws-bedrock", "model/x/converse"),
        ("aws-bedrock", "bedrock-runtime/us-east-1"),
        ("aws-bedrock", "bedrock-runtime/evil.example.com/model/x/converse"),
        ("aws-bedrock", "bedrock-runtime/us-east-1.evil.example/model/x/converse"),
        ("aws-bedrock", "bedrock-agent/us-east-1/x"),
        ("google-vertex-ai", "v1/projects/p/locations/evil.example.com/publishers/google/models/m:generateContent"),
        ("google-vertex-ai", "v1/projects/p/locations//publishers/google/models/m:generateContent"),
        ("google-vertex-ai", "v1/projects/p/locations/a@b/publishers/google/models/m:generateContent"),
        ("baseten", "model/"),
        ("baseten", "model/evil.example.com"),
        ("baseten", "model/a@b/predict"),
        ("baseten", "model/a%2f/predict"),
    ],
)
def test_a_path_cannot_choose_a_host_outside_the_vendors_domain(slug: str, endpoint: str):
    with pytest.raises(MalformedRequest, match=slug):
        address(slug, endpoint)


def test_every_provider_is_tried_here():
    assert {slug for slug, _, _ in URLS} == PROVIDERS.keys()


@pytest.mark.parametrize(
    ("said", "slug"),
    [
        ("google", "google-ai-studio"),
        ("Google", "google-ai-studio"),
        ("google-vertex", "google-vertex-ai"),
        ("Bedrock", "aws-bedrock"),
        ("azure", "azure-openai"),
        ("perplexity", "perplexity-ai"),
        ("xai", "grok"),
        ("OpenAI", "openai"),
        ("WORKERS-AI", "workers-ai"),
    ],
)
def test_a_provider_is_found_by_its_aliases_in_any_case(said: str, slug: str):
    found = find(said)
    assert found is not None
    assert found.name == canonical(said) == slug


ACROSS = [
    ("openai", "", "model=gpt-realtime", "https://api.openai.com/v1/realtime?model=gpt-realtime"),
    ("openai", "realtime", "model=m", "https://api.openai.com/v1/realtime?model=m"),
    ("openai", "v1/realtime", "call_id=c", "https://api.openai.com/v1/realtime?call_id=c"),
    ("grok", "", "", "https://api.x.ai/v1/realtime?"),
    ("google-ai-studio", "", "api_key=k", f"{GEMINI}v1beta.GenerativeService.BidiGenerateContent?key=k"),
    ("google-ai-studio", "", "key=k&x=1", f"{GEMINI}v1beta.GenerativeService.BidiGenerateContent?key=k&x=1"),
    (
        "google-ai-studio",
        "ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained",
        "access_token=t",
        f"{GEMINI}v1alpha.GenerativeService.BidiGenerateContentConstrained?access_token=t",
    ),
    (
        "cartesia",
        "",
        "cartesia_version=1&api_key=k",
        "https://api.cartesia.ai/tts/websocket?cartesia_version=1&api_key=k",
    ),
    ("elevenlabs", "", "agent_id=a", "https://api.elevenlabs.io/v1/convai/conversation?agent_id=a"),
    (
        "elevenlabs",
        "v1/text-to-speech/v/stream-input",
        "",
        "https://api.elevenlabs.io/v1/text-to-speech/v/stream-input?",
    ),
    ("deepgram", "v1/listen", "model=nova-3", "https://api.deepgram.com/v1/listen?model=nova-3"),
    (
        "google-vertex-ai",
        "locations/us-central1/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent",
        "",
        "https://us-central1-aiplatform.googleapis.com/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent?",
    ),
    ("fal", "fal-ai/fast-lcm-diffusion", "", "https://ws.fal.run/fal-ai/fast-lcm-diffusion?"),
    (
        "workers-ai",
        "",
        "model=@cf/deepgram/flux&encoding=linear16&sample_rate=16000",
        f"{ACCOUNT}/run/@cf/deepgram/flux?encoding=linear16&sample_rate=16000",
    ),
    ("workers-ai", "", "model=%40cf%2Fdeepgram%2Fflux", f"{ACCOUNT}/run/@cf/deepgram/flux?"),
    (
        "workers-ai",
        "",
        "model=@cf/x%20HTTP/1.1%0D%0AHost:%20a%0D%0A%0D%0AGET%20/%3F%23",
        f"{ACCOUNT}/run/@cf/x%20HTTP/1.1%0D%0AHost:%20a%0D%0A%0D%0AGET%20/%3F%23?",
    ),
    ("workers-ai", "run/@cf/deepgram/flux", "model=x", f"{ACCOUNT}/run/@cf/deepgram/flux?model=x"),
    (
        "azure-openai",
        "r/d/realtime",
        "api-version=1",
        "https://r.openai.azure.com/openai/deployments/d/realtime?api-version=1",
    ),
    ("mistral", "v1/audio", "", "https://api.mistral.ai/v1/audio?"),
]


@pytest.mark.parametrize(("slug", "endpoint", "query", "url"), ACROSS)
def test_a_websocket_goes_where_the_vendor_has_it(slug: str, endpoint: str, query: str, url: str):
    provider = PROVIDERS[slug].over_websocket
    path, asked = provider.realtime.route(endpoint.encode(), query.encode())
    found = provider.address(path, "3ebb")
    assert f"{found.base_url}/{found.path.decode()}?{asked.decode()}" == url


@pytest.mark.parametrize("said", ["", "nobody", "open ai", "openai/", "ſ", "custom-", "custom--x", "cuſtom-x"])
def test_nobody_is_no_provider(said: str):
    assert find(said) is None


@pytest.mark.parametrize("said", ["custom-x", "Custom-X", "custom-custom-x", "custom-" + "x" * 64])
def test_one_that_an_account_may_have_brought_has_its_name(said: str):
    found = find(said)
    assert found is not None
    assert found.name == said.lower()
    assert row(found.name) is CUSTOM


def test_aliases_lead_to_providers_and_hide_none():
    assert set(ALIASES.values()) <= PROVIDERS.keys()
    assert not ALIASES.keys() & PROVIDERS.keys()
    assert {canonical(slug) for slug in SLUGS} == PROVIDERS.keys()


KEYS = [
    ("anthropic", b"sk-ant-api03-x", b"x-api-key", b"sk-ant-api03-x"),
    ("anthropic", b"sk-ant-oat01-x", b"authorization", b"Bearer sk-ant-oat01-x"),
    ("google-ai-studio", b"AIza", b"x-goog-api-key", b"AIza"),
    ("azure-openai", b"k", b"api-key", b"k"),
    ("parallel", b"k", b"x-api-key", b"k"),
    ("cartesia", b"k", b"x-api-key", b"k"),
    ("elevenlabs", b"k", b"xi-api-key", b"k"),
    ("deepgram", b"k", b"authorization", b"Token k"),
    ("fal", b"k", b"authorization", b"Key k"),
    ("ideogram", b"k", b"api-key", b"k"),
] + [
    (slug, b"k", b"authorization", b"Bearer k")
    for slug in PROVIDERS
    if slug not in ("anthropic", "google-ai-studio", "azure-openai", "parallel", "cartesia", "elevenlabs", "deepgram")
    and slug not in ("fal", "ideogram")
]


@pytest.mark.parametrize(("slug", "key", "name", "value"), KEYS)
def test_a_key_is_expressed_in_the_vendors_own_header(slug: str, key: bytes, name: bytes, value: bytes):
    provider = PROVIDERS[slug]
    ((lower, sent, signed),) = provider.sign(key)
    assert (lower, sent.lower(), signed) == (name, name, value)
    assert name in provider.key_headers
    assert provider.sign(b"ordinary")[0][0] == provider.key_headers[0]


@pytest.mark.parametrize(
    ("slug", "url"),
    [
        ("openai", "https://api.openai.com/v1/chat/completions"),
        ("google-ai-studio", "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions"),
        ("cohere", "https://api.cohere.com/compatibility/v1/chat/completions"),
        ("workers-ai", f"{ACCOUNT}/v1/chat/completions"),
        ("groq", "https://api.groq.com/openai/v1/chat/completions"),
        ("mistral", "https://api.mistral.ai/v1/chat/completions"),
        ("perplexity-ai", "https://api.perplexity.ai/chat/completions"),
        ("grok", "https://api.x.ai/v1/chat/completions"),
        ("deepseek", "https://api.deepseek.com/v1/chat/completions"),
        ("cerebras", "https://api.cerebras.ai/v1/chat/completions"),
        ("baseten", "https://inference.baseten.co/v1/chat/completions"),
        ("openrouter", "https://openrouter.ai/api/v1/chat/completions"),
        ("fireworks", "https://api.fireworks.ai/inference/v1/chat/completions"),
        ("parallel", "https://api.parallel.ai/chat/completions"),
    ],
)
def test_the_unified_endpoint_has_a_path_at_every_vendor_in_openais_shape(slug: str, url: str):
    chat = PROVIDERS[slug].compat.chat
    assert chat is not None
    found = PROVIDERS[slug].address(chat, "3ebb")
    assert f"{found.base_url}/{found.path.decode()}" == url


@pytest.mark.parametrize(
    "slug",
    [
        "anthropic",
        "aws-bedrock",
        "azure-openai",
        "huggingface",
        "replicate",
        "cartesia",
        "elevenlabs",
        "deepgram",
        "fal",
        "ideogram",
        "adobe-firefly",
    ],
)
def test_vendors_without_openais_shape_have_no_such_path(slug: str):
    compat = PROVIDERS[slug].compat
    assert (compat.chat, compat.responses, compat.embeddings) == (None, None, None)


def test_the_page_of_providers_names_each_with_its_address_its_aliases_and_the_headers_of_its_key():
    page = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
    for provider in PROVIDERS.values():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{provider.name}` | `http")]
        assert f"`{provider.base_url}`" in row
        assert provider.key_headers[0].decode() in row.lower()
    assert [alias for alias in ALIASES if f"`{alias}`" not in page] == []
