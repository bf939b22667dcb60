"""What every store of objects promises, over a folder and over a real S3 server."""

from pathlib import Path

import msgspec
import pytest

from sluice.storage.objects import ObstoreObjects
from sluice.storage.ports import ObjectFault, ObjectMissing
from sluice.values.secret import Secret
from sluice.values.settings import ObjectSettings

MB = 1024 * 1024


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObstoreObjects:
    if request.param == "folder":
        return ObstoreObjects.open(ObjectSettings(f"file://{tmp_path}/objects"))
    place: ObjectSettings = request.getfixturevalue("s3")
    return ObstoreObjects.open(
        msgspec.structs.replace(place, url=f"s3://{tmp_path.name.replace('_', '-').lower()}/a/b")
    )


def test_what_is_put_is_read_in_ranges_listed_and_deleted(objects: ObstoreObjects):
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


def test_a_large_file_goes_in_parts(objects: ObstoreObjects, tmp_path: Path):
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
