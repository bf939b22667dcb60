"""How the commands write what others chose, sums of money and texts that may hold anything; and how far they are."""

import sys
import time
from collections.abc import Callable
from typing import Final

import click

from sluice.values.log import NANO

_TOLD_EVERY_S: Final = 1.0


def dollars(nano: int) -> str:
    """Six digits, and more where they would all be zero: an embedding costs little."""
    return f"${nano / NANO:.{9 if 0 < nano < 1000 else 6}f}"


def metered(tokens_in: int | None, tokens_out: int | None) -> str:
    """What was read and written, with a question mark for what is not known."""
    counts = ["?" if count is None else str(count) for count in (tokens_in, tokens_out)]
    return "{} in {} out".format(*counts) if counts != ["?", "?"] else "-"


def price(nano: int | None, tokens: str) -> str:
    """The cost of what was metered; `$?` is one that is not known."""
    if nano is not None:
        return dollars(nano)
    return "-" if tokens == "-" else "$?"


def printable(text: str, besides: str = "") -> str:
    """Without what would steer the terminal: clients choose models, paths and bodies."""
    return "".join(letter if letter.isprintable() or letter in besides else "\ufffd" for letter in text)


class Progress:
    """A line on standard error, renewed once a second, where a person may see it."""

    def __init__(self, done: str) -> None:
        self._done = done
        self._began_s = self._told_s = time.monotonic()

    def tell(self, count: int) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= _TOLD_EVERY_S and sys.stderr.isatty():
            self._told_s = now_s
            click.echo(f"\r{count:,} {self._done}, {count / (now_s - self._began_s):,.0f}/s ", err=True, nl=False)

    def end(self, said: str) -> None:
        click.echo(f"{chr(13) if sys.stderr.isatty() else ''}{said}.", err=True)


def told_on_terminal() -> Callable[[str], None]:
    """Says on a terminal what is being looked at."""
    if not sys.stderr.isatty():
        return lambda said: None
    return lambda said: click.echo(f"\r\033[K{said[:100]}", err=True, nl=False)
