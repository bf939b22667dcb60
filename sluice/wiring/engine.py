"""Builds a worker's engine: the chain of links between a step and its provider, bottom up."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import NamedTuple

from sluice.engine.attempt import Attempts
from sluice.engine.authorizing import Authorizing
from sluice.engine.caching import Caching
from sluice.engine.catalogue import Catalogue
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
from sluice.metrics import Metrics
from sluice.providers.vertex import GOOGLE_VERTEX_AI
from sluice.storage.embedded.control_reader import EmbeddedControlReader
from sluice.storage.embedded.custom_providers import EmbeddedCustomProviderReader
from sluice.storage.embedded.generations import MappedGenerations
from sluice.storage.embedded.reply_cache import EmbeddedReplyCache
from sluice.storage.embedded.windows import MappedWindows
from sluice.storage.sealing import Vault
from sluice.upstream.http import HttpClient
from sluice.values.settings import Settings


class State(NamedTuple):
    """What an engine stands on."""

    control: EmbeddedControlReader
    generations: MappedGenerations
    client: HttpClient
    metrics: Metrics


def build_engine(
    stack: AsyncExitStack,
    settings: Settings,
    state: State,
    recorder: Recorder,
    create_default: Callable[[str], Awaitable[None]],
) -> tuple[Engine, Catalogue]:
    """The engine, and the models that can be told of. A step goes through credentials, cache and limits to its attempt.

    `stack` closes what is opened here.
    """
    control, generations, client, metrics = state
    data = settings.data
    base_urls = {name: provider.base_url for name, provider in settings.providers.items() if provider.base_url}
    vault = Vault.of(data)
    custom_reader = EmbeddedCustomProviderReader(control.db, lambda: vault)
    custom_reader.warm_up()
    customs = CustomProviders(custom_reader, generations)
    places = TokenPlaces(base_urls.get(GOOGLE_VERTEX_AI.name, ""), settings.simulate)
    authorizing = Authorizing(GoogleTokens(client, places, metrics))
    attempts = Attempts(base_urls, client, authorizing.authorize)
    windows = stack.enter_context(closing(MappedWindows(data / "limits.map", settings.limits.table_bytes)))
    estimates = Estimates(control.rates, CustomRates(custom_reader, generations))
    limits = Limits(attempts.make, windows, estimates, metrics, settings.limits.spend_when_broken)
    is_current = cache_checks(data / "control.db")
    cache = stack.enter_context(closing(EmbeddedReplyCache(data / "cache.db", settings.cache, metrics, is_current)))
    caching = Caching(limits.make, attempts.target, cache, settings.cache.record_streams, metrics)
    stack.push_async_callback(caching.close)
    api_keys = {name: provider.api_key for name, provider in settings.providers.items()}
    stored_keys = OpenedKeys(control, vault, metrics)
    credentials = Credentials(stored_keys, api_keys, settings.server.keys_require_auth, caching.make)
    access = Access(credentials, limits.admit, authorizing.authorize)
    dialler = Dialler(base_urls, client, access, settings.realtime.handshake_timeout_s)
    directory = Directory(control, generations, create_default)
    engine = Engine(directory, Workflow(credentials.make, customs.find), recorder, dialler, customs.find)
    return engine, Catalogue(control.listed_models, custom_reader.exact_models, credentials)


def cache_checks(control: Path) -> Callable[[bytes, int], bool]:
    """Whether a gateway is there, its cache not cleared since; asked by a thread that has no reader of its own."""

    def ask(gateway: bytes, epoch: int) -> bool:
        with closing(EmbeddedControlReader.open(control)) as reader:
            found = reader.gateway_by_id(gateway)
        return found is not None and found.cache_epoch == epoch

    return ask
