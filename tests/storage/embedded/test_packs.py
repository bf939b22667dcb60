"""Stored bodies: damage is told, never served."""

import gc
import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sluice.storage.embedded.pack_reader import read_body, read_head
from sluice.storage.embedded.packs import PIECE_BYTES, PackWriter, Place, pack_path, plain_compressor
from sluice.storage.ports import StoreFault
from sluice.values.log import Blob, SideFile

SEGMENT = "00000001"


@contextmanager
def writing(folder: Path) -> Iterator[PackWriter]:
    with closing(PackWriter(folder, SEGMENT, [], plain_compressor)) as packs:
        yield packs


def stored(folder: Path, *bodies: Blob) -> list[Place]:
    with writing(folder) as packs:
        places = [packs.put(body) for body in bodies]
        packs.flush()
        return places


def damage(folder: Path, at: int) -> None:
    path = pack_path(folder, SEGMENT, 1)
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def whole(folder: Path, place: Place) -> bytes | None:
    pieces = read_body(folder, SEGMENT, place)
    return None if pieces is None else b"".join(pieces)


def told_whole(folder: Path, place: Place) -> bytes | None:
    """None where the reader is told of damage, be it before the first piece or after."""
    try:
        return whole(folder, place)
    except StoreFault:
        return None


@pytest.mark.parametrize("length", [1, 99, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 5_000_000])
def test_a_body_of_any_length_comes_back_with_its_neighbours_untouched(tmp_path: Path, length: int) -> None:
    bodies = [b"before", random.randbytes(length), bytes(length), b"after"]
    assert [whole(tmp_path, place) for place in stored(tmp_path, *bodies)] == bodies


def test_pieces_are_small_however_well_the_body_was_compressed(tmp_path: Path) -> None:
    (place,) = stored(tmp_path, bytes(10_000_000))
    assert place.stored is not None
    assert place.stored < 10_000
    pieces = read_body(tmp_path, SEGMENT, place)
    assert pieces is not None
    assert max(len(piece) for piece in pieces) <= PIECE_BYTES


@pytest.mark.parametrize("length", [1, 1_000, PIECE_BYTES])
def test_one_flipped_byte_anywhere_keeps_a_body_from_being_served(tmp_path: Path, length: int) -> None:
    first, second = stored(tmp_path, random.randbytes(length), b"intact")
    assert first.stored is not None
    for at in {0, 3, 5, first.stored // 2, first.stored - 1}:
        damage(tmp_path, at)
        assert told_whole(tmp_path, first) is None
        assert whole(tmp_path, second) == b"intact"
        damage(tmp_path, at)
    assert whole(tmp_path, first) is not None


def test_damage_past_the_first_piece_ends_the_body_with_a_fault(tmp_path: Path) -> None:
    body = random.randbytes(4 * PIECE_BYTES)
    (place,) = stored(tmp_path, body)
    assert place.stored is not None
    damage(tmp_path, place.stored - 2)
    pieces = read_body(tmp_path, SEGMENT, place)
    assert pieces is not None
    assert next(pieces) == body[:PIECE_BYTES]
    with pytest.raises(StoreFault):
        list(pieces)
    assert read_head(tmp_path, SEGMENT, place, 1_000) == body[:1_000]


@pytest.mark.parametrize("wrong", [-1, 1, 1_000_000])
def test_a_frame_that_is_not_as_long_as_its_row_says_is_damage(tmp_path: Path, wrong: int) -> None:
    (place,) = stored(tmp_path, b"x" * 5_000)
    assert whole(tmp_path, place._replace(length=5_000 + wrong)) is None


def test_a_place_past_the_end_or_in_the_middle_of_a_frame_yields_nothing(tmp_path: Path) -> None:
    place, last = stored(tmp_path, b"x" * 5_000, b"y" * 5_000)
    assert last.offset is not None
    for wrong in (last._replace(offset=last.offset + 1), place._replace(offset=1), place._replace(pack=2)):
        assert whole(tmp_path, wrong) is None
        assert read_head(tmp_path, SEGMENT, wrong, 10) is None


def test_a_body_that_nobody_reads_leaves_no_file_open(tmp_path: Path) -> None:
    (place,) = stored(tmp_path, random.randbytes(2 * PIECE_BYTES))
    gc.collect()  # whatever else is in pieces
    open_before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(50):
        assert read_body(tmp_path, SEGMENT, place) is not None
    assert len(list(Path("/dev/fd").iterdir())) == open_before


def test_a_lost_side_file_takes_no_room(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(b"x" * 10)
    with writing(tmp_path) as packs:
        kept = packs.put(b"kept")
        lost = [packs.put(SideFile(short, length)) for length in (11, 2_000_000, 40_000_000)]
        packs.flush()
    assert lost == [Place(length=length) for length in (11, 2_000_000, 40_000_000)]
    assert [path.stat().st_size for path in tmp_path.glob("*.pack")] == [kept.stored]
