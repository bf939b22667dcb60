"""How a client's connection ends: what it has not taken yet, and our goodbye."""

import asyncio
import contextlib
import fcntl
import sys
import termios


def finish(transport: asyncio.Transport) -> None:
    """Tells the client that no more comes, and goes on reading what it sends. TLS says both goodbyes by itself."""
    if transport.is_closing():
        return
    if transport.can_write_eof():
        transport.write_eof()
    else:
        transport.close()


def still_reads(transport: asyncio.Transport, unsent: int) -> int | None:
    """How many bytes a client has not taken yet, where they are fewer than before; None where its time is up."""
    left = unread(transport)
    return left if 0 < left < unsent else None


def unread(transport: asyncio.Transport) -> int:
    """Bytes that were written and that the client has not taken yet.

    Those in the kernel count too: it has room for megabytes, and lets us write again only once a third of it is free.
    """
    size = transport.get_write_buffer_size()
    if sys.platform == "linux" and (peer := transport.get_extra_info("socket")) is not None:
        with contextlib.suppress(OSError):
            size += int.from_bytes(fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return size
