"""Azure OpenAI's wire: OpenAI's, with the resource and the deployment in the path and the version in the query."""

import re
from typing import Final

from sluice.simulator import openai
from sluice.simulator.call import Call
from sluice.simulator.files import Shelf
from sluice.simulator.openai_realtime import open_session
from sluice.simulator.script import Refused, Script
from sluice.simulator.vendor import Vendor

_PLAIN: Final = re.compile(r"(?:[^/]+/)?openai/(v1/.+)")
_DEPLOYED: Final = re.compile(
    r"^(?!(?:[^/]+/)?openai/v1/)(?:[^/]+/openai/deployments/|openai/deployments/|[^/]+/)([^/]+)/(.+)"
)
"""With the resource, or without it where a host would say it; `openai/deployments/` may be left out behind it."""


def answer(call: Call, shelf: Shelf) -> Script:
    """The reply to a request. Raises Refused."""
    if found := _PLAIN.fullmatch(call.path):
        return openai.answer(call._replace(path=found[1]), shelf)
    found = _DEPLOYED.fullmatch(call.path)
    if found is None or not call.query.get("api-version"):
        raise Refused(404, "Resource not found")
    return openai.answer(call._replace(path=found[2]), shelf)


AZURE: Final = Vendor(answer, openai.refusal, openai.error_event, _DEPLOYED, open_session)
