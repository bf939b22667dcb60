import pytest

from sluice.providers.endpoints import is_billed, model_in_path, model_type


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
        ("v1/models", None),
        ("v1/chat/completions", None),
        ("v1/files/model", None),
        ("", None),
    ],
)
def test_the_path_tells_the_model_where_vendors_put_it_there(path, model):
    assert model_in_path(path) == model


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
    ],
)
def test_usage_in_a_stored_reply_is_not_counted_again(method, path, billed):
    assert is_billed(method, path) is billed
