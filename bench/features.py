"""What a gateway may do beside passing a request on, each by a gateway of its own on the same server."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Final

from bench.contenders import NAMES, Contender
from bench.store.client import Management

MANY: Final = 10**9
"""A limit that no load reaches."""
SETTINGS: Final[dict[str, Mapping[str, object]]] = {
    "sluice-key": {},
    "sluice-rate": {"rate_limiting_limit": MANY, "rate_limiting_interval": 60, "rate_limiting_technique": "fixed"},
    "sluice-sliding": {"rate_limiting_limit": MANY, "rate_limiting_interval": 60, "rate_limiting_technique": "sliding"},
    "sluice-spend": {
        "spend_limits": {"enabled": True, "rules": [{"limit": 1e6, "limitType": "cost", "window": 3600}]},
    },
}


def features(native: Contender) -> list[Contender]:
    """The native path, and the same with one feature each."""
    found = [native]
    with closing(Management(native.port, native.token)) as console:
        for name, settings in SETTINGS.items():
            console.create_gateway(name)
            console.put_gateway(name, **settings)
            if name == "sluice-key":
                key = {"provider_slug": "openai", "alias": "bench", "default_config": True, "secret": "sk-bench"}
                console.ask("POST", f"/gateways/{name}/provider_configs", key)
            found.append(replace(native, name=NAMES[name], path=native.path.replace("/default/", f"/{name}/")))
    return found
