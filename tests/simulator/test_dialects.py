"""What vendors in OpenAI's shape, or with a small wire of their own, say otherwise."""

from typing import Any

import pytest

from sluice.simulator import words
from sluice.simulator.openai_dialects import DIALECTS

TURNS = [{"role": "user", "content": "hello"}]


async def streamed(simulator: Any, slug: str, **more: Any) -> list[Any]:
    body = {"model": "m", "messages": TURNS, "stream": True} | more
    events: list[Any] = (await simulator.ask("POST", f"/{slug}/v1/chat/completions", body)).events()
    return events


@pytest.mark.parametrize("slug", [slug for slug, one in DIALECTS.items() if one.told == "last"])
async def test_most_tell_the_usage_in_the_last_chunk_unasked(simulator: Any, slug: str) -> None:
    whole = await simulator.ask("POST", f"/{slug}/chat/completions", {"model": "m", "messages": TURNS})
    *_, last, done = await streamed(simulator, slug)
    assert (last["usage"], done) == (whole.json()["usage"], "[DONE]")
    assert last["choices"][0]["finish_reason"] == "stop"


async def test_groq_tells_it_in_a_place_of_its_own_and_where_asked(simulator: Any) -> None:
    *_, last, _ = await streamed(simulator, "groq")
    assert last["x_groq"]["usage"]["completion_tokens"] == words.count(words.reply("hello"))
    assert "usage" not in last
    *_, before, apart, _ = await streamed(simulator, "groq", stream_options={"include_usage": True})
    assert apart["usage"] == before["x_groq"]["usage"]


async def test_deepseek_and_xai_count_in_their_own_way(simulator: Any) -> None:
    async def usage(slug: str) -> Any:
        body = {"model": "m~cached-2~reasoning-5", "messages": TURNS}
        return (await simulator.ask("POST", f"/{slug}/chat/completions", body)).json()["usage"]

    deepseek, grok = await usage("deepseek"), await usage("grok")
    assert (deepseek["prompt_cache_hit_tokens"], deepseek["prompt_cache_miss_tokens"]) == (2, 6)
    assert grok["total_tokens"] == grok["prompt_tokens"] + grok["completion_tokens"] + 5


@pytest.mark.parametrize(
    ("slug", "prefix"),
    [("groq", "openai/v1/"), ("fireworks", "inference/v1/"), ("openrouter", "api/v1/"), ("perplexity-ai", ""),
     ("mistral", "v1/"), ("parallel", "v1beta/"), ("deepseek", "")],
)  # fmt: skip
async def test_a_path_may_have_before_it_what_the_vendor_has(simulator: Any, slug: str, prefix: str) -> None:
    reply = await simulator.ask("POST", f"/{slug}/{prefix}chat/completions", {"model": "m", "messages": TURNS})
    assert reply.json()["choices"][0]["message"]["content"] == words.reply("hello")


@pytest.mark.parametrize(
    ("slug", "fields"),
    [
        ("groq", {"error"}),
        ("mistral", {"object", "message", "type", "param", "code"}),
        ("cerebras", {"message", "type", "param", "code"}),
        ("grok", {"code", "error"}),
        ("parallel", {"type", "error"}),
        ("azure-openai", {"error"}),
    ],
)
async def test_each_has_its_own_shape_of_error(simulator: Any, slug: str, fields: set[str]) -> None:
    reply = await simulator.ask("GET", f"/{slug}/models", None, {"x-sluice-fault": "status=429"})
    assert set(reply.json()) == fields


@pytest.mark.parametrize(
    "path", ["mine/gpt/", "mine/openai/deployments/gpt/", "openai/deployments/gpt/", "openai/v1/", "mine/openai/v1/"]
)
async def test_azure_has_the_deployment_in_the_path_and_needs_a_version(simulator: Any, path: str) -> None:
    body: dict[str, Any] = {"messages": TURNS} | ({"model": "gpt"} if path.endswith("v1/") else {})
    reply = await simulator.ask("POST", f"/azure-openai/{path}chat/completions?api-version=2024-10-21", body)
    assert (reply.json()["model"], reply.header("openai-version")) == ("gpt", "2020-10-01")
    bare = await simulator.ask("POST", f"/azure-openai/{path}chat/completions", body)
    assert bare.status == (200 if path.endswith("v1/") else 404)


async def test_huggingface_answers_a_list_streams_tokens_and_embeds(simulator: Any) -> None:
    target = "/huggingface/meta-llama/Llama-3.1-8B"
    asked = {"inputs": "hello", "parameters": {"return_full_text": False, "details": True, "max_new_tokens": 4}}
    (told,) = (await simulator.ask("POST", target, asked)).json()
    assert told["details"] == {"finish_reason": "length", "generated_tokens": 4, "seed": None}
    (full,) = (await simulator.ask("POST", target, {"inputs": "hello"})).json()
    assert full["generated_text"] == "hello" + words.reply("hello")
    reply = await simulator.ask("POST", target, asked | {"stream": True})
    assert b"data:{" in reply.body
    embedded = await simulator.ask("POST", "/huggingface/sentence-transformers/x", {"inputs": ["a", "b"]})
    assert [len(one) for one in embedded.json()] == [384, 384]
    loading = await simulator.ask("POST", f"{target}~status-503", asked)
    assert loading.json()["estimated_time"] == 20.0


async def test_replicate_makes_a_prediction_that_is_done_when_asked_after(simulator: Any) -> None:
    body = {"version": "owner/name:abc", "input": {"prompt": "hello"}}
    made = await simulator.ask("POST", "/replicate/v1/predictions", body)
    prediction = made.json()
    assert (made.status, prediction["status"], prediction["output"]) == (201, "starting", None)
    assert prediction["urls"]["get"].endswith(prediction["id"])
    done = (await simulator.ask("GET", f"/replicate/v1/predictions/{prediction['id']}")).json()
    assert ("".join(done["output"]), done["status"]) == (words.reply("hello"), "succeeded")
    at_once = await simulator.ask("POST", "/replicate/v1/models/owner/name/predictions", body, {"Prefer": "wait"})
    assert at_once.json()["metrics"]["output_token_count"] == words.count(words.reply("hello"))
    listed = (await simulator.ask("GET", "/replicate/v1/predictions")).json()["results"]
    assert len(listed) == 2
    stopped = await simulator.ask("POST", f"/replicate/v1/predictions/{prediction['id']}/cancel")
    assert stopped.json()["status"] == "canceled"
    assert (await simulator.ask("GET", "/replicate/v1/predictions/none")).json()["status"] == 404


async def test_parallel_runs_tasks_and_searches(simulator: Any) -> None:
    run = (await simulator.ask("POST", "/parallel/v1/tasks/runs", {"input": "hello", "processor": "core"})).json()
    assert (run["status"], run["processor"]) == ("queued", "core")
    target = f"/parallel/v1/tasks/runs/{run['run_id']}"
    assert (await simulator.ask("GET", target)).json()["status"] == "completed"
    result = (await simulator.ask("GET", f"{target}/result")).json()
    assert result["output"]["content"] == words.reply("hello")
    found = (await simulator.ask("POST", "/parallel/v1beta/search", {"objective": "gates"})).json()
    assert len(found["results"]) == 3
    assert (await simulator.ask("GET", "/parallel/v1/tasks/runs/none")).status == 404
