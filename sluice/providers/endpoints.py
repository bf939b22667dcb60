"""What the path of a vendor's endpoint tells: the kind of model behind it, the model, whether its reply is billed."""

import re
from typing import Final
from urllib.parse import unquote

_TEXT: Final = "Text Generation"
_EMBEDDINGS: Final = "Text Embeddings"
_IMAGE: Final = "Text-to-Image"
_SPEECH: Final = "Text-to-Speech"
_HEARING: Final = "Automatic Speech Recognition"

_KINDS: Final = {
    "completions": _TEXT,  # chat/completions too
    "responses": _TEXT,
    "compact": _TEXT,
    "messages": _TEXT,
    "embeddings": _EMBEDDINGS,
    "generations": _IMAGE,
    "edits": _IMAGE,
    "variations": _IMAGE,
    "speech": _SPEECH,
    "transcriptions": _HEARING,
    "translations": _HEARING,
    "moderations": "Text Classification",
}
"""By the last segment. The words are those of the product's own model catalogue."""

_STORED: Final = re.compile(r"(?:chat/completions|responses)/(?!compact$)")
_IN_PATH: Final = re.compile(
    r"(?:^|/)(?:models/(?P<google>[^/]+)$|model/(?P<bedrock>[^/]+)|deployments/(?P<azure>[^/]+)/|run/(?P<workers>.+)$)"
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
    return _KINDS.get(path[path.rfind("/") + 1 :])


def model_in_path(path: str) -> str | None:
    """The model, where the vendor has it in the URL (contract A.3)."""
    found = _IN_PATH.search(path)
    if not found or not found.lastgroup:
        return None
    model = found[found.lastgroup]
    name, _, verb = model.rpartition(":")
    return unquote(name if verb in _GOOGLE_VERBS else model)


def is_billed(method: str, path: str) -> bool:
    """Whether usage in the reply is this call's own: reading or changing a stored reply repeats the old one's."""
    return method == "POST" and _STORED.search(path) is None
