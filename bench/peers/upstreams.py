"""What stands behind the gateways: an instant reply, the same by TLS, an echo for WebSockets. Streams: pacing.py."""

import asyncio
import base64
import hashlib
import re
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.contenders import ROOT, instant_upstream, nginx
from bench.exchange import reply_body
from bench.machine import Cores, Program, free_port

INSTANT_TLS = """
    server {{
        listen 127.0.0.1:{port} ssl backlog=4096;
        ssl_certificate {folder}/localhost.pem; ssl_certificate_key {folder}/localhost.pem;
        location / {{ default_type application/json; return 200 '{reply}'; }}
    }}
"""
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"\r\nsec-websocket-key: *([^\r]+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where gateways are to call, and by which certificate they can trust it."""

    port: int
    authority: Path | None = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}" if self.authority is None else f"https://localhost:{self.port}"

    @property
    def trust(self) -> dict[str, str]:
        """The environment in which OpenSSL, rustls and Node trust it."""
        names = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE")
        return {name: str(self.authority) for name in names} if self.authority else {}


def instant(cores: Cores, folder: Path, stack: ExitStack) -> Upstream:
    return Upstream(instant_upstream(reply_body(), cores, folder, stack))


def instant_by_tls(cores: Cores, folder: Path, stack: ExitStack) -> Upstream:
    port = free_port()
    authority = certify_localhost(folder)
    inside = INSTANT_TLS.format(port=port, folder=folder, reply=reply_body())
    nginx("upstream-tls", inside, port, cores.load, folder, stack)
    return Upstream(port, authority)


def echoing(cores: Cores, folder: Path, stack: ExitStack) -> Upstream:
    """A server that sends every text message back."""
    return Upstream(start_module("bench.peers.upstreams", cores, folder, stack))


def start_module(module: str, cores: Cores, folder: Path, stack: ExitStack) -> int:
    """Runs a module that serves the port it is told, on the load's core; returns the port."""
    port = free_port()
    log = folder / f"{module}.log"
    command = [sys.executable, "-m", module, str(port)]
    program = stack.enter_context(Program(command, cores.load, log, {"PYTHONPATH": str(ROOT)}))
    program.wait_for_port(port)
    return port


def certify_localhost(folder: Path) -> Path:
    """Writes localhost.pem with its key, and returns its authority: rustls trusts none that signed itself."""
    authority, mine = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer, subject = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("bench", "localhost")
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    root = _unsigned(issuer, issuer, authority.public_key()).add_extension(x509.BasicConstraints(True, None), True)
    leaf = _unsigned(issuer, subject, mine.public_key()).add_extension(names, False)
    key = mine.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    (folder / "localhost.pem").write_bytes(key + leaf.sign(authority, hashes.SHA256()).public_bytes(pem))
    (folder / "authority.pem").write_bytes(root.sign(authority, hashes.SHA256()).public_bytes(pem))
    return folder / "authority.pem"


def _unsigned(issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    return made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=30))


class Echo(asyncio.Protocol):
    """The server's side of a WebSocket that says what it is told. Messages are of one frame and less than 64 KB."""

    def __init__(self) -> None:
        self._rest = b""
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if not self._open and b"\r\n\r\n" in self._rest:
            head, _, self._rest = self._rest.partition(b"\r\n\r\n")
            self._accept(head + b"\r\n")
        while self._open and (frame := self._take()):
            self._answer(*frame)

    def _accept(self, head: bytes) -> None:
        key = _KEY.search(head)
        if key is None:
            reply = reply_body().encode()
            lines = (
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            )
            self._transport.write(lines % len(reply) + reply)
            self._transport.close()
            return
        proof = base64.b64encode(hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest())
        lines = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        self._transport.write(lines + b"sec-websocket-accept: %b\r\n\r\n" % proof)
        self._open = True

    def _take(self) -> tuple[int, bytes] | None:
        """The first frame that is there whole: its opcode and what it says."""
        data = self._rest
        if len(data) < 2:
            return None
        size, start = data[1] & 0x7F, 2
        if size == 126:
            size, start = int.from_bytes(data[2:4]), 4
        end = start + 4 + size
        if len(data) < end:
            return None
        self._rest = data[end:]
        return data[0] & 0x0F, _unmasked(data[start : start + 4], data[start + 4 : end])

    def _answer(self, opcode: int, said: bytes) -> None:
        if opcode == 0x8:
            self._transport.write(_frame(0x8, said))
            self._transport.close()
            self._open = False
        elif opcode in (0x1, 0x9):
            self._transport.write(_frame(0x1 if opcode == 0x1 else 0xA, said))


def _unmasked(key: bytes, masked: bytes) -> bytes:
    size = len(masked)
    mask = int.from_bytes((key * (size // 4 + 1))[:size])
    return (int.from_bytes(masked) ^ mask).to_bytes(size)


def _frame(opcode: int, said: bytes) -> bytes:
    size = len(said)
    length = bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2)
    return bytes((0x80 | opcode,)) + length + said


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
