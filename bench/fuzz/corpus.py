"""The saved inputs of each target: one a line, as Python writes bytes."""

from ast import literal_eval
from collections.abc import Iterable
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent.parent.parent / "tests" / "fuzz" / "corpus"


def saved(target: str) -> list[bytes]:
    """All that is kept of a target."""
    return [literal_eval(line) for line in (CORPUS / f"{target}.txt").read_text().splitlines()]


def save(target: str, inputs: Iterable[bytes]) -> None:
    """Keeps these and no others."""
    lines = sorted({repr(one) for one in inputs}, key=lambda line: (len(line), line))
    (CORPUS / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines))
