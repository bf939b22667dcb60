"""Lines of Logpush, written and read; sealed for one key."""

import base64
import json
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from sluice.insight import logpush
from sluice.insight.logpush import MOST_BYTES, Opener, Sealer, WrongKey
from sluice.insight.portable import WrongLine
from sluice.values.ids import Mint, key_of
from sluice.values.log import LogEntry, Usage


class Keys(NamedTuple):
    private: rsa.RSAPrivateKey
    private_pem: bytes
    public_pem: str


@pytest.fixture(scope="module")
def keys() -> Keys:
    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return Keys(key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), public)


@pytest.fixture
def entry(entry_of: Callable[..., LogEntry]) -> LogEntry:
    return entry_of(Mint(1, clock_ms=lambda: 1_767_323_045_678).mint(), event_id="e-1", step=1)


def test_a_line_has_clouflares_names_and_opens_by_the_documented_steps(keys: Keys, entry: LogEntry) -> None:
    line = json.loads(logpush.written(entry, "my-gateway", (b'{"ask": 1}', b"\xff\0"), Sealer(keys.public_pem)))
    plain = {name: line[name] for name in ("Gateway", "Provider", "Model", "Endpoint", "StatusCode", "Timestamp")}
    assert plain == {
        "Gateway": "my-gateway",
        "Provider": "openai",
        "Model": "gpt-4o-mini",
        "Endpoint": "v1/chat/completions",
        "StatusCode": 200,
        "Timestamp": "2026-01-02T03:04:05.678Z",
    }
    assert line["Metrics"] == {"cost": 0.0000222, "durationMs": 812, "tokensIn": 12, "tokensOut": 34}
    opened = {}
    for name in ("Metadata", "RequestBody", "ResponseBody"):
        key, iv, data = (base64.b64decode(line[name][part]) for part in ("key", "iv", "data"))
        oaep = padding.OAEP(mgf=padding.MGF1(algorithm=SHA256()), algorithm=SHA256(), label=None)
        opened[name] = AESGCM(keys.private.decrypt(key, oaep)).decrypt(iv, data, None)
        assert (len(iv), line[name]["type"]) == (12, "encrypted")
    assert opened == {"Metadata": b'{"team":"a"}', "RequestBody": b'{"ask": 1}', "ResponseBody": b"\xff\0"}
    assert len({line[name]["iv"] for name in opened}) == 3


def test_what_was_written_is_read_again_with_its_id(keys: Keys, entry: LogEntry) -> None:
    line = logpush.written(entry, "g", (b'{"ask": 1}', b"data: {}\n\n"), Sealer(keys.public_pem))
    log = logpush.reader(Opener(keys.private_pem))(line)
    assert (log.request, log.response) == (b'{"ask": 1}', b"data: {}\n\n")
    for name in (
        "id",
        "created_ms",
        "provider",
        "model",
        "path",
        "status_code",
        "cost_nano",
        "metadata",
        "duration_ms",
    ):
        assert getattr(log.entry, name) == getattr(entry, name), name
    assert (log.entry.event_id, log.entry.step, log.entry.usage) == ("e-1", 1, Usage(12, 34))
    assert log.entry.response_content_type == "text/event-stream"


def test_without_a_key_nothing_that_was_said_leaves_or_is_read(keys: Keys, entry: LogEntry) -> None:
    open_line = logpush.written(entry, "g", (b"secret", b"secret"), None)
    assert b"secret" not in open_line
    assert b"team" not in open_line
    sealed = logpush.written(entry, "g", (b"secret", b"secret"), Sealer(keys.public_pem))
    log = logpush.reader(None)(sealed)
    assert (log.request, log.response, log.entry.metadata, log.entry.payload) == (None, None, {}, False)


def test_bodies_past_a_megabyte_are_left_out_and_said_to_be(keys: Keys, entry: LogEntry) -> None:
    long = msgspec.structs.replace(entry, request_bytes=MOST_BYTES, response_bytes=1)
    line = json.loads(logpush.written(long, "g", (None, None), Sealer(keys.public_pem)))
    assert line["BodiesOmitted"] is True
    assert "RequestBody" not in line
    assert "Metadata" in line


@pytest.mark.parametrize("told", [1767323045, 1767323045678, 1767323045678901234, "2026-01-02T03:04:05.678Z"])
def test_a_line_of_cloudflares_is_a_log_with_the_same_id_each_time(told: int | str) -> None:
    line = {
        "Cached": True,
        "Endpoint": "chat/completions",
        "Gateway": "g",
        "Metadata": {"user": 7},
        "Metrics": {"cost": 0.0042, "durationMs": 1234},
        "Model": "gpt-4o",
        "Provider": "openai",
        "RateLimited": False,
        "RequestBody": {"messages": []},
        "RequestedModel": "cloudflare/auto",
        "ResponseBody": "plain",
        "StatusCode": 200,
        "Timestamp": told,
    }
    raw = json.dumps(line).encode()
    first, second = (logpush.reader(None)(text) for text in (raw, raw + b"\n"))
    assert first == second
    assert key_of(first.entry.id) >> 21 == first.entry.created_ms
    assert first.entry.created_ms // 1000 == 1767323045
    assert (first.entry.cost_nano, first.entry.duration_ms, first.entry.cached) == (4_200_000, 1234, True)
    assert (first.entry.metadata, first.request, first.response) == ({"user": 7}, b'{"messages":[]}', b"plain")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"Timestamp": "yesterday"}',
        b'{"Timestamp": -1}',
        b'{"Timestamp": 99999999999999999999}',
        b'{"Timestamp": 1, "LogID": "no ulid"}',
        b'{"Timestamp": 1, "LogID": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"}',
        b'{"Timestamp": 1, "Step": 9223372036854775808}',
        b'{"Timestamp": 1, "StatusCode": 99999999999}',
        b'{"Timestamp": 1, "Metrics": {"tokensIn": -5}}',
        b'{"Timestamp": 1, "Metrics": {"durationMs": 9e18}}',
        b'{"Timestamp": 1, "Metadata": [1]}',
        b'{"Timestamp": 1, "Metadata": {"a": {"b": 1}}}',
        b'{"Timestamp": 1, "StatusCode": "x"}',
        b'{"Timestamp": 1, "RequestBody": {"type": "encrypted"}}',
        b'{"Timestamp": 1, "RequestBody": {"type": "encrypted", "key": "!", "iv": "", "data": ""}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_such_line_is_refused_with_a_reason(keys: Keys, line: bytes) -> None:
    with pytest.raises(WrongLine, match=r"."):
        logpush.reader(Opener(keys.private_pem))(line)


def test_another_key_or_a_changed_byte_opens_nothing(keys: Keys, entry: LogEntry) -> None:
    line = logpush.written(entry, "g", (b"secret", None), Sealer(keys.public_pem))
    other = rsa.generate_private_key(65537, 2048)
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(WrongLine, match="another key"):
        logpush.reader(Opener(pem))(line)
    told = json.loads(line)
    data = bytearray(base64.b64decode(told["RequestBody"]["data"]))
    data[0] ^= 1
    told["RequestBody"]["data"] = base64.b64encode(data).decode()
    with pytest.raises(WrongLine, match="damaged"):
        logpush.reader(Opener(keys.private_pem))(msgspec.json.encode(told))


def test_only_rsa_keys_of_2048_bits_and_more_will_do(keys: Keys) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    weak = rsa.generate_private_key(65537, 1024)
    for key in (curve, weak):
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        with pytest.raises(WrongKey, match="2048"):
            Sealer(public)
    with pytest.raises(WrongKey, match="PEM"):
        Sealer("a key that is none")
    with pytest.raises(WrongKey, match="RSA"):
        Opener(curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(WrongKey, match="PEM"):
        Opener(b"none")


def test_a_key_that_loads_but_cannot_encrypt_is_refused() -> None:
    even = rsa.RSAPublicNumbers(65537, 1 << 2047).public_key()
    with pytest.raises(WrongKey, match="cannot encrypt"):
        Sealer(even.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())
