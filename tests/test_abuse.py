"""Clients and providers that mean ill: the short form of `scripts/soak abuse`."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from bench.abuse.attack import abuse
from bench.abuse.replies import Replies, read_catalogue
from bench.abuse.table import FAMILIES

SEED = 11
OURS = {
    "success": False,
    "result": [],
    "messages": [],
    "name": "AiGatewayError",
    "httpCode": 400,
    "internalCode": 2004,
    "message": "m",
    "description": "m",
    "error": [{"code": 2004}],
    "errors": [{"code": 2004}],
}
MANAGEMENT = {"success": False, "errors": [{"code": 7001, "message": "m"}], "messages": [], "result": None}


async def test_no_bad_input_gets_a_wrong_answer_or_leaves_anything_behind(tmp_path: Path):
    findings = await abuse(tmp_path / "data", 900, SEED, weighs=False)
    assert findings.played >= 900
    assert findings.families == {family.name for family in FAMILIES}
    assert findings.beside.asked > 50
    assert {"400:2004", "431:2004", "408:2004", "413:2004", "501:2004", "m404:7003", "close1002"} <= set(
        findings.answers
    )


def test_the_families_are_told_of():
    page = (Path(__file__).parent.parent / "docs" / "hardening.md").read_text()
    told = re.search(r"(\d+) families", page)
    assert told
    assert int(told[1]) == len(FAMILIES) == len({family.name for family in FAMILIES})


def reply(status: int, body: object) -> bytes:
    data = json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(data), data)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (reply(400, OURS), "400:2004"),
        (reply(413, OURS), "garbled"),
        (reply(400, {**OURS, "internalCode": 1}), "garbled"),
        (reply(400, {**OURS, "description": ""}), "garbled"),
        (reply(400, {**OURS, "more": 1}), "garbled"),
        (reply(400, {**OURS, "message": "sluice_secret"}), "leak"),
        (reply(400, MANAGEMENT), "m400:7001"),
        (reply(404, MANAGEMENT), "garbled"),
        (reply(400, {"error": "the provider's"}), "400"),
        (reply(200, {})[:-1], "200-cut"),
        (b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", "garbled"),
        (b"HTTP/1.1 200 OK\nX: a\r\n\r\n", "garbled"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "200-cut"),
    ],
)
async def test_an_answer_is_taken_for_what_it_is(data: bytes, word: str):
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    told = await Replies(reader, read_catalogue(), "sluice_secret").reply()
    assert told == word or (word == "garbled" and told.startswith("garbled: "))
