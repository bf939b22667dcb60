"""A store of objects: an S3 bucket, or a folder in its place. Opening one is no call; every call has a deadline.

Whoever uses it loads this file only where one is configured: the library takes 16 ms and 6 MB.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, S3Store

from sluice.storage.ports import ObjectFault, ObjectMissing
from sluice.values.settings import MB, ObjectSettings

_TIMEOUT: Final = timedelta(seconds=30)
_RETRIES: Final = 3
_RETRY_TIMEOUT: Final = timedelta(seconds=20)
_PART_BYTES: Final = 8 * MB


class ObstoreObjects:
    """Objects over the obstore library."""

    def __init__(self, opened: Callable[[], S3Store | LocalStore]) -> None:
        """`opened` is called at every use, and may raise ObjectFault."""
        self._opened = opened

    @classmethod
    def open(cls, place: ObjectSettings, *, make_folder: bool = True) -> Self:
        """Raises ObjectFault where the settings make no store; whether it can be used, the first call tells.

        Without `make_folder` a folder that is not there is a fault of each call, until it is.
        """
        parts = urlsplit(place.url)
        given: dict[str, str] = {"region": place.region}
        if place.endpoint:
            given["endpoint"] = place.endpoint
        if place.access_key_id:
            given["access_key_id"] = place.access_key_id
            given["secret_access_key"] = place.secret_access_key.reveal()
        with _faults(place.url):
            if parts.scheme == "file":
                folder = cache(partial(_folder, parts.path, make=make_folder))
                if make_folder:
                    folder()
                return cls(folder)
            store = S3Store(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                client_options={"allow_http": True, "timeout": _TIMEOUT},
                retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY_TIMEOUT},
                **given,  # type: ignore[arg-type]  # its stubs type each name by itself, a dict has one type for all
            )
            return cls(lambda: store)

    def put(self, name: str, data: bytes) -> None:
        with _faults(name):
            obstore.put(self._opened(), name, data)

    def put_file(self, name: str, path: Path) -> None:
        with _faults(name):
            obstore.put(self._opened(), name, path, chunk_size=_PART_BYTES)

    def read(self, name: str, start: int, length: int) -> bytes:
        with _faults(name):
            return bytes(obstore.get_range(self._opened(), name, start=start, length=length))

    def size(self, name: str) -> int | None:
        with suppress(ObjectMissing), _faults(name):
            return obstore.head(self._opened(), name)["size"]
        return None

    def delete(self, name: str) -> None:
        with suppress(ObjectMissing), _faults(name):
            obstore.delete(self._opened(), name)

    def names(self, prefix: str) -> Iterator[str]:
        with _faults(prefix):
            for some in obstore.list(self._opened(), prefix):
                yield from (each["path"] for each in some)


def _folder(path: str, *, make: bool) -> LocalStore:
    """Raises ObjectFault: an empty folder in the place of one that is not mounted would look like lost objects."""
    if not make and not Path(path).is_dir():
        raise ObjectFault(f"there is no folder {path}: is it mounted?")
    return LocalStore(path, mkdir=make)


@contextmanager
def _faults(what: str) -> Iterator[None]:
    """What the library says goes on for pages; the first line tells it."""
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise ObjectMissing(f"{what}: there is no such object") from error
    except (BaseError, OSError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise ObjectFault(f"{what}: {type(error).__name__}: {first[:300]}") from error
