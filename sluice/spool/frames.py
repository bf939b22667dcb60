"""The bytes of a spool: file header and frames, without I/O.

A frame, little-endian: "SLU1", u32 length, u32 crc32, then what both of them cover: u8 kind, u8 flags, u16 version,
16 bytes gateway id, u32 meta length, u32 request length, meta (msgpack), request, response. Where a flag says that a
body is in a side file, its section is that file's length, u64.

The crc starts from a seed that only the file's header tells. A client can put the bytes of a frame into a body, but
not one whose crc holds: a reader that looks for the next frame after damage cannot be led to a forged one.
"""

import zlib
from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

import msgspec

from sluice.values.command import Command
from sluice.values.exchange import Exchange, ExchangeId
from sluice.values.log import Blob, Imported, NewLog

LOG: Final = 1
"""The kind of a frame that ends an exchange."""
OPENED: Final = 2
"""The kind that tells of one that goes on for long. It has no bodies; a later one of the same id counts instead."""
COMMAND: Final = 3
"""The kind that changes stored logs. Its meta is a Command, and it has no bodies."""
IMPORTED: Final = 4
"""The kind that holds a log as it is to be stored. Its meta is an Imported, and its bodies are in it."""

REQUEST_ASIDE: Final = 1
RESPONSE_ASIDE: Final = 2
NO_PAYLOAD: Final = 4
HAS_REQUEST: Final = 8
"""Of an imported log, whose bodies may be empty, or not kept; likewise HAS_RESPONSE."""
HAS_RESPONSE: Final = 16

MAGIC: Final = b"SLU1"
MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
"""A length above it is damage. Inline bodies are far below: what is larger goes to a side file."""

_VERSION: Final = 1
_PREFIX: Final = Struct("<4sII")
_FIXED: Final = Struct("<BBH16sII")
_HEAD: Final = Struct("<4sIIBBH16sII")
_KIND_AT: Final = 12
HEAD_BYTES: Final = _HEAD.size
_PREFIX_BYTES: Final = _PREFIX.size
_FIXED_BYTES: Final = _FIXED.size

_FILE_HEADER: Final = Struct("<8sHHIQ16sQQ4xI")
_FILE_MAGIC: Final = b"SLUSPOOL"
FILE_HEADER_BYTES: Final = _FILE_HEADER.size

_encode_meta: Final = msgspec.msgpack.Encoder().encode
_decode_exchange: Final = msgspec.msgpack.Decoder(Exchange).decode
_decode_imported: Final = msgspec.msgpack.Decoder(Imported).decode
_decode_command: Final = msgspec.msgpack.Decoder(Command).decode

_decode_named: Final = msgspec.msgpack.Decoder(ExchangeId).decode


class FrameError(Exception):
    """Bytes that are no frame or no file header, or an exchange that cannot be made one."""


class FileHeader(NamedTuple):
    """What a spool file begins with."""

    worker: int
    seq: int
    incarnation: bytes
    """16 random bytes of the process that writes the file."""
    floor: int
    """The last key of this worker number's former holders: every key up to it is theirs."""
    last_key: int
    """The last key minted for this worker number before the file was opened."""
    former_s: int = 0
    """When the holder before this one was last seen to live, Unix seconds; 0 where there was none."""

    @property
    def seed(self) -> int:
        """What the crc of each frame of this file starts from."""
        return zlib.crc32(self.incarnation)


def encode_file_header(header: FileHeader) -> bytes:
    worker, seq, incarnation, floor, last_key, former_s = header
    bare = _FILE_HEADER.pack(_FILE_MAGIC, _VERSION, worker, former_s, seq, incarnation, floor, last_key, 0)
    return bare[:-4] + zlib.crc32(bare[:-4]).to_bytes(4, "little")


def decode_file_header(data: bytes) -> FileHeader:
    if len(data) < FILE_HEADER_BYTES:
        raise FrameError("the file header is cut short")
    magic, version, worker, former_s, seq, incarnation, floor, last_key, crc = _FILE_HEADER.unpack_from(data)
    if magic != _FILE_MAGIC or zlib.crc32(data[: FILE_HEADER_BYTES - 4]) != crc:
        raise FrameError("not a spool file, or its header is damaged")
    if version != _VERSION:
        raise FrameError(f"spool format {version} is not known here")
    return FileHeader(worker, seq, incarnation, floor, last_key, former_s)


def encode_log_frame(
    gateway_id: bytes,
    exchange: Exchange,
    request: Sequence[bytes],
    response: Sequence[bytes],
    *,
    request_in_side_file: bool = False,
    response_in_side_file: bool = False,
    seed: int,
) -> list[bytes]:
    """The frame as parts for one writev. A body in a side file is given as `side_length()` of it."""
    meta = _encode_meta(exchange)
    flags = (
        (REQUEST_ASIDE if request_in_side_file else 0)
        | (RESPONSE_ASIDE if response_in_side_file else 0)
        | (0 if exchange.payload else NO_PAYLOAD)
    )
    asked = request[0] if len(request) == 1 else b"".join(request)
    fixed = _FIXED.pack(LOG, flags, _VERSION, gateway_id, len(meta), len(asked))
    covered = b"".join((fixed, meta, asked, *response))
    if len(covered) > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {len(covered)} bytes is too long")
    return [_PREFIX.pack(MAGIC, len(covered), zlib.crc32(covered, seed)), covered]


def encode_opened_frame(gateway_id: bytes, exchange: Exchange, *, seed: int) -> list[bytes]:
    """The frame of an exchange that goes on, as parts for one writev."""
    return _encode_bare(OPENED, gateway_id, _encode_meta(exchange), seed)


def encode_command_frame(gateway_id: bytes, command: Command, *, seed: int) -> list[bytes]:
    """The frame of a command, as parts for one writev."""
    return _encode_bare(COMMAND, gateway_id, _encode_meta(command), seed)


def encode_imported_frame(gateway_id: bytes, account: str, log: NewLog, *, seed: int) -> list[bytes]:
    """The frame of a log from elsewhere, with bodies in memory, as parts for one writev. Raises FrameError."""
    meta = _encode_meta(Imported(log.entry.id, account, log.entry))
    request, response = _kept(log.request), _kept(log.response)
    flags = (0 if log.request is None else HAS_REQUEST) | (0 if log.response is None else HAS_RESPONSE)
    fixed = _FIXED.pack(IMPORTED, flags, _VERSION, gateway_id, len(meta), len(request))
    covered = b"".join((fixed, meta, request, response))
    if len(covered) > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {len(covered)} bytes is too long")
    return [_PREFIX.pack(MAGIC, len(covered), zlib.crc32(covered, seed)), covered]


def _kept(body: Blob) -> bytes:
    if body is None or isinstance(body, bytes):
        return body or b""
    raise FrameError("a body in a file cannot be imported")


def _encode_bare(kind: int, gateway_id: bytes, meta: bytes, seed: int) -> list[bytes]:
    """A frame without bodies."""
    covered = _FIXED.pack(kind, NO_PAYLOAD, _VERSION, gateway_id, len(meta), 0) + meta
    if len(covered) > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {len(covered)} bytes is too long")
    return [_PREFIX.pack(MAGIC, len(covered), zlib.crc32(covered, seed)), covered]


def side_length(length: int) -> tuple[bytes]:
    """The section that stands for a body in a side file."""
    return (length.to_bytes(8, "little"),)


def frame_bytes(head: bytes) -> int:
    """How long the frame that begins with `head` says it is; at least the head."""
    return max(HEAD_BYTES, _PREFIX_BYTES + int.from_bytes(head[4:8], "little"))


class Span(NamedTuple):
    """A whole frame with a valid crc within a buffer."""

    end: int
    gateway_id: bytes


def find_span(buffer: bytes, start: int, seed: int) -> Span | None:
    """The frame that starts at `start`; None where the buffer ends before it does. Raises FrameError."""
    if len(buffer) - start < HEAD_BYTES:
        if not MAGIC.startswith(buffer[start : start + 4]) and not buffer.startswith(MAGIC, start):
            raise FrameError("no frame begins here")
        return None
    magic, length, crc, _, _, _, gateway_id, meta_bytes, request_bytes = _HEAD.unpack_from(buffer, start)
    if magic != MAGIC or length > MAX_FRAME_BYTES or length < _FIXED_BYTES + meta_bytes + request_bytes:
        raise FrameError("no frame begins here")
    end = start + _PREFIX_BYTES + length
    if end > len(buffer):
        return None
    if zlib.crc32(memoryview(buffer)[start + _PREFIX_BYTES : end], seed) != crc:
        raise FrameError("the frame's checksum does not hold")
    return Span(end, gateway_id)


class LogFrame(NamedTuple):
    """A decoded log frame; a body in a side file is that file's length."""

    gateway_id: bytes
    exchange: Exchange
    request: bytes | int
    response: bytes | int

    @property
    def account(self) -> str:
        return self.exchange.account

    @property
    def log_id(self) -> str:
        return self.exchange.id


def decode_log_frame(frame: bytes) -> LogFrame:
    """Decodes a frame whose crc was checked when its span was found; one of an opening has no bodies.

    Raises FrameError.
    """
    _, _, _, kind, flags, version, gateway_id, meta_bytes, request_bytes = _HEAD.unpack_from(frame)
    if kind not in (LOG, OPENED) or version != _VERSION:
        raise FrameError(f"frames of kind {kind}, version {version} are not known here")
    request_at = HEAD_BYTES + meta_bytes
    response_at = request_at + request_bytes
    exchange = decode_meta(memoryview(frame)[HEAD_BYTES:request_at])
    request, response = frame[request_at:response_at], frame[response_at:]
    return LogFrame(
        gateway_id,
        exchange,
        int.from_bytes(request, "little") if flags & REQUEST_ASIDE else request,
        int.from_bytes(response, "little") if flags & RESPONSE_ASIDE else response,
    )


def tells_of_opening(frame: bytes) -> bool:
    """Whether the exchange of this frame goes on."""
    return frame[_KIND_AT] == OPENED


class ImportedFrame(NamedTuple):
    """A decoded frame with a log from elsewhere."""

    gateway_id: bytes
    account: str
    log: NewLog

    @property
    def log_id(self) -> str:
        return self.log.entry.id


def is_imported(frame: bytes) -> bool:
    """Whether it holds a log from elsewhere."""
    return frame[_KIND_AT] == IMPORTED


def decode_imported_frame(frame: bytes) -> ImportedFrame:
    """Raises FrameError."""
    _, _, _, _, flags, version, gateway_id, meta_bytes, request_bytes = _HEAD.unpack_from(frame)
    if version != _VERSION:
        raise FrameError(f"frames of version {version} are not known here")
    try:
        imported = _decode_imported(meta_of(frame))
    except (msgspec.MsgspecError, ValueError) as error:
        raise FrameError(f"the log cannot be read: {error}") from error
    request_at = HEAD_BYTES + meta_bytes
    response_at = request_at + request_bytes
    request = frame[request_at:response_at] if flags & HAS_REQUEST else None
    response = frame[response_at:] if flags & HAS_RESPONSE else None
    return ImportedFrame(gateway_id, imported.account, NewLog(imported.entry, request, response))


def is_command(frame: bytes) -> bool:
    """Whether it changes stored logs."""
    return frame[_KIND_AT] == COMMAND


def decode_command(frame: bytes) -> Command:
    """The command of a frame that is one. Raises FrameError."""
    try:
        return _decode_command(meta_of(frame))
    except (msgspec.MsgspecError, ValueError) as error:
        raise FrameError(f"the command cannot be read: {error}") from error


def meta_of(frame: bytes) -> bytes:
    """The exchange or command alone, as it is encoded."""
    return frame[HEAD_BYTES : HEAD_BYTES + int(_HEAD.unpack_from(frame)[7])]


def decode_meta(meta: bytes | memoryview) -> Exchange:
    """The exchange that `meta_of` a frame is. Raises FrameError."""
    try:
        return _decode_exchange(meta)
    except (msgspec.MsgspecError, ValueError) as error:
        raise FrameError(f"the frame's meta cannot be read: {error}") from error


def log_id_of(frame: bytes) -> str:
    """The id of the log or command alone. Raises FrameError."""
    meta_bytes = _HEAD.unpack_from(frame)[7]
    try:
        return _decode_named(memoryview(frame)[HEAD_BYTES : HEAD_BYTES + meta_bytes]).id
    except (msgspec.MsgspecError, ValueError) as error:
        raise FrameError(f"the frame's meta cannot be read: {error}") from error
