"""What docs/ give to a browser's page, as it is printed but for the host, in a real headless Chromium."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

DOCS = Path(__file__).parents[2] / "docs"
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--no-first-run", "--no-proxy-server",
    "--remote-debugging-port=0",
)  # fmt: skip
DEADLINE_S = 30.0
(UNIVERSAL,) = re.findall(r"^```html\n(.*?)^```$", (DOCS / "websocket.md").read_text(), re.MULTILINE | re.DOTALL)
(REALTIME,) = re.findall(r"^```js\n(.*?)^```$", (DOCS / "realtime.md").read_text(), re.MULTILINE | re.DOTALL)
LISTENING = """
  const heard = [];
  socket.onmessage = (event) => heard.push(event.data);
  socket.onclose = (event) => (heard.end = [event.code, event.reason]);
"""
"""What a test has a snippet's page remember."""


class Browser:
    """Driven by the protocol of Chromium's own debugger. Pages that ask their user something are answered."""

    def __init__(self, debugger: ClientConnection) -> None:
        self._debugger = debugger
        self._number = 0
        self.answer = ""

    def command(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Runs a command to its end."""
        number = self._send(method, session, parameters)
        while (told := json.loads(self._debugger.recv(DEADLINE_S))).get("id") != number:
            if told.get("method") == "Page.javascriptDialogOpening":
                words = {"accept": True, "promptText": self.answer}
                self._send("Page.handleJavaScriptDialog", told["sessionId"], words)
        assert "error" not in told, told
        result: dict[str, Any] = told["result"]
        return result

    def _send(self, method: str, session: str | None, parameters: dict[str, Any]) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._debugger.send(json.dumps(message if session is None else {**message, "sessionId": session}))
        return self._number


class Page:
    """A tab of a browser."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        target = browser.command("Target.createTarget", url="about:blank")["targetId"]
        self._session: str = browser.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        browser.command("Page.enable", self._session)
        browser.command("Page.navigate", self._session, url=url)
        self.until("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What an expression is in the page; a promise is awaited."""
        told = self._browser.command(
            "Runtime.evaluate", self._session, expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, condition: str) -> None:
        """Returns once it holds in the page."""
        late = f"const end = Date.now() + {DEADLINE_S * 500:.0f}"
        look = f"const look = () => {condition} ? done(true) : Date.now() > end ? done(false) : setTimeout(look, 5)"
        assert self.value(f"new Promise((done) => {{ {late}; {look}; look() }})"), f"it never was so: {condition}"


class Site:
    """Serves one page to a browser, on loopback."""

    def __init__(self, page: str) -> None:
        data = page.encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One that has just been started, with nothing in its memory."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.fail(f"There is no Chromium ({', '.join(NAMES)}): `apt install chromium`, or scripts/test as root")
    home = tmp_path_factory.mktemp("browser")
    with (home / "said").open("w") as said:
        process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={home / 'profile'}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**os.environ, "HOME": str(home)},
            start_new_session=True,
        )
    try:
        with connect(address(process, home), proxy=None, max_size=None, ping_interval=None) as debugger:
            yield Browser(debugger)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def address(process: subprocess.Popen[bytes], home: Path) -> str:
    """Where its debugger listens, which it writes down once it does."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and process.poll() is None:
        with suppress(FileNotFoundError, ValueError):  # it is not there yet, or not whole
            port, path = (home / "profile" / "DevToolsActivePort").read_text().split("\n")
            return f"ws://127.0.0.1:{port}{path}"
        time.sleep(0.01)
    pytest.fail("Chromium does not start:\n" + (home / "said").read_text())


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page in a tab of its own; `answer` is what its user types when asked."""
    sites: list[Site] = []

    def open_page(text: str, answer: str = "") -> Page:
        sites.append(Site(text))
        browser.answer = answer
        return Page(browser, sites[-1].url)

    yield open_page
    for site in sites:
        site.close()


def hosted(text: str, gateway: Any) -> str:
    """A page's text with the gateway's address, of which nothing else is changed."""
    assert "ws://127.0.0.1:8787/" in text
    return text.replace("ws://127.0.0.1:8787", f"ws://127.0.0.1:{gateway.port}")


def asking(gateway: Any, path: str, *subprotocols: str) -> str:
    """A page that opens a WebSocket and remembers what it hears."""
    url = f"ws://127.0.0.1:{gateway.port}/v1/local/default/{path}"
    return f"<script>const socket = new WebSocket({url!r}, {list(subprotocols)!r});{LISTENING}</script>"


def newest(gateway: Any, request_type: str) -> dict[str, Any]:
    """The newest log of a browser's."""

    def look() -> dict[str, Any] | None:
        rows = [row for row in gateway.logs() if row["request_type"] == request_type]
        return next((row for row in rows if "HeadlessChrome" in (row["user_agent"] or "")), None)

    found: dict[str, Any] = gateway.until(look, "a browser's log")
    return found


# --- the universal WebSocket


def test_the_published_page_asks_and_hears_the_answer(gateway: Any, visit: Callable[..., Page]):
    token = gateway.cli("token", "create", "--permissions", "run")["token"]
    page = visit(hosted(UNIVERSAL, gateway), answer=token)
    page.until("document.body.textContent.includes('universal.done')")
    told = [json.loads(line) for line in page.value("document.getElementById('out').textContent").splitlines()]
    assert {message["metadata"]["eventId"] for message in told} == {"my-request"}
    assert (told[0]["type"], told[-1]["type"]) == ("universal.created", "universal.done")
    words = [
        one["response"]["choices"][0]["delta"].get("content", "") for one in told[1:-1] if one["response"]["choices"]
    ]
    assert "".join(words).startswith("You said: Hello.")
    assert page.value("socket.protocol") == f"cf-aig-authorization.{token}"
    log = newest(gateway, "websocket")
    assert (log["id"], log["event_id"], log["ending"]) == (told[0]["metadata"]["logId"], "my-request", "complete")
    page.value("socket.close(4000, 'enough')")
    page.until("socket.readyState === WebSocket.CLOSED")


def test_the_published_page_is_refused_with_a_wrong_token(gateway: Any, visit: Callable[..., Page]):
    page = visit(hosted(UNIVERSAL, gateway), answer="nonsense")
    page.until("socket.readyState === WebSocket.CLOSED")
    assert page.value("document.getElementById('out').textContent") == ""


def test_a_page_has_many_requests_answered_at_once(gateway: Any, visit: Callable[..., Page]):
    page = visit(asking(gateway, "", "chat", f"cf-aig-authorization.{gateway.token}"))
    page.until("socket.readyState === WebSocket.OPEN")
    assert page.value("socket.protocol") == "chat"
    page.value(
        """for (let number = 0; number < 60; number++) {
          const messages = [{ role: "user", content: `µ${number} `.repeat(200) }];
          const query = { model: "gpt-4o-mini", stream: number % 2 === 0, messages };
          const request = { eventId: `e${number}`, provider: "openai", endpoint: "chat/completions", query };
          socket.send(JSON.stringify({ type: "universal.create", request }));
        }"""
    )
    page.until('heard.filter((text) => /universal.done|chat.completion"/.test(text)).length === 60')
    words: dict[str, str] = {}
    for message in map(json.loads, page.value("heard")):
        event_id = message["metadata"]["eventId"]
        choice = next(iter(message.get("response", {}).get("choices", [])), {})
        said = choice.get("message") or choice.get("delta") or {}
        words[event_id] = words.get(event_id, "") + (said.get("content") or "")
    assert len(words) == 60
    assert all(text.startswith(f"You said: µ{name[1:]} ") for name, text in words.items())


def test_a_page_is_told_why_it_is_closed(gateway: Any, visit: Callable[..., Page]):
    page = visit(asking(gateway, "", f"cf-aig-authorization.{gateway.token}"))
    page.until("socket.readyState === WebSocket.OPEN")
    page.value("socket.send(new Uint8Array(25 * 1024 * 1024 + 1))")
    page.until("heard.end")
    assert page.value("heard.end[0]") == 1009


# --- realtime


def test_the_published_realtime_page_converses_with_subprotocols_alone(gateway: Any, visit: Callable[..., Page]):
    constants = f"const openaiKey = 'sk-theirs', sluiceToken = {gateway.token!r};\n"
    page = visit(f"<script>{constants}{hosted(REALTIME, gateway)}{LISTENING}</script>")
    page.until("socket.readyState === WebSocket.OPEN")
    assert page.value("socket.protocol") == "realtime"
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
    for event in ({"type": "conversation.item.create", "item": item}, {"type": "response.create"}):
        page.value(f"socket.send({json.dumps(json.dumps(event))})")
    page.until("heard.some((text) => text.includes('response.done'))")
    told = [json.loads(text) for text in page.value("heard")]
    assert (told[0]["type"], told[-1]["type"]) == ("session.created", "response.done")
    page.value("socket.close(1000, 'bye')")
    page.until("heard.end")
    assert page.value("heard.end") == [1000, "bye"]
    log = newest(gateway, "realtime")
    assert (log["provider"], log["model"], log["ending"]) == ("openai", "gpt-realtime", "complete")
    assert log["tokens_out"] == told[-1]["response"]["usage"]["output_tokens"]


def test_a_page_sends_and_hears_binary_messages_and_text(gateway: Any, visit: Callable[..., Page]):
    page = visit(asking(gateway, "deepgram/v1/listen", "token", "their-key", f"cf-aig-authorization.{gateway.token}"))
    page.until("socket.readyState === WebSocket.OPEN")
    assert page.value("socket.protocol") in ("token", f"cf-aig-authorization.{gateway.token}")
    page.value(
        """socket.binaryType = "arraybuffer";
        const sent = Uint8Array.from({ length: 1_000_000 }, (_, at) => (at * 7919) % 251);
        socket.send(sent);
        socket.send("größer".repeat(50_000));"""
    )
    page.until("heard.length === 2")
    assert page.value("new Uint8Array(heard[0]).every((byte, at) => byte === sent[at])")
    assert page.value("heard[0].byteLength") == 1_000_000
    assert page.value("heard[1]") == "größer" * 50_000
