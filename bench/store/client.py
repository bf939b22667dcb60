"""The management API of a measured server, asked one question at a time."""

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from bench.machine import BenchFault

ACCOUNT = "/client/v4/accounts/local/ai-gateway"


class Management:
    """Not kept alive over a worker's restart; whoever asks wants the answer now, or to know why not."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"authorization": f"Bearer {token}"}

    def logs(self, gateway: str, **query: object) -> Mapping[str, Any]:
        return self.get(f"/gateways/{gateway}/logs?{urlencode(query)}")

    def total(self, gateway: str) -> int:
        total: int = self.logs(gateway, per_page=1)["result_info"]["total_count"]
        return total

    def get(self, path: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self.ask("GET", path))
        return found

    def put_gateway(self, gateway: str, **changes: object) -> None:
        config = self.get(f"/gateways/{gateway}")["result"]
        self.ask("PUT", f"/gateways/{gateway}", {**config, **changes})

    def create_gateway(self, gateway: str) -> None:
        numbers = dict.fromkeys(("cache_ttl", "rate_limiting_interval", "rate_limiting_limit"), 0)
        self.ask(
            "POST", "/gateways", {"id": gateway, **numbers, "cache_invalidate_on_update": False, "collect_logs": True}
        )

    def internal_id(self, gateway: str) -> str:
        """In 32 hex digits, as folders bear it."""
        found: str = self.get(f"/gateways/{gateway}")["result"]["internal_id"]
        return found.replace("-", "")

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        content = None if body is None else json.dumps(body)
        headers = self._headers | ({"content-type": "application/json"} if content else {})
        self._connection.request(method, ACCOUNT + path, content, headers)
        reply = self._connection.getresponse()
        answer = reply.read()
        if reply.status != 200:
            raise BenchFault(f"{method} {path} was answered with {reply.status} {answer[:500]!r}")
        return answer

    def close(self) -> None:
        self._connection.close()
