"""`scripts/bench --peers` without its peers: their locks, and the arithmetic of the tables."""

import json
import re

import pytest

from bench.peers.install import LOCKS, forbidden

PYTHON_LOCKS = sorted(LOCKS.glob("*.lock"))


@pytest.mark.parametrize("lock", PYTHON_LOCKS, ids=lambda lock: lock.stem)
def test_a_peer_is_locked_with_hashes_and_never_in_a_forbidden_release(lock):
    text = lock.read_text()
    packages = re.findall(r"^[a-z0-9][^\n]*==[^\n]*\\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(packages) == len(re.findall(r"^[a-z0-9][^\n]*==", text, re.MULTILINE)) > 0
    assert forbidden(text) is None
    assert not re.search(r"https?://", text)


@pytest.mark.parametrize("version", ["1.82.7", "1.82.8", "1.107", "1.107.0", "1.107.12.post1"])
def test_a_forbidden_release_is_recognised(version):
    assert forbidden(f"# a lock\nlitellm=={version} \\\n    --hash=sha256:00\n") == f"litellm=={version}"


@pytest.mark.parametrize("version", ["1.82.6", "1.82.70", "1.106.9", "1.108.7"])
def test_other_releases_are_not(version):
    assert forbidden(f"litellm=={version} \\\n    --hash=sha256:00\n") is None


def test_npm_packages_are_locked_with_their_overrides_and_hashes():
    wanted = json.loads((LOCKS / "portkey" / "package.json").read_bytes())
    locked = json.loads((LOCKS / "portkey" / "package-lock.json").read_bytes())["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted["overrides"]} == wanted["overrides"]
    assert all(package["integrity"].startswith("sha512-") for name, package in locked.items() if name)
    assert not any("resolved" in package for package in locked.values())
