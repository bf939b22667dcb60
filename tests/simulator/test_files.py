from sluice.simulator.call import Body, BodyKeeper
from sluice.simulator.files import File, Shelf, read_form


def form(data: bytes, most: int = 1 << 20) -> Body:
    keeper = BodyKeeper(most)
    keeper.add(
        b'--mark\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--mark\r\nContent-Disposition: form-data; name="file"; filename="a b.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\n" + data + b"\r\n"
        b'--mark\r\nContent-Disposition: form-data; name="after"\r\n\r\nlast\r\n--mark--\r\n'
    )
    return keeper.body()


def test_a_form_is_read_part_by_part() -> None:
    parts = read_form("multipart/form-data; boundary=mark", form(b"one\r\ntwo"))
    assert {name: part.data for name, part in parts.items()} == {
        "purpose": b"batch",
        "file": b"one\r\ntwo",
        "after": b"last",
    }
    assert parts["file"].filename == "a b.txt"


def test_of_a_long_form_the_small_parts_and_the_files_length_are_known() -> None:
    parts = read_form('multipart/form-data; boundary="mark"', form(b"x" * 500_000, most=1000))
    assert (parts["purpose"].text, parts["after"].text) == ("batch", "last")
    assert (parts["file"].length, parts["file"].data) == (500_000, None)


def test_a_shelf_gives_up_the_oldest_files_first() -> None:
    shelf = Shelf(most_bytes=10)
    for name in ("a", "b", "c"):
        shelf.put(File(name, name, "batch", 4, b"1234"))
    assert [file.id for file in shelf.all()] == ["c", "b"]
    assert not shelf.remove("a")
    assert shelf.remove("b")
