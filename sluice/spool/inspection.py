"""Looks through the spools for damage, beside a running server or without one; changes nothing."""

from collections.abc import Iterator
from pathlib import Path

from sluice.spool.bad import bad_files
from sluice.spool.layout import spool_names
from sluice.spool.reader import SpoolTail
from sluice.values.finding import Finding


def inspect_spools(root: Path) -> Iterator[Finding]:
    """Damage among frames that wait to be stored, and what was set aside of those that could not be."""
    for name in spool_names(root):
        folder = root / name
        tail = SpoolTail(folder, set_aside=False)
        try:
            while tail.take():
                pass
            if tail.bad:
                what = f"{tail.bad} spans of its files cannot be read"
                yield Finding(str(folder), what, "the keeper sets them aside and stores what is around them")
        except OSError as error:
            yield Finding(str(folder), f"cannot be read: {error}", "see to its permissions and its disk")
        finally:
            tail.close()
        if kept := bad_files(folder):
            size = sum(path.stat().st_size for path in kept)
            what = f"{len(kept)} frames or spans, {size:,} bytes, were set aside as unreadable"
            yield Finding(str(folder / "bad"), what, "remove them when you have looked at them")
