"""Where one child belongs: a worker's slot, or the only place of the keeper or the console."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sluice.supervisor.offspring import Offspring
from sluice.supervisor.patience import Deaths


@dataclass(slots=True)
class Place:
    """A place keeps its listening sockets while processes in it come and go."""

    role: str
    number: int
    """From 1 for workers, 0 for a role with one process."""
    deaths: Deaths
    reopen: Callable[[], list[socket.socket]] | None = None
    """Opens the sockets anew, bound but not listening, after a closure; None where the place is never closed."""
    listeners: list[socket.socket] = field(default_factory=list)
    current: Offspring | None = None
    successor: Offspring | None = None
    """Started by a reload, not ready yet."""
    wanted: bool = True
    start_at: float = 0.0

    @property
    def children(self) -> Iterator[Offspring]:
        yield from (child for child in (self.current, self.successor) if child)

    @property
    def ready(self) -> bool:
        return self.current is not None and self.current.ready

    def close(self) -> None:
        """Lets go of the sockets; what a living worker holds of them stays with it."""
        for listener in self.listeners:
            listener.close()
        self.listeners = []

    def ensure_open(self) -> None:
        """Raises OSError where the port was lost meanwhile."""
        if not self.listeners and self.reopen:
            self.listeners = self.reopen()
