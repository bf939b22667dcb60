import zlib
from collections.abc import Iterator

import pytest

from sluice.simulator.faults import NONE, Faults
from sluice.simulator.script import DONE, Part, Script, bytes_script
from sluice.simulator.staging import STALL_MS, Act, Framing, Send, Stage, Stop, Wait, perform
from sluice.wire.events import END, ReplyHead
from sluice.wire.http1 import ReplyReader

USUAL = Stage()


def stream() -> Script:
    return Script(200, (("Content-Type", "text/event-stream"),), [Part(b"one"), Part(b"two"), DONE], stream=True)


def plain() -> Script:
    return bytes_script(b"a body of more than thirty-two bytes in all", "text/plain")


def sent(acts: list[Act]) -> bytes:
    return b"".join(act.data for act in acts if isinstance(act, Send))


def read(script: Script, stage: Stage = USUAL, faults: Faults = NONE) -> tuple[ReplyHead | None, bytes, str]:
    """What a client makes of a reply: its head, its body, what is wrong with it."""
    reader = ReplyReader(1 << 26)
    reader.expect(b"HEAD" if stage.head_only else b"GET")
    events = reader.feed(sent(list(perform(script, stage, faults)))) + reader.finish()
    head = next((event for event in events if isinstance(event, ReplyHead)), None)
    body = b"".join(event for event in events if isinstance(event, bytes))
    return head, body, "" if END in events else str(reader.fault)


def test_a_stream_goes_chunked_a_part_a_chunk() -> None:
    assert sent(list(perform(stream(), Stage(), NONE))).endswith(
        b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
        b"3\r\none\r\n3\r\ntwo\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    )


def test_a_body_at_hand_goes_with_its_length() -> None:
    head, body, fault = read(plain())
    assert head is not None
    assert (head.length, body, fault) == (len(body), b"a body of more than thirty-two bytes in all", "")


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("http11", [True, False])
def test_every_framing_carries_the_same_body(framing: Framing, http11: bool) -> None:
    stage = Stage(framing=framing, http11=http11)
    for script, whole in ((stream(), b"onetwodata: [DONE]\n\n"), (plain(), b"".join(p.data for p in plain().parts))):
        _, body, fault = read(script, stage)
        assert (body, fault) == (whole, "")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_garbled_part_is_as_long_as_it_was_and_the_rest_as_it_was(framing: Framing) -> None:
    _, body, fault = read(stream(), Stage(framing=framing), Faults(garbled=1))
    assert (body, fault) == (b"onetw\x01data: [DONE]\n\n", "")
    _, body, fault = read(plain(), Stage(framing=framing), Faults(garbled=0))
    assert (body, fault) == (b"a body of more than thir\x01y-two bytes in all", "")


def test_a_head_alone_says_what_the_reply_would() -> None:
    head, body, fault = read(plain(), Stage(head_only=True))
    assert head is not None
    assert (head.length, body, fault) == (43, b"", "")


def test_a_gzipped_stream_can_be_read_part_by_part() -> None:
    acts = [act.data for act in perform(stream(), Stage(gzip=True, framing="close"), NONE) if isinstance(act, Send)]
    reader = zlib.decompressobj(31)
    assert [reader.decompress(data) for data in acts[1:4]] == [b"one", b"two", b"data: [DONE]\n\n"]


@pytest.mark.parametrize(
    ("faults", "last"),
    [
        (Faults(cut=1), Stop("close", False)),
        (Faults(reset=1), Stop("reset", False)),
        (Faults(half_close=1), Stop("half-close", False)),
        (Faults(stall=1), Stop("close", False)),
        (Faults(malformed=1), Stop("close", False)),
        (Faults(cut=1, reset=2), Stop("close", False)),
    ],
)
def test_a_break_comes_after_its_part_and_before_the_end(faults: Faults, last: Stop) -> None:
    acts = list(perform(stream(), Stage(), faults))
    assert acts[-1] == last
    assert b"one" in sent(acts)
    assert b"two" not in sent(acts)
    assert read(stream(), faults=faults)[2] != ""
    assert (Wait(STALL_MS) in acts) == (faults.stall is not None)


def test_a_break_counts_blocks_of_a_body_that_is_no_stream() -> None:
    assert read(plain(), faults=Faults(cut=1))[1] == b"a body of more than thirty-two b"
    assert read(plain(), faults=Faults(cut=0))[1] == b""


def test_a_break_past_the_last_part_still_keeps_the_end_back() -> None:
    _, body, fault = read(stream(), faults=Faults(cut=99))
    assert body == b"onetwodata: [DONE]\n\n"
    assert "cut short" in fault


@pytest.mark.parametrize(
    ("faults", "waits"),
    [
        (Faults(slow_head=7), [0]),
        (Faults(slow_first_token=7), [1]),
        (Faults(linger=7), [4]),
        (Faults(pace=7), [1, 3, 5]),
    ],
)
def test_a_pause_stands_where_it_was_asked(faults: Faults, waits: list[int]) -> None:
    acts = list(perform(stream(), Stage(), faults))
    assert [place for place, act in enumerate(acts) if act == Wait(7)] == waits


def test_a_dropped_connection_says_nothing() -> None:
    assert list(perform(plain(), Stage(), Faults(drop=1))) == [Stop("close", False)]
    assert list(perform(plain(), Stage(first=False), Faults(drop_reused=1))) == [Stop("close", False)]
    assert read(plain(), Stage(first=True), Faults(drop_reused=1))[2] == ""


def test_a_stream_may_lack_its_tail_or_end_in_an_error() -> None:
    assert read(stream(), faults=Faults(no_tail=1))[1:] == (b"onetwo", "")
    assert read(stream(), Stage(error_event=Part(b"err")), Faults(error_event=1))[1:] == (b"oneerr", "")


def test_a_whole_reply_may_be_followed_by_surplus_or_by_an_unannounced_close() -> None:
    acts = list(perform(plain(), Stage(), Faults(surplus=1, close=1)))
    assert sent(acts).endswith(b"in allHTTP/1.1 200 surplus\r\n")
    assert b"Connection: keep-alive" in sent(acts)
    assert acts[-1] == Stop("close", True)


def test_a_dripping_reply_has_the_same_bytes() -> None:
    acts = list(perform(stream(), Stage(), Faults(drip=1)))
    assert all(len(act.data) == 1 for act in acts if isinstance(act, Send))
    assert sent(acts) == sent(list(perform(stream(), Stage(), NONE)))


def test_an_interim_reply_and_a_long_head_are_still_http() -> None:
    head, body, fault = read(plain(), faults=Faults(interim=1, long_head=100))
    assert head is not None
    assert (head.status, len(body), fault) == (200, 43, "")
    assert any(len(value) == 102_400 for _, _, value in head.headers)


def test_a_bad_head_is_no_http() -> None:
    assert "not HTTP" in read(plain(), faults=Faults(bad_head=1))[2]


def test_a_huge_body_is_made_as_it_is_sent() -> None:
    made = 0

    def parts() -> Iterator[Part]:
        nonlocal made
        for _ in range(1000):
            made += 1
            yield Part(b"x" * 65_536)

    acts = perform(Script(200, (), parts(), 65_536_000), Stage(), NONE)
    next(acts)
    next(acts)
    assert made == 1


def test_a_body_is_padded_to_be_huge() -> None:
    _, body, fault = read(plain(), faults=Faults(huge=1))
    assert (len(body), fault) == (43 + (1 << 20), "")
