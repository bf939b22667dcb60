import pytest

from sluice.providers.endpoints import is_billed, model_in_path, model_named, model_type


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("v1/chat/completions", "Text Generation"),
        ("v1/completions", "Text Generation"),
        ("v1/responses", "Text Generation"),
        ("v1/messages", "Text Generation"),
        ("openai/deployments/d/chat/completions", "Text Generation"),
        ("v1/embeddings", "Text Embeddings"),
        ("v1/images/generations", "Text-to-Image"),
        ("v1/images/edits", "Text-to-Image"),
        ("v1/audio/speech", "Text-to-Speech"),
        ("v1/audio/transcriptions", "Automatic Speech Recognition"),
        ("v1/moderations", "Text Classification"),
        ("v1beta/models/gemini-2.5-pro:generateContent", "Text Generation"),
        ("v1beta/models/gemini-2.5-pro:streamGenerateContent", "Text Generation"),
        ("v1beta/models/gemini-embedding-001:embedContent", "Text Embeddings"),
        ("v1beta/models/gemini-embedding-001:batchEmbedContents", "Text Embeddings"),
        ("v1beta/models/gemini-2.5-pro:countTokens", None),
        ("bedrock-runtime/us-east-1/model/x/converse", "Text Generation"),
        ("bedrock-runtime/us-east-1/model/x/converse-stream", "Text Generation"),
        ("bedrock-runtime/us-east-1/model/anthropic.claude-x/invoke", "Text Generation"),
        ("bedrock-runtime/us-east-1/model/amazon.titan-embed-text-v2%3A0/invoke", "Text Embeddings"),
        ("bedrock-runtime/us-east-1/model/stability.sd3-5-large-v1%3A0/invoke", "Text-to-Image"),
        ("bedrock-runtime/us-east-1/model/x/invoke", None),
        ("v1/projects/p/locations/r/publishers/anthropic/models/claude-x:streamRawPredict", "Text Generation"),
        ("v1/projects/p/locations/r/publishers/google/models/imagen-4.0-generate-001:predict", "Text-to-Image"),
        ("v1/projects/p/locations/r/publishers/google/models/text-embedding-005:predict", "Text Embeddings"),
        ("v1/ideogram-v3/generate", "Text-to-Image"),
        ("v3/images/generate", "Text-to-Image"),
        ("v1/chat", "Text Generation"),
        ("v2/chat", "Text Generation"),
        ("v2/embed", "Text Embeddings"),
        ("v2/rerank", "Text Classification"),
        ("v1/summarize", "Summarization"),
        ("run/@cf/meta/llama-3.1-8b-instruct", "Text Generation"),
        ("run/@cf/openai/gpt-oss-120b", "Text Generation"),
        ("run/%40cf/meta/llama-3.1-8b-instruct", "Text Generation"),
        ("run/@cf/baai/bge-m3", "Text Embeddings"),
        ("run/@cf/qwen/qwen3-embedding-0.6b", "Text Embeddings"),
        ("run/@cf/baai/bge-reranker-base", "Text Classification"),
        ("run/@cf/openai/whisper-large-v3-turbo", "Automatic Speech Recognition"),
        ("run/@cf/deepgram/flux", "Automatic Speech Recognition"),
        ("run/@cf/deepgram/aura-1", "Text-to-Speech"),
        ("run/@cf/black-forest-labs/flux-1-schnell", "Text-to-Image"),
        ("run/@cf/stabilityai/stable-diffusion-xl-base-1.0", "Text-to-Image"),
        ("run/@cf/meta/m2m100-1.2b", "Translation"),
        ("run/@cf/facebook/bart-large-cnn", "Summarization"),
        ("run/@cf/llava-hf/llava-1.5-7b-hf", "Image-to-Text"),
        ("run/@cf/microsoft/resnet-50", "Image Classification"),
        ("run/@cf/facebook/detr-resnet-50", "Object Detection"),
        ("run/@cf/somebody/new-thing", None),
        ("v1/predictions", None),
        ("bigcode/starcoder", None),
        ("v1/models", None),
        ("v1/files", None),
        ("", None),
    ],
)
def test_the_path_tells_the_kind_of_model(path, kind):
    assert model_type(path) == kind


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro"),
        ("v1beta/models/gemini-2.5-pro:streamGenerateContent", "gemini-2.5-pro"),
        ("v1/projects/p/locations/l/publishers/google/models/imagen-4:predict", "imagen-4"),
        ("v1/models/gpt-4o", "gpt-4o"),
        ("v1/models/ft:gpt-4o-mini:acme::a1", "ft:gpt-4o-mini:acme::a1"),
        ("model/anthropic.claude-v2%3A1/converse", "anthropic.claude-v2:1"),
        ("openai/deployments/my-gpt/chat/completions", "my-gpt"),
        ("run/@cf/meta/llama-3.1-8b-instruct", "@cf/meta/llama-3.1-8b-instruct"),
        ("v1/models/meta/meta-llama-3-8b/predictions", "meta/meta-llama-3-8b"),
        ("v1/deployments/acme/mine/predictions", "acme/mine"),
        ("my-res/openai/deployments/my-gpt/embeddings", "my-gpt"),
        ("model/abc123", "abc123"),
        ("v1/models", None),
        ("v1/chat/completions", None),
        ("v1/files/model", None),
        ("", None),
    ],
)
def test_the_path_tells_the_model_where_vendors_put_it_there(path, model):
    assert model_in_path("openai", path) == model


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("bigcode/starcoder", "bigcode/starcoder"),
        ("gpt2", "gpt2"),
        ("gpt2/v1/chat/completions", "gpt2"),
        ("bigcode/starcoder/v1/chat/completions", "bigcode/starcoder"),
        ("", None),
    ],
)
def test_hugging_face_has_nothing_but_the_model_in_its_path(path, model):
    assert model_in_path("huggingface", path) == model


def test_googles_models_may_be_named_as_resources():
    assert model_named("google-ai-studio", "models/gemini-embedding-001") == "gemini-embedding-001"
    assert model_named("fireworks", "models/x") == "models/x"
    assert model_named("google-ai-studio", None) is None


@pytest.mark.parametrize(
    ("method", "path", "billed"),
    [
        ("POST", "v1/chat/completions", True),
        ("POST", "v1/responses", True),
        ("POST", "v1/responses/compact", True),
        ("POST", "v1/anything/new", True),
        ("GET", "v1/responses/resp_1", False),
        ("POST", "v1/responses/resp_1/cancel", False),
        ("POST", "v1/chat/completions/chatcmpl-1", False),
        ("DELETE", "v1/responses/resp_1", False),
        ("POST", "v1/predictions/p1/cancel", False),
        ("POST", "v1/trainings/t1/cancel", False),
        ("POST", "v1/batches/batch_1/cancel", False),
        ("POST", "v1/messages/batches/msgbatch_1/cancel", False),
        ("POST", "v1/threads/thread_1/runs/run_1/cancel", False),
        ("POST", "v1/fine_tuning/jobs/j1/cancel/", False),
        ("POST", "v1beta/batches/123:cancel", False),
        ("POST", "v1/projects/p/locations/l/batchPredictionJobs/1:cancel", False),
        ("POST", "v1/predictions", True),
        ("POST", "v1/threads/thread_1/runs", True),
        ("POST", "acme/cancel", True),
        ("POST", "run/@cf/acme/cancel", True),
    ],
)
def test_usage_in_a_stored_reply_is_not_counted_again(method, path, billed):
    assert is_billed(method, path) is billed
