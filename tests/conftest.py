"""A real gateway for tests: `sluice serve` in processes of its own, in front of the simulator or what a test names."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, settings

import sluice
from sluice.cli.operator import Operator
from sluice.values.ids import key_of
from sluice.values.log import LogEntry, Usage
from sluice.values.settings import ObjectSettings, Settings
from tests.s3 import server

SOURCE = str(Path(sluice.__file__).parents[1])
"""Where the tested Sluice lies: this checkout, or the compiled build (`scripts/test --compiled`)."""
SLUICE = [sys.executable, "-c", "import sys; from sluice.cli.main import main; sys.exit(main())"]
DEADLINE_S = 20.0
PROMPT = {"logs": {"poll_ms": 10, "flush_ms": 10}}
"""For gateways that many tests share: their logs come at once, not a fifth of a second after their replies. A gateway
that a test has for itself is as users have it."""
T = TypeVar("T")

settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


class Gateway:
    """A running `sluice serve` and the ways to it."""

    def __init__(self, data: Path, *flags: str, env: Mapping[str, str], before: Sequence[str] = ()) -> None:
        self.data = data
        self._env = {**os.environ, "PYTHONPATH": SOURCE, **env}
        self._lines: list[str] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [*before, *SLUICE, "serve", "--data", str(data), "--port", "0", *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._env,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.base_url = str(self.wait_for_event("serving")["url"])
        self.port = int(self.base_url.rpartition(":")[2])
        self.token = self._make_token()
        self.until(lambda: "sluice: keeper" in self.processes(), "the keeper, which starts last")
        self.auth = {"cf-aig-authorization": f"Bearer {self.token}"}
        self.http = httpx.Client(base_url=self.base_url, headers=self.auth, timeout=DEADLINE_S, trust_env=False)

    def _make_token(self) -> str:
        """By what `sluice token create` does, without the fifth of a second that a process takes."""
        wanted = {"permissions": ["run", "read", "edit"]}
        made = Operator(Settings(data=self.data)).result("POST", "/client/v4/accounts/local/ai-gateway/tokens", wanted)
        return str(json.loads(bytes(made))["token"])

    def inference_url(self, provider: str = "openai", gateway: str = "default") -> str:
        """What an SDK of that provider takes as its base URL."""
        return f"{self.base_url}/v1/local/{gateway}/{provider}"

    def chat(self, **fields: Any) -> httpx.Response:
        """A small chat call through the default gateway."""
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], **fields}
        return self.http.post(f"{self.inference_url()}/v1/chat/completions", json=body)

    def universal(self, body: Any, gateway: str = "default", **headers: str) -> httpx.Response:
        """A call of the universal endpoint; bytes are sent as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        fields["content-type"] = "application/json"
        return self.http.post(f"/v1/local/{gateway}", content=content, headers=fields)

    def rows(self, reply: httpx.Response, count: int, gateway: str = "default") -> list[dict[str, Any]]:
        """All logs of a request, once there are so many, in the order in which its steps were begun."""
        request_id = reply.headers["cf-aig-request-id"]

        def look() -> list[dict[str, Any]] | None:
            found = [row for row in self.logs(gateway=gateway) if row["request_id"] == request_id]
            return found if len(found) >= count else None

        rows = self.until(look, f"{count} logs of {request_id}")
        assert len(rows) == count, rows
        return sorted(rows, key=lambda row: str(row["id"]))

    def manage(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """A call of the management API; the path goes on after /accounts/local/ai-gateway."""
        headers = {"authorization": f"Bearer {self.token}"}
        return self.http.request(method, f"/client/v4/accounts/local/ai-gateway{path}", headers=headers, **arguments)

    def logs(self, count: int = 0, gateway: str = "default", deadline_s: float = DEADLINE_S) -> list[dict[str, Any]]:
        """The newest logs (50 at most), once there are so many in all."""

        def look() -> list[dict[str, Any]] | None:
            answer = self.manage("GET", f"/gateways/{gateway}/logs", params={"per_page": 50}).json()
            found: list[dict[str, Any]] = answer["result"]
            return found if answer["result_info"]["total_count"] >= count else None

        return self.until(look, f"{count} logs", deadline_s)

    def log(self, log_id: str, gateway: str = "default", deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """The log with this id, once it can be read."""

        def look() -> dict[str, Any] | None:
            answer = self.manage("GET", f"/gateways/{gateway}/logs/{log_id}")
            return answer.json()["result"] if answer.status_code == 200 else None

        return self.until(look, f"log {log_id}", deadline_s)

    def log_body(self, log_id: str, side: str, gateway: str = "default") -> bytes:
        """The stored `request` or `response` of a log that can be read."""
        self.log(log_id, gateway)
        answer = self.manage("GET", f"/gateways/{gateway}/logs/{log_id}/{side}")
        assert answer.status_code == 200, answer.text
        return answer.content

    def cli(self, *words: str) -> dict[str, Any]:
        """What `sluice ... --json` prints."""
        done = self.run_cli(*words, "--json")
        assert done.returncode == 0, f"sluice {' '.join(words)}:\n{done.stdout}{done.stderr}"
        printed: dict[str, Any] = json.loads(done.stdout)
        return printed

    def run_cli(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """What became of `sluice ...` on its data folder."""
        command = [*SLUICE, *words, "--data", str(self.data)]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=self._env, timeout=60, check=False
        )

    def start_cli(self, *words: str) -> subprocess.Popen[bytes]:
        """`sluice ...` on its data folder, begun."""
        return subprocess.Popen([*SLUICE, *words, "--data", str(self.data)], env=self._env)

    def processes(self) -> dict[str, int]:
        """Process id by title, as `sluice: worker 1`."""
        named = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                in_group = os.getpgid(int(folder.name)) == self.process.pid
                title = (folder / "cmdline").read_bytes().split(b"\0")[0].decode()
            except (OSError, UnicodeDecodeError):
                continue
            if in_group and title.startswith("sluice: "):
                named[title] = int(folder.name)
        return named

    def said(self) -> str:
        """All it has printed so far, the process log included."""
        with self._news:
            return "".join(self._lines)

    def wait_for_event(self, event: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """The first line of the process log with this event."""
        end = time.monotonic() + deadline_s
        seen = 0
        with self._news:
            while True:
                for line in self._lines[seen:]:
                    if line.startswith("{") and json.loads(line).get("event") == event:
                        found: dict[str, Any] = json.loads(line)
                        return found
                seen = len(self._lines)
                if self._over() or not self._news.wait(end - time.monotonic()):
                    break
        self.stop()
        pytest.fail(f"`sluice serve` never said {event!r}, but:\n{self.said()}")

    def until(self, look: Callable[[], T | None], what: str, deadline_s: float = DEADLINE_S) -> T:
        """The first answer of `look` that is neither None nor False, asked again and again; fails if none comes."""
        end = time.monotonic() + deadline_s
        while (answer := look()) is None or answer is False:
            if time.monotonic() > end:
                pytest.fail(f"not within {deadline_s:g} s: {what}")
            time.sleep(0.01)
        return answer

    def terminate(self, deadline_s: float = 60.0) -> int:
        """SIGTERM; returns the exit status once everything has ended."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(deadline_s)
        self.until(lambda: not self._alive(), "the end of every process", deadline_s)
        return status

    def stop(self) -> None:
        """Ends it, by force if need be. Fails where a process outlives its supervisor."""
        if http := getattr(self, "http", None):
            http.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(DEADLINE_S)
            self.until(lambda: not self._alive(), "the end of every process")
        finally:
            if self._alive():
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self._listener.join(DEADLINE_S)
            if self.process.stdout:
                self.process.stdout.close()

    def _alive(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._lines.append("")
            self._news.notify_all()

    def _over(self) -> bool:
        return bool(self._lines) and self._lines[-1] == ""


def environment_of(settings: Mapping[str, Any], prefix: str = "SLUICE") -> dict[str, str]:
    """Settings as environment variables: `limits={"body_bytes": 10}` is SLUICE_LIMITS__BODY_BYTES=10."""
    found = {}
    for name, value in settings.items():
        key = f"{prefix}_{name.upper()}" if prefix == "SLUICE" else f"{prefix}__{name.upper()}"
        if isinstance(value, Mapping):
            found |= environment_of(value, key)
        else:
            found[key] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


class Starter:
    """Starts gateways, ends them when asked, and remembers what they said."""

    def __init__(self, data: Callable[[], Path], shared: bool = False) -> None:
        self._data, self._shared = data, shared
        self.before: Sequence[str] = ()
        """A command that starts what is named behind it, for what the server is to be deprived of."""
        self.started: list[Gateway] = []

    def __call__(self, *flags: str, **settings: Any) -> Gateway:
        env = environment_of(PROMPT if self._shared else {}) | environment_of(settings)
        own = Gateway(self._data(), *flags, env=env, before=self.before)
        self.started.append(own)
        if self._shared:
            own.wait_for_event("prices loaded", 60)  # on a busy machine they may come after its first logs
        return own

    def stop(self) -> None:
        for own in self.started:
            own.stop()


@pytest.fixture
def left_to_collector() -> Iterator[Callable[[], set[str]]]:
    """Called, it names the types of which there are more objects than when the test began. Nothing is collected.

    What the collector would free is not asked of it: it closes generators first, and so breaks their cycles unseen.
    """

    def counted() -> Counter[str]:
        return Counter(type(item).__name__ for item in gc.get_objects())

    gc.collect()
    gc.disable()
    before = counted()
    yield lambda: set(counted() - before)
    gc.enable()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway in front of the simulator for all tests that leave it as it was."""
    starter = Starter(lambda: tmp_path_factory.mktemp("gateway") / "data", shared=True)
    yield starter("--simulate")
    starter.stop()


@pytest.fixture(scope="session")
def service_account() -> dict[str, str]:
    """The key file of a service account of Google's."""
    made = rsa.generate_private_key(65537, 2048)
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "0123abcd",
        "private_key": pem,
        "client_email": "caller@my-project.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectSettings]:
    """A bucket in an S3 server."""
    with server(tmp_path_factory.mktemp("s3")) as place:
        yield place


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[Starter]:
    """Starts a gateway of the test's own: `start_gateway("--simulate", limits={"body_bytes": 1000})`.

    A second call in one test works on the same data folder: stop the first before it.
    """
    starter = Starter(lambda: tmp_path / "data")
    yield starter
    starter.stop()


@pytest.fixture(scope="module")
def start_shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """The same for all tests of a file, each with a data folder of its own: for fixtures that start it once."""
    starter = Starter(lambda: tmp_path_factory.mktemp("gateway") / "data", shared=True)
    yield starter
    starter.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Puts what the gateway said beside a failure."""
    report = yield
    if report.failed:
        fixtures = getattr(item, "funcargs", {})
        starters = [fixture for fixture in fixtures.values() if isinstance(fixture, Starter)]
        known = {fixture for fixture in fixtures.values() if isinstance(fixture, Gateway)}
        known.update(own for starter in starters for own in starter.started)
        report.sections += [("what sluice said", own.said()[-20_000:]) for own in known]
    return report


@pytest.fixture(scope="session")
def entry_of() -> Callable[..., LogEntry]:
    """`entry_of(log_id, model="other")`: a log entry; what is not named is as in sample B.4 of the contract."""

    def make(log_id: str, **fields: object) -> LogEntry:
        plain = LogEntry(
            id=log_id,
            request_id=log_id,
            event_id=log_id,
            created_ms=key_of(log_id) >> 21,
            duration_ms=812,
            latency_ms=790,
            provider="openai",
            model="gpt-4o-mini",
            model_type="Text Generation",
            path="v1/chat/completions",
            request_type="provider",
            request_content_type="application/json",
            response_content_type="application/json",
            status_code=200,
            success=True,
            cached=False,
            incomplete=False,
            ending="complete",
            error=0,
            step=0,
            attempts=1,
            usage=Usage(12, 34, 46),
            cost_nano=22_200,
            custom_cost=False,
            metadata={"team": "a"},
            user_agent="OpenAI/Python",
            authentication=True,
            wholesale=False,
            byok=False,
            compat=False,
            payload=True,
            request_bytes=2,
            response_bytes=2,
        )
        return msgspec.structs.replace(plain, **fields)

    return make
