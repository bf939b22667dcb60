"""Keys and custom providers that are changed while they are in use: a change counts from its reply on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHAT: Any = {"model": "a-model", "messages": [{"role": "user", "content": "hello"}]}
CHANGES = 25
CALLERS = 6


@pytest.fixture(scope="module")
def house(gateway: Any, provider_of: Any, start_shared_gateway: Any) -> Any:
    upstream = f"http://{provider_of(gateway).authority}"
    return start_shared_gateway(
        providers={"openai": {"base_url": f"{upstream}/openai"}},
        custom_providers={"allow_http": True, "allow_private": True},
        server={"workers": 2},
    )


@contextmanager
def callers(call: Callable[[], None]) -> Iterator[None]:
    """Several at once, for as long as the block lasts; raises what one of them raised."""
    stop, failures = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            while not stop.is_set():
                call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


def authorization(reply: Any) -> str:
    assert reply.status_code == 200, reply.text
    [value] = [value for name, value in reply.json()["headers"] if name == "Authorization"]
    return str(value)


def test_a_key_is_rotated_under_load(house: Any):
    at = "/gateways/default/provider_configs"
    wanted = {"alias": "a", "default_config": True, "provider_slug": "openai", "secret": "sk-0"}
    key_id = house.manage("POST", at, json=wanted).json()["result"]["id"]
    begun = done = 0
    served = []

    def call() -> None:
        least = done
        reply = house.http.post(
            "/v1/local/default/openai/v1/chat/completions", json=CHAT, headers={"x-sluice-echo": "1"}
        )
        number = int(authorization(reply).removeprefix("Bearer sk-"))
        assert least <= number <= begun
        served.append(number)

    with callers(call):
        for begun in range(1, CHANGES):
            assert house.manage("PUT", f"{at}/{key_id}", json={"secret": f"sk-{begun}"}).status_code == 200
            done = begun
    assert len(set(served)) > CHANGES / 5


def test_a_custom_provider_is_changed_and_switched_under_load(house: Any, gateway: Any, provider_of: Any):
    base_url = f"http://{provider_of(gateway).authority}/openai"
    wanted = {"name": "o", "slug": "o", "base_url": base_url, "enable": True, "headers": headers(0)}
    path = f"/custom-providers/{house.manage('POST', '/custom-providers', json=wanted).json()['result']['id']}"
    begun = done = switches = 0
    """Odd `switches` while it is off, or is about to be."""

    def call() -> None:
        least, before = done, switches
        reply = house.http.post("/v1/local/default/custom-o/v1/chat/completions", json=CHAT)
        if reply.status_code == 400:
            assert reply.json()["internalCode"] == 2008
            assert before % 2 or switches > before
        else:
            assert least <= int(authorization(reply).removeprefix("Bearer sk-")) <= begun

    with callers(call):
        for begun in range(1, CHANGES):
            assert house.manage("PATCH", path, json={"headers": headers(begun)}).status_code == 200
            done = begun
            switches += 1
            assert house.manage("PATCH", path, json={"enable": False}).status_code == 200
            refused = house.http.post("/v1/local/default/custom-o/v1/chat/completions", json=CHAT)
            assert refused.json()["internalCode"] == 2008
            assert house.manage("PATCH", path, json={"enable": True}).status_code == 200
            switches += 1


def headers(number: int) -> str:
    return f'{{"Authorization": "Bearer sk-{number}", "x-sluice-echo": "1"}}'
