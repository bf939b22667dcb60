"""The table of what is fuzzed: each target takes any bytes and raises for a promise that is not kept."""

from collections.abc import Callable, Mapping
from typing import Final

from bench.fuzz.http import replies, requests
from bench.fuzz.steps import events, steps
from bench.fuzz.streams import event_stream, frames, messages, server_sent

TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "requests": requests,
    "replies": replies,
    "frames": frames,
    "messages": messages,
    "steps": steps,
    "events": events,
    "server_sent": server_sent,
    "event_stream": event_stream,
}
