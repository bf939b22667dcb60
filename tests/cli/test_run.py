"""`sluice run` beside a running gateway."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sluice.cli.main import main
from sluice.storage.embedded.bootstrap import bootstrap

Step = dict[str, Any]


def chat(model: str = "gpt-4o-mini", text: str = "hello", **fields: Any) -> Step:
    query = {"model": model, "messages": [{"role": "user", "content": text}], **fields.pop("query", {})}
    return {"provider": "openai", "endpoint": "chat/completions", "query": query, **fields}


def run(gateway: Any, body: object, *words: str, token: str | None = None, file: str = "-") -> Result:
    text = body if isinstance(body, str) else json.dumps(body)
    given = [] if "--url" in words else ["--data", str(gateway.data)]
    environment = {"SLUICE_TOKEN": gateway.token if token is None else token}
    return CliRunner().invoke(main, ["run", file, *given, *words], input=text, env=environment)


def table_text(done: Result) -> str:
    """What is told of the attempts, but for the line above them."""
    return done.stderr.partition("step  provider and model")[2].partition("\n")[2]


def table(done: Result) -> list[list[str]]:
    """The attempts, by their columns."""
    return [line.split() for line in table_text(done).splitlines()]


def test_a_reply_is_printed_and_then_each_step_as_the_log_tells_it(gateway: Any):
    done = run(gateway, [chat("gpt-4o~status-503", option={"retry": 2}), chat("gpt-4o-mini")])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["choices"][0]["message"]["content"].startswith("You said: hello.")
    assert done.stdout.startswith('{\n  "id"')
    first, second = table(done)
    assert first[:4] == ["0", "openai/gpt-4o~status-503", "503", "3"]
    assert second[:4] == ["1", "openai/gpt-4o-mini", "200", "1"]
    assert second[5:9] == ["8", "in", second[7], "out"]
    assert second[9].startswith("$0.0000")
    assert gateway.log(second[10])["step"] == 1


def test_a_file_is_read(gateway: Any, tmp_path: Path):
    path = tmp_path / "request.json"
    path.write_text(json.dumps(chat()))
    done = run(gateway, "", file=str(path))
    assert (done.exit_code, len(table(done))) == (0, 1)


@pytest.mark.parametrize(
    "asked",
    [
        chat("gpt-4o", query={"stream": True}),
        {"provider": "anthropic", "endpoint": "messages", "headers": {"anthropic-version": "2023-06-01"},
         "query": {**chat("claude-sonnet-4-6")["query"], "stream": True, "max_tokens": 100}},
        {"provider": "google-ai-studio", "endpoint": "v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
         "query": {"contents": [{"parts": [{"text": "hello"}]}]}},
        {"provider": "workers-ai", "endpoint": "@cf/meta/llama-3.1-8b-instruct",
         "query": {"prompt": "hello", "stream": True}},
    ],
    ids=lambda asked: asked["provider"],
)  # fmt: skip
def test_of_a_stream_the_words_are_printed(gateway: Any, asked: Step):
    done = run(gateway, asked)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("You said: hello.")
    assert done.stdout.count("\n") == 1
    assert table(done)[0][0] == "0"


def test_what_a_chain_makes_is_printed_byte_for_byte(gateway: Any):
    image = {"provider": "workers-ai", "endpoint": "@cf/stabilityai/stable-diffusion-xl-base-1.0"}
    following = {**image, "query": {"prompt": "Draw: <prompt-response id='a' />"}}
    done = run(gateway, [chat(id="a", option={"onComplete": following})])
    assert done.exit_code == 0
    assert done.stdout_bytes.startswith(b"\x89PNG")
    assert [row[:2] for row in table(done)] == [["0", "openai/gpt-4o-mini"], ["0", f"workers-ai/{image['endpoint']}"]]


def test_with_json_one_object_has_it_all(gateway: Any):
    done = run(gateway, [chat("gpt-4o~drop"), chat("gpt-4o")], "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["status"], told["complete"], told["headers"]["cf-aig-step"]) == (0, 200, True, "1")
    assert told["reply"]["object"] == "chat.completion"
    assert [(row["step"], row["success"]) for row in told["attempts"]] == [(0, False), (1, True)]
    assert told["attempts"][1]["id"] == told["headers"]["cf-aig-log-id"]
    image = {"provider": "workers-ai", "endpoint": "@cf/black-forest-labs/x", "query": {"prompt": "a cat"}}
    assert json.loads(run(gateway, image, "--json").stdout)["reply"]
    streamed = json.loads(run(gateway, chat(query={"stream": True}), "--json").stdout)
    assert streamed["reply"].endswith("data: [DONE]\n\n")


def test_an_error_of_the_last_provider_is_status_three(gateway: Any):
    done = run(gateway, [chat("gpt-4o~status-500"), chat("gpt-4o~status-429")])
    assert done.exit_code == 3
    assert json.loads(done.stdout)["error"]
    assert [row[2] for row in table(done)] == ["500", "429"]


def test_no_reply_of_any_provider_is_status_three_with_the_reason(gateway: Any):
    done = run(gateway, chat("gpt-4o~drop"))
    assert done.exit_code == 3
    assert json.loads(done.stdout)["internalCode"] == 2005
    assert "refused: " in done.stderr


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("cut-3", "its end is missing"),
        ("reset-3", "its end is missing"),
        ("malformed-3", "its end is missing"),
    ],
)
def test_a_stream_that_breaks_off_is_status_four(gateway: Any, fault: str, reason: str):
    done = run(gateway, chat(f"gpt-4o~{fault}", query={"stream": True}))
    assert done.exit_code == 4
    assert f"The reply broke off: {reason}\n" in done.stderr
    assert "broken: " in table_text(done)
    assert json.loads(run(gateway, chat(f"gpt-4o~{fault}"), "--json").stdout)["complete"] is False


@pytest.mark.parametrize(
    ("body", "code"), [("{", 2004), ([], 2004), ([{"provider": "nobody", "endpoint": "x", "query": {}}], 2008)]
)
def test_a_refused_request_is_status_one(gateway: Any, body: object, code: int):
    done = run(gateway, body)
    assert done.exit_code == 1
    assert json.loads(done.stdout)["internalCode"] == code
    assert table(done) == []
    assert json.loads(run(gateway, body, "--json").stdout)["attempts"] == []


@pytest.mark.parametrize(("token", "which"), [("", "A"), ("sluice_nonsense", "Another")])
def test_a_missing_token_is_told(gateway: Any, token: str, which: str):
    done = run(gateway, chat(), token=token)
    assert done.exit_code == 1
    assert json.loads(done.stdout)["internalCode"] == 2009
    assert f"{which} token is needed: --token, or SLUICE_TOKEN" in done.stderr
    assert run(gateway, chat(), "--token", gateway.token, token=token).exit_code == 0


def test_a_request_without_logs_is_told_so(gateway: Any):
    done = run(gateway, chat(headers={"cf-aig-collect-log": "false"}))
    assert done.exit_code == 0
    assert "No step of it is in the log." in done.stderr


def test_another_server_is_named_by_its_address(gateway: Any):
    done = run(gateway, [chat("gpt-4o~status-404"), chat()], "--url", gateway.base_url)
    assert (done.exit_code, [row[2] for row in table(done)]) == (0, ["404", "200"])
    may_only_run = gateway.cli("token", "create", "--permissions", "run")["token"]
    done = run(gateway, chat(), "--url", gateway.base_url + "/", token=may_only_run)
    assert (done.exit_code, table(done)) == (0, [])
    assert "The logs cannot be read: " in done.stderr


@pytest.mark.parametrize("url", ["localhost", "ftp://x", "http://x/v1/local/default", "http://x?y"])
def test_an_address_that_is_none_is_a_matter_of_usage(gateway: Any, url: str):
    done = run(gateway, chat(), "--url", url)
    assert done.exit_code == 2
    assert "write the server's address alone" in done.stderr


def test_an_unknown_gateway_and_a_folder_without_a_server_are_told(gateway: Any, tmp_path: Path):
    done = run(gateway, chat(), "--gateway", "none")
    assert (done.exit_code, done.stderr) == (
        1,
        "Error: There is no gateway none in account local: `sluice gateway list --account local` shows all.\n",
    )
    bootstrap(tmp_path / "data")
    alone = CliRunner().invoke(main, ["run", "-", "--data", str(tmp_path / "data")], input="{}")
    assert alone.exit_code == 1
    assert alone.stderr.startswith(f"Error: No server runs on {tmp_path / 'data'}: start `sluice serve`")
    gone = CliRunner().invoke(main, ["run", str(tmp_path / "gone.json")])
    assert gone.exit_code == 2


def test_a_server_that_does_not_answer_is_told(gateway: Any):
    class Silent(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.rfile.readline()
            self.close_connection = True

    with HTTPServer(("127.0.0.1", 0), Silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            done = run(gateway, chat(), "--url", f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
    assert done.exit_code == 1
    assert "does not answer" in done.stderr
