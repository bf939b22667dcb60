"""The words in a reply."""


def text_of(content_type: str, body: bytes) -> str:
    """What the model said, else the body as text."""
    return body.decode("utf-8", "replace")
