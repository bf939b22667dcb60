"""What filters need beyond SQLite's own functions, for the connections that read."""

from typing import Final

import apsw
import msgspec

from sluice.storage.embedded.rows import scalar_text
from sluice.values.ids import text_of
from sluice.values.log import Scalar

Given = int | float | str | bytes | None
_read: Final = msgspec.json.Decoder(dict[str, Scalar]).decode


def add_functions(db: apsw.Connection) -> None:
    db.create_scalar_function("contains_text", _contains_text, 2, deterministic=True)
    db.create_scalar_function("log_id", _log_id, 1, deterministic=True)
    db.create_scalar_function("metadata_has", _metadata_has, 2, deterministic=True)
    db.create_scalar_function("metadata_contains", _metadata_contains, 2, deterministic=True)


def _contains_text(*given: Given) -> bool:
    """Whether the second text is somewhere in the first, in whatever case."""
    text, part = given
    return isinstance(text, str) and str(part).casefold() in text.casefold()


def _log_id(*given: Given) -> str:
    (number,) = given
    return text_of(int.from_bytes(number, "big")) if isinstance(number, bytes) else ""


def _metadata_has(*given: Given) -> bool:
    metadata, value = given
    return any(text == value for text in _metadata_texts(metadata))


def _metadata_contains(*given: Given) -> bool:
    metadata, part = given
    return any(_contains_text(text, part) for text in _metadata_texts(metadata))


def _metadata_texts(metadata: Given) -> list[str]:
    return [scalar_text(value) for value in _read(metadata).values()] if isinstance(metadata, str) else []
