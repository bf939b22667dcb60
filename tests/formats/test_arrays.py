import json
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.formats.arrays import is_array, read_elements, whole_elements


class Part(msgspec.Struct):
    n: int = 0


PARTS = msgspec.json.Decoder(list[Part])
TEXTS = st.text('ab"\\{}[],:\n', max_size=8)
OBJECTS = st.fixed_dictionaries(
    {"n": st.integers(0, 9)},
    optional={"text": TEXTS, "list": st.lists(st.dictionaries(TEXTS, TEXTS, max_size=2), max_size=2)},
)


@given(st.lists(OBJECTS, max_size=5), st.sampled_from([None, 2]), st.data())
def test_of_an_array_that_was_cut_all_elements_before_the_cut_are_read(objects, indent, data):
    array = json.dumps(objects, indent=indent).encode()
    cut = data.draw(st.integers(1, len(array)))
    whole = [
        len(json.dumps(objects[: n + 1], indent=indent).encode()) - len(b"\n]" if indent else b"]")
        for n in range(len(objects))
    ]
    read = read_elements(array[:cut], PARTS)
    assert [part.n for part in read] == [one["n"] for one, end in zip(objects, whole, strict=True) if end <= cut]


@given(st.binary(max_size=60) | st.text('[]{}",\\1', max_size=60).map(str.encode))
def test_no_bytes_break_the_cut(data):
    assert whole_elements(data).endswith(b"]")


def test_an_array_of_other_things_is_not_looked_through():
    with pytest.raises(msgspec.ValidationError):
        read_elements(b"[[0.1,0.2],[", PARTS)


@pytest.mark.parametrize("inside", [b"{}", b'{"', b'"', b'\\"', b"[", b'[{},"a",', b"1,"])
def test_hostile_arrays_take_no_longer_than_they_are_long(inside):
    began = time.process_time()
    whole_elements(b'[{"a":' + inside * (4_000_000 // len(inside)))
    assert time.process_time() - began < 5


@pytest.mark.parametrize(("document", "array"), [(b" \n[", True), (b"[{}]", True), (b"{}", False), (b"", False)])
def test_an_array_is_known_by_its_beginning(document, array):
    assert is_array(document) is array
