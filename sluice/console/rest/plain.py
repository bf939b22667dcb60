"""What is no part of the management API: the front page and the metrics."""

from starlette.responses import PlainTextResponse, Response

from sluice import __version__
from sluice.console.call import Call
from sluice.metrics import render

_FRONT = f"""\
Sluice {__version__}, a self-hosted AI gateway.

  /v1/{{account}}/{{gateway}}/{{provider}}/...   inference
  /client/v4/...                           management
  /metrics  /healthz  /readyz              operation

How to use it: docs/ in the source of Sluice, beginning with README.md.
"""


async def front(call: Call) -> Response:
    return PlainTextResponse(_FRONT)


async def metrics(call: Call) -> Response:
    text = await call.desk.read(lambda: render(sorted(call.desk.metrics_folder.glob("*.map"))))
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")
