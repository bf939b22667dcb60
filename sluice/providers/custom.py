"""Providers that accounts bring themselves (contract 1.4): what is known of them all, and what their address may be."""

from typing import Final
from urllib.parse import urlsplit

from sluice.providers.provider import Provider

CUSTOM: Final = Provider("custom", "")
"""They are taken to speak as OpenAI does, by requests in the unified schema; all else passes as it is."""


def unified_path(path: bytes, base_url: str) -> bytes:
    """Where the endpoint of the unified schema is: under `v1/`, which a base URL may end with already."""
    return path.removeprefix(b"v1/") if base_url.rstrip("/").endswith("/v1") else path


_HTTP_HINT: Final = " (the operator can allow http, by custom_providers.allow_http)"


def fault_of(base_url: str, *, allow_http: bool) -> str | None:
    """Why a base URL will not do, None where it will. What its host leads to is looked at when it is dialled."""
    try:
        url = urlsplit(base_url)
        port, host = url.port, url.hostname
    except ValueError:
        return "Not a URL"
    if url.scheme != "https" and not (allow_http and url.scheme == "http"):
        return "The URL must begin with https://" + (" or http://" if allow_http else _HTTP_HINT)
    if not host or port == 0 or not _is_plain(base_url):
        return "Not a URL"
    if set(url.netloc) & set("@%") or "?" in base_url or "#" in base_url:
        return "The URL must have no user, query or fragment"
    if any(part in (".", "..") for part in url.path.split("/")):
        return "The URL must not lead upwards"
    try:
        host.encode("ascii" if host.isascii() else "idna")
    except UnicodeError:
        return "The host is no name"
    return None


def _is_plain(base_url: str) -> bool:
    """Without what a head must not hold: a path goes into it as it is."""
    path = base_url.partition("//")[2].partition("/")[2]
    return path.isascii() and base_url.isprintable() and not set(base_url) & set(' "<>\\^`{|}')
