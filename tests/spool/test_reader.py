"""The keeper's end of the spool: everything written is read once and in order, damage costs only what it hit."""

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice.metrics import Metrics
from sluice.spool.bad import bad_files, bad_path
from sluice.spool.frames import (
    FILE_HEADER_BYTES,
    FileHeader,
    FrameError,
    decode_log_frame,
    encode_file_header,
    encode_log_frame,
    log_id_of,
)
from sluice.spool.layout import file_path, file_seqs, make_folder
from sluice.spool.reader import SpoolReader, SpoolTail
from sluice.spool.writer import SpoolWriter
from sluice.values.exchange import Exchange
from sluice.values.ids import Mint, key_of
from sluice.values.log import Position
from sluice.values.settings import SpoolSettings

OpenWriter = Callable[..., SpoolWriter]
Put = Callable[..., str]

GATEWAY = b"g" * 16


class Files:
    """Writes spool files byte by byte, as a dying worker or a bad disk would leave them."""

    def __init__(self, folder: Path, exchange_of: Callable[..., Exchange]) -> None:
        self.folder, self._exchange_of, self._mint = folder, exchange_of, Mint(0)
        folder.mkdir(parents=True)
        (folder / "big").mkdir()

    def header(self, seq: int) -> FileHeader:
        return FileHeader(0, seq, b"i" * 16, 0, 0)

    def frame(self, body: bytes = b"reply", seed: int | None = None) -> bytes:
        exchange = self._exchange_of(self._mint.mint())
        return b"".join(
            encode_log_frame(GATEWAY, exchange, [], [body], seed=self.header(1).seed if seed is None else seed)
        )

    def write(self, seq: int, *parts: bytes) -> None:
        file_path(self.folder, seq).write_bytes(encode_file_header(self.header(seq)) + b"".join(parts))

    def grow(self, seq: int, *parts: bytes) -> None:
        with file_path(self.folder, seq).open("ab") as file:
            file.write(b"".join(parts))


@pytest.fixture
def files(root: Path, exchange_of: Callable[..., Exchange]) -> Files:
    return Files(root / "0", exchange_of)


def everything(tail: SpoolTail, limit_bytes: int = 1 << 20) -> list[bytes]:
    frames = []
    while found := tail.take(limit_bytes):
        frames += [each.data for each in found]
    return frames


def test_frames_come_in_order_across_files_and_positions_lead_back_to_them(
    open_writer: OpenWriter, put: Put, root: Path
):
    writer = open_writer(SpoolSettings(file_bytes=3000))
    ids = [put(writer, b"q" * 200) for _ in range(40)]
    tail = SpoolTail(root / "0")
    found = []
    while some := tail.take(1000):
        found += some
    assert [log_id_of(each.data) for each in found] == ids
    assert all(one.end <= two.start for one, two in pairwise(found))
    for each, later in pairwise(found):
        assert tail.read(each.start, each.end) == each.data
        assert SpoolTail(root / "0", each.end).take()[0].data == later.data
    assert SpoolTail(root / "0", found[-1].end).take() == []


def test_a_file_that_is_read_again_stays_open_until_all_is_read(open_writer: OpenWriter, put: Put, root: Path):
    def opened() -> list[str]:
        return [name for file in Path("/dev/fd").iterdir() if (name := os.path.realpath(file)).startswith(str(root))]

    writer = open_writer(SpoolSettings(file_bytes=3000))
    for _ in range(20):
        put(writer, b"q" * 200)
    writer.close()  # its thread closes the files before the last when it comes to it
    before, tail = len(opened()), SpoolTail(root / "0")
    found = tail.take(1000)
    for each in found * 2:
        assert tail.read(each.start, each.end) == each.data
    assert len(opened()) == before + 2
    everything(tail)
    assert tail.take() == []
    assert len(opened()) == before + 1
    assert tail.read(found[0].start, found[0].end) == found[0].data
    tail.close()
    assert len(opened()) == before


def test_new_frames_are_seen_at_the_next_look(open_writer: OpenWriter, put: Put, root: Path):
    tail = SpoolTail(root / "0")
    make_folder(root)
    make_folder(root / "0")
    assert tail.take() == []
    writer = open_writer()
    assert tail.take() == []
    for _ in range(3):
        log_id = put(writer)
        assert [log_id_of(each.data) for each in tail.take()] == [log_id]
        assert tail.take() == []


def test_a_frame_larger_than_the_limit_is_read(files: Files):
    frames = [files.frame(b"x" * 50_000), files.frame(), files.frame(b"y" * 5_000)]
    files.write(1, *frames)
    assert everything(SpoolTail(files.folder), 1000) == frames


def test_an_unfinished_frame_in_the_newest_file_is_waited_for(files: Files):
    first, second = files.frame(), files.frame()
    files.write(1, first)
    tail = SpoolTail(files.folder)
    assert everything(tail) == [first]
    for byte in second[:-1]:
        files.grow(1, bytes([byte]))
        assert tail.take() == []
    files.grow(1, second[-1:])
    assert everything(tail) == [second]
    assert tail.bad == 0


def test_a_torn_tail_is_skipped_once_there_is_a_newer_file(files: Files):
    first, torn, after = files.frame(), files.frame(), files.frame()
    files.write(1, first, torn[:-3])
    tail = SpoolTail(files.folder)
    assert everything(tail) == [first]
    files.write(2, after)
    assert everything(tail) == [after]
    assert tail.bad == 0
    assert bad_files(files.folder) == []


def test_what_was_written_between_the_last_look_and_the_rotation_is_read(files: Files):
    frames = [files.frame() for _ in range(3)]
    files.write(1, frames[0])
    tail = SpoolTail(files.folder)
    assert everything(tail) == frames[:1]
    files.grow(1, frames[1])
    files.write(2, frames[2])
    assert everything(tail) == frames[1:]


def test_damage_costs_the_frame_it_hit_and_is_kept_aside(files: Files):
    frames = [files.frame(bytes([number]) * 300) for number in range(10)]
    hit = bytearray(frames[4])
    hit[-100] ^= 1
    files.write(1, *frames[:4], bytes(hit), *frames[5:])
    tail = SpoolTail(files.folder)
    assert everything(tail) == frames[:4] + frames[5:]
    assert tail.bad == 1
    offset = FILE_HEADER_BYTES + sum(map(len, frames[:4]))
    assert bad_path(files.folder, 1, offset).read_bytes() == hit


@pytest.mark.parametrize("at", [0, 4, 5, 6, 7, 8, 12, 13, 32, 36, 40])
def test_damage_to_any_field_of_a_head_costs_no_other_frame(files: Files, at: int):
    frames = [files.frame(bytes([number]) * 300) for number in range(4)]
    hit = bytearray(frames[1])
    hit[at] ^= 0x80
    files.write(1, frames[0], bytes(hit), *frames[2:])
    files.write(2)
    tail = SpoolTail(files.folder)
    assert everything(tail) == [frames[0], *frames[2:]]
    assert tail.bad == 1


def test_a_damaged_length_in_the_newest_file_holds_up_nothing_that_follows(files: Files):
    frames = [files.frame(bytes([number]) * 300) for number in range(4)]
    hit = bytearray(frames[1])
    hit[6] ^= 0x40  # four megabytes more
    files.write(1, frames[0], bytes(hit))
    tail = SpoolTail(files.folder)
    assert everything(tail) == frames[:1]
    files.grow(1, *frames[2:])
    assert everything(tail) == frames[2:]
    assert tail.bad == 1


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_overwritten_every_other_frame_is_read_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, exchange_of: Callable[..., Exchange], data: st.DataObject
):
    files = Files(tmp_path_factory.mktemp("spool") / "0", exchange_of)
    sizes = data.draw(st.lists(st.integers(0, 2000), min_size=1, max_size=12))
    frames = [files.frame(b"SLU1" * (size // 4)) for size in sizes]
    files.write(1, *frames)
    files.write(2)
    path = file_path(files.folder, 1)
    content = bytearray(path.read_bytes())
    first = data.draw(st.integers(FILE_HEADER_BYTES, len(content) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=min(500, len(content) - first)))
    original = bytes(content)
    content[first : first + len(damage)] = damage
    path.write_bytes(content)
    at, expected = FILE_HEADER_BYTES, []
    for frame in frames:
        if original[at : at + len(frame)] == content[at : at + len(frame)]:
            expected.append(frame)
        at += len(frame)
    tail = SpoolTail(files.folder)
    assert everything(tail, data.draw(st.integers(100, 5000))) == expected
    tail.close()


def test_zeros_after_a_power_loss_are_skipped_and_kept(files: Files):
    frames = [files.frame(), files.frame()]
    files.write(1, frames[0], bytes(5000))
    tail = SpoolTail(files.folder)
    assert everything(tail) == frames[:1]
    assert tail.bad == 0
    files.write(2, frames[1])
    assert everything(tail) == frames[1:]
    assert tail.bad == 1


def test_a_frame_inside_a_body_is_never_taken_for_one(files: Files):
    forged = files.frame(b"forged", seed=0)
    carrier = bytearray(files.frame(b"x" * 100 + forged + b"x" * 100))
    carrier[30] ^= 1
    last = files.frame()
    files.write(1, bytes(carrier), last)
    assert everything(SpoolTail(files.folder)) == [last]


def test_a_file_whose_header_cannot_be_read_is_kept_aside(files: Files):
    frame = files.frame()
    files.write(1, files.frame())
    with file_path(files.folder, 1).open("r+b") as file:
        file.write(b"X")
    tail = SpoolTail(files.folder)
    assert tail.take() == []
    files.write(2, frame)
    assert everything(tail) == [frame]
    assert tail.bad == 1
    assert bad_path(files.folder, 1, 0).stat().st_ino == file_path(files.folder, 1).stat().st_ino


def test_a_file_that_is_just_being_made_is_waited_for(files: Files):
    header, frame = encode_file_header(files.header(1)), files.frame()
    path = file_path(files.folder, 1)
    path.write_bytes(b"")
    tail = SpoolTail(files.folder)
    assert tail.take() == []
    path.write_bytes(header[:20])
    assert tail.take() == []
    path.write_bytes(header + frame)
    assert everything(tail) == [frame]


def test_reading_again_what_has_changed_is_an_error(files: Files):
    files.write(1, files.frame())
    tail = SpoolTail(files.folder)
    (found,) = tail.take()
    with file_path(files.folder, 1).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"X")
    with pytest.raises(FrameError):
        tail.read(found.start, found.end)
    file_path(files.folder, 1).unlink()
    with pytest.raises(FrameError):
        tail.read(found.start, found.end)


def test_files_before_the_mark_go_and_the_newest_stays(files: Files, root: Path):
    for seq in (1, 2, 3):
        files.write(seq, files.frame())
    reader = SpoolReader(root)
    reader.remove_files("0", Position(2, FILE_HEADER_BYTES))
    assert file_seqs(files.folder) == [2, 3]
    reader.remove_files("0", Position(9, 0))
    assert file_seqs(files.folder) == [3]


async def test_side_files_of_the_dead_are_swept_when_nobody_holds_the_spool(root: Path, metrics: Metrics, put: Put):
    writer = SpoolWriter.open(root, SpoolSettings(), metrics)
    put(writer)
    orphan = root / "0" / "big" / f"{writer.mint.mint()}.res"
    orphan.write_bytes(b"x")
    reader = SpoolReader(root)
    tail = reader.tail("0")
    tail.take()
    assert tail.take() == []
    assert reader.sweep("0", tail.position) == 0  # its worker lives: the frame may come
    writer.close()
    assert reader.sweep("0", Position(1, 0)) == 0  # not all that was read is behind the mark
    assert orphan.exists()
    assert reader.sweep("0", tail.position) == 1
    assert not orphan.exists()


async def test_side_files_of_former_holders_are_swept_while_the_next_one_works(
    root: Path, metrics: Metrics, put: Put, open_writer: OpenWriter
):
    writer = SpoolWriter.open(root, SpoolSettings(), metrics)
    orphan = root / "0" / "big" / f"{writer.mint.mint()}.res"
    orphan.write_bytes(b"x")
    framed = root / "0" / "big" / f"{put(writer, b'q' * 100_000)}.req"
    writer.close()
    writer = open_writer()
    running = root / "0" / "big" / f"{writer.mint.mint()}.req"
    running.write_bytes(b"x")
    reader = SpoolReader(root)
    tail = reader.tail("0")
    (found,) = tail.take()
    assert decode_log_frame(found.data).request == 100_000
    assert reader.sweep("0", found.start) == 0
    assert framed.exists()
    assert tail.take() == []
    assert reader.sweep("0", tail.position) == 2
    assert list((root / "0" / "big").iterdir()) == [running]


def test_keys_are_past_once_their_holder_is_gone_and_all_it_wrote_is_behind_the_mark(
    root: Path, metrics: Metrics, put: Put, open_writer: OpenWriter
):
    writer = SpoolWriter.open(root, SpoolSettings(), metrics)
    last_key = key_of(put(writer))
    reader = SpoolReader(root)
    tail = reader.tail("0")
    assert reader.past("0", tail.position) < 0  # nothing was read yet
    (found,) = tail.take()
    assert reader.past("0", tail.position) < last_key  # its worker lives
    writer.close()
    assert reader.past("0", found.start) < last_key
    assert reader.past("0", tail.position) > last_key
    os.utime(root / "0" / "lock", (1_750_000_000, 1_750_000_000))
    assert [seen_s for key, seen_s in reader.deaths("0") if key >= last_key] == [1_750_000_000]
    later = open_writer()
    own_key = key_of(put(later))
    assert reader.past("0", tail.position) < last_key  # a file that was not read: it need not be a new holder's
    while tail.take():
        pass
    assert last_key <= reader.past("0", tail.position) < own_key
    seen = [seen_s for key, seen_s in reader.deaths("0") if key >= last_key]
    assert (seen[0], len(seen)) == (1_750_000_000, 2)


def test_so_much_damage_is_kept_and_no_more(files: Files, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sluice.spool.bad.MOST_FILES", 3)
    frames = [files.frame(bytes([number]) * 300) for number in range(12)]
    hit = [bytes([*frame[:-1], frame[-1] ^ 1]) if number % 2 else frame for number, frame in enumerate(frames)]
    files.write(1, *hit)
    files.write(2)
    tail = SpoolTail(files.folder)
    assert everything(tail) == frames[::2]
    assert tail.bad == 6
    kept = bad_files(files.folder)
    assert [path.read_bytes() for path in kept] == hit[1:6:2]
    assert os.stat(files.folder / "bad").st_mode & 0o777 == 0o700


def test_a_span_past_the_bytes_that_are_kept_is_counted_alone(files: Files, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sluice.spool.bad.MOST_BYTES", 5_000)
    files.write(1, files.frame(), bytes(5_001))
    files.write(2, bytes(1_000))
    files.write(3)
    tail = SpoolTail(files.folder)
    assert len(everything(tail)) == 1
    assert tail.bad == 2
    assert [path.stat().st_size for path in bad_files(files.folder)] == [1_000]
