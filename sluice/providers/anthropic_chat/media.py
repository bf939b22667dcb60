"""Images and files to Anthropic's sources."""

from typing import Final

from sluice.providers.anthropic_chat.decoding import refused
from sluice.providers.anthropic_chat.messages import Base64Source, Document, Image, UrlSource

_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_MISNAMED: Final = {"image/jpg": "image/jpeg"}
_DOCUMENTS: Final = frozenset({"application/pdf"})
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SHAPE: Final = "data:<media type>;base64,<data>"


def to_image(url: str, place: str) -> Image:
    """A data URL's content goes along, any other URL is fetched by Anthropic."""
    if is_web(url):
        return Image(UrlSource(url))
    return Image(_from_data_url(url, _IMAGES, place))


def to_document(data_url: str, title: str | None, place: str) -> Document:
    """A PDF whose data is at hand; Anthropic cannot fetch what was uploaded to OpenAI."""
    return Document(_from_data_url(data_url, _DOCUMENTS, place), title)


def is_web(url: str) -> bool:
    """Whether this can be fetched from anywhere."""
    return url[:8].lower().startswith(("http://", "https://"))


def _from_data_url(url: str, known: frozenset[str], place: str) -> Base64Source:
    head, comma, data = url.partition(",")
    if not comma or head[:5].lower() != "data:" or not head.lower().endswith(";base64"):
        raise refused(place, f"neither http(s) nor {_SHAPE}" if known is _IMAGES else f"not {_SHAPE}")
    media_type = head[5:].partition(";")[0].lower()
    media_type = _MISNAMED.get(media_type, media_type)
    if media_type not in known:
        raise refused(place, f"the media type is none of {', '.join(sorted(known))}")
    if not _is_base64(data):
        raise refused(place, "the data is not base64")
    return Base64Source(media_type, data)


def _is_base64(data: str) -> bool:
    """By taking away all that may be in it: 0.7 ms a megabyte, a seventh of decoding it."""
    if not data or len(data) % 4 or not data.isascii():
        return False
    rest = data.encode().translate(None, _BASE64)
    return rest in (b"", b"=", b"==") and data.endswith(rest.decode())
