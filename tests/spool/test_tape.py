"""Tapes: small bodies stay in memory, large ones go to disk, and memory stays bounded."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.metrics import Metrics
from sluice.spool.tape import BEHIND_ALL_BYTES, BEHIND_BYTES
from sluice.spool.writer import SpoolWriter
from sluice.values.settings import SpoolSettings

OpenWriter = Callable[..., SpoolWriter]

SMALL = SpoolSettings(inline_body_bytes=1000, recording_bytes=3000)


def side_files(root: Path) -> dict[str, bytes]:
    return {path.suffix: path.read_bytes() for path in (root / "0" / "big").iterdir()}


async def test_a_small_body_stays_in_memory(open_writer: OpenWriter, root: Path):
    tape = open_writer(SMALL).tape("A" * 26, "request")
    for piece in (b"one ", b"", b"two"):
        tape.add(piece)
    await tape.settle()
    assert (tape.whole, tape.length, tape.recorded, tape.truncated, tape.behind) == (b"one two", 7, 7, False, False)
    assert side_files(root) == {}


async def test_a_body_past_the_inline_size_goes_to_its_side_file_whole(open_writer: OpenWriter, root: Path):
    tape = open_writer(SMALL).tape("A" * 26, "request")
    pieces = [bytes([number]) * 700 for number in range(200)]
    for piece in pieces:
        tape.add(piece)
    await tape.settle()
    assert tape.whole is None
    assert side_files(root) == {".req": b"".join(pieces)}
    tape.add(b"more")
    await tape.settle()
    assert side_files(root) == {".req": b"".join([*pieces, b"more"])}


async def test_what_was_recorded_can_be_read_again_from_memory_and_from_disk(open_writer: OpenWriter, root: Path):
    tape = open_writer(SMALL).tape("A" * 26, "request")
    tape.add(b"0123456789")
    assert await tape.reread(3, 4) == b"3456"
    tape.add(b"x" * 5000)
    assert await tape.reread(8, 4) == b"89xx"
    assert await tape.reread(0, tape.length) == b"0123456789" + b"x" * 5000
    tape.add(b"y" * 100)
    assert await tape.reread(5009, 101) == b"x" + b"y" * 100
    for file in (root / "0" / "big").iterdir():
        file.unlink()
    with pytest.raises(OSError):
        await tape.reread(0, 1)


async def test_many_small_bodies_together_go_to_side_files(open_writer: OpenWriter):
    writer = open_writer(SMALL)
    tapes = [writer.tape(f"{number:026d}", "response") for number in range(10)]
    for tape in tapes:
        tape.add(b"x" * 900)
    assert [tape.whole is None for tape in tapes] == [False] * 3 + [True] * 7
    for tape in tapes:
        tape.discard()
    again = writer.tape("B" * 26, "response")
    again.add(b"y" * 900)
    assert again.whole == b"y" * 900


async def test_recording_stops_at_the_limit_and_says_so(open_writer: OpenWriter, root: Path):
    writer = open_writer(SMALL, body_bytes=2500)
    tape = writer.tape("A" * 26, "response")
    for _ in range(5):
        tape.add(b"x" * 800)
    await tape.settle()
    assert (tape.length, tape.recorded, tape.truncated, tape.whole) == (4000, 2500, True, None)
    assert side_files(root) == {".res": b"x" * 2500}


async def test_a_limit_below_the_inline_size_cuts_in_memory(open_writer: OpenWriter):
    tape = open_writer(SMALL, body_bytes=10).tape("A" * 26, "response")
    tape.add(b"0123456789")
    assert (tape.truncated, tape.whole) == (False, b"0123456789")
    tape.add(b"abc")
    tape.add(b"def")
    assert (tape.truncated, tape.whole, tape.length) == (True, None, 16)
    assert b"".join(tape.parts) == b"0123456789"


async def test_a_discarded_body_leaves_nothing(open_writer: OpenWriter, root: Path):
    writer = open_writer(SMALL)
    tape = writer.tape("A" * 26, "response")
    tape.add(b"x" * 5000)
    other = writer.tape("B" * 26, "request")
    other.add(b"y" * 5000)
    tape.discard()
    tape.add(b"late")
    await other.settle()  # the thread does one thing after another
    await asyncio.to_thread(writer._sides.flush)
    assert side_files(root) == {".req": b"y" * 5000}


async def test_a_sender_is_held_back_while_the_disk_is_behind(open_writer: OpenWriter):
    writer = open_writer()
    held = asyncio.Event()

    async def hold_the_thread() -> None:
        writer._sides._jobs.put(lambda: asyncio.run_coroutine_threadsafe(held.wait(), loop).result())

    loop = asyncio.get_running_loop()
    await hold_the_thread()
    tape = writer.tape("A" * 26, "request")
    added = 0
    while not tape.behind:
        tape.add(b"x" * 65536)
        added += 65536
    assert BEHIND_BYTES <= added <= BEHIND_BYTES + 3 * 65536
    others = [writer.tape(f"{number:026d}", "request") for number in range(100)]
    for other in others:
        while not other.behind and other.length < BEHIND_BYTES // 2:
            other.add(b"x" * 65536)
    assert writer._sides.waiting < 2 * BEHIND_ALL_BYTES
    settled = asyncio.create_task(tape.settle())
    await asyncio.sleep(0)
    assert not settled.done()
    held.set()
    await settled
    assert not tape.behind


async def test_a_body_that_cannot_be_written_is_lost_and_its_log_is_not(
    open_writer: OpenWriter, root: Path, put: Callable[..., str], metrics: Metrics
):
    writer = open_writer()
    (root / "0" / "big").rename(root / "0" / "gone")
    put(writer, b"q", b"r" * 200_000)
    await asyncio.to_thread(writer._sides.flush)
    await asyncio.sleep(0)
    assert metrics.counter("sluice_spool_frames_total", "Log frames appended to the spool.").value == 1
    assert writer.writable
    (root / "0" / "gone").rename(root / "0" / "big")
    assert side_files(root) == {}
