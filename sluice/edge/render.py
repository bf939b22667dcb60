"""Replies as bytes, for the client at hand."""

from sluice.values.reply import Part, Reply
from sluice.wire.events import RequestHead
from sluice.wire.lines import LAST_CHUNK, chunk, status_line


class Form:
    """How a reply goes on the wire. Its head and its body are asked for in that order."""

    __slots__ = ("_bodiless", "_chunked", "_http11", "delimited")

    def __init__(self, reply: Reply, head: RequestHead | None) -> None:
        self._http11 = head is None or head.http11
        self._bodiless = reply.status in (204, 304) or (head is not None and head.method == b"HEAD")
        self._chunked = self._http11 and reply.length is None and not self._bodiless
        self.delimited = self._chunked or self._bodiless or reply.length is not None
        """Whether the client can tell the end of the reply from the end of the connection."""

    def head(self, reply: Reply, stays: bool) -> bytes:
        """The head with its empty line; `stays` whether the connection is kept."""
        framing = b"Transfer-Encoding: chunked\r\n" if self._chunked else b""
        if not stays:
            framing += b"Connection: close\r\n"
        elif not self._http11:
            framing += b"Connection: keep-alive\r\n"
        return b"%b%b%b\r\n" % (status_line(reply.status, reply.reason), b"".join(reply.lines), framing)

    def body(self, part: Part) -> bytes:
        """A part of the body, framed."""
        if self._bodiless:
            return b""
        if not self._chunked:
            return part.data
        data = chunk(part.data) if part.data else b""
        return data + LAST_CHUNK if part.last else data
