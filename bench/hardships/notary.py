"""Takes notes of what was synced, for a whole server: whoever synced goes on when it is written down.

    python -m bench.hardships.notary LIVE NOTES SOCKET     says `ready` when it listens

It must not be one of the processes that it listens to: see bench/store/power.py, which keeps the notes.
"""

import socket
import sys
from contextlib import suppress
from pathlib import Path

from bench.store.power import Disk


def main() -> None:
    live, notes, path = map(Path, sys.argv[1:])
    disk = Disk(live, notes)
    take = {"content": disk.content_synced, "names": disk.names_synced}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(128)
        print("ready", flush=True)
        while True:
            talk, _ = listener.accept()
            with talk, talk.makefile("rb") as lines:
                what, _, synced = lines.readline().decode().rstrip("\n").partition(" ")
                with suppress(FileNotFoundError):  # a folder that is gone
                    take[what](Path(synced))
                with suppress(OSError):  # whoever asked was killed meanwhile
                    talk.sendall(b"\n")


if __name__ == "__main__":
    main()
