"""Reads the Settings, once: a TOML file, then `SLUICE_SECTION__NAME` from the environment, then flags."""

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from sluice.edge.proxies import TrustedProxies
from sluice.edge.tls import server_context
from sluice.providers.registry import PROVIDERS
from sluice.upstream.proxy import Proxy
from sluice.values.rollup import LONGEST_LABEL, MOST_METADATA_KEYS
from sluice.values.secret import Secret
from sluice.values.settings import GB, MB, LogpushSettings, ObjectSettings, ServerSettings, Settings
from sluice.values.tenancy import NAME_PATTERN

Given = str | int | float | bool | Path | Secret | list[str]
Tree = dict[str, "Given | Tree"]

PREFIX: Final = "SLUICE_"

DAY_S: Final = 86_400
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "server.port": (0, 65_535),
    "server.workers": (0, 128),
    "server.drain_timeout_s": (0, 3600),
    "server.upstream_failure_status": (400, 599),
    "limits.head_bytes": (1024, 16 * MB),
    "limits.headers": (8, 10_000),
    "limits.body_bytes": (1, 100 * GB),
    "limits.whole_bodies_bytes": (MB, 100 * GB),
    "limits.head_timeout_s": (0.05, 3600),
    "limits.body_idle_timeout_s": (0.05, 3600),
    "limits.keep_alive_s": (0, 3600),
    "limits.send_idle_timeout_s": (0.05, 3600),
    "limits.connections": (1, 1_000_000),
    "limits.requests_per_connection": (1, 1 << 62),
    "limits.pipelined_bytes": (1024, GB),
    "limits.buffer_bytes": (1024, GB),
    "limits.management_requests": (1, 1024),
    "limits.websocket_message_bytes": (1024, GB),
    "limits.websocket_requests": (1, 1_000_000),
    "limits.websocket_queue_bytes": (0, GB),
    "limits.websocket_idle_timeout_s": (0.05, 30 * DAY_S),
    "limits.table_bytes": (MB, GB),
    "upstream.connect_timeout_s": (0.05, 3600),
    "upstream.first_byte_timeout_s": (0.05, DAY_S),
    "upstream.idle_timeout_s": (0.05, DAY_S),
    "upstream.keep_alive_s": (0, 3600),
    "upstream.names_s": (0, 3600),
    "upstream.connections": (1, 1_000_000),
    "upstream.waiters": (0, 1_000_000),
    "realtime.handshake_timeout_s": (0.05, 3600),
    "realtime.idle_timeout_s": (0.05, 30 * DAY_S),
    "realtime.total_timeout_s": (0, 365 * DAY_S),
    "realtime.frame_bytes": (125, GB),
    "spool.max_bytes": (MB, 1 << 60),
    "spool.sync_ms": (0.1, 10_000),
    "spool.file_bytes": (64 * 1024, 16 * GB),
    "spool.inline_body_bytes": (0, 16 * MB),
    "spool.recording_bytes": (0, 16 * GB),
    "logs.body_bytes": (0, 100 * GB),
    "logs.poll_ms": (1, 60_000),
    "logs.flush_rows": (1, 100_000),
    "logs.flush_ms": (1, 60_000),
    "logs.sync_s": (0.01, 600),
    "logs.pending_bytes": (MB, 16 * GB),
    "cache.memory_bytes": (0, 64 * GB),
    "cache.disk_bytes": (0, 1 << 50),
    "console.query_timeout_s": (0.05, 600),
    "console.request_timeout_s": (0.05, 600),
    "console.body_bytes": (1024, GB),
}
"""The least and the most that each number may be; beyond them it is a slip of the pen, or would break a promise."""

JOB_EVERY_S: Final = (1, 86_400)
MOST_JOBS: Final = 4
"""Of Logpush, in an account (contract 14)."""

NAME: Final = re.compile(NAME_PATTERN)
_EXPECTED: Final = re.compile(r"^(?:Expected )?(.*?)(?: - at `\$\.?(.*)`)?$")


class ConfigError(ValueError):
    """A setting that cannot be; the message says which, why, and what to write instead."""


def load_settings(file: Path | None, environment: Mapping[str, str], flags: Tree) -> Settings:
    """The settings in force. Raises ConfigError for the first thing that is wrong."""
    tree = _usual_proxy(environment)
    for over in (_read(file) if file else {}, read_environment(environment), flags):
        _lay_over(tree, over)
    try:
        settings = msgspec.convert(tree, Settings, dec_hook=_rich)
    except msgspec.ValidationError as error:
        raise ConfigError(_plain(str(error))) from error
    _check(settings)
    return settings


def read_environment(environment: Mapping[str, str]) -> Tree:
    """The settings named there. Names without a section that are no setting are left to other programs."""
    tree: Tree = {}
    for variable, text in sorted(environment.items()):
        if not variable.startswith(PREFIX):
            continue
        keys = variable.removeprefix(PREFIX).lower().split("__")
        if len(keys) == 1 and keys[0] not in _fields(Settings):
            if near := _nearest(keys[0], [name for name in _fields(Settings) if name in ("data", "simulate")]):
                raise ConfigError(f"{variable} is no setting: did you mean {PREFIX}{near.upper()}?")
            continue
        _place(tree, keys, text, variable)
    return tree


def _usual_proxy(environment: Mapping[str, str]) -> Tree:
    """What HTTPS_PROXY and NO_PROXY say, which all programs go by; a setting of ours goes before them."""
    proxy, direct = (environment.get(name) or environment.get(name.lower(), "") for name in ("HTTPS_PROXY", "NO_PROXY"))
    entries = [entry for each in direct.split(",") if (entry := each.strip())]
    return {"upstream": ({"proxy": proxy} if proxy else {}) | ({"no_proxy": entries} if entries else {})}


def _read(file: Path) -> Tree:
    try:
        tree = tomllib.loads(file.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"There is no configuration file {file}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration file {file} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    _know(tree, Settings, str(file))
    return tree


def _know(tree: Mapping[str, object], kind: object, where: str, path: str = "") -> None:
    """Fails at the first key that no setting has, naming the nearest one."""
    for key, value in tree.items():
        inner = _kind_of(kind, key)
        if inner is None:
            raise ConfigError(f"{where}: {_unknown(kind, path, key)}")
        if isinstance(value, dict):
            _know(value, inner, where, f"{path}{key}.")


def _kind_of(kind: object, key: str) -> object | None:
    """The type of what stands under this key; None where there is no such key."""
    if get_origin(kind) is dict:
        inner: object = get_args(kind)[1]
        return inner
    return _fields(kind).get(key)


def _fields(kind: object) -> dict[str, object]:
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return {}
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def _unknown(kind: object, path: str, key: str) -> str:
    known = list(_fields(kind))
    if not known:
        return f"{path.rstrip('.')} is a single value and has no {key}"
    if near := _nearest(key, known):
        return f"there is no setting {path}{key}: did you mean {path}{near}?"
    elsewhere = [f"{section}.{key}" for section, inner in _fields(Settings).items() if key in _fields(inner)]
    if elsewhere:
        return f"there is no setting {path}{key}: did you mean {elsewhere[0]}?"
    return f"there is no setting {path}{key}: known here are {', '.join(known)}"


def _nearest(key: str, known: list[str]) -> str | None:
    inside = [name for name in known if key in name or name in key]
    return next(iter(difflib.get_close_matches(key, known, 1) or inside), None)


def _place(tree: Tree, keys: list[str], text: str, variable: str) -> None:
    """Puts a variable's text, converted to its setting's type, where its name says."""
    kind: object = Settings
    path = ""
    for depth, key in enumerate(keys):
        if get_origin(kind) is dict:
            keys[depth] = key = key.replace("_", "-")  # providers have hyphens in their names, variables cannot
        inner = _kind_of(kind, key)
        if inner is None:
            raise ConfigError(f"{variable}: {_unknown(kind, path, key)}")
        kind, path = inner, f"{path}{key}."
    try:
        value: Given | Tree
        if get_origin(kind) is tuple:
            value = msgspec.json.decode(text, type=list[str])
        elif get_origin(kind) is dict or _fields(kind):
            value = msgspec.json.decode(text, type=dict)
            _know(value, kind, variable, path)
        else:
            value = msgspec.convert(text, kind, strict=False, dec_hook=_rich)
    except msgspec.MsgspecError as error:
        plain = _plain(str(error), kind).removesuffix(", got str")
        got = "" if kind is Secret or get_origin(kind) is dict or _fields(kind) else f", got {text!r}"
        raise ConfigError(f"{variable}: {plain}{got}") from error  # keys may be in it
    for key in reversed(keys[1:]):
        value = {key: value}
    _lay_over(tree, {keys[0]: value})


def _lay_over(tree: Tree, over: Tree) -> None:
    for key, value in over.items():
        under = tree.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            _lay_over(under, value)
        else:
            tree[key] = value


def _rich(kind: type, value: object) -> Path | Secret:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind is Secret and isinstance(value, str | Secret):
        return value if isinstance(value, Secret) else Secret(value)
    raise ValueError("expected text")


def _plain(message: str, kind: object = Settings) -> str:
    """`Expected `int`, got `str` - at `$.server.port`` in a person's words; `kind` is what was to be read."""
    found = _EXPECTED.match(message)
    what, where = found.groups() if found else (message, None)
    for key in (where or "").split("."):
        kind = _kind_of(kind, key) or kind
    if get_origin(kind) is Literal:
        text = f"choose one of {', '.join(get_args(kind))}"
    else:
        text = f"expected {what}".replace("`", "") if message.startswith("Expected") else what.replace("`", "")
    return f"{where}: {text}" if where else text


def _check_tls(server: ServerSettings) -> None:
    if server.tls_key and not server.tls_cert:
        raise ConfigError("server.tls_key without server.tls_cert: a key is of no use without its certificate")
    if server.tls_cert:
        try:
            server_context(server.tls_cert, server.tls_key)
        except OSError as error:  # ssl.SSLError is one
            reason = error.strerror or "it is no PEM file"
            raise ConfigError(
                f"server.tls_cert: no certificate and key can be taken from {server.tls_cert}"
                f"{f' and {server.tls_key}' if server.tls_key else ''}: {reason}"
            ) from error


def _check(settings: Settings) -> None:
    for name, value in _numbers(settings):
        low, high = RANGES[name]
        if not low <= value <= high:
            raise ConfigError(f"{name} is {value:g}: choose a number from {low:g} to {high:g}")
    if settings.spool.file_bytes > settings.spool.max_bytes:
        raise ConfigError("spool.file_bytes is more than spool.max_bytes: the spool would be full with its first file")
    _check_metadata_keys(settings.logs.rollup_metadata)
    _check_tls(settings.server)
    try:
        TrustedProxies(settings.server.trusted_proxies)
    except ValueError as error:
        raise ConfigError(f"server.trusted_proxies: {error}; write addresses, or networks like 10.0.0.0/8") from error
    if settings.server.public_url:
        _check_url("server.public_url", settings.server.public_url, origin=True)
    for name, provider in settings.providers.items():
        if name not in PROVIDERS:
            near = _nearest(name, list(PROVIDERS))
            hint = f"did you mean {near}?" if near else f"known are {', '.join(PROVIDERS)}"
            raise ConfigError(f"providers.{name}: there is no such provider: {hint}")
        if provider.base_url:
            _check_url(f"providers.{name}.base_url", provider.base_url, origin=False)
        if not (api_key := provider.api_key.reveal()).isprintable() or api_key != api_key.strip():
            raise ConfigError(f"providers.{name}.api_key will not do: write the key on one line, without blanks around")
    for host, target in settings.hosts.items():
        if host != host.lower() or not host or (host != "*" and set(host) & set("/:@ *")):
            raise ConfigError(f'hosts: "{host}" is no plain hostname: write it in lower case, without scheme or port')
        account, _, gateway = target.partition("/")
        if not (NAME.fullmatch(account) and NAME.fullmatch(gateway)):
            raise ConfigError(f'hosts: "{host}" must name "account/gateway", got "{target}"')
    _check_objects("packs", settings.packs)
    _check_logpush(settings.logpush)
    try:
        Proxy.of(settings.upstream.proxy.reveal(), settings.upstream.no_proxy)
    except ValueError as error:
        raise ConfigError(f'upstream.proxy (or HTTPS_PROXY) will not do: {error}; "" is none') from error
    if settings.upstream.ca_file and not Path(settings.upstream.ca_file).is_file():
        raise ConfigError(f"upstream.ca_file: there is no file {settings.upstream.ca_file}")


def _check_objects(name: str, place: ObjectSettings) -> None:
    """Credentials are tried when the store is opened."""
    if place.url:
        parts = urlsplit(place.url)
        good = bool(parts.netloc) if parts.scheme == "s3" else parts.scheme == "file" and parts.path.startswith("/")
        if (
            not good
            or (parts.scheme == "file" and parts.netloc)
            or parts.query
            or parts.fragment
            or "@" in parts.netloc
        ):
            raise ConfigError(f"{name}.url will not do: write s3://bucket/prefix or file:///folder")
    if place.endpoint:
        _check_url(f"{name}.endpoint", place.endpoint, origin=True)
    if bool(place.access_key_id) != bool(place.secret_access_key):
        raise ConfigError(f"{name}.access_key_id and {name}.secret_access_key go together: give both or none")


def _check_logpush(jobs: Mapping[str, LogpushSettings]) -> None:
    for name, job in jobs.items():
        if not (NAME.fullmatch(name) and NAME.fullmatch(job.account)):
            raise ConfigError(f"logpush.{name}: names of jobs and accounts are up to 64 letters, digits, - and _")
        if not job.to.url:
            raise ConfigError(f"logpush.{name}.to.url is missing: write s3://bucket/prefix or file:///folder")
        _check_objects(f"logpush.{name}.to", job.to)
        low, high = JOB_EVERY_S
        if not low <= job.every_s <= high:
            raise ConfigError(f"logpush.{name}.every_s is {job.every_s:g}: choose a number from {low:g} to {high:g}")
    places = Counter((job.to.url.rstrip("/"), job.to.endpoint) for job in jobs.values())
    if (place := max(places, key=places.__getitem__, default=None)) and places[place] > 1:
        raise ConfigError(f"logpush: two jobs go to {place[0]}, and would overwrite each other's objects")
    for account, count in Counter(job.account for job in jobs.values()).items():
        if count > MOST_JOBS:
            raise ConfigError(f"logpush: account {account} has {count} jobs, at most {MOST_JOBS} may be")


def _check_metadata_keys(keys: tuple[str, ...]) -> None:
    if len(keys) > MOST_METADATA_KEYS or len(set(keys)) < len(keys):
        raise ConfigError(f"logs.rollup_metadata: name at most {MOST_METADATA_KEYS} metadata keys, each once")
    for key in keys:
        if not 0 < len(key) <= LONGEST_LABEL or key.startswith("cf.") or "," in key or not key.isprintable():
            raise ConfigError(
                f"logs.rollup_metadata: {key!r} will not do: 1 to {LONGEST_LABEL} characters, no comma, no cf. at first"
            )


def _numbers(value: msgspec.Struct, path: str = "") -> Iterator[tuple[str, float]]:
    for field in msgspec.structs.fields(value):
        inner = getattr(value, field.name)
        if isinstance(inner, msgspec.Struct):
            yield from _numbers(inner, f"{path}{field.name}.")
        elif isinstance(inner, int | float) and not isinstance(inner, bool):
            yield f"{path}{field.name}", inner


def _check_url(name: str, url: str, *, origin: bool) -> None:
    try:
        parts = urlsplit(url)
        bad = parts.scheme not in ("http", "https") or not parts.hostname or (parts.port or 1) < 1
    except ValueError:
        bad = True
    if bad or parts.query or parts.fragment or parts.username is not None or (origin and parts.path):
        example = "https://gateway.example.com" if origin else "https://api.example.com/v1"
        shown = f'"{url}"' if not set(url) & set("@?#") else "this"  # a reload's errors are logged, a key must not be
        raise ConfigError(f"{name}: {shown} will not do: write an address like {example}")
