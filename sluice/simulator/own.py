"""The simulator's own answers: the echo, the journal and a word of welcome."""

import base64
from typing import Final

from sluice.simulator.call import Call
from sluice.simulator.faults import base_model
from sluice.simulator.journal import Journal
from sluice.simulator.script import Script, bytes_script, json_script
from sluice.simulator.words import Json

PREFIX: Final = "/_simulator"
_LONGEST_WAIT_S: Final = 60.0
_WELCOME: Final = b"""Sluice's provider simulator. It answers as each vendor under its slug, and as OpenAI under / too.

    POST /openai/v1/chat/completions
    POST /anthropic/v1/messages
    POST /google-ai-studio/v1beta/models/gemini-2.5-flash:generateContent
    POST /workers-ai/run/@cf/meta/llama-3.1-8b-instruct
    GET  /_simulator/requests   the last requests and how they ended: ?last= ?marker= ?ended=COUNT ?wait_ms=
    GET  /_simulator/counters

docs/simulator.md has the rest. Add a fault to any model's name: gpt-4o~status-500, gpt-4o~slow-head-2000, gpt-4o~cut-3.
The model `echo` answers with what was received.
"""


def wants_echo(call: Call) -> bool:
    return call.header(b"x-sluice-echo") not in ("", "0") or base_model(call.model) == "echo"


def echo(call: Call, connection: int, number: int) -> Script:
    """What was received: names, case and order of the headers as they came."""
    whole = call.body.whole
    return json_script(
        {
            "method": call.method,
            "target": call.target,
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for _, name, value in call.headers],
            "body": None if whole is None else base64.b64encode(whole).decode(),
            "body_bytes": call.body.length,
            "body_sha256": call.body.sha256,
            "connection": connection,
            "number": number,
        }
    )


async def own(call: Call, journal: Journal) -> Script:
    """What is asked under `/_simulator`, and `/`."""
    path = call.target.partition("?")[0]
    if path == f"{PREFIX}/requests" and call.method == "DELETE":
        journal.clear()
        return json_script({"cleared": True})
    if path == f"{PREFIX}/requests":
        return await _requests(call.query, journal)
    if path == f"{PREFIX}/counters":
        return json_script(journal.counters())
    if path in ("", "/"):
        return bytes_script(_WELCOME, "text/plain; charset=utf-8")
    return json_script({"error": "not found"}, status=404)


async def _requests(query: dict[str, str], journal: Journal) -> Script:
    try:
        last, least = int(query.get("last", "100")), int(query.get("ended", "0"))
        wait_s = min(int(query.get("wait_ms", "5000")) / 1000, _LONGEST_WAIT_S)
    except ValueError:
        return json_script({"error": "last, ended and wait_ms are numbers"}, status=400)
    marker = query.get("marker")
    if least:
        await journal.ended(marker, least, wait_s)
    requests: list[Json] = [one.render() for one in journal.entries(marker, max(last, 0))]
    return json_script({"requests": requests})
