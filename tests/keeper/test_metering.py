import gzip
import zlib
from collections.abc import Callable

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.formats.metadata import parse_metadata
from sluice.keeper.metering import MAX_EVENTS, MAX_USAGE_EVENTS, Meter
from sluice.values.exchange import Exchange
from sluice.values.log import MAX_METADATA_BYTES, LogEntry, Priced, SideFile, Usage
from sluice.values.rates import Rates

MINI = Rates(150_000_000, 600_000_000, 75_000_000)
LIST = {("openai", "gpt-4o-mini"): MINI, ("openai", "text-embedding-3-small"): Rates(20_000_000, None)}

PLAIN = Exchange(
    id="01JC3R94FRD97JBCBX3S0ZAXKW",
    request_id="r-1",
    event_id="e-1",
    account="local",
    provider="openai",
    path="v1/chat/completions",
    method="POST",
    request_type="provider",
    started_ms=1_767_323_045_678,
    latency_us=790_499,
    duration_us=812_500,
    status=200,
    ending="complete",
    error=0,
    step=0,
    attempts=1,
    authenticated=True,
    payload=True,
    request_content_type=b"application/json",
    request_encoding=b"",
    response_content_type=b"application/json",
    response_encoding=b"",
    user_agent=b"OpenAI/Python",
    metadata=b'{"team":"a"}',
    custom_cost=b"",
    request_bytes=0,
    response_bytes=0,
)
ASKED = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'
ANSWER = (
    b'{"id":"chatcmpl-1","model":"gpt-4o-mini-2024-07-18","choices":[{"message":{"content":"hello"}}],"usage":'
    b'{"prompt_tokens":12,"completion_tokens":34,"total_tokens":46,"prompt_tokens_details":{"cached_tokens":4}}}'
)
USAGE = Usage(12, 34, 46, cached_in=4)
COST = 8 * 150 + 4 * 75 + 34 * 600
SSE = b"text/event-stream; charset=utf-8"


def chunk(word: str, usage: str = "") -> bytes:
    return b'data: {"model":"gpt-4o-mini","choices":[{"delta":{"content":"%s"}}]%s}\n\n' % (
        word.encode(),
        usage.encode(),
    )


LAST_CHUNK = b'data: {"model":"gpt-4o-mini-2024-07-18","choices":[],' + ANSWER[ANSWER.index(b'"usage"') :] + b"\n\n"
STREAM = b"".join(chunk(f"word {n}", ',"usage":null') for n in range(20)) + LAST_CHUNK + b"data: [DONE]\n\n"
RESPONSES_STREAM = (
    b'event: response.created\ndata: {"type":"response.created","response":{"model":"gpt-4o-mini","usage":null}}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"hello"}\n\n'
    b'event: response.completed\ndata: {"type":"response.completed","response":{"model":"gpt-4o-mini","usage":'
    b'{"input_tokens":12,"input_tokens_details":{"cached_tokens":4},"output_tokens":34,"total_tokens":46,'
    b'"output_tokens_details":{"reasoning_tokens":30}}}}\n\n'
)


def meter(request: bytes | SideFile | None, response: bytes | SideFile | None, **seen: object) -> LogEntry:
    exchange = msgspec.structs.replace(PLAIN, **seen)
    return Meter(lambda provider, model: LIST.get((provider, model))).entry(exchange, request, response)


def test_a_plain_call_is_logged_in_full():
    entry = meter(ASKED, ANSWER, request_bytes=len(ASKED), response_bytes=len(ANSWER))
    assert entry == LogEntry(
        id="01JC3R94FRD97JBCBX3S0ZAXKW",
        request_id="r-1",
        event_id="e-1",
        created_ms=1_767_323_045_678,
        duration_ms=813,
        latency_ms=790,
        provider="openai",
        model="gpt-4o-mini",
        model_type="Text Generation",
        path="v1/chat/completions",
        request_type="provider",
        request_content_type="application/json",
        response_content_type="application/json",
        status_code=200,
        success=True,
        cached=False,
        incomplete=False,
        ending="complete",
        error=0,
        step=0,
        attempts=1,
        usage=USAGE,
        cost_nano=COST,
        custom_cost=False,
        metadata={"team": "a"},
        user_agent="OpenAI/Python",
        authentication=True,
        wholesale=False,
        byok=False,
        compat=False,
        payload=True,
        request_bytes=len(ASKED),
        response_bytes=len(ANSWER),
        priced='{"input":150000000,"output":600000000,"cached_input":75000000}',
    )


def test_a_price_that_is_known_no_more_leaves_a_stored_cost_as_it_is():
    entry = meter(ASKED, ANSWER)
    assert Meter(lambda provider, model: Rates(None, None)).price("local", entry) is None
    assert Meter(lambda provider, model: MINI).price("local", entry) == Priced(COST, entry.priced)


def test_a_stream_is_metered_by_its_last_usage():
    entry = meter(ASKED, STREAM, response_content_type=SSE)
    assert (entry.usage, entry.cost_nano, entry.success) == (USAGE, COST, True)


def test_a_stream_without_usage_has_none():
    entry = meter(ASKED, chunk("a") + b"data: [DONE]\n\n", response_content_type=SSE)
    assert (entry.usage, entry.cost_nano, entry.success) == (Usage(), None, True)


def test_a_responses_stream_is_metered_by_its_completed_event():
    entry = meter(ASKED, RESPONSES_STREAM, response_content_type=SSE, path="v1/responses")
    assert entry.usage == Usage(12, 34, 46, cached_in=4, reasoning=30)
    assert (entry.cost_nano, entry.model_type) == (COST, "Text Generation")


def test_an_embedding_costs_its_input():
    asked = b'{"model":"text-embedding-3-small","input":"hi"}'
    answer = b'{"object":"list","data":[{"embedding":[0.1,-2e-3]}],"usage":{"prompt_tokens":50,"total_tokens":50}}'
    entry = meter(asked, answer, path="v1/embeddings")
    assert (entry.usage, entry.cost_nano, entry.model_type) == (Usage(50, None, 50), 1000, "Text Embeddings")


def test_where_every_event_tells_usage_the_last_one_counts():
    usage = ',"usage":{{"prompt_tokens":5,"completion_tokens":{}}}'
    counts = [chunk("a", usage.format(n)) for n in range(MAX_USAGE_EVENTS + 9)]
    entry = meter(ASKED, b"".join(counts), response_content_type=SSE)
    assert entry.usage == Usage(5, MAX_USAGE_EVENTS + 8)


@pytest.mark.parametrize("cut", [2, 9, 40])
def test_where_every_event_tells_usage_and_the_last_is_cut_the_one_before_it_counts(cut):
    usage = ',"usage":{{"prompt_tokens":5,"completion_tokens":{}}}'
    stream = b"".join(chunk("a", usage.format(n)) for n in range(3 * MAX_USAGE_EVENTS))
    entry = meter(ASKED, stream[: -2 - cut], response_content_type=SSE, ending="broken")
    assert entry.usage == Usage(5, 3 * MAX_USAGE_EVENTS - 2)


def test_a_stream_of_endless_tiny_events_is_not_read_to_its_end():
    entry = meter(ASKED, b":\r\n\r\n" * MAX_EVENTS + STREAM, response_content_type=SSE)
    assert (entry.usage, entry.model) == (Usage(), "gpt-4o-mini")


def test_usage_in_a_cut_last_event_counts_if_its_json_is_whole():
    entry = meter(ASKED, chunk("a") + LAST_CHUNK.strip(), response_content_type=SSE, ending="broken")
    assert (entry.usage, entry.ending) == (USAGE, "broken")


@pytest.mark.parametrize("content_type", [b"", b"text/plain", b"application/json", SSE, b"TEXT/EVENT-STREAM"])
@pytest.mark.parametrize(
    "body", [STREAM, STREAM.replace(b"\n", b"\r\n"), b": hi\n\n" + STREAM, ANSWER, b" \n" + ANSWER]
)
def test_streams_and_documents_are_known_by_their_first_bytes(content_type, body):
    assert meter(ASKED, body, response_content_type=content_type).usage == USAGE


class TestEnding:
    @pytest.mark.parametrize("ending", ["abandoned", "broken"])
    @pytest.mark.parametrize(
        "body",
        [
            STREAM,
            STREAM.removesuffix(b"\n\n"),
            STREAM + b": bye\n\n",
            RESPONSES_STREAM,
            RESPONSES_STREAM.replace(b"response.completed", b"response.failed"),
            RESPONSES_STREAM.replace(b"event: response.completed\n", b"").replace(b"completed", b"incomplete"),
            b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        ],
    )
    def test_a_stream_left_after_its_terminal_event_is_complete(self, body, ending):
        entry = meter(ASKED, body, response_content_type=SSE, ending=ending)
        assert (entry.ending, entry.success, entry.incomplete) == ("complete", True, False)

    @pytest.mark.parametrize(("body", "said"), [(STREAM, ("complete", 0, None)), (chunk("a"), ("broken", 2005, "Cut"))])
    def test_what_broke_behind_its_terminal_event_tells_of_no_error(self, body, said):
        entry = meter(ASKED, body, response_content_type=SSE, ending="broken", error=2005, detail="Cut")
        assert (entry.ending, entry.error, entry.detail) == said

    def test_a_stream_that_could_not_be_translated_is_broken_though_all_of_it_came(self):
        entry = meter(ASKED, STREAM, response_content_type=SSE, ending="broken", error=2002, detail="no such block")
        assert (entry.ending, entry.success, entry.error, entry.detail) == ("broken", False, 2002, "no such block")

    @pytest.mark.parametrize(
        ("seen", "ending"),
        [
            ({"unserved": True}, "broken"),
            ({"request_type": "websocket"}, "complete"),
            ({"request_type": "websocket", "response_content_type": b"text/event-stream; charset=utf-8"}, "complete"),
            ({"request_type": "websocket", "response_content_type": b"text/plain"}, "broken"),
        ],
    )
    def test_what_nobody_was_told_of_is_not_complete_though_all_of_it_came(self, seen, ending):
        asked = {"response_content_type": SSE, "ending": "broken", "error": 2005, **seen}
        assert meter(ASKED, STREAM, **asked).ending == ending

    @pytest.mark.parametrize("ending", ["abandoned", "broken"])
    @pytest.mark.parametrize(
        "body", [None, b"", chunk("a"), chunk("[DONE]"), STREAM.removesuffix(b"]\n\n"), RESPONSES_STREAM[:200], ANSWER]
    )
    def test_what_was_left_before_its_end_is_incomplete(self, body, ending):
        entry = meter(ASKED, body, response_content_type=SSE, ending=ending)
        assert (entry.ending, entry.success, entry.incomplete) == (ending, False, True)

    def test_a_refusal_is_no_success_and_not_incomplete(self):
        entry = meter(ASKED, b'{"success":false}', status=400, ending="refused", error=2005, latency_us=None)
        assert (entry.success, entry.incomplete, entry.ending, entry.error) == (False, False, "refused", 2005)
        assert (entry.latency_ms, entry.usage, entry.cost_nano) == (None, Usage(), None)

    @pytest.mark.parametrize(("status", "success"), [(101, True), (200, True), (304, True), (400, False), (503, False)])
    def test_success_is_a_status_below_400_and_a_complete_end(self, status, success):
        assert meter(ASKED, ANSWER, status=status).success is success


class TestModel:
    def test_the_request_decides_and_the_reply_does_not_refine_it(self):
        assert meter(b'{"model":"gpt-4o"}', ANSWER).model == "gpt-4o"

    def test_the_url_names_it_where_the_body_does_not(self):
        entry = meter(b"{}", ANSWER, path="openai/deployments/gpt-4o-mini/chat/completions")
        assert (entry.model, entry.cost_nano) == ("gpt-4o-mini", COST)

    @pytest.mark.parametrize("request_body", [None, b"", b"{}", b"not json", b'{"model":5}', b'{"model":""}', b"\xff"])
    @pytest.mark.parametrize("response", [ANSWER, STREAM.replace(b"gpt-4o-mini-2024-07-18", b"x")])
    def test_the_reply_names_it_where_the_request_does_not(self, request_body, response):
        assert meter(request_body, response).model in ("gpt-4o-mini-2024-07-18", "gpt-4o-mini")

    def test_a_responses_stream_names_it_too(self):
        assert meter(b"{}", RESPONSES_STREAM, path="v1/responses", response_content_type=SSE).model == "gpt-4o-mini"

    def test_without_any_name_it_is_empty_and_has_no_price(self):
        entry = meter(b"{}", ANSWER.replace(b'"model"', b'"nodel"'))
        assert (entry.model, entry.usage, entry.cost_nano) == ("", USAGE, None)

    def test_a_name_too_long_for_a_model_is_no_name(self):
        assert meter(b'{"model":"%s"}' % (b"x" * 257), b"{}").model == ""

    def test_a_form_names_it_in_a_field(self):
        form = (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n\0\1\2\r\n'
            b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
        )
        seen = {"request_content_type": b"multipart/form-data; boundary=b", "path": "v1/audio/transcriptions"}
        entry = meter(form, b'{"text":"hi"}', **seen)
        assert (entry.model, entry.model_type) == ("whisper-1", "Automatic Speech Recognition")
        zipped = meter(gzip.compress(form), b"{}", request_encoding=b"gzip", **seen)
        assert zipped.model == "whisper-1"


class TestCost:
    def test_an_unknown_model_has_no_cost(self):
        entry = meter(b'{"model":"mystery"}', ANSWER)
        assert (entry.usage, entry.cost_nano) == (USAGE, None)

    def test_a_custom_cost_overrides_the_list(self):
        entry = meter(ASKED, ANSWER, custom_cost=b'{"per_token_in":0.000001,"per_token_out":0.000002}')
        assert (entry.cost_nano, entry.custom_cost) == (12_000 + 68_000, True)

    def test_a_malformed_custom_cost_leaves_the_list(self):
        entry = meter(ASKED, ANSWER, custom_cost=b'{"per_token_in":-1}')
        assert (entry.cost_nano, entry.custom_cost) == (COST, False)

    def test_a_custom_total_needs_no_usage(self):
        entry = meter(b'{"model":"mystery"}', b"", custom_cost=b'{"total_cost":0.25}')
        assert (entry.cost_nano, entry.custom_cost) == (250_000_000, True)

    def test_a_cache_hit_read_nothing_and_costs_nothing_whatever_the_client_says(self):
        entry = meter(ASKED, ANSWER, cached=True, custom_cost=b'{"total_cost":1}')
        assert (entry.usage.tokens_in, entry.usage.tokens_out) == (0, 0)
        assert (entry.cost_nano, entry.custom_cost, entry.cached) == (0, False, True)

    @pytest.mark.parametrize("seen", [{"method": "GET"}, {"path": "v1/responses/resp_1/cancel"}])
    def test_reading_a_stored_reply_is_not_billed_again(self, seen):
        entry = meter(b"", ANSWER, **seen)
        assert (entry.usage, entry.cost_nano, entry.model) == (Usage(), None, "gpt-4o-mini-2024-07-18")

    @pytest.mark.parametrize(
        "seen",
        [
            {"method": "GET", "path": "v1/predictions/p1"},
            {"path": "v1/predictions/p1/cancel"},
            {"path": "v1/messages/count_tokens"},
            {"path": "v1beta/models/gemini-x:countTokens"},
        ],
    )
    def test_a_custom_total_is_not_charged_for_a_poll_nor_for_a_count_of_tokens(self, seen):
        entry = meter(b"", b"{}", custom_cost=b'{"total_cost":0.01}', **seen)
        assert (entry.cost_nano, entry.custom_cost) == (None, False)

    def test_a_failing_price_look_up_is_left_to_the_caller(self):
        def broken(provider: str, model: str) -> Rates:
            raise TimeoutError

        with pytest.raises(TimeoutError):
            Meter(broken).entry(PLAIN, ASKED, ANSWER)


def raw_deflate(data: bytes) -> bytes:
    compress = zlib.compressobj(wbits=-15)
    return compress.compress(data) + compress.flush()


ENCODINGS: list[tuple[bytes, Callable[[bytes], bytes]]] = [
    (b"identity", bytes),
    (b"gzip", gzip.compress),
    (b"deflate", zlib.compress),
    (b"deflate", raw_deflate),
    (b"zstd", zstandard.ZstdCompressor().compress),
]


class TestEncodings:
    @pytest.mark.parametrize(("name", "encode"), ENCODINGS)
    @pytest.mark.parametrize("reply", [ANSWER, STREAM])
    def test_encoded_bodies_are_read_inline_and_in_side_files(self, name, encode, reply, tmp_path):
        seen = {"request_encoding": name, "response_encoding": name}
        request, response = encode(ASKED), encode(reply)
        inline = meter(request, response, **seen)
        assert (inline.model, inline.usage) == ("gpt-4o-mini", USAGE)
        assert (inline.request_encoding, inline.response_encoding) == (name.decode(), name.decode())
        assert meter(side_file(tmp_path / "req", request), side_file(tmp_path / "res", response), **seen) == inline

    @pytest.mark.parametrize("name", [b"compress", b"gzip, nonsense", b"gzip, gzip, gzip, gzip, gzip"])
    def test_an_unknown_encoding_is_unknown_usage(self, name):
        entry = meter(ASKED, ANSWER, response_encoding=name)
        assert (entry.usage, entry.cost_nano, entry.model) == (Usage(), None, "gpt-4o-mini")

    def test_of_a_cut_stream_what_can_be_decoded_is_used(self):
        padding = b"".join(chunk(f"{n * 2654435761 % 2**32:x}") for n in range(5000))
        whole = gzip.compress(LAST_CHUNK + padding)
        assert meter(ASKED, whole[: len(whole) // 2], response_encoding=b"gzip", ending="broken").usage == USAGE

    def test_a_bomb_is_unknown_usage(self):
        bomb = gzip.compress(b'{"x":"' + bytes(40_000_000) + b'","usage":{"prompt_tokens":1}}')
        assert meter(bomb, bomb, request_encoding=b"gzip", response_encoding=b"gzip").usage == Usage()


def side_file(path, data: bytes) -> SideFile:
    path.write_bytes(data)
    return SideFile(path, len(data))


class TestSideFiles:
    def test_a_document_is_read_whole_however_large(self, tmp_path):
        image = b"A" * 40_000_000
        request = side_file(tmp_path / "req", b'{"messages":["%s"],"model":"gpt-4o-mini"}' % image)
        response = side_file(tmp_path / "res", b'{"data":["%s"],%s' % (image, ANSWER[ANSWER.index(b'"usage"') :]))
        entry = meter(request, response)
        assert (entry.model, entry.usage, entry.cost_nano) == ("gpt-4o-mini", USAGE, COST)

    def test_a_stream_is_read_whole_however_large(self, tmp_path):
        response = side_file(tmp_path / "res", chunk("word" * 500) * 5000 + STREAM)
        entry = meter(ASKED, response, response_content_type=SSE, ending="abandoned")
        assert (entry.usage, entry.ending) == (USAGE, "complete")

    def test_an_event_too_large_to_keep_does_not_hide_the_next(self, tmp_path):
        response = side_file(tmp_path / "res", chunk("x" * 20_000_000) + STREAM)
        assert meter(ASKED, response, response_content_type=SSE).usage == USAGE

    def test_a_form_is_read_whole_however_large(self, tmp_path):
        form = (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
            + bytes(20_000_000)
            + b"\r\n"
            b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
        )
        entry = meter(side_file(tmp_path / "req", form), b"", request_content_type=b"multipart/form-data; boundary=b")
        assert entry.model == "whisper-1"

    def test_only_the_length_that_was_recorded_counts(self, tmp_path):
        (tmp_path / "res").write_bytes(ANSWER + b"rubbish")
        assert meter(ASKED, SideFile(tmp_path / "res", len(ANSWER))).usage == USAGE
        (tmp_path / "res").write_bytes(chunk("a") + STREAM)
        assert meter(ASKED, SideFile(tmp_path / "res", len(chunk("a")))).usage == Usage()

    @pytest.mark.parametrize("length", [0, 10, 10**9])
    def test_a_file_that_is_missing_empty_or_short_is_unknown_usage(self, tmp_path, length):
        missing = SideFile(tmp_path / "none", length)
        assert meter(missing, missing).usage == Usage()
        (tmp_path / "empty").write_bytes(b"")
        assert meter(SideFile(tmp_path / "empty", length), SideFile(tmp_path / "empty", length)).usage == Usage()
        (tmp_path / "short").write_bytes(ANSWER[:50])
        assert meter(ASKED, SideFile(tmp_path / "short", length)).usage == Usage()

    def test_bodies_cut_at_the_limit_are_marked(self, tmp_path):
        cut = side_file(tmp_path / "cut", b"x" * 10)
        entry = meter(cut, b"x" * 10, request_bytes=11, response_bytes=10)
        assert (entry.request_truncated, entry.response_truncated) == (True, False)
        entry = meter(None, b"x" * 10, request_bytes=11, response_bytes=11)
        assert (entry.request_truncated, entry.response_truncated) == (False, True)


@pytest.mark.parametrize(
    ("raw", "metadata"),
    [
        (b"", {}),
        (b"{}", {}),
        (b'{"team":"a","n":1,"x":1.5,"on":true}', {"team": "a", "n": 1, "x": 1.5, "on": True}),
        (b'{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}', {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}),
        (b'{"a":1,"b":null}', {}),
        (b'{"a":1,"b":{}}', {}),
        (b'{"a":1,"b":[]}', {}),
        (b'{"a":1,"b":2,"c":3,"d":4,"e":5,"f":null}', {}),
        (b'{"cf.user_id":"x","a":1}', {"a": 1}),
        (b'{"cf.a":0,"a":1,"b":2,"c":3,"d":4,"e":5}', {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}),
        (b'{"cf":1,"cfx":2,"Cf.a":3}', {"cf": 1, "cfx": 2, "Cf.a": 3}),
        (b'{"cf.a":null,"a":1}', {}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b"[1]", {}),
        (b'"text"', {}),
        (b"null", {}),
        (b"{", {}),
        (b'{"a":NaN}', {}),
        (b'{"a":1e999}', {}),
        (b'{"a":' + b"9" * 2000 + b"}", {}),
        (b'{"a":9223372036854775807,"b":-9223372036854775808}', {"a": 2**63 - 1, "b": -(2**63)}),
        (b'{"a":9223372036854775808}', {"a": 2.0**63}),
        (b'{"a":' * 3000, {}),
        ('{"name":"José"}'.encode(), {"name": "José"}),
        ('{"name":"José"}'.encode("latin-1"), {"name": "José"}),
        (b'{"a":"%s"}' % (b"x" * (MAX_METADATA_BYTES - 8)), {"a": "x" * (MAX_METADATA_BYTES - 8)}),
        (b'{"a":"%s"}' % (b"x" * (MAX_METADATA_BYTES - 7)), {}),
    ],
)
def test_metadata_follows_the_contract(raw, metadata):
    assert parse_metadata(raw) == metadata


@given(st.binary(max_size=60))
def test_no_metadata_breaks_the_parser(raw):
    assert isinstance(parse_metadata(raw), dict)


BODIES = st.none() | st.binary(max_size=80) | st.sampled_from([ASKED, ANSWER, STREAM, RESPONSES_STREAM, b"{" * 5000])


@settings(max_examples=300)
@given(
    BODIES,
    st.tuples(BODIES, st.integers(0, 400), st.binary(max_size=5)),
    st.fixed_dictionaries(
        {},
        optional={
            "request_encoding": st.sampled_from([b"gzip", b"zstd", b"deflate", b"br"]) | st.binary(max_size=10),
            "response_encoding": st.sampled_from([b"gzip", b"zstd", b"deflate", b"br"]) | st.binary(max_size=10),
            "request_content_type": st.just(b"multipart/form-data; boundary=b") | st.binary(max_size=40),
            "response_content_type": st.just(SSE) | st.binary(max_size=40),
            "metadata": st.binary(max_size=40),
            "custom_cost": st.binary(max_size=40) | st.just(b'{"per_token_in":1e-7}'),
            "user_agent": st.binary(max_size=40),
            "path": st.text(max_size=40) | st.sampled_from(["model/%ff/x", "models/:predict", "run/"]),
            "ending": st.sampled_from(["complete", "broken", "abandoned", "refused"]),
            "status": st.integers(0, 999),
        },
    ),
)
def test_nothing_a_worker_saw_breaks_the_meter(request_body, reply, seen):
    body, at, damage = reply
    entry = meter(request_body, body and body[:at] + damage + body[at:], **seen)
    assert entry.cost_nano is None or entry.cost_nano >= 0
    assert msgspec.json.encode(entry)
