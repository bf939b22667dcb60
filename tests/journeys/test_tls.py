"""The gateway by https and wss: calls, streams, WebSockets, bad handshakes, a certificate that is replaced."""

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from websockets.asyncio.client import connect

import sluice

HERE = Path(__file__).parent
FAILED = "sluice_tls_handshakes_failed_total"


def trusting(certificate: str = "localhost.pem") -> ssl.SSLContext:
    return ssl.create_default_context(cafile=HERE / certificate)


@pytest.fixture(scope="module")
def secure(start_shared_gateway: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A gateway by TLS. Its certificate is a copy, to be replaced."""
    certificate = tmp_path_factory.mktemp("tls") / "served.pem"
    shutil.copy(HERE / "localhost.pem", certificate)
    own = start_shared_gateway(
        "--simulate", "--workers", "1", "--tls-cert", str(certificate), limits={"head_timeout_s": 2.0}
    )
    own.certificate = certificate
    own.http = httpx.Client(base_url=own.base_url, headers=own.auth, verify=trusting(), trust_env=False)
    return own


def failed(gateway: Any) -> int:
    lines = [line for line in gateway.http.get("/metrics").text.splitlines() if line.startswith(FAILED)]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


def test_an_sdk_calls_and_streams_by_https_and_both_are_logged(secure: Any):
    assert secure.base_url.startswith("https://")
    client = OpenAI(
        api_key="sk", base_url=secure.inference_url() + "/v1", default_headers=secure.auth, http_client=secure.http
    )
    said = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}])
    streamed = client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}], stream=True
    )
    words = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
    assert words == said.choices[0].message.content
    assert [log["ending"] for log in secure.logs(2)] == ["complete", "complete"]


def test_urls_that_the_gateway_tells_are_https(secure: Any):
    told = secure.manage("GET", "/gateways/default/url/openai").json()["result"]
    assert told == f"{secure.base_url}/v1/local/default/openai"


async def test_a_websocket_by_wss(secure: Any):
    plain = {"provider": "openai", "endpoint": "chat/completions", "headers": {"Authorization": "Bearer sk"}}
    query = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    url = f"wss://127.0.0.1:{secure.port}/v1/local/default"
    message = {"type": "universal.create", "request": {**plain, "query": query, "eventId": "a"}}
    async with (
        connect(url, additional_headers=secure.auth, proxy=None, ssl=trusting()) as connection,
        asyncio.timeout(9),
    ):
        await connection.send(json.dumps(message))
        assert json.loads(await connection.recv())["type"] == "universal.created"
    assert connection.close_code == 1000


async def test_a_large_body_goes_both_ways_and_a_refusal_arrives_whole(secure: Any):
    async with httpx.AsyncClient(base_url=secure.base_url, headers=secure.auth, verify=trusting()) as client:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x" * 3_000_000}]}
        done = await client.post("/v1/local/default/openai/v1/chat/completions", json=body, timeout=20)
        assert done.status_code == 200
        refused = await client.get("/v1/local/default/openai/v1/models", headers={"x": "y" * 70_000})
        assert refused.status_code == 431


async def test_who_speaks_no_tls_is_sent_away_and_counted(secure: Any):
    before = failed(secure)
    reader, writer = await asyncio.open_connection("127.0.0.1", secure.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(5):
        assert not (await reader.read()).startswith(b"HTTP")
    writer.close()
    silent_reader, silent = await asyncio.open_connection("127.0.0.1", secure.port)
    async with asyncio.timeout(5):
        assert await silent_reader.read() == b""  # a handshake has a time to be done in
    silent.close()
    old = ssl.create_default_context(cafile=HERE / "localhost.pem")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.deprecated_call():
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", secure.port, ssl=old)
    secure.until(lambda: failed(secure) >= before + 3, "three failures")
    assert "Traceback" not in secure.said()


def test_a_certificate_is_replaced_by_a_reload(secure: Any):
    def served() -> bytes:
        open_to_all = ssl.create_default_context()
        open_to_all.check_hostname, open_to_all.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", secure.port), 5) as plain, open_to_all.wrap_socket(plain) as found:
            return found.getpeercert(binary_form=True) or b""

    before = served()
    shutil.copy(HERE / "elsewhere.pem", secure.certificate)
    secure.process.send_signal(signal.SIGHUP)
    secure.until(lambda: served() != before, "the other certificate")
    shutil.copy(HERE / "localhost.pem", secure.certificate)
    secure.process.send_signal(signal.SIGHUP)
    secure.until(lambda: served() == before, "the first certificate again")
    assert secure.http.get("/healthz").status_code == 200


def test_files_that_will_not_do_are_refused_at_the_start(tmp_path: Path):
    (tmp_path / "no.pem").write_text("nothing")
    for words in (["--tls-cert", str(tmp_path / "no.pem")], ["--tls-cert", "nowhere.pem"], ["--tls-key", "k.pem"]):
        command = [sys.executable, "-c", "from sluice.cli.main import main; main()", "serve", "--data", "data", *words]
        environment = {**os.environ, "PYTHONPATH": str(Path(sluice.__file__).parents[1])}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode != 0
        assert "server.tls_" in done.stderr
