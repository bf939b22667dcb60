"""The codecs and parsers against saved inputs: the short form of `scripts/soak fuzz`."""

from random import Random

import pytest

from bench.fuzz.corpus import saved
from bench.fuzz.cuts import CONTROL
from bench.fuzz.targets import TARGETS

MUTATIONS = 300


@pytest.mark.parametrize("target", TARGETS)
def test_every_saved_input_is_read_as_promised(target: str):
    inputs = saved(target)
    assert len(inputs) > 10
    for one in inputs:
        TARGETS[target](one)


@pytest.mark.parametrize("target", TARGETS)
def test_every_saved_input_is_read_as_promised_wherever_it_is_cut(target: str):
    for one in saved(target):
        for cut in range(0, 256, 51):
            TARGETS[target](bytes((one[0], cut, 0)) + one[CONTROL:])
            TARGETS[target](bytes((one[0], 0, 1 + cut // 51)) + one[CONTROL:])


@pytest.mark.parametrize("target", TARGETS)
def test_inputs_made_of_saved_ones_are_read_as_promised(target: str):
    dice = Random(1)
    inputs = saved(target)
    for _ in range(MUTATIONS):
        one, other = bytearray(dice.choice(inputs)), dice.choice(inputs)
        place = dice.randrange(len(one))
        match dice.randrange(3):
            case 0:
                one[place] = dice.randrange(256)
            case 1:
                del one[place : place + dice.randrange(1, 9)]
            case 2:
                one[place:place] = other[CONTROL:][: dice.randrange(1, 40)]
        TARGETS[target](bytes(one))
