"""A spool in a folder of the test's own, and exchanges to put into it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.metrics import Metrics
from sluice.spool.writer import SpoolWriter
from sluice.values.exchange import Exchange
from sluice.values.settings import SpoolSettings
from sluice.values.tenancy import Gateway

DEFAULTS = SpoolSettings()


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(id=b"\x07" * 16, account="local", name="default", authentication=True, collect_logs=True)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics.unseen()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def open_writer(root: Path, metrics: Metrics) -> Iterator[Callable[..., SpoolWriter]]:
    """Opens writers and closes those that the test did not."""
    writers: list[SpoolWriter] = []

    def open_one(settings: SpoolSettings = DEFAULTS, **more: Any) -> SpoolWriter:
        writers.append(SpoolWriter.open(root, settings, metrics, **more))
        return writers[-1]

    yield open_one
    for writer in writers:
        writer.close()


@pytest.fixture
def exchange_of() -> Callable[..., Exchange]:
    def make(log_id: str, *, account: str = "local", request_bytes: int = 0, response_bytes: int = 0) -> Exchange:
        return Exchange(
            id=log_id,
            request_id=log_id,
            event_id=log_id,
            account=account,
            provider="openai",
            path="v1/chat/completions",
            method="POST",
            request_type="provider",
            started_ms=1_700_000_000_000,
            latency_us=1500,
            duration_us=2500,
            status=200,
            ending="complete",
            error=0,
            step=0,
            attempts=1,
            authenticated=True,
            payload=True,
            request_content_type=b"application/json",
            request_encoding=b"",
            response_content_type=b"application/json",
            response_encoding=b"",
            user_agent=b"OpenAI/Python",
            metadata=b"",
            custom_cost=b"",
            request_bytes=request_bytes,
            response_bytes=response_bytes,
        )

    return make


@pytest.fixture
def put(gateway: Gateway, exchange_of: Callable[..., Exchange]) -> Callable[..., str]:
    """Appends one exchange with these two bodies and returns its log id."""

    def put_one(writer: SpoolWriter, request: bytes = b"asked", response: bytes = b"answered") -> str:
        log_id = writer.mint.mint()
        tapes = writer.tape(log_id, "request"), writer.tape(log_id, "response")
        tapes[0].add(request)
        tapes[1].add(response)
        exchange = exchange_of(log_id, request_bytes=len(request), response_bytes=len(response))
        writer.append(gateway, exchange, *tapes)
        return log_id

    return put_one
