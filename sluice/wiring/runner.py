"""Builds the runner: the jobs of Logpush, a thread each, since one destination may be slow."""

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

from sluice.child import BEAT_S, Child
from sluice.journal import fields
from sluice.keeper.alone import alone
from sluice.runner.pushing import RETRY_S, Job, Pushing, Tools
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.pushes import EmbeddedPushStore
from sluice.storage.ports import LogReader, StoreFault
from sluice.values.settings import LogpushSettings
from sluice.wiring.stores import log_reader, objects_at

_log = logging.getLogger(__name__)


def run_runner(child: Child) -> None:
    """Runs all jobs until the supervisor calls to drain. A job that fails unforeseen ends the process."""
    with alone(child.settings.data / "runner.lock", child.told_to_drain) as mine:
        if mine:
            _run_all(child)


def _run_all(child: Child) -> None:
    jobs, stop = child.settings.logpush, threading.Event()
    with closing(log_reader(child.settings)) as logs, ThreadPoolExecutor(max(len(jobs), 1), "job") as threads:
        try:
            running = [threads.submit(_run, child, name, job, logs, stop) for name, job in jobs.items()]
            child.ready()
            while not child.told_to_drain(BEAT_S):
                child.beat()
                _raise_failed(running)
        finally:
            stop.set()


def _run(child: Child, name: str, job: LogpushSettings, logs: LogReader, stop: threading.Event) -> None:
    """What cannot be opened, a destination above all, is tried again and holds up no other job."""
    while not stop.is_set():
        try:
            return _push(child, name, job, logs, stop)
        except StoreFault as fault:
            _log.error("a job of logpush cannot begin", extra=fields(job=name, error=str(fault)))
            stop.wait(RETRY_S)


def _push(child: Child, name: str, job: LogpushSettings, logs: LogReader, stop: threading.Event) -> None:
    data = child.settings.data
    with (
        closing(EmbeddedControlReader.open(data / "control.db")) as control,
        closing(EmbeddedPushStore.open(data / "logpush.db")) as store,
    ):
        tools = Tools(control.pushed_gateways, logs, objects_at(job.to), store)
        Pushing(Job(name, job.account, job.every_s), tools, child.metrics).run(stop)


def _raise_failed(running: list[Future[None]]) -> None:
    for job in running:
        if job.done():
            job.result()
