"""Cache keys found by the request as it came: never another's, and in bounded memory."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from sluice.engine.cache_key import key_of
from sluice.engine.cache_rules import may_ask
from sluice.engine.known_keys import LONGEST, MOST_BYTES, KnownKeys, Letter, letter_bytes, letter_of
from sluice.metrics import Metrics
from sluice.values.credential import Credential
from sluice.values.request import DEFAULT_OPTIONS, BytesBody, Options, Step
from sluice.values.secret import Secret
from sluice.values.tenancy import Gateway

SECRET = "sk-very-secret"
CALL = Step(
    0, "openai", b"v1/chat/completions", b"", b"POST", [(b"authorization", b"Authorization", SECRET.encode())],
    b"application/json", b"", BytesBody(b"{}"), Options(cache_ttl_s=60),
)  # fmt: skip


def letter(step: Step, gateway: bytes = b"g" * 16, epoch: int = 0) -> Letter:
    return letter_of(Gateway(gateway, "a", "g", False, True, cache_epoch=epoch), step, step.body.whole or b"")


texts = st.sampled_from([b"", b"a", b"b", b"a\tb", b"ab"])
names = st.sampled_from([b"accept", b"authorization", b"x-a", b"user-agent", b"x-b"])
steps = st.builds(
    Step,
    st.just(0),
    st.sampled_from(["openai", "groq"]),
    st.sampled_from([b"v1/chat/completions", b"v1/files", b"v1/responses/a/cancel", b"v1/models"]),
    st.sampled_from([b"", b"key=a", b"a=1&b=2", b"b=2&a=1"]),
    st.sampled_from([b"GET", b"POST", b"DELETE"]),
    st.lists(st.builds(lambda name, value: (name, name.title(), value), names, texts), max_size=3),
    st.just(b""),
    st.just(b""),
    st.builds(BytesBody, st.sampled_from([b"", b"{}", b"{ }", b'{"a":1}'])),
    st.builds(Options, cache_ttl_s=st.sampled_from([None, 60, 90]), cache_key=texts),
    credential=st.sampled_from(
        [None, Credential("openai", "id-1", Secret("x")), Credential("openai", "id-2", Secret("x"))]
    ),
)


@given(steps, steps)
def test_requests_with_one_letter_have_one_key_and_may_both_ask(one: Step, other: Step):
    if letter(one) != letter(other):
        assert one != other
        return

    def judged(step: Step) -> tuple[bytes, bool]:
        where = b"host/" + step.endpoint
        return key_of(b"g", 0, step, where, step.body.whole or b""), may_ask(step, step.endpoint.decode())

    assert judged(one) == judged(other)


def test_each_part_makes_another_letter():
    changes: list[dict[str, Any]] = [
        {"provider": "groq"},
        {"endpoint": b"v1/completions"},
        {"query": b"a=1"},
        {"method": b"GET"},
        {"headers": []},
        {"body": BytesBody(b"{ }")},
        {"options": Options(cache_ttl_s=60, cache_key=b"own")},
        {"options": DEFAULT_OPTIONS},
        {"credential": Credential("openai", "id-1", Secret("x"))},
    ]
    others = [letter(structs.replace(CALL, **change)) for change in changes]
    assert len({letter(CALL), letter(CALL, b"h" * 16), letter(CALL, epoch=1), *others}) == 3 + len(changes)
    assert letter(structs.replace(CALL, options=Options(cache_ttl_s=90))) == letter(CALL)


def test_no_credential_is_in_a_letter():
    step = structs.replace(CALL, query=b"key=" + SECRET.encode())
    assert SECRET not in repr(letter(step))


def test_what_is_remembered_is_bounded_and_the_first_goes_first():
    known = KnownKeys(Metrics.unseen())
    letters = [letter(structs.replace(CALL, body=BytesBody(b"%d" % number * 2000))) for number in range(2000)]
    for number, one in enumerate(letters):
        known.put(one, b"%d" % number)
        known.put(one, b"again")
        assert known.bytes <= MOST_BYTES
    kept = [one for one in letters if known.get(one) is not None]
    assert known.bytes == sum(map(letter_bytes, kept))
    assert 100 < len(kept) < len(letters)
    assert kept == letters[-len(kept) :]
    assert known.get(letters[-1]) == b"1999"
    named = letter(structs.replace(CALL, options=Options(cache_key=b"k" * LONGEST)))
    known.put(named, b"1")
    assert known.get(named) is None
