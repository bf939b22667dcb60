"""Opens what more than one program reads logs with, as the settings say."""

import importlib
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.folder_objects import FolderObjects
from sluice.storage.ports import Objects
from sluice.values.settings import ObjectSettings, Settings

_OBSTORE: Final = "sluice.storage.objects"
"""Loaded where it is needed."""


def pack_objects(settings: Settings, *, make_folder: bool = False) -> Objects | None:
    """Where packs of full segments go. Raises ObjectFault where there can be no such store.

    Only who sends packs there makes the folder: whoever reads them finds nothing in one that is not mounted.
    """
    return objects_at(settings.packs, make_folder=make_folder) if settings.packs.url else None


def objects_at(place: ObjectSettings, *, make_folder: bool = True) -> Objects:
    """Raises ObjectFault likewise."""
    parts = urlsplit(place.url)
    if parts.scheme == "file":
        return FolderObjects.open(Path(parts.path)) if make_folder else FolderObjects(Path(parts.path))
    found: Objects = importlib.import_module(_OBSTORE).ObstoreObjects.open(place)
    return found


def log_reader(settings: Settings, query_timeout_s: float | None = None) -> EmbeddedLogReader:
    timeout_s = settings.console.query_timeout_s if query_timeout_s is None else query_timeout_s
    return EmbeddedLogReader(settings.data / "shards", query_timeout_s=timeout_s, objects=pack_objects(settings))
