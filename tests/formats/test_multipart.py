import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.formats.multipart import form_field

TYPE = b"multipart/form-data; boundary=abc"


def form(*parts: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"--abc\r\n%s\r\n\r\n%s\r\n" % part for part in parts) + b"--abc--\r\n"


FILE = (b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav', b"\0" * 100_000)
MODEL = (b'Content-Disposition: form-data; name="model"', b"whisper-1")


@pytest.mark.parametrize("parts", [(MODEL,), (MODEL, FILE), (FILE, MODEL), (FILE, FILE, MODEL, FILE)])
def test_a_field_is_found_wherever_it_stands(parts):
    assert form_field(form(*parts), TYPE, b"model") == b"whisper-1"


def test_a_field_is_found_in_a_mapped_file(tmp_path):
    path = tmp_path / "body"
    path.write_bytes(form(FILE, MODEL))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        assert form_field(view, TYPE, b"model") == b"whisper-1"


@pytest.mark.parametrize(
    ("head", "value"),
    [
        (b"content-disposition:form-data;name=model", b"x"),
        (b'Content-Type: text/plain\r\nContent-Disposition: form-data; name="model"', b"x"),
        (b'Content-Disposition: form-data; name="model"', b""),
    ],
)
def test_heads_may_be_written_in_several_ways(head, value):
    assert form_field(form((head, value)), TYPE, b"model") == value


@pytest.mark.parametrize(
    "content_type",
    [b'multipart/form-data; boundary="abc"', b"multipart/form-data;charset=utf-8;Boundary=abc; x=y"],
)
def test_the_boundary_may_be_quoted(content_type):
    assert form_field(form(MODEL), content_type, b"model") == b"whisper-1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--abc",
        b"--abc\r\n",
        form(FILE),
        form((b'Content-Disposition: form-data; name="model"; filename="x"', b"x")),
        form((b'Content-Disposition: form-data; name="models"', b"x")),
        form((b'X: form-data; name="model"', b"x")),
        form((MODEL[0], b"x" * 2000)),
        form(MODEL)[:-20],
        b"--abc\r\n" * 5000,
        b"\r\n--abc\r\n" * 5000 + form(MODEL),
    ],
)
def test_a_field_that_is_not_there_whole_is_none(body):
    assert form_field(body, TYPE, b"model") is None


def test_without_a_boundary_there_is_no_field():
    assert form_field(form(MODEL), b"multipart/form-data", b"model") is None


@given(st.lists(st.sampled_from([b"--abc", b"\r\n", b"--", MODEL[0], b"\r\n\r\n", b"x", b"\xff"]), max_size=20))
def test_no_body_breaks_the_reader(pieces):
    value = form_field(b"".join(pieces), TYPE, b"model")
    assert value is None or b"\r\n--abc" not in b"\r\n" + value


def test_a_delimiter_stands_at_the_start_of_a_line():
    assert form_field(b"x--abc\r\n" + form(MODEL), TYPE, b"model") == b"whisper-1"
    assert form_field(b"a preamble\r\n" + form(MODEL), TYPE, b"model") == b"whisper-1"
