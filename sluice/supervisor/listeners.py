"""Listening sockets that the supervisor opens and keeps, so that a dead process refuses nobody."""

import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BACKLOG: Final = 2048
"""Whoever calls `listen` again on an inherited socket must give this number, or the queue shrinks."""

PER_SLOT: Final = sys.platform == "linux"
"""Linux spreads connections evenly over sockets that share a port; elsewhere all workers accept from one socket."""


class PortTaken(Exception):
    """The port cannot be had; the message says who has it, where that can be known, and what to do."""


def probe(host: str, port: int) -> None:
    """Binds the port plainly and lets it go: SO_REUSEPORT would share it silently with a server of the same user.

    Raises PortTaken.
    """
    try:
        _bound(host, port, shared=False).close()
    except PermissionError as error:
        raise PortTaken(
            f"Port {port} needs privileges that this user has not: choose one above 1023 with --port."
        ) from error
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise PortTaken(f"Cannot listen on {host} port {port}: {error.strerror or error}.") from error
        holder = _holder(port)
        raise PortTaken(
            f"Port {port} on {host} is taken by {holder or 'another program'}: "
            "stop it, or choose another port with --port."
        ) from error


def open_tcp(host: str, port: int, *, listening: bool = True) -> socket.socket:
    """A socket on the port that workers accept from. One that only is bound takes no share of the connections yet."""
    listener = _bound(host, port, shared=PER_SLOT)
    if listening:
        listener.listen(BACKLOG)
    return listener


def open_unix(path: Path) -> socket.socket:
    """A socket at the path, in place of any left there, that only this user can open."""
    waiting = path.with_name(f"{path.name}.new")
    waiting.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(waiting))
        os.chmod(waiting, 0o600)
        listener.listen(BACKLOG)
        os.rename(waiting, path)  # nobody meets a socket that is not yet listening, or open to all
    except OSError:
        listener.close()
        raise
    return listener


def url_of(host: str, port: int, *, tls: bool = False) -> str:
    """The address that a person on this machine can use."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if tls else 'http'}://{shown}:{port}"


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # Else the closed connections of a server that has just ended would keep the port for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _holder(port: int) -> str:
    """Name and number of the process that listens on the port, as far as Linux shows it to this user."""
    inodes = set(_listening_inodes(port))
    if not inodes:
        return ""
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(entry) in inodes:
                process = entry.parent.parent
                title = (process / "cmdline").read_text().split("\0")[0]
                name = "a Sluice server" if title.startswith("sluice: ") else (process / "comm").read_text().strip()
                return f"{name} (process {process.name})"
        except OSError:
            continue
    return ""


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{columns[9]}]"
