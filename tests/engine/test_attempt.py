"""Where a provider is, by its base URL, and what of a reply's head goes on."""

import asyncio
from contextlib import closing

import pytest

from sluice.deadlines import Deadlines
from sluice.engine.attempt import nominated
from sluice.engine.targets import root_of
from sluice.metrics import Metrics
from sluice.outbox import Outbox
from sluice.providers.openai import OPENAI
from sluice.providers.provider import Provider
from sluice.upstream.http import HttpClient
from sluice.values.settings import UpstreamSettings

PLAIN = Provider("plain", "https://plain.example.com")


@pytest.mark.parametrize(
    ("base_url", "host", "path"),
    [
        ("https://api.openai.com", b"api.openai.com", b""),
        ("https://api.openai.com/", b"api.openai.com", b""),
        ("https://api.openai.com/v1", b"api.openai.com", b""),
        ("https://api.openai.com/v1/", b"api.openai.com", b""),
        ("http://127.0.0.1:9000/openai/v1", b"127.0.0.1:9000", b"/openai"),
        ("http://[::1]:9000/a/b", b"[::1]:9000", b"/a/b"),
        ("https://mirror.example.com:8443/v1beta", b"mirror.example.com:8443", b"/v1beta"),
        ("https://b\u00fccher.example", b"xn--bcher-kva.example", b""),
    ],
)
async def test_a_base_url_with_and_without_path_and_version(base_url: str, host: bytes, path: bytes):
    with closing(Deadlines(asyncio.get_running_loop())) as deadlines:
        client = HttpClient(UpstreamSettings(), deadlines, Outbox(asyncio.get_running_loop()), Metrics.unseen())
        root = root_of(OPENAI, base_url, client)
        assert (root.host_line, root.path) == (b"Host: %b\r\n" % host, path)
        assert root_of(PLAIN, "https://plain.example.com/v1/", client).path == b"/v1"


@pytest.mark.parametrize("base_url", ["ftp://a", "a.example.com", "https://", ""])
async def test_a_base_url_that_is_none(base_url: str):
    with closing(Deadlines(asyncio.get_running_loop())) as deadlines:
        client = HttpClient(UpstreamSettings(), deadlines, Outbox(asyncio.get_running_loop()), Metrics.unseen())
        with pytest.raises(ValueError, match=r"providers\.openai\.base_url must be an http or https URL"):
            root_of(OPENAI, base_url, client)


def test_what_a_connection_field_names():
    assert nominated(b"Keep-Alive") == nominated(b"close") == frozenset()
    assert {b"x-a", b"x-b"} <= nominated(b"close, X-A ,x-b")
    assert b"content-length" not in nominated(b"Content-Length, x-a")
