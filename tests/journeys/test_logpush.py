"""Logpush through a running server, into a folder and into S3, and back in by an import."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from sluice.storage.ports import Objects
from sluice.values.settings import ObjectSettings
from sluice.wiring.stores import objects_at

ROOT = Path(__file__).parents[2]
CURL = ROOT / "tests" / "clients" / "programs" / "curl.py"


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectSettings:
    if request.param == "folder":
        return ObjectSettings(f"file://{tmp_path}/pushed")
    server: ObjectSettings = request.getfixturevalue("s3")
    return ObjectSettings("s3://packs/pushed", *(getattr(server, name) for name in server.__struct_fields__[1:]))


def test_logs_are_pushed_sealed_and_come_in_again(start_gateway: Any, place: ObjectSettings, tmp_path: Path) -> None:
    to = {name: getattr(place, name) for name in ("url", "endpoint", "region", "access_key_id")}
    to["secret_access_key"] = place.secret_access_key.reveal()
    job = {"every_s": 1, "to": {name: text for name, text in to.items() if text}}
    own = start_gateway("--simulate", "--workers", "1", logpush={"archive": job})
    key = rsa.generate_private_key(65537, 2048)
    (tmp_path / "private.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    (tmp_path / "public.pem").write_text(public)
    assert json.loads(turn_on(own, tmp_path))["result"]["logpush_public_key"] == public
    own.until(
        lambda: 'sluice_logpush_gateways{job="archive"} 1' in own.http.get("/metrics").text, "the job's beginning"
    )

    ids = [own.chat().headers["cf-aig-log-id"] for _ in range(5)]
    objects = objects_at(place)
    pushed = own.until(lambda: whole(objects) if whole(objects).count(b"\n") >= 5 else None, "five lines")
    lines = [json.loads(line) for line in pushed.splitlines()]
    assert sorted(line["LogID"] for line in lines) == ids
    assert b"hello" not in pushed
    assert {line["Gateway"] for line in lines} == {"default"}

    (tmp_path / "pushed.log").write_bytes(pushed)
    own.cli("gateway", "create", "other")
    words = ["logs", "import", str(tmp_path / "pushed.log"), "--from", "logpush", "--gateway", "other"]
    done = own.run_cli(*words, "--key", str(tmp_path / "private.pem"))
    assert (done.returncode, done.stderr) == (0, "5 logs are stored.\n")
    for side in ("request", "response"):
        assert own.log_body(ids[0], side, "other") == own.log_body(ids[0], side)
    costs = [{row["id"]: row["cost"] for row in own.logs(5, gateway)} for gateway in ("default", "other")]
    assert costs[0] == costs[1]


def turn_on(own: Any, folder: Path) -> str:
    """As docs/logpush.md tells it."""
    page = (ROOT / "docs" / "logpush.md").read_text()
    (command,) = re.findall(r"^   ```sh\n(   curl .*?)^   ```$", page, re.MULTILINE | re.DOTALL)
    command = command.replace("curl", f"{sys.executable} {CURL}").replace("http://127.0.0.1:8787", own.base_url)
    environment = {**os.environ, "SLUICE_TOKEN": own.token, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        ["sh", "-e", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def whole(objects: Objects) -> bytes:
    names = sorted(objects.names("default/"))
    return b"".join(gzip.decompress(objects.read(name, 0, objects.size(name) or 0)) for name in names)


def test_logpush_without_a_job_or_with_a_wrong_key_is_refused(gateway: Any, start_gateway: Any, tmp_path: Path) -> None:
    refused = gateway.manage("PUT", "/gateways/default", json={"logpush": True}).json()["errors"][0]
    assert (refused["code"], refused["path"]) == (7001, ["body", "logpush"])
    own = start_gateway("--workers", "1", logpush={"archive": {"to": {"url": f"file://{tmp_path}/pushed"}}})
    change = {"logpush": True, "logpush_public_key": "k" * 16}
    refused = own.manage("PUT", "/gateways/default", json=change).json()["errors"][0]
    assert (refused["code"], refused["path"]) == (7001, ["body", "logpush_public_key"])
    change = {"logpush": True, "collect_logs": False}
    assert own.manage("PUT", "/gateways/default", json=change).json()["errors"][0]["path"] == ["body", "logpush"]
    assert own.manage("PUT", "/gateways/default", json={"logpush": True}).status_code == 200
