"""The shim between a server and the kernel (shim.c): compiled once, steered through a mapped file while it runs."""

import mmap
import struct
import subprocess
import sysconfig
from pathlib import Path
from typing import Final, Self

from bench.machine import BenchFault

_SOURCE: Final = Path(__file__).with_name("shim.c")
_STATE: Final = struct.Struct("<4q")


class Shim:
    """What a server that is started with `environment` meets from now on, in all of its processes."""

    def __init__(self, library: Path, state: Path, root: Path) -> None:
        self._library, self._path, self._root = library, state, root
        state.write_bytes(bytes(_STATE.size))
        with state.open("r+b") as file:
            self._state = mmap.mmap(file.fileno(), _STATE.size)

    @classmethod
    def make(cls, data: Path) -> Self:
        """For a server on this data folder; what it needs lies beside that. Raises BenchFault."""
        library, folder = data.with_name("shim.so"), data.resolve()
        if not library.exists():
            compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
            for name in dict.fromkeys(("cc", compiler)):
                command = [name, "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"]
                try:
                    subprocess.run(command, check=True, capture_output=True, text=True)
                except FileNotFoundError:
                    continue
                except subprocess.CalledProcessError as error:
                    raise BenchFault(f"the shim cannot be compiled:\n{error.stderr}") from error
                break
            else:
                raise BenchFault("the hardships of a disk need a C compiler: apt install gcc libc6-dev")
        return cls(library, folder.with_name(f"{folder.name}.state"), folder)

    def environment(self, notary: Path | None = None) -> dict[str, str]:
        """`notary` is the socket of who is to be told of each sync."""
        told = {"LD_PRELOAD": str(self._library), "HARDSHIP_STATE": str(self._path), "HARDSHIP_ROOT": str(self._root)}
        return {**told, "HARDSHIP_NOTARY": str(notary)} if notary else told

    def step_clock(self, seconds: float) -> None:
        self._put(0, int(seconds * 1e9))

    def fail_writes(self, number: int) -> None:
        """With this error number; 0: no more."""
        self._put(1, number)

    def slow_syncs(self, seconds: float) -> None:
        self._put(2, int(seconds * 1000))

    @property
    def slow(self) -> int:
        """How many syncs were held up."""
        slow: int = _STATE.unpack_from(self._state)[3]
        return slow

    def close(self) -> None:
        self._state.close()

    def _put(self, index: int, value: int) -> None:
        struct.pack_into("<q", self._state, index * 8, value)
