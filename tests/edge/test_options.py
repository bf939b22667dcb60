"""What request headers ask for, remembered."""

import random

from sluice.edge.options import LONGEST_KNOWN, MOST_KNOWN, OPTION_HEADERS, KnownOptions, parse_options
from sluice.values.request import DEFAULT_OPTIONS

VALUES = (b"true", b"FALSE", b"0", b"5", b"90", b"", b"linear", b'{"a":1}', b"named", b"x" * (LONGEST_KNOWN + 1))


def test_what_is_remembered_is_what_the_headers_say():
    dice, known = random.Random(7), KnownOptions()
    names = [*OPTION_HEADERS, b"content-type", b"authorization"]
    for _ in range(5000):
        fields = {name: dice.choice(VALUES) for name in dice.sample(names, dice.randrange(4))}
        assert known.of(fields) == parse_options(fields)
    assert known.of({b"content-type": b"text/plain"}) is DEFAULT_OPTIONS


def test_no_more_is_remembered_than_is_said():
    known = KnownOptions()
    for number in range(MOST_KNOWN + 10):
        known.of({b"cf-aig-cache-key": b"%d" % number})
        known.of({b"cf-aig-cache-key": b"%d" % number * LONGEST_KNOWN})
        known.of({b"cf-aig-event-id": b"%d" % number})
    assert len(known) == 10
