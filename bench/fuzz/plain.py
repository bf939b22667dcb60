"""The same calls without schemathesis, a hundred times as cheap and much plainer: for the tests."""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
from jsonschema_rs import ValidationError, Validator, validator_for
from requests import RequestException, Response, Session

from bench.fuzz.account import DEADLINE_S, DESCRIPTION, Account, misshapen
from bench.fuzz.drawing import OFTEN, TEXTS, Drawer
from bench.fuzz.known import PART, Known

JSON: Final = "application/json"
FITTING: Final = 0.6
"""How often a call is one that the description allows."""
NO_JSON: Final = (b"", b"{", b"\xff\xfe", b"[" * 5_000, b'{"id": 1e999}', b'"\\ud800"', b"null")


class Operation(NamedTuple):
    path: str
    method: str
    said: Mapping[str, Any]


class Call(NamedTuple):
    """What is sent, but for the token."""

    target: str
    query: list[tuple[str, str]]
    body: bytes | None


class PlainCaller:
    """Calls one gateway, every path in turn; `tokens` as often as they weigh."""

    def __init__(self, base_url: str, tokens: Mapping[str | None, int], number: int) -> None:
        self._base_url, self._tokens = base_url, tokens
        self._dice = random.Random(number)
        self._known = Known(self._dice)
        self._session = Session()
        self._session.trust_env = False
        self._validators: dict[tuple[str, str, int], Validator] = {}
        answer = self._session.get(base_url + DESCRIPTION, timeout=DEADLINE_S)
        answer.raise_for_status()
        self._description: dict[str, Any] = answer.json()
        self._drawer = Drawer(self._description["components"]["schemas"], self._dice)
        self.account = Account()

    def run(self, calls: int, between: Callable[[], None]) -> Account:
        """So many calls; `between` two rounds of all paths is called."""
        operations = [
            Operation(path, method.upper(), said)
            for path, methods in self._description["paths"].items()
            for method, said in methods.items()
            if "200" in said["responses"] or self._dice.random() < 0.1  # what is not built has one answer
        ]
        while self.account.sent < calls:
            self._dice.shuffle(operations)
            for operation in operations[: calls - self.account.sent]:
                self._call(operation)
            between()
        self._session.close()
        return self.account

    def _call(self, operation: Operation) -> None:
        call = self._drawn(operation)
        token = self._dice.choices(list(self._tokens), list(self._tokens.values()))[0]
        headers = {"authorization": f"Bearer {token}"} if token else {}
        what, how = f"{operation.method} {operation.path}", f"{operation.method} {call}"
        try:
            answer = self._session.request(
                operation.method,
                self._base_url + call.target,
                params=call.query,
                data=call.body,
                headers=headers,
                timeout=DEADLINE_S,
            )
        except RequestException as error:
            self.account.statuses[0] += 1
            return self.account.blame(f"{what}: no answer", f"{how}\n{type(error).__name__}")
        self.account.statuses[answer.status_code] += 1
        for wrong, told in self._judged(operation, answer):
            self.account.blame(f"{what}: {wrong}", f"{how}\nHTTP {answer.status_code}: {told}")
        if answer.status_code == 200:
            self._known.learn(operation.method, operation.path, answer.content)

    def _drawn(self, operation: Operation) -> Call:
        parts = dict.fromkeys(PART.findall(operation.path), "")
        parts = {name: self._dice.choice(TEXTS) for name in parts} | self._known.parts(operation.method, operation.path)
        target = PART.sub(lambda found: quote(parts[found[1]], safe=""), operation.path)
        fits = self._dice.random() < FITTING
        query = [
            (one["name"], text)
            for one in operation.said["parameters"]
            if one["in"] == "query" and self._dice.random() < OFTEN / 2
            for text in self._texts(one, fits)
        ]
        content = operation.said.get("requestBody", {}).get("content", {})
        return Call(target, query, self._body(content[JSON]["schema"], fits) if content else None)

    def _body(self, schema: Mapping[str, Any], fits: bool) -> bytes:
        if not fits and self._dice.random() < 0.1:
            return self._dice.choice(NO_JSON)
        body = self._drawer.fitting(schema)
        self._known.guide(body)
        return msgspec.json.encode(body if fits else self._drawer.spoilt(body))

    def _texts(self, parameter: Mapping[str, Any], fits: bool) -> Iterator[str]:
        """A parameter's values as a query has them."""
        as_json = "content" in parameter
        value = self._drawer.fitting(parameter["content"][JSON]["schema"] if as_json else parameter["schema"])
        value = value if fits else self._drawer.spoilt(value)
        for one in value if isinstance(value, list) and not as_json else [value]:
            yield one if isinstance(one, str) and not as_json else msgspec.json.encode(one).decode()

    def _judged(self, operation: Operation, answer: Response) -> Iterator[tuple[str, str]]:
        said = operation.said["responses"].get(str(answer.status_code))
        if said is None:
            yield "a status that is not described", answer.text[:200]
            return
        (media, told), kind = next(iter(said["content"].items())), answer.headers.get("content-type", "")
        if media not in ("*/*", kind.partition(";")[0]):
            yield "a content type that is not described", kind
        elif "schema" in told:
            try:
                self._validator(operation, answer.status_code, told["schema"]).validate(answer.json())
            except (ValidationError, ValueError) as error:
                yield "a reply that is not described", str(error)[:300]
        if answer.status_code >= 400:
            yield from misshapen(operation.path, answer.content)

    def _validator(self, operation: Operation, status: int, schema: Mapping[str, Any]) -> Validator:
        key = (operation.path, operation.method, status)
        if key not in self._validators:
            self._validators[key] = validator_for({**schema, "components": self._description["components"]})
        return self._validators[key]
