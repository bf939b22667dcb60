"""Request bodies that must be at hand before anything can be decided."""

from sluice.edge.call import Call
from sluice.formats.encodings import coding_of
from sluice.values.errors import MalformedRequest, Overloaded


async def read_whole(call: Call) -> bytes:
    """All of a body, within the server's limit. Raises MalformedRequest, Overloaded, and what reading it raises."""
    if coding_of(call.head.fields.get(b"content-encoding", b"")) != "identity":
        raise MalformedRequest("A body with a Content-Encoding can only be sent to a provider's own endpoint")
    body = call.body
    if body.whole is not None:
        return body.whole
    pieces: list[bytes] = []
    while piece := await body.read():
        pieces.append(piece)
        if not body.charge():
            raise Overloaded(None, "Too many bodies that must be whole are in memory")
    return b"".join(pieces)
