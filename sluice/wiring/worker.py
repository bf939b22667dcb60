"""Builds a worker, bottom up, and closes it in reverse."""

import asyncio
import gc
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Final

from sluice.child import Child
from sluice.deadlines import Deadlines
from sluice.edge.management import Management
from sluice.edge.paths import Paths
from sluice.edge.realtime import RealtimeSockets
from sluice.edge.server import Server
from sluice.edge.websocket import UniversalSockets
from sluice.engine.attempt import Attempts
from sluice.engine.authorizing import Authorizing
from sluice.engine.caching import Caching
from sluice.engine.credentials import Credentials
from sluice.engine.custom_providers import CustomProviders
from sluice.engine.custom_rates import CustomRates
from sluice.engine.directory import Directory
from sluice.engine.engine import Engine
from sluice.engine.estimates import Estimates
from sluice.engine.google_tokens import GoogleTokens, TokenPlaces
from sluice.engine.limits import Limits
from sluice.engine.opened_keys import OpenedKeys
from sluice.engine.realtime import Access, Dialler
from sluice.engine.recorder import Recorder
from sluice.engine.workflow import Workflow
from sluice.outbox import Outbox
from sluice.providers.vertex import GOOGLE_VERTEX_AI
from sluice.spool.writer import SpoolWriter
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.custom_providers import EmbeddedCustomProviderReader
from sluice.storage.embedded.generations import MappedGenerations
from sluice.storage.embedded.reply_cache import EmbeddedReplyCache
from sluice.storage.embedded.windows import MappedWindows
from sluice.storage.sealing import Vault
from sluice.upstream.foreign import Foreign
from sluice.upstream.http import HttpClient
from sluice.values.settings import Settings, UpstreamSettings

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Requests leave few reference cycles, so the collector may run rarely."""


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
        foreign = Foreign(settings.custom_providers, metrics)
        client = stack.enter_context(closing(HttpClient(settings.upstream, deadlines, outbox, foreign)))
        relays = stack.enter_context(closing(HttpClient(console_waits(settings), deadlines, outbox)))
        management = Management(relays, str(data / "relay.sock"), settings.limits.management_requests)
        directory = Directory(control, generations, management.create_default)
        custom_reader = EmbeddedCustomProviderReader(control.db)
        customs = CustomProviders(custom_reader, generations)
        base_urls = {name: provider.base_url for name, provider in settings.providers.items() if provider.base_url}
        api_keys = {name: provider.api_key for name, provider in settings.providers.items()}
        stored_keys = OpenedKeys(control, Vault.of(data), metrics)
        places = TokenPlaces(base_urls.get(GOOGLE_VERTEX_AI.name, ""), settings.simulate)
        authorizing = Authorizing(GoogleTokens(client, places, metrics))
        attempts = Attempts(base_urls, client, authorizing.authorize)
        windows = stack.enter_context(closing(MappedWindows(data / "limits.map", settings.limits.table_bytes)))
        estimates = Estimates(control.rates, CustomRates(custom_reader, generations))
        limits = Limits(attempts.make, windows, estimates, metrics, settings.limits.spend_when_broken)
        cache = stack.enter_context(
            closing(EmbeddedReplyCache(data / "cache.db", settings.cache, metrics, is_current(data / "control.db")))
        )
        caching = Caching(limits.make, attempts.target, cache, settings.cache.record_streams, metrics)
        stack.push_async_callback(caching.close)
        credentials = Credentials(stored_keys, api_keys, settings.server.keys_require_auth, caching.make)
        workflow = Workflow(credentials.make, customs.find)
        recorder = Recorder(spool, settings.server.upstream_failure_status, settings.spool.durability == "power")
        deadlines.watch(recorder.watch)
        access = Access(credentials, limits.admit, authorizing.authorize)
        dialler = Dialler(base_urls, client, access, settings.realtime.handshake_timeout_s)
        engine = Engine(directory, workflow, recorder, dialler, customs.find)
        server: Server
        paths = Paths(
            engine,
            management,
            settings,
            ready=lambda: not server.draining and spool.writable and not spool.refusing,
            refuse=recorder.refuse,
            catalogue=control.listed_models,
            sockets=UniversalSockets(engine, settings, metrics),
            realtime=RealtimeSockets(engine, settings, metrics),
        )
        server = Server(paths.answer, recorder.refuse, settings.limits, deadlines, outbox, metrics)
        for listener in child.listeners:
            await server.listen(listener)
        child.start_heartbeat()
        gc.collect()
        gc.set_threshold(*GC_THRESHOLDS)
        child.ready()
        await child.draining()
        await server.drain(settings.server.drain_timeout_s, child.hastened())


def is_current(control: Path) -> Callable[[bytes, int], bool]:
    """Whether a gateway is there, its cache not cleared since; asked by a thread that has no reader of its own."""

    def ask(gateway: bytes, epoch: int) -> bool:
        with closing(EmbeddedControlReader.open(control)) as reader:
            found = reader.gateway_by_id(gateway)
        return found is not None and found.cache_epoch == epoch

    return ask


def console_waits(settings: Settings) -> UpstreamSettings:
    """How long a relay waits for the console."""
    timeout_s = settings.console.request_timeout_s
    return UpstreamSettings(
        connect_timeout_s=timeout_s,
        first_byte_timeout_s=timeout_s,
        idle_timeout_s=timeout_s,
        connections=settings.limits.management_requests,
    )
