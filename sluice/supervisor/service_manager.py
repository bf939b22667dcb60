"""Tells systemd how the server fares, where it was started by it: sd_notify(3), for a unit of Type=notify."""

import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final, Literal

State = Literal["ready", "reloading", "stopping", "alive"]

_WORDS: Final = {"ready": "READY=1", "stopping": "STOPPING=1", "alive": "WATCHDOG=1"}
_ASKED: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ServiceManager:
    """Whoever started us, if it wants to hear of us."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Takes what was asked out of the environment: it is for this process, and for none of its children."""
        self.asked = {name: environment.pop(name) for name in _ASKED if name in environment}
        path, watchdog_us, watched = (self.asked.get(name, "") for name in _ASKED)
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        for_us = watched in ("", str(os.getpid())) and watchdog_us.isdecimal()
        self._every_s = int(watchdog_us) / 2_000_000 if for_us else 0.0
        """How often it wants to hear that we live; 0 is never."""
        self._due_s = 0.0

    def tell(self, state: State) -> None:
        """Never fails: a server does not end because nobody listens."""
        if not self._address or (state == "alive" and not self._is_due()):
            return
        words = _WORDS.get(state) or f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
                to.setblocking(False)
                to.sendto(words.encode(), self._address)
        except OSError:
            self._due_s = 0.0  # its buffer may be full: at once again

    def _is_due(self) -> bool:
        now_s = time.monotonic()
        if not self._every_s or now_s < self._due_s:
            return False
        self._due_s = now_s + self._every_s
        return True
