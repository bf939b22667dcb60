"""Bodies compressed with what their gateway's logs have in common, and read by whoever has their segment."""

import random
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from sluice.storage.embedded import dictionaries
from sluice.storage.embedded.dictionaries import Compressors, Dictionary, Training
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.embedded.shard import BOUNDS
from sluice.storage.embedded.writer import EmbeddedLogWriter
from sluice.storage.ports import Side
from sluice.values.log import NewLog, Position, ShardKey

AT = {"0": Position(1, 100)}
Logs = Callable[..., NewLog]
Writers = Callable[..., EmbeddedLogWriter]
SYSTEM = " ".join(
    f"rule {number}: be {word}" for number, word in enumerate(["kind", "brief", "exact", "calm", "honest"] * 20)
)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary after a hundred logs."""
    monkeypatch.setattr("sluice.storage.embedded.shard.TRAIN_ROWS", 100)
    monkeypatch.setattr(dictionaries, "_FEWEST", 50)


@pytest.fixture
def asked(log: Logs) -> Callable[[int], list[NewLog]]:
    chance = random.Random(4)

    def make(count: int, said: str = SYSTEM) -> list[NewLog]:
        return [
            log(
                f'{{"model":"m","messages":[{{"role":"system","content":"{said}"}},'
                f'{{"role":"user","content":"{chance.getrandbits(400):x}"}}]}}'.encode(),
                f'{{"id":"{chance.getrandbits(90):x}","usage":{{"prompt_tokens":{chance.randrange(99)}}}}}'.encode(),
            )
            for _ in range(count)
        ]

    return make


def settle(writer: EmbeddedLogWriter) -> None:
    for _ in range(2):  # what is put into its place leaves something to be removed
        writer._tools.housekeeping._thread.submit(lambda: None).result()
        writer.tend()


def bodies(reader: EmbeddedLogReader, shard: ShardKey, log: NewLog) -> list[bytes | None]:
    sides: tuple[Side, Side] = ("request", "response")
    found = [reader.body(shard, log.entry.id, side) for side in sides]
    return [None if pieces is None else b"".join(pieces) for pieces in found]


def readable(reader: EmbeddedLogReader, shard: ShardKey, logs: list[NewLog]) -> bool:
    return all(bodies(reader, shard, each) == [each.request, each.response] for each in logs)


def stored(folder: Path, name: str) -> list[int]:
    with apsw.Connection(str(folder / name)) as db:
        return [size for (size,) in db.execute("SELECT req_z FROM det ORDER BY k")]


def dictionary_ids(folder: Path, name: str) -> list[int]:
    with apsw.Connection(str(folder / name)) as db:
        return [number for (number,) in db.execute("SELECT id FROM zdict ORDER BY n")]


def test_a_gateway_learns_from_its_first_logs_and_its_later_ones_take_less_room(
    opened: Writers,
    reader: EmbeddedLogReader,
    shard: ShardKey,
    folder: Path,
    asked: Callable[..., list[NewLog]],
    few: None,
) -> None:
    first, later = asked(120), asked(50)
    writer = opened()
    writer.append(shard, first, AT)
    settle(writer)
    writer.append(shard, later, AT)
    assert readable(reader, shard, first + later)
    sizes = stored(folder, "00000001.db")
    assert sum(sizes[120:]) / 50 < sum(sizes[:120]) / 120 * 0.8
    assert reader.head(shard, later[0].entry.id, "request", 10) == later[0].request[:10]
    writer.close()
    writer = opened()
    writer.append(shard, more := asked(10), AT)
    assert max(stored(folder, "00000001.db")[170:]) < min(sizes[:120])  # the next keeper goes on with it
    assert readable(reader, shard, first + later + more)


def test_the_next_segment_begins_with_the_dictionary_of_the_last(
    opened: Writers,
    reader: EmbeddedLogReader,
    shard: ShardKey,
    folder: Path,
    asked: Callable[..., list[NewLog]],
    few: None,
) -> None:
    writer = opened(bounds=BOUNDS._replace(rows=150))
    logs = asked(120)
    writer.append(shard, logs, AT)
    settle(writer)
    for _ in range(3):
        writer.append(shard, more := asked(60), AT)
        logs += more
    settle(writer)
    names = sorted(path.name for path in folder.glob("0*.db"))
    assert names == ["00000001.sealed.db", "00000002.db"]
    assert dictionary_ids(folder, names[1]) == dictionary_ids(folder, names[0])  # it does as well as before
    assert readable(reader, shard, logs)


def test_a_gateway_whose_logs_have_changed_learns_anew_when_its_segment_is_full(
    opened: Writers,
    reader: EmbeddedLogReader,
    shard: ShardKey,
    folder: Path,
    asked: Callable[..., list[NewLog]],
    few: None,
) -> None:
    writer = opened(bounds=BOUNDS._replace(rows=300))
    logs = asked(120)
    writer.append(shard, logs, AT)
    settle(writer)
    chance = random.Random(5)
    words = [f"{chance.getrandbits(48):x}" for _ in range(300)]
    for _ in range(4):
        writer.append(shard, more := asked(60, " ".join(words[:150])), AT)
        logs += more
    settle(writer)
    (old,) = dictionary_ids(folder, "00000001.sealed.db")
    assert dictionary_ids(folder, "00000002.db")[0] == old
    assert len(dictionary_ids(folder, "00000002.db")) == 2
    writer.append(shard, more := asked(20, " ".join(words[:150])), AT)
    assert readable(reader, shard, logs + more)


def test_logs_with_nothing_in_common_get_no_dictionary(
    opened: Writers, reader: EmbeddedLogReader, shard: ShardKey, folder: Path, log: Logs, few: None
) -> None:
    chance = random.Random(6)
    logs = [log(chance.randbytes(500), chance.randbytes(500)) for _ in range(150)]
    writer = opened()
    writer.append(shard, logs, AT)
    settle(writer)
    assert dictionary_ids(folder, "00000001.db") == []
    assert readable(reader, shard, logs)


def test_what_came_compressed_and_what_is_not_kept_is_not_learned_from(
    opened: Writers, shard: ShardKey, folder: Path, log: Logs, few: None
) -> None:
    writer = opened()
    writer.append(shard, [log(b"x" * 500, b"y" * 500, request_encoding="gzip") for _ in range(120)], AT)
    writer.append(shard, [log()._replace(request=None, response=None) for _ in range(120)], AT)
    task = Training(folder, 1)
    task.run()
    assert task.made is None


def test_a_lost_dictionary_loses_bodies_and_no_logs(
    opened: Writers,
    reader: EmbeddedLogReader,
    shard: ShardKey,
    folder: Path,
    asked: Callable[..., list[NewLog]],
    few: None,
) -> None:
    writer = opened()
    writer.append(shard, first := asked(120), AT)
    settle(writer)
    writer.append(shard, later := asked(3), AT)
    writer.close()
    with apsw.Connection(str(folder / "00000001.db")) as db:
        db.execute("DELETE FROM zdict")
    assert readable(reader, shard, first)
    assert bodies(reader, shard, later[0]) == [None, None]
    assert reader.get(shard, later[0].entry.id) == later[0].entry


def test_so_many_compressors_are_kept_and_no_more() -> None:
    samples: list[bytes | bytearray | memoryview] = [f"{SYSTEM}{number}".encode() for number in range(200)]
    trained = [
        Dictionary(
            40_000 + number,
            dictionaries.zstandard.train_dictionary(2_000, samples, dict_id=40_000 + number).as_bytes(),
            1.0,
        )
        for number in range(3)
    ]
    compressors = Compressors(most=2)
    first = compressors.of(trained[0])
    assert compressors.of(trained[1]) is not first
    assert compressors.of(trained[0]) is first
    compressors.of(trained[2])
    assert compressors.of(trained[0]) is first
    assert len(compressors._known) == 2
