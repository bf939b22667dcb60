"""GET /client/v4/openapi.json: what can be asked of this console."""

from collections.abc import Sequence
from typing import Final

from starlette.responses import Response

from sluice.console.call import Call, Path
from sluice.console.openapi.document import Described, document
from sluice.console.openapi.operation import JSON, Operation, raw

PATTERN: Final = "/client/v4/openapi.json"
_OPERATION: Final = Operation(does="This description", answers=raw(JSON))


class Description:
    """Tells of the paths it is given and of its own. Made when it is first asked for, which few ever do."""

    def __init__(self, described: Sequence[Described]) -> None:
        self._described = described
        self._text = b""
        self.path: Final = Path("GET", PATTERN, self._show, "nothing")

    async def _show(self, call: Call) -> Response:
        if not self._text:
            self._text = document([*self._described, (self.path, _OPERATION)])
        return Response(self._text, media_type=JSON)
