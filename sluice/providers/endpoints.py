"""What the path of a vendor's endpoint tells: the kind of model behind it, the model, whether its reply is billed."""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

_TEXT: Final = "Text Generation"
_EMBEDDINGS: Final = "Text Embeddings"
_CLASSES: Final = "Text Classification"
_SUMMARY: Final = "Summarization"
_IMAGE: Final = "Text-to-Image"
_SPEECH: Final = "Text-to-Speech"
_HEARING: Final = "Automatic Speech Recognition"
_SEEING: Final = "Image-to-Text"
_TRANSLATION: Final = "Translation"

_KINDS: Final = {
    "completions": _TEXT,  # chat/completions too
    "responses": _TEXT,
    "compact": _TEXT,
    "messages": _TEXT,
    "chat": _TEXT,
    "converse": _TEXT,
    "converse-stream": _TEXT,
    "invoke-with-response-stream": _TEXT,
    "rawPredict": _TEXT,  # Anthropic's models on Vertex
    "streamRawPredict": _TEXT,
    "generate": _TEXT,
    "generateContent": _TEXT,
    "streamGenerateContent": _TEXT,
    "batchGenerateContent": _TEXT,
    "embeddings": _EMBEDDINGS,
    "embed": _EMBEDDINGS,
    "embedContent": _EMBEDDINGS,
    "batchEmbedContents": _EMBEDDINGS,
    "generations": _IMAGE,
    "edits": _IMAGE,
    "variations": _IMAGE,
    "speech": _SPEECH,
    "transcriptions": _HEARING,
    "translations": _HEARING,
    "moderations": _CLASSES,
    "classify": _CLASSES,
    "rerank": _CLASSES,
    "summarize": _SUMMARY,
}
"""By the last segment, or the verb behind its colon. The words are those of the product's own model catalogue."""

_FAMILIES: Final = (
    (_EMBEDDINGS, re.compile(r"/bge-(?!reranker)|embedding")),
    (_CLASSES, re.compile(r"reranker|/distilbert")),
    (_HEARING, re.compile(r"whisper|/nova-|deepgram/flux")),
    (_SPEECH, re.compile(r"/aura-|melotts")),
    (_IMAGE, re.compile(r"stable-diffusion|/flux-|dreamshaper|/leonardo/")),
    (_TRANSLATION, re.compile(r"/m2m100|/indictrans")),
    (_SUMMARY, re.compile(r"/bart-")),
    ("Object Detection", re.compile(r"/detr-")),
    ("Image Classification", re.compile(r"/resnet-")),
    (_SEEING, re.compile(r"llava|uform")),
    (
        _TEXT,
        re.compile(
            r"llama|mistral|gemma|qwen|qwq|deepseek|gpt-oss|granite|/phi-|hermes|openchat|starling|zephyr|falcon"
            r"|sqlcoder|cybertron|discolm|sea-lion|/glm-|kimi|nemotron"
        ),
    ),
)
"""The families of models that Workers AI runs, by their names; the first that fits."""

_BY_MODEL: Final = frozenset(("invoke", "predict"))
"""What Bedrock and Vertex call for models of every kind."""
_HOSTED: Final = (
    (_EMBEDDINGS, re.compile(r"embed")),
    (_IMAGE, re.compile(r"imagen|stability\.|-image-|canvas")),
    (_CLASSES, re.compile(r"rerank")),
    (_TEXT, re.compile(r"anthropic|claude|amazon\.|meta\.|mistral|cohere|deepseek|openai|qwen|ai21")),
)
"""The families of models that those run, by their names; the first that fits."""
_PICTURES: Final = re.compile(r"ideogram|images/")

_STORED: Final = re.compile(r"(?:chat/completions|responses)/+(?!compact/*$)[^/]")
_CANCELS: Final = re.compile(r"(?:predictions|trainings|batches|runs|[Jj]obs|uploads|operations)/+[^/]+[/:]+cancel/*$")
_MAKES: Final = re.compile(
    r"(?:^|/)(?:assistants|async-invoke|auth/grant|authTokens|batches|batchPredictionJobs|cachedContents|client_secrets"
    r"|containers|conversations|datasets|embed-jobs|evals|files|fileSearchStores|fine[_-]tuning|interactions|issueToken"
    r"|jobs|keys|operations|predictions|sessions|single-use-token|storage|tasks|threads|trainings|transcription_sessions"
    r"|tunedModels|uploads|vector_stores|videos|voices)(?:$|[/:?])"
    r"|[/-]async$|:(?:async\w+|batch\w+|fetchPredictOperation|predictLongRunning|upload)$"
    r"|^(?:[a-z0-9-]+\.)+fal\.(?:run|ai)/",
    re.IGNORECASE,
)
"""Also what asks how far a job is, or grants a key for a while; of fal all hosts but the one that answers at once."""
_IN_PATH: Final = re.compile(
    r"(?:^|/)(?:(?:models|deployments)/(?P<replicate>[^/]+/[^/]+)/predictions$|models/(?P<google>[^/]+)$"
    r"|model/(?P<bedrock>[^/]+)|deployments/(?P<azure>[^/]+)/|run/(?P<workers>.+)$)"
)
_GOOGLE_VERBS: Final = frozenset(
    {
        "batchEmbedContents",
        "batchGenerateContent",
        "countTokens",
        "embedContent",
        "generateContent",
        "predict",
        "predictLongRunning",
        "rawPredict",
        "serverStreamingPredict",
        "streamGenerateContent",
        "streamRawPredict",
    }
)


def model_type(path: str) -> str | None:
    """The kind of model, None where the path names none."""
    if path.startswith("run/"):
        model = unquote(path[3:]).lower()
        return next((kind for kind, family in _FAMILIES if family.search(model)), None)
    last = path[path.rfind("/") + 1 :]
    verb = last[last.rfind(":") + 1 :]
    if verb in _BY_MODEL:
        return next((kind for kind, family in _HOSTED if family.search(path)), None)
    if verb == "generate" and _PICTURES.search(path):
        return _IMAGE
    return _KINDS.get(verb)


def model_in_path(provider: str, path: str) -> str | None:
    """The model, where the vendor has it in the URL (contract A.3)."""
    if provider == "huggingface":
        owner, _, rest = path.partition("/")
        if owner == "v1":  # of the router, whose bodies name the model
            return None
        name = rest.partition("/")[0]
        return unquote(f"{owner}/{name}" if name and name != "v1" else owner) or None
    found = _IN_PATH.search(path)
    if not found or not found.lastgroup:
        return None
    model = found[found.lastgroup]
    name, _, verb = model.rpartition(":")
    return unquote(name if verb in _GOOGLE_VERBS else model)


def model_named(provider: str, name: str | None) -> str | None:
    """The model that a body names: Google's may have the name of its resource."""
    return name.removeprefix("models/") if name and provider.startswith("google-") else name


def is_billed(method: str, path: str) -> bool:
    """Whether usage in the reply is this call's own: reading or changing what is stored repeats the old one's."""
    return method == "POST" and _STORED.search(path) is None and not ("cancel" in path and _CANCELS.search(path))


def is_free(path: str) -> bool:
    """Whether it only counts tokens."""
    return path.endswith(("countTokens", "count_tokens"))


def hides_reasoning(provider: str, path: str) -> bool:
    """Whether a reply tells of its reasoning in its total alone: so Google does in OpenAI's shape, as of 2025-11."""
    return provider.startswith("google-") and path.endswith("chat/completions")


@lru_cache(1024)
def makes_something(path: str) -> bool:
    """Whether a call makes or changes what stays with the vendor, as a file or a job: another makes another."""
    return _MAKES.search(path) is not None
