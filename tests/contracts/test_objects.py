"""What every store of objects promises, over a folder and over a real S3 server."""

import os
from pathlib import Path

import msgspec
import pytest

from sluice.storage.folder_objects import FolderObjects
from sluice.storage.objects import ObstoreObjects
from sluice.storage.ports import ObjectFault, ObjectMissing, Objects
from sluice.values.secret import Secret
from sluice.values.settings import ObjectSettings

MB = 1024 * 1024


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        return FolderObjects.open(tmp_path / "objects")
    place: ObjectSettings = request.getfixturevalue("s3")
    return ObstoreObjects.open(
        msgspec.structs.replace(place, url=f"s3://{tmp_path.name.replace('_', '-').lower()}/a/b")
    )


def test_what_is_put_is_read_in_ranges_listed_and_deleted(objects: Objects):
    objects.put("one/two.pack", b"0123456789")
    objects.put("one/two.pack", b"abcdefghij")
    objects.put("other", b"")
    assert objects.read("one/two.pack", 2, 3) == b"cde"
    assert objects.read("one/two.pack", 8, 2) == b"ij"
    assert (objects.size("one/two.pack"), objects.size("other"), objects.size("none")) == (10, 0, None)
    assert list(objects.names("one/")) == ["one/two.pack"]
    for _ in range(2):
        objects.delete("one/two.pack")
    assert objects.size("one/two.pack") is None
    assert list(objects.names("one/")) == []
    with pytest.raises(ObjectMissing):
        objects.read("one/two.pack", 0, 1)


def test_a_folder_has_objects_on_disk_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[Path] = []
    fdatasync = os.fdatasync

    def seen(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", seen)
    root = tmp_path / "made" / "too"
    objects = FolderObjects.open(root)
    assert synced == [tmp_path, tmp_path / "made"]
    synced.clear()
    objects.put("one/day/log", b"lines")
    folder = root / "one" / "day"
    assert synced == [root, root / "one", folder / "log.part", folder, root / "one", root]
    assert (folder / "log").stat().st_mode & 0o777 == 0o600
    for made in (folder, folder.parent, root, root.parent):
        assert made.stat().st_mode & 0o777 == 0o700
    (folder / "log.part").write_bytes(b"of a process that was killed")
    assert list(objects.names("")) == ["one/day/log"]
    for name in ("../log", "one/../../log", "/log"):
        with pytest.raises(ObjectFault):
            objects.put(name, b"")


def test_a_large_file_goes_in_parts(objects: Objects, tmp_path: Path):
    file = tmp_path / "file"
    file.write_bytes(b"".join(number.to_bytes(4, "big") for number in range(5 * MB)))
    objects.put_file("large", file)
    assert objects.size("large") == 20 * MB
    assert objects.read("large", 4 * 3_000_000, 4) == (3_000_000).to_bytes(4, "big")


def test_a_wrong_secret_and_a_server_that_is_not_there_are_faults_without_the_secret(s3: ObjectSettings):
    wrong = msgspec.structs.replace(s3, secret_access_key=Secret("wrong-and-secret"))
    with pytest.raises(ObjectFault) as refused:
        ObstoreObjects.open(wrong).put("a", b"a")
    assert "wrong-and-secret" not in str(refused.value)
    assert "wrong-and-secret" not in repr(wrong)
    with pytest.raises(ObjectFault):
        ObstoreObjects.open(msgspec.structs.replace(s3, endpoint="http://127.0.0.1:1")).size("a")
