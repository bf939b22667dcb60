"""The opening handshake of a connection that is relayed (RFC 6455, 4), over the heads that http1.py reads."""

from collections.abc import Sequence
from typing import Final

import msgspec
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from sluice.values.errors import UpstreamBroken
from sluice.wire.events import ReplyHead, RequestHead
from sluice.wire.lines import field
from sluice.wire.websocket import agreed

_ANYWHERE: Final = parse_uri("ws://anywhere/")
"""The library wants an address, which only the heads that it writes itself would name."""


class Offer:
    """What a client offers to a server: to change the protocol, and subprotocols to speak then."""

    def __init__(self, subprotocols: Sequence[str]) -> None:
        known = [Subprotocol(name) for name in subprotocols]
        self._protocol = ClientProtocol(_ANYWHERE, subprotocols=known or None)
        self._protocol.parser.close()  # it is not to read anything, and holds on to its protocol
        self._subprotocols = subprotocols

    @property
    def lines(self) -> bytes:
        """The field lines that make a request of this offer."""
        lines = (
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
            field(b"Sec-WebSocket-Key", self._protocol.key.encode()),
            field(b"Sec-WebSocket-Protocol", ", ".join(self._subprotocols).encode()) if self._subprotocols else b"",
        )
        return b"".join(lines)

    def accepted(self, head: ReplyHead) -> str | None:
        """The subprotocol that the server chose in accepting. Raises UpstreamBroken where there is no acceptance."""
        headers = Headers([(name.decode("latin-1"), value.decode("latin-1")) for _, name, value in head.headers])
        try:
            self._protocol.process_response(Response(head.status, head.reason.decode("latin-1"), headers))
            subprotocol = self._protocol.process_subprotocol(headers)
        except InvalidHandshake as error:
            raise UpstreamBroken(f"The provider's handshake is not valid: {error}") from error
        return subprotocol


def acceptance(head: RequestHead, subprotocol: bytes | None = None) -> list[bytes]:
    """The field lines of a 101 for a connection whose frames stay as they come: no extension is agreed to.

    Raises MalformedRequest.
    """
    headers = [header for header in head.headers if header[0] != b"sec-websocket-extensions"]
    return agreed(msgspec.structs.replace(head, headers=headers), subprotocol)[1]
