"""generations.map: every mapping sees every bump."""

import threading
import zlib
from pathlib import Path

import pytest

from sluice.storage.embedded.generations import SLOTS, MappedGenerations, create_generations
from sluice.storage.ports import StoreFault


def test_a_bump_is_seen_through_another_mapping(tmp_path: Path):
    path = tmp_path / "generations.map"
    create_generations(path)
    writer, reader = MappedGenerations.open(path, writable=True), MappedGenerations.open(path)
    assert reader.of("acme") == 0
    writer.bump("acme")
    assert (reader.of("acme"), reader.of("other")) == (1, 0)
    writer.bump_all()
    assert (reader.of("acme"), reader.of("other"), reader.of("never seen")) == (2, 1, 1)
    writer.close()
    reader.close()


def test_making_the_map_again_leaves_it_as_it_is(tmp_path: Path):
    path = tmp_path / "generations.map"
    create_generations(path)
    kept = MappedGenerations.open(path, writable=True)
    kept.bump("acme")
    create_generations(path)
    again = MappedGenerations.open(path)
    assert again.of("acme") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["generations.map"]
    kept.close()
    again.close()


def test_words_are_little_endian_at_the_checksum_of_the_account(tmp_path: Path):
    path = tmp_path / "generations.map"
    create_generations(path)
    writer = MappedGenerations.open(path, writable=True)
    writer.bump("acme")
    writer.close()
    slot = zlib.crc32(b"acme") & 0xFFFF
    words = path.read_bytes()
    assert len(words) == SLOTS * 8
    assert words[slot * 8 : slot * 8 + 8] == (1).to_bytes(8, "little")


def test_a_read_only_mapping_cannot_bump(tmp_path: Path):
    create_generations(tmp_path / "generations.map")
    reader = MappedGenerations.open(tmp_path / "generations.map")
    with pytest.raises(TypeError):
        reader.bump("acme")
    reader.close()


def test_two_writers_lose_no_bump(tmp_path: Path):
    path = tmp_path / "generations.map"
    create_generations(path)
    writers = [MappedGenerations.open(path, writable=True) for _ in range(2)]

    def bump(generations: MappedGenerations) -> None:
        for _ in range(500):
            generations.bump("acme")

    threads = [threading.Thread(target=bump, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writers[0].of("acme") == 1_000
    for writer in writers:
        writer.close()


def test_any_number_of_account_names_is_taken(tmp_path: Path):
    create_generations(tmp_path / "generations.map")
    generations = MappedGenerations.open(tmp_path / "generations.map", writable=True)
    generations.bump("acme")
    for number in range(10_000):
        generations.of(f"guess-{number}\udc80")
    assert generations.of("acme") == 1
    assert len(generations._slots) <= 4096
    generations.close()


def test_a_map_of_the_wrong_size_is_refused(tmp_path: Path):
    (tmp_path / "generations.map").write_bytes(b"short")
    with pytest.raises(StoreFault, match="damaged"):
        MappedGenerations.open(tmp_path / "generations.map")
