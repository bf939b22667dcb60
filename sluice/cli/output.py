"""Where a command writes bytes: to stdout, or into a file that has its name only when it is whole."""

import gzip
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

import click

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


@contextmanager
def written(output: str) -> Iterator[IO[bytes]]:
    """`-` is stdout; .gz at the end of a name compresses. What cannot be written ends the command with the reason."""
    if output == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with _file(Path(output)) as file:
            if output.endswith(".gz"):
                with gzip.GzipFile("", "wb", fileobj=file) as packed:
                    yield cast(IO[bytes], packed)
            else:
                yield file
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written: {error.strerror or error}") from error


@contextmanager
def _file(path: Path) -> Iterator[IO[bytes]]:
    """A pipe or a device is written as it is."""
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
    else:
        with _renamed(path.resolve()) as file:
            yield file


@contextmanager
def _renamed(path: Path) -> Iterator[IO[bytes]]:
    """A file beside it, its owner's alone, which takes its name, and its mode, if the block ends without an error."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        with open(os.open(part, _NEW, 0o600), "wb") as file:
            if path.exists():
                os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
