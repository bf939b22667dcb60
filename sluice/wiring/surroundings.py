"""Looks at what a server needs beside sound files: room, descriptors, its port, a clock, certificates, prices."""

import os
import resource
import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from sluice.spool.layout import spool_bytes
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.ports import StoreFault
from sluice.supervisor import listeners, lock
from sluice.values.finding import Finding
from sluice.values.settings import GB, Settings

_LITTLE_ROOM: Final = GB
_EXPIRES_S: Final = 14 * 24 * 3600
_AHEAD_S: Final = 60
_BEHIND: Final = 0.5


def inspect_surroundings(settings: Settings) -> Iterator[Finding]:
    """What is wrong, and what is worth knowing, of the machine and the settings."""
    folder = settings.data.absolute()
    yield from _room(folder, settings)
    yield from _files(folder, settings)
    yield from _port(folder, settings)
    yield from _clock(folder, time.time())
    yield from _certificates(settings, time.time())
    yield from _names(folder, settings)


def _room(folder: Path, settings: Settings) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    if free < _LITTLE_ROOM:
        what = f"is on a disk with {free // 1_000_000:,} MB left"
        yield Finding(str(folder), what, "make room: on a full disk logs wait in the spool", grade="note")
    used = spool_bytes(folder / "spool")
    if used > settings.spool.max_bytes * _BEHIND:
        what = f"holds {used:,} of {settings.spool.max_bytes:,} bytes (spool.max_bytes)"
        remedy = f"see why the keeper is behind; when it is full, it will {settings.spool.when_full}"
        yield Finding(str(folder / "spool"), what, remedy, grade="note")


def _files(folder: Path, settings: Settings) -> Iterator[Finding]:
    """A process raises its own limit as far as it may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = 2 * settings.limits.connections
    if hard != resource.RLIM_INFINITY and hard < wanted:
        what = f"may open {hard:,} files here, and limits.connections may need {wanted:,}"
        yield Finding("a worker", what, "raise the hard limit (ulimit -Hn, LimitNOFILE)", grade="note")


def _port(folder: Path, settings: Settings) -> Iterator[Finding]:
    if lock.is_held(folder / "sluice.lock"):
        return
    try:
        listeners.probe(settings.server.host, settings.server.port)
    except listeners.PortTaken as error:
        yield Finding("server.port", f"cannot be had: {str(error).rstrip('.')}", grade="note")


def _clock(folder: Path, now_s: float) -> Iterator[Finding]:
    """By the files that are written all the time."""
    written = [path for path in [*folder.glob("*.db*"), *folder.glob("spool/*/*.sp")] if path.exists()]
    last = max(written, key=lambda path: path.stat().st_mtime, default=None)
    if last is not None and (ahead_s := last.stat().st_mtime - now_s) > _AHEAD_S:
        what = f"is behind: {last} was written {ahead_s:,.0f} s later than now"
        yield Finding("the clock", what, "set it: logs are ordered, limited and removed by time", grade="wrong")


def _certificates(settings: Settings, now_s: float) -> Iterator[Finding]:
    """That they fit their key is seen to where settings are read."""
    if path := settings.server.tls_cert:
        found = x509.load_pem_x509_certificates(Path(path).read_bytes())
        yield from _ending(path, min(each.not_valid_after_utc for each in found).timestamp() - now_s)
    if path := settings.upstream.ca_file:
        try:
            ssl.create_default_context(cafile=path)
        except OSError as error:
            yield Finding(path, f"cannot be used (upstream.ca_file): {error}", grade="wrong")


def _ending(certificate: str, left_s: float) -> Iterator[Finding]:
    remedy = "put a new one in its place and send SIGHUP"
    if left_s <= 0:
        yield Finding(certificate, "has expired: clients refuse it", remedy, grade="wrong")
    elif left_s < _EXPIRES_S:
        day = datetime.fromtimestamp(time.time() + left_s, UTC).date()
        yield Finding(certificate, f"expires on {day}", remedy, grade="note")


def _names(folder: Path, settings: Settings) -> Iterator[Finding]:
    """What settings name in the database; and whether there are prices."""
    if not os.access(folder / "control.db", os.R_OK):
        return
    try:
        with closing(EmbeddedControlReader.open(folder / "control.db")) as control:
            for host, target in settings.hosts.items():
                account, _, gateway = target.partition("/")
                if control.gateway(account, gateway) is None:
                    what = f"maps {host} to {target}, which is not there"
                    yield Finding("hosts", what, "make the gateway, or mend the setting", grade="wrong")
            if not control.prices_version():
                what = "has no price list yet: the server loads it soon after its start"
                yield Finding(str(folder / "control.db"), what, grade="note")
    except StoreFault as error:
        yield Finding(str(folder / "control.db"), f"cannot be used: {error}", grade="wrong")
