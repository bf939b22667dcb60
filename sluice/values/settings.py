"""What the operator fixed at start. Every field is a setting `section.name`, named in docs/configuration.md."""

from pathlib import Path
from typing import Literal

import msgspec

from sluice.values.secret import Secret

MB = 1024 * 1024
GB = 1024 * MB


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: int = 8787
    tls_cert: str = ""
    """PEM file with the certificate, and those between it and its authority; empty is plain HTTP."""
    tls_key: str = ""
    """PEM file with its key; empty where it is in the same file."""
    public_url: str = ""
    """The origin that clients use, for provider URLs (contract 9.3); empty is http://host:port, or https."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies before the server whose `X-Forwarded-Host` and `-Proto` are believed."""
    workers: int = 0
    """0 is one less than the cores, at least 1."""
    drain_timeout_s: float = 30.0
    cors: bool = True
    websocket_requires_auth: bool = True
    """Whether a WebSocket needs a token even where its gateway asks for none (contract 3.2)."""
    keys_require_auth: bool = True
    """Whether stored keys and the operator's own are for requests with a valid token alone (contract 3.3)."""
    upstream_failure_status: int = 400
    """HTTP status of error 2005 (contract 16, question 2): 400 for parity, 502 for clients that retry it."""


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds on what a client may send or hold, per worker."""

    head_bytes: int = 64 * 1024
    headers: int = 200
    body_bytes: int = 100 * MB
    whole_bodies_bytes: int = 256 * MB
    """Of all bodies at a time that must be in memory as a whole."""
    head_timeout_s: float = 15.0
    body_idle_timeout_s: float = 60.0
    keep_alive_s: float = 75.0
    send_idle_timeout_s: float = 60.0
    """How long a client may leave a reply unread."""
    connections: int = 16_384
    requests_per_connection: int = 1_000_000
    pipelined_bytes: int = 256 * 1024
    buffer_bytes: int = 256 * 1024
    """How much of one body may wait in memory between the two sides, each way."""
    management_requests: int = 32
    """Relayed to the console at once, per worker."""
    websocket_message_bytes: int = 25 * MB
    websocket_requests: int = 1000
    """Running at once, per connection."""
    websocket_queue_bytes: int = 32 * MB
    """Requests that may wait behind those, per connection."""
    websocket_idle_timeout_s: float = 3600.0
    table_bytes: int = 32 * MB
    """Of the table in which all workers count for rate and spend limits; it is made when it is first needed."""
    spend_when_broken: Literal["refuse", "allow"] = "refuse"
    """Whether money is spent where that table cannot be used, under a spend limit."""


class UpstreamSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The provider's side, per worker and origin."""

    connect_timeout_s: float = 10.0
    first_byte_timeout_s: float = 600.0
    idle_timeout_s: float = 300.0
    """Longest silence within a reply."""
    keep_alive_s: float = 30.0
    connections: int = 1024
    waiters: int = 4096
    ca_file: str = ""
    """PEM file of further certificate authorities to trust; empty is the system's alone."""
    names_s: float = 30.0
    """How long the addresses of a host name are believed."""
    proxy: Secret = Secret("")
    """URL of the proxy for providers at https addresses, perhaps with its credential; empty is none."""
    no_proxy: tuple[str, ...] = ()
    """What is dialled without it: see `is_direct` in upstream/proxy.py."""


class RealtimeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """WebSockets that are relayed to a provider."""

    handshake_timeout_s: float = 15.0
    """How long a provider may take to accept one."""
    idle_timeout_s: float = 3600.0
    """Longest silence of both sides; pings are no speech."""
    total_timeout_s: float = 0.0
    """How long one may last; 0 is as long as both sides want."""
    frame_bytes: int = 25 * MB


class ProviderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    base_url: str = ""
    """Empty is the provider's own."""
    api_key: Secret = Secret("")
    """The operator's own credential, for requests with no other; empty is none."""


class CustomProviderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the providers that accounts bring themselves may be."""

    allow_http: bool = False
    allow_private: bool = False
    """Whether they may be at addresses that are not public: in this network, or on this machine."""


class SpoolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_bytes: int = 10 * GB
    when_full: Literal["drop", "refuse"] = "drop"
    durability: Literal["process", "power"] = "process"
    sync_ms: float = 20.0
    file_bytes: int = 64 * MB
    inline_body_bytes: int = 64 * 1024
    """Bodies past this go to a side file."""
    recording_bytes: int = 32 * MB
    """Memory that bodies being recorded may take in one worker before they go to side files too."""


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    body_bytes: int = 100 * MB
    """A longer body is stored cut off and marked."""
    poll_ms: float = 50.0
    flush_rows: int = 500
    flush_ms: float = 150.0
    sync_s: float = 1.0
    pending_bytes: int = 32 * MB
    """Bytes of frames the keeper holds at once; past it the spool is the queue."""
    rollup_metadata: tuple[str, ...] = ()
    """Metadata keys by whose values analytics can group, at most five. In force for logs stored from then on."""


class ObjectSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A store of objects. What is empty is taken from where Amazon's tools have it: AWS_ACCESS_KEY_ID and the like."""

    url: str = ""
    """`s3://bucket/prefix`, or `file:///folder`; empty is none."""
    endpoint: str = ""
    """The server's address; empty is Amazon's for the region."""
    region: str = "us-east-1"
    access_key_id: str = ""
    secret_access_key: Secret = Secret("")


class LogpushSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job of Logpush: where the logs of an account's gateways go that have `logpush` on."""

    account: str = "local"
    to: ObjectSettings = ObjectSettings()
    every_s: float = 60.0
    """How often what was stored meanwhile is sent."""


class CacheSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The reply cache: what may be kept, for gateways and requests that want it."""

    memory_bytes: int = 64 * MB
    """Per worker; 0 keeps nothing in memory."""
    disk_bytes: int = 1 * GB
    """Of `cache.db`, which all workers share; 0 is none."""
    record_streams: bool = False
    """Whether event streams are kept too, and replayed with the parts in which they came."""


class ConsoleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    query_timeout_s: float = 0.95
    request_timeout_s: float = 15.0
    """How long a worker waits for the console."""
    body_bytes: int = 1 * MB


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    data: Path = Path("sluice-data")
    simulate: bool = False
    """Start the provider simulator too and send every provider's traffic to it."""
    server: ServerSettings = ServerSettings()
    limits: LimitSettings = LimitSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    providers: dict[str, ProviderSettings] = {}
    custom_providers: CustomProviderSettings = CustomProviderSettings()
    hosts: dict[str, str] = {}
    """Hostname to `account/gateway` (contract 0.2)."""
    spool: SpoolSettings = SpoolSettings()
    logs: LogSettings = LogSettings()
    packs: ObjectSettings = ObjectSettings()
    """Where packs of full segments go; they stay in the data folder without."""
    logpush: dict[str, LogpushSettings] = {}
    """By the job's name."""
    console: ConsoleSettings = ConsoleSettings()
    cache: CacheSettings = CacheSettings()
