"""`sluice logs import`: logs brought in."""

import gzip
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Final, NamedTuple, cast

import click

from sluice.cli.following import gateway_of
from sluice.cli.options import account_option, common, folder_settings, gateway_option
from sluice.cli.printing import Progress
from sluice.cli.searching import reading
from sluice.insight import litellm, logpush, portable
from sluice.insight.portable import WrongLine
from sluice.metrics import Metrics
from sluice.spool.frames import FrameError
from sluice.spool.layout import IMPORTS
from sluice.spool.writer import SpoolRefuses, SpoolTaken, SpoolWriter
from sluice.storage.ports import LogReader
from sluice.values.log import NewLog, ShardKey
from sluice.values.settings import Settings

Read = Callable[[bytes], NewLog]
READERS: Final[dict[str, Read]] = {
    "sluice": portable.read,
    "litellm": litellm.read,
    "logpush": logpush.reader(None),
}
_STORED_S: Final = 120.0
_PARQUET: Final = b"PAR1"
"""How such a file begins."""


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@account_option
@gateway_option
@click.option(
    "--from", "kind", type=click.Choice(list(READERS)), default="sluice", show_default=True, help="Whose logs."
)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The private key, PEM, for what is sealed in lines of Logpush; it is left out without.",
)
@common
def bring(
    file: Path, account: str, gateway: str, kind: str, key: Path | None, data: Path | None, as_json: bool
) -> None:
    """Store the logs of a file of lines of JSON (.gz too) as its records say, without those that are stored already.

    Needs a running server. Twice does what once does: after an interruption begin again. Lines that are no logs go
    to FILE.rejected beside the file, in place of those of an import before, and the exit status is 1.
    """
    read = _sealed_reader(kind, key) if key else READERS[kind]
    settings = folder_settings(data)
    shard = gateway_of(settings, account, gateway)
    importing = _Importing(settings, shard, read, file)
    importing.run()


def _sealed_reader(kind: str, key: Path) -> Read:
    if kind != "logpush":
        raise click.BadParameter("only lines of Logpush are sealed: --from logpush", param_hint="--key")
    try:
        return logpush.reader(logpush.Opener(key.read_bytes()))
    except (logpush.WrongKey, OSError) as error:
        raise click.BadParameter(f"{key}: {error}", param_hint="--key") from None


class _Line(NamedTuple):
    number: int
    data: bytes
    is_last: bool


class _Importing:
    """Hands the logs of a file to the keeper, through a spool of its own."""

    def __init__(self, settings: Settings, shard: ShardKey, read: Read, file: Path) -> None:
        self._settings, self._shard, self._read, self._file = settings, shard, read, file
        self._rejects = file.with_name(f"{file.name}.rejected")
        self._rejected = 0
        self._last = ""
        self._was_stored = False
        """Whether the last log was there before: then it does not tell when those before it are."""
        self._progress = Progress("read")

    def run(self) -> None:
        with _opened(self._file) as lines, reading(self._settings) as reader:
            count = self._hand_over(lines, reader)
            self._await_last(reader)
        said = f"{count} logs are stored"
        if self._was_stored:
            said = (
                f"{count} logs are handed over, of which the last one was stored before; the keeper stores what is new"
            )
        rejected = f", {self._rejected} lines rejected: see {self._rejects}" if self._rejected else ""
        self._progress.end(f"{said}{rejected}")
        if self._rejected:
            raise click.exceptions.Exit(1)

    def _hand_over(self, lines: IO[bytes], reader: LogReader) -> int:
        """Returns how many logs they were."""
        try:
            spool = SpoolWriter.open(
                self._settings.data / "spool", self._settings.spool, Metrics.unseen(), numbers=IMPORTS
            )
        except SpoolTaken:
            raise click.ClickException("As many imports as may be are under way.") from None
        self._rejects.unlink(missing_ok=True)
        count = 0
        with closing(spool):
            for line in _full_lines(lines):
                count += self._bring(spool, line, reader)
                self._progress.tell(line.number)
        return count

    def _bring(self, spool: SpoolWriter, line: _Line, reader: LogReader) -> bool:
        try:
            log = self._read(line.data)
            self._was_stored = line.is_last and reader.get(self._shard, log.entry.id) is not None
            while True:
                try:
                    spool.bring(bytes.fromhex(self._shard.gateway), self._shard.account, log)
                except SpoolRefuses:
                    time.sleep(0.1)  # the keeper makes room
                    spool.measure()
                else:
                    self._last = log.entry.id
                    return True
        except (WrongLine, FrameError) as error:
            self._reject(line, str(error))
            return False

    def _reject(self, line: _Line, why: str) -> None:
        self._rejected += 1
        try:
            with self._rejects.open("ab") as rejects:
                rejects.write(line.data if line.data.endswith(b"\n") else line.data + b"\n")
        except OSError as error:
            raise click.ClickException(
                f"line {line.number}: {why}, and {self._rejects} cannot be written: {error.strerror}"
            ) from error
        if self._rejected <= 10:
            click.echo(f"line {line.number}: {why}", err=True)

    def _await_last(self, reader: LogReader) -> None:
        """They are stored in the order of the file."""
        give_up_at = time.monotonic() + _STORED_S
        while self._last and reader.get(self._shard, self._last) is None:
            if time.monotonic() > give_up_at:
                raise click.ClickException(
                    "All logs are in the spool, but the last one is not stored yet: does a server run on this"
                    " folder, and may the gateway store more?"
                )
            time.sleep(0.1)


def _opened(file: Path) -> IO[bytes]:
    if file.suffix == ".gz":
        return cast(IO[bytes], gzip.open(file, "rb"))
    lines = file.open("rb")
    if lines.peek(len(_PARQUET)).startswith(_PARQUET):
        lines.close()
        raise click.ClickException(
            f"{file} is a Parquet file, and an import reads lines of JSON: export without --format parquet."
        )
    return lines


def _full_lines(lines: IO[bytes]) -> Iterator[_Line]:
    """Those that are not blank."""
    held: tuple[int, bytes] | None = None
    for number, line in enumerate(lines, 1):
        if line.strip():
            if held:
                yield _Line(*held, is_last=False)
            held = number, line
    if held:
        yield _Line(*held, is_last=True)
