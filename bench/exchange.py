"""The request that benchmarks send and the reply they must get, byte for byte."""

import json
from collections.abc import Callable, Mapping


def request_body(size: int = 250) -> str:
    """A chat request of exactly this many bytes."""
    return _padded(lambda pad: {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": pad}]}, size)


def universal_body() -> str:
    """The same request as the one step of an array."""
    return f'[{{"provider":"openai","endpoint":"chat/completions","query":{request_body()}}}]'


def compat_body() -> str:
    """The same request in the unified schema."""
    return request_body().replace('"gpt-4o-mini"', '"openai/gpt-4o-mini"', 1)


def reply_body(size: int = 700) -> str:
    """A chat completion of exactly this many bytes."""
    return _padded(
        lambda pad: {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1735689600,
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": pad}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 41, "completion_tokens": 87, "total_tokens": 128},
        },
        size,
    )


def head(path: str, headers: Mapping[str, str], length: int) -> bytes:
    """The head of a POST as a plain HTTP/1.1 client sends it."""
    all_of_them = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(length), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in all_of_them.items()), "", ""]
    return "\r\n".join(lines).encode()


def _padded(make: Callable[[str], object], size: int) -> str:
    bare = len(json.dumps(make("")))
    return json.dumps(make(("lorem ipsum dolor sit amet " * (size // 20))[: size - bare]))
