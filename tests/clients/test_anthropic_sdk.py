"""The official `anthropic` SDK, told nothing but a base URL and one header."""

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest

CLAUDE = "claude-sonnet-4-6"
ASKED: Any = {"model": CLAUDE, "max_tokens": 500, "messages": [{"role": "user", "content": "Say hello to the harbour"}]}
WEATHER: Any = {
    "name": "get_weather",
    "description": "tells the weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
PICTURE: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"}}


def sdk(base_url: str, key: str = "sk-test", **headers: str) -> anthropic.Anthropic:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return anthropic.Anthropic(api_key=key, base_url=base_url, default_headers=fields, max_retries=0, timeout=20)


@pytest.fixture
def open_anthropic(gateway: Any, marker: str) -> Callable[..., anthropic.Anthropic]:
    """Makes a client of a provider that speaks Anthropic's wire, with the gateway's token beside the key."""

    def make(provider: str = "anthropic") -> anthropic.Anthropic:
        headers = {"cf_aig_authorization": f"Bearer {gateway.token}", "x_sluice_marker": marker}
        return sdk(gateway.inference_url(provider), **headers)

    return make


@pytest.fixture
def client(open_anthropic: Callable[..., anthropic.Anthropic]) -> Iterator[anthropic.Anthropic]:
    with open_anthropic() as made:
        yield made


@pytest.fixture
def direct(provider: Any) -> Iterator[anthropic.Anthropic]:
    """The same SDK, straight to the provider."""
    with sdk(f"http://{provider.authority}/anthropic") as made:
        yield made


def told_by_the_log(gateway: Any, headers: Any, usage: Any, model: str = CLAUDE) -> dict[str, Any]:
    log: dict[str, Any] = gateway.log(headers["cf-aig-log-id"])
    assert (log["provider"], log["model"], log["path"]) == ("anthropic", model, "v1/messages")
    assert (log["success"], log["ending"], log["compatibilityMode"]) == (True, "complete", False)
    assert (log["tokens_in"], log["tokens_out"]) == (usage.input_tokens, usage.output_tokens)
    assert log["cost"] > 0
    return log


def test_a_message_is_answered_as_the_provider_answers_it_and_logged(
    client: anthropic.Anthropic, direct: anthropic.Anthropic, gateway: Any
):
    reply = client.messages.with_raw_response.create(**ASKED)
    message = reply.parse()
    assert message == direct.messages.create(**ASKED)
    assert message.content[0].type == "text"
    assert message.content[0].text.startswith("You said: Say hello to the harbour.")
    told_by_the_log(gateway, reply.headers, message.usage)


def test_a_stream_says_the_same_as_a_whole_message(client: anthropic.Anthropic, gateway: Any):
    whole = client.messages.create(**ASKED)
    with client.messages.stream(**ASKED) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
        headers = stream.response.headers
    assert whole.content[0].type == "text"
    assert text == whole.content[0].text
    assert (message.content[0].type, message.stop_reason) == ("text", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (
        whole.usage.input_tokens,
        whole.usage.output_tokens,
    )
    told_by_the_log(gateway, headers, message.usage)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_used_its_result_taken_and_answered(client: anthropic.Anthropic, streamed: bool):
    turns: Any = [{"role": "user", "content": "What is the weather in Rotterdam?"}]
    asked: Any = {**ASKED, "tools": [WEATHER], "messages": turns}
    if streamed:
        with client.messages.stream(**asked) as stream:
            message = stream.get_final_message()
    else:
        message = client.messages.create(**asked)
    (use,) = message.content
    assert use.type == "tool_use"
    assert (use.name, use.input, message.stop_reason) == ("get_weather", {"city": "Rotterdam"}, "tool_use")
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "rain"}
    turns += [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    (said,) = client.messages.create(**asked).content
    assert said.type == "text"
    assert said.text.startswith("You said: rain.")


def test_tokens_are_counted_and_a_picture_among_them(client: anthropic.Anthropic, direct: anthropic.Anthropic):
    seen: Any = [{"role": "user", "content": [{"type": "text", "text": "look"}, PICTURE]}]
    counts = [way.messages.count_tokens(model=CLAUDE, messages=seen).input_tokens for way in (client, direct)]
    assert counts[0] == counts[1] > 85
    assert client.messages.create(model=CLAUDE, max_tokens=9, messages=seen).usage.input_tokens == counts[0]


def test_models_are_listed(client: anthropic.Anthropic, direct: anthropic.Anthropic):
    assert [model.id for model in client.models.list()] == [model.id for model in direct.models.list()] != []


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (f"{CLAUDE}~status-400", anthropic.BadRequestError),
        (f"{CLAUDE}~status-403", anthropic.PermissionDeniedError),
        ("unknown-model", anthropic.NotFoundError),
        (f"{CLAUDE}~retry-after-7", anthropic.RateLimitError),
        (f"{CLAUDE}~status-500", anthropic.InternalServerError),
        (f"{CLAUDE}~status-529", anthropic.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_providers_error_is_the_providers(
    client: anthropic.Anthropic, direct: anthropic.Anthropic, gateway: Any, model: str, kind: Any, stream: bool
):
    found = []
    for way in (client, direct):
        with pytest.raises(kind) as raised:
            way.messages.create(**{**ASKED, "model": model, "stream": stream})
        error = raised.value.body["error"]
        found.append((raised.value.status_code, error["type"], raised.value.response.headers.get("retry-after")))
        if way is client:
            log = gateway.log(raised.value.response.headers["cf-aig-log-id"])
            assert (log["status_code"], log["success"]) == (raised.value.status_code, False)
    assert found[0] == found[1]


def test_a_provider_that_does_not_answer_is_error_2005(client: anthropic.Anthropic):
    with pytest.raises(anthropic.BadRequestError) as raised:
        client.messages.create(**{**ASKED, "model": f"{CLAUDE}~drop"})
    assert raised.value.response.json()["internalCode"] == 2005


def test_a_wrong_key_is_the_providers_error_and_a_wrong_token_is_ours(client: anthropic.Anthropic):
    with pytest.raises(anthropic.AuthenticationError) as raised:
        client.with_options(api_key="bad-key").messages.create(**ASKED)
    assert raised.value.response.json()["error"]["type"] == "authentication_error"
    with pytest.raises(anthropic.AuthenticationError) as refused:
        client.with_options(default_headers={"cf-aig-authorization": "Bearer nonsense"}).messages.create(**ASKED)
    assert refused.value.response.json()["error"] == [{"code": 2009, "message": "Unauthorized"}]


@pytest.mark.parametrize("place", ["api_key", "auth_token"])
def test_a_gateway_token_as_the_key_lets_in_and_reaches_no_provider(
    gateway: Any, provider: Any, marker: str, place: str
):
    key: Any = {place: gateway.token, "default_headers": {"x-sluice-marker": marker}}
    with anthropic.Anthropic(base_url=gateway.inference_url("anthropic"), max_retries=0, **key) as client:
        assert client.messages.create(**ASKED).content
    (entry,) = provider.entries(marker)
    assert entry["key_headers"] == []
    assert gateway.token not in str(entry["headers"])


@pytest.mark.parametrize("fault", ["cut-4", "reset-4", "malformed-4"])
def test_a_stream_that_breaks_breaks_at_the_client_and_is_logged_broken(
    client: anthropic.Anthropic, gateway: Any, fault: str
):
    reply = client.messages.with_raw_response.create(**{**ASKED, "model": f"{CLAUDE}~{fault}", "stream": True})
    with pytest.raises(Exception, match="peer closed connection"):  # of the SDK's HTTP client, which it hands on
        list(reply.parse())
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert (log["ending"], log["success"]) == ("broken", False)


def test_the_sdk_tries_again_after_an_overload(client: anthropic.Anthropic, provider: Any, marker: str):
    patient = client.with_options(max_retries=2)
    assert patient.messages.create(**{**ASKED, "model": f"{CLAUDE}~status-529~first-1"}).content
    assert [entry["status"] for entry in provider.entries(marker, 2)] == [529, 200]


def test_the_gateway_tries_again_where_the_sdk_does_not(
    client: anthropic.Anthropic, gateway: Any, provider: Any, marker: str
):
    patient = client.with_options(default_headers={"cf-aig-max-attempts": "3"})
    reply = patient.messages.with_raw_response.create(**{**ASKED, "model": f"{CLAUDE}~status-529~first-2"})
    assert [entry["status"] for entry in provider.entries(marker, 3)] == [529, 529, 200]
    assert gateway.log(reply.headers["cf-aig-log-id"])["attempts"] == 3


def test_another_vendor_that_speaks_its_wire_is_called_too(
    open_anthropic: Callable[..., anthropic.Anthropic], gateway: Any
):
    with open_anthropic("grok") as client:
        reply = client.messages.with_raw_response.create(**{**ASKED, "model": "grok-4"})
        assert reply.parse().content
    log = gateway.log(reply.headers["cf-aig-log-id"])
    assert (log["provider"], log["model"], log["path"]) == ("grok", "grok-4", "v1/messages")
