"""Builds a worker, bottom up, and closes it in reverse."""

import asyncio
from contextlib import AsyncExitStack, closing

from sluice.child import Child
from sluice.deadlines import Deadlines
from sluice.edge.management import Management
from sluice.edge.paths import Paths
from sluice.edge.proxies import TrustedProxies
from sluice.edge.realtime import RealtimeSockets
from sluice.edge.server import Server
from sluice.edge.tls import server_context
from sluice.edge.websocket import UniversalSockets
from sluice.engine.recorder import Recorder
from sluice.metrics import Metrics
from sluice.outbox import Outbox
from sluice.spool.writer import SpoolWriter
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.generations import MappedGenerations
from sluice.upstream.foreign import Foreign
from sluice.upstream.http import HttpClient
from sluice.upstream.names import Names
from sluice.values.settings import Settings, UpstreamSettings
from sluice.wiring.engine import State, build_engine


async def run_worker(child: Child) -> None:
    """Carries traffic on the child's listening sockets until it is told to drain, and has."""
    settings, loop, metrics = child.settings, asyncio.get_running_loop(), child.metrics
    data = settings.data
    async with AsyncExitStack() as stack:
        deadlines = stack.enter_context(closing(Deadlines(loop)))
        outbox = Outbox(loop)
        generations = stack.enter_context(closing(MappedGenerations.open(data / "generations.map")))
        control = stack.enter_context(closing(EmbeddedControlReader.open(data / "control.db")))
        spool = stack.enter_context(
            closing(SpoolWriter.open(data / "spool", settings.spool, metrics, body_bytes=settings.logs.body_bytes))
        )
        names = Names(keep_s=settings.upstream.names_s, metrics=metrics)
        foreign = Foreign(settings.custom_providers, metrics, names)
        client = stack.enter_context(closing(HttpClient(settings.upstream, deadlines, outbox, metrics, foreign, names)))
        relays = stack.enter_context(closing(HttpClient(console_waits(settings), deadlines, outbox, Metrics.unseen())))
        management = Management(relays, str(data / "relay.sock"), settings.limits.management_requests)
        recorder = Recorder(spool, settings.server.upstream_failure_status, settings.spool.durability == "power")
        deadlines.watch(recorder.watch)
        state = State(control, generations, client, metrics)
        engine, catalogue = build_engine(stack, settings, state, recorder, management.create_default)
        server: Server
        paths = Paths(
            engine,
            management,
            settings,
            ready=lambda: not server.draining and spool.writable and not spool.refusing,
            refuse=recorder.refuse,
            catalogue=catalogue,
            sockets=UniversalSockets(engine, settings, metrics),
            realtime=RealtimeSockets(engine, settings, metrics),
        )
        tls = server_context(settings.server.tls_cert, settings.server.tls_key) if settings.server.tls_cert else None
        proxies = TrustedProxies(settings.server.trusted_proxies)
        server = Server(paths.answer, paths.refuse, settings.limits, deadlines, outbox, metrics, tls, proxies)
        for listener in child.listeners:
            await server.listen(listener)
        child.start_heartbeat()
        child.ready()
        await child.draining()
        await server.drain(settings.server.drain_timeout_s, child.hastened())


def console_waits(settings: Settings) -> UpstreamSettings:
    """How long a relay waits for the console."""
    timeout_s = settings.console.request_timeout_s
    return UpstreamSettings(
        connect_timeout_s=timeout_s,
        first_byte_timeout_s=timeout_s,
        idle_timeout_s=timeout_s,
        connections=settings.limits.management_requests,
    )
