"""LangChain's `ChatOpenAI` and `ChatAnthropic`, told nothing but a base URL, a key and one header."""

from collections.abc import Callable
from typing import Any, NamedTuple

import anthropic
import openai
import pydantic
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

HELLO = "Say hello to the harbour"


class Place(pydantic.BaseModel):
    """A place."""

    city: str
    people: int


@tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"rain in {city}"


class Way(NamedTuple):
    """How a model is reached through the gateway, and what its log is to say."""

    path: str
    model: str
    provider: str
    compat: bool

    @property
    def logged(self) -> str:
        return self.model.removeprefix(f"{self.provider}/")


NATIVE = Way("openai", "gpt-4o", "openai", False)
CLAUDE = Way("anthropic", "claude-sonnet-4-6", "anthropic", False)
WAYS = [
    NATIVE,
    CLAUDE,
    Way("compat", "openai/gpt-4o", "openai", True),
    Way("compat", "anthropic/claude-sonnet-4-6", "anthropic", True),
    Way("compat", "google-ai-studio/gemini-2.5-flash", "google-ai-studio", True),
    Way("compat", "workers-ai/@cf/meta/llama-3.1-8b-instruct", "workers-ai", True),
    Way("compat", "aws-bedrock/us.amazon.nova-lite-v1:0", "aws-bedrock", True),
]
IDS = [f"{way.path} {way.model}" for way in WAYS]
Opener = Callable[..., BaseChatModel]


@pytest.fixture
def open_chat(gateway: Any, marker: str) -> Opener:
    """Makes LangChain's model for a way; its calls bear the marker as their event id."""
    headers = gateway.auth | {"cf-aig-event-id": marker, "x-sluice-marker": marker}

    def make(way: Way, fault: str = "", key: str = "sk-test") -> BaseChatModel:
        common: dict[str, Any] = {"base_url": gateway.inference_url(way.path), "api_key": key, "max_retries": 0}
        common |= {"model": way.model + fault, "default_headers": headers, "timeout": 20}
        return ChatAnthropic(**common) if way.path == "anthropic" else ChatOpenAI(**common, stream_usage=True)

    return make


def log_of(gateway: Any, marker: str) -> dict[str, Any]:
    found: dict[str, Any] = gateway.until(
        lambda: next((log for log in gateway.logs() if log["event_id"] == marker), None), f"the log of {marker}"
    )
    return found


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("way", WAYS, ids=IDS)
def test_a_question_is_answered_and_logged(gateway: Any, open_chat: Opener, marker: str, way: Way, streamed: bool):
    chat = open_chat(way)
    if streamed:
        chunks = list(chat.stream(HELLO))
        assert len(chunks) > 2
        answer: Any = sum(chunks[1:], chunks[0])
    else:
        answer = chat.invoke(HELLO)
    assert answer.text.startswith("You said: Say hello to the harbour.")
    usage = answer.usage_metadata
    log = log_of(gateway, marker)
    assert (log["provider"], log["model"], log["compatibilityMode"]) == (way.provider, way.logged, way.compat)
    assert (log["tokens_in"], log["tokens_out"]) == (usage["input_tokens"], usage["output_tokens"])
    assert (log["success"], log["ending"]) == (True, "complete")
    assert log["cost"] or way.provider == "workers-ai"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("way", WAYS, ids=IDS)
def test_a_bound_tool_is_called_its_result_taken_and_answered(open_chat: Opener, way: Way, streamed: bool):
    chat = open_chat(way).bind_tools([get_weather])
    turns: list[Any] = [HumanMessage("What is the weather in Rotterdam?")]
    if streamed:
        chunks = list(chat.stream(turns))
        asked: Any = sum(chunks[1:], chunks[0])
    else:
        asked = chat.invoke(turns)
    assert isinstance(asked, AIMessage)
    (call,) = asked.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Rotterdam"})
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert chat.invoke([*turns, asked, result]).text.startswith("You said: rain in Rotterdam.")


@pytest.mark.parametrize("way", WAYS, ids=IDS)
def test_a_structured_answer_is_parsed(open_chat: Opener, way: Way):
    method = "function_calling" if way.path == "anthropic" else "json_schema"
    assert isinstance(open_chat(way).with_structured_output(Place, method=method).invoke("a place"), Place)


@pytest.mark.parametrize(("way", "kind"), [(NATIVE, openai.RateLimitError), (CLAUDE, anthropic.RateLimitError),
                                           (WAYS[3], openai.RateLimitError)])  # fmt: skip
def test_a_providers_error_is_raised(gateway: Any, open_chat: Opener, marker: str, way: Way, kind: Any):
    with pytest.raises(kind):
        open_chat(way, "~status-429").invoke(HELLO)
    log = log_of(gateway, marker)
    assert (log["status_code"], log["success"]) == (429, False)


async def test_many_questions_at_once_get_their_own_answers(open_chat: Opener):
    for way in (NATIVE, CLAUDE, WAYS[3]):
        answers = await open_chat(way).abatch([f"number {number}" for number in range(10)])
        starts = [answer.text.startswith(f"You said: number {number}.") for number, answer in enumerate(answers)]
        assert starts == [True] * 10


@pytest.mark.parametrize("path", ["openai", "compat"])
def test_texts_are_embedded(gateway: Any, path: str):
    model = "text-embedding-3-small"
    embeddings = OpenAIEmbeddings(
        base_url=gateway.inference_url(path),
        api_key="sk-test",
        model=model if path == "openai" else f"openai/{model}",
        default_headers=gateway.auth,
        check_embedding_ctx_length=False,
    )
    vectors = embeddings.embed_documents(["a gate", "a river"])
    assert len(vectors) == 2
    assert vectors[0] != vectors[1]
