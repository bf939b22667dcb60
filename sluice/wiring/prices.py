"""The price list's process: started by the console when it needs prices, and ended by it."""

import signal
import sys

import msgspec
import setproctitle

from sluice import journal
from sluice.console.price_process import DEADLINE_S, Question
from sluice.console.prices import answer


def main() -> None:
    """Answers until the console hangs up."""
    setproctitle.setproctitle("sluice: prices")
    journal.begin("prices")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a console that has died is no error of this process
    for line in sys.stdin.buffer:
        # The list's patterns meet names that clients chose, and a console that has died can kill nobody.
        signal.alarm(DEADLINE_S)
        said = answer(msgspec.json.decode(line, type=Question))
        sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
        sys.stdout.buffer.flush()
        signal.alarm(0)
