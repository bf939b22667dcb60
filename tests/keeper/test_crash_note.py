"""The crash note: which gateway to be careful with, and when a frame has killed often enough."""

from pathlib import Path

import pytest

from sluice.keeper.crash_note import CrashNote, Place
from sluice.values.log import Position

HERE = Place(b"a" * 16, "3", Position(1_700_000_000, 4096))
THERE = Place(b"b" * 16, "0", Position(7, 64))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keeper.note"


def life(path: Path, *places: Place, alone: bool = True, stored: bool = False, dies: bool = True) -> CrashNote:
    """A keeper that works on one place after the other and, if so, dies metering or storing the last."""
    note = CrashNote.open(path)
    for place in places:
        note.begin(place, alone=alone)
        note.metering()
        if stored:
            note.storing()
        if not dies or place is not places[-1]:
            note.end()
    return note


def test_after_an_ordinary_end_nothing_is_remembered(path: Path):
    life(path, HERE, THERE, dies=False)
    assert CrashNote.open(path).careful == set()


def test_after_a_death_in_a_batch_its_gateway_is_handled_with_care(path: Path):
    life(path, THERE, HERE, alone=False)
    note = CrashNote.open(path)
    assert note.careful == {HERE.gateway_id}
    assert not note.poisoned(HERE)


def test_two_deaths_in_metering_the_same_frame_alone_are_enough(path: Path):
    life(path, HERE)
    assert not CrashNote.open(path).poisoned(HERE)
    life(path, THERE, HERE)
    note = CrashNote.open(path)
    assert note.poisoned(HERE)
    assert not note.poisoned(THERE)
    assert note.careful == {HERE.gateway_id}


def test_the_store_takes_long_so_that_more_deaths_are_needed_there(path: Path):
    for _ in range(5):
        life(path, HERE, stored=True)
        assert not CrashNote.open(path).poisoned(HERE)
    life(path, HERE, stored=True)
    assert CrashNote.open(path).poisoned(HERE)


def test_two_deaths_over_different_frames_are_not(path: Path):
    life(path, HERE)
    life(path, HERE, THERE)
    note = CrashNote.open(path)
    assert not note.poisoned(HERE)
    assert not note.poisoned(THERE)


def test_deaths_elsewhere_in_a_batch_do_not_clear_a_suspect(path: Path):
    life(path, HERE)
    life(path, THERE, alone=False)
    note = CrashNote.open(path)
    assert note.careful == {HERE.gateway_id, THERE.gateway_id}
    life(path, HERE)
    assert CrashNote.open(path).poisoned(HERE)


def test_a_note_of_another_size_is_begun_anew(path: Path):
    path.write_bytes(b"\xff" * 100)
    assert CrashNote.open(path).careful == set()
