"""A key that is stored is written nowhere in clear text, and told to nobody but its provider."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

STORED = "sk-stored-8f4b1c7e2a9d6035-secret"
ROTATED = "sk-rotated-3e5a9b1d7c2f8046-secret"
OPERATORS = "sk-operators-6d2c8e4f1a7b9053-secret"
CLIENTS = "sk-clients-5a7e1d9c3b8f4206-secret"
HEADERS = "sk-headers-1c9e5b3d7f8a2046-secret"
KEYS = tuple(text.encode() for text in (STORED, ROTATED, OPERATORS, HEADERS, CLIENTS))
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
STREAM = CHAT | {"stream": True}


@pytest.fixture(scope="module")
def house(gateway: Any, provider_of: Any, start_shared_gateway: Any) -> Any:
    """Whose operator has a key for OpenAI, and whose Anthropic cannot be reached."""
    upstream = f"http://{provider_of(gateway).authority}"
    return start_shared_gateway(
        providers={
            "openai": {"base_url": f"{upstream}/openai", "api_key": OPERATORS},
            "anthropic": {"base_url": "http://127.0.0.1:9"},
            "groq": {"base_url": f"{upstream}/groq"},
            "google-ai-studio": {"base_url": f"{upstream}/google-ai-studio"},
        },
        custom_providers={"allow_http": True, "allow_private": True},
        spool={"inline_body_bytes": 0},
    )


def use(house: Any) -> list[str]:
    """Puts both keys to every use, failures among them; returns all that a client was told."""
    base = "/gateways/default/provider_configs"
    told = []
    for slug in ("openai", "anthropic", "groq"):
        body = {"alias": "main", "default_config": True, "provider_slug": slug, "secret": STORED}
        made = house.manage("POST", base, json=body)
        told += [made.text, house.manage("POST", base, json=body).text]
        told.append(house.manage("POST", base, json=body | {"provider_slug": 1}).text)
        told.append(house.manage("POST", base, json=body | {"alias": "bad", "secret": STORED + "\n\x01"}).text)
        told.append(house.manage("PUT", f"{base}/{made.json()['result']['id']}", json={"secret": ROTATED}).text)
    told.append(house.manage("GET", base).text)
    calls = [
        ("openai", "v1/chat/completions", CHAT),
        ("openai", "v1/chat/completions", STREAM),
        ("openai", "v1/chat/completions", CHAT | {"model": "gpt-4o~status-401"}),
        ("openai", "v1/chat/completions", CHAT | {"model": "gpt-4o~drop"}),
        ("anthropic", "v1/messages", CHAT),
        ("groq", "chat/completions", CHAT),
    ]
    for slug, path, body in calls:
        reply = house.http.post(f"/v1/local/default/{slug}/{path}", json=body)
        told.append(str(reply.headers) + reply.text)
        told.append(str(house.log(reply.headers["cf-aig-log-id"])))
    told.append(house.http.post("/v1/local/default/openai/v1/models", headers={"cf-aig-byok-alias": "x"}).text)
    body = {"alias": "k", "default_config": False, "provider_slug": "openai", "secret": STORED}
    made = house.manage("POST", base, json=body)
    told.append(house.manage("DELETE", f"{base}/{made.json()['result']['id']}").text)
    told += [house.http.get("/metrics").text, house.said()]
    return told


def found_in(folder: Path) -> list[str]:
    """Files in which a key is."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    return [str(path) for path in files if any(key in path.read_bytes() for key in KEYS)]


def test_no_key_is_in_a_reply_a_log_a_metric_a_process_or_a_file(house: Any):
    told = use(house)
    assert any("****cret" in text for text in told)
    assert [text for text in told if any(key.decode() in text for key in KEYS)] == []
    assert found_in(house.data) == []
    processes = house.processes()
    assert len(processes) >= 4
    for title, pid in processes.items():
        shown = (Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/environ").read_bytes())
        own_start = title == "sluice: supervisor"  # its environment is as whoever started it gave it
        assert not any(key in text for key in KEYS for text in shown[: 1 if own_start else 2]), title


def test_headers_of_a_custom_provider_are_as_secret(house: Any, provider_of: Any, gateway: Any):
    wanted = {
        "name": "Ours",
        "slug": "ours",
        "enable": True,
        "headers": json.dumps({"Authorization": f"Bearer {HEADERS}"}),
        "base_url": f"http://{provider_of(gateway).authority}/openai",
    }
    made = house.manage("POST", "/custom-providers", json=wanted)
    assert house.manage("PATCH", f"/custom-providers/{made.json()['result']['id']}", json={"name": "O"}).is_success
    for body in (CHAT, STREAM, CHAT | {"model": "gpt-4o~status-401"}, CHAT | {"model": "gpt-4o~drop"}):
        reply = house.http.post("/v1/local/default/custom-ours/v1/chat/completions", json=body)
        assert HEADERS not in str(reply.headers) + reply.text + str(house.log(reply.headers["cf-aig-log-id"]))
    assert found_in(house.data) == []
    assert HEADERS not in house.said() + house.http.get("/metrics").text


async def test_neither_a_clients_own_key_nor_its_token_is_written_down(house: Any):
    def ask(path: str, status: int, **headers: str) -> None:
        reply = house.http.post(f"/v1/local/default/{path}", json=CHAT, headers=headers)
        assert reply.status_code == status, reply.text
        if status < 500:
            log = house.log(reply.headers["cf-aig-log-id"])
            assert CLIENTS not in str(reply.headers) + reply.text + str(log)

    def use() -> None:
        google = "google-ai-studio/v1beta/models/gemini-2.0-flash:generateContent"
        ask(f"{google}?key={CLIENTS}", 400)
        ask(f"anthropic/v1/messages?api_key={CLIENTS}", 400, **{"x-api-key": CLIENTS})
        ask("openai/v1/chat/completions", 200, authorization=f"Bearer {CLIENTS}", cookie=f"key={CLIENTS}")
        ask("openai/v1/chat/completions", 200, authorization=f"Bearer {house.token}")
        ask("openai/v1/chat/completions", 200, **{"proxy-authorization": f"Basic {CLIENTS}"})
        body = [
            {"provider": "groq", "endpoint": "chat/completions", "query": CHAT, "authorization": f"Bearer {CLIENTS}"}
        ]
        assert house.universal(body).status_code == 200

    await asyncio.to_thread(use)
    url = f"ws://127.0.0.1:{house.port}/v1/local/default/openai/realtime?model=gpt-realtime"
    offered = ["realtime", f"openai-insecure-api-key.{CLIENTS}", f"cf-aig-authorization.{house.token}"]
    async with asyncio.timeout(20), connect(url, subprotocols=offered, proxy=None) as socket:  # type: ignore[arg-type]  # the library wants its own type of text
        await socket.recv()
        assert socket.response is not None
        log_id = socket.response.headers["cf-aig-log-id"]
    assert CLIENTS not in str(await asyncio.to_thread(house.log, log_id))
    assert found_in(house.data) == []
    assert [
        path for path in house.data.rglob("*") if path.is_file() and house.token.encode() in path.read_bytes()
    ] == []
    assert not any(text in house.said() for text in (CLIENTS, house.token))


def test_a_worker_that_crashes_leaves_no_key_behind(house: Any):
    reply = house.http.post("/v1/local/default/openai/v1/chat/completions", json=CHAT)
    assert house.log(reply.headers["cf-aig-log-id"])["byok"] is True
    worker = house.processes()["sluice: worker 1"]
    limits = Path(f"/proc/{worker}/limits").read_text()
    assert limits.partition("Max core file size")[2].split()[:2] == ["0", "0"]
    assert int(Path(f"/proc/{worker}/coredump_filter").read_text(), 16) == 0
    os.kill(worker, signal.SIGSEGV)
    house.until(lambda: house.processes().get("sluice: worker 1", worker) != worker, "another worker")
    house.until(lambda: house.http.get("/readyz").status_code == 200, "its readiness")
    assert house.http.post("/v1/local/default/openai/v1/chat/completions", json=CHAT).status_code == 200
    assert found_in(house.data) == []
    assert not any(key.decode() in house.said() for key in KEYS)


def test_the_command_line_takes_a_key_from_stdin_or_a_file_only(house: Any, tmp_path: Path):
    def run(*words: str, stdin: str = "", status: int = 0) -> str:
        done = house.run_cli("provider-key", *words, stdin=stdin)
        assert done.returncode == status, done
        said: str = done.stdout + done.stderr
        return said

    said = run("create", "groq", "--alias", "{cli}", stdin=STORED + "\n")
    key_id = said.split()[3]
    (tmp_path / "key").write_text(f"  {ROTATED}\n")
    said += run("rotate", key_id, "--default", "--key-file", str(tmp_path / "key"))
    said += run("list")
    assert [key_id, "groq", "yes", "****cret", "{cli}"] in [line.split() for line in said.splitlines()]
    assert "There is no key on stdin" in run("create", "groq", "--alias", "none", status=1)
    said += run("delete", key_id)
    assert key_id not in run("list")
    assert STORED not in said
    assert ROTATED not in said
