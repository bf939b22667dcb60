"""Each row of contract A.1 that concerns a request, and what docs/compat-anthropic.md promises beyond."""

import json
from typing import Any

import pytest

from sluice.providers.anthropic_chat.request import to_messages
from sluice.values.errors import MalformedRequest

PNG = "iVBORw0KGgo="
HELLO = {"role": "user", "content": "Hello"}
HELLO_TURN = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def request(**fields: Any) -> bytes:
    return json.dumps({"model": "anthropic/claude", "messages": [HELLO], **fields}).encode()


def translated(**fields: Any) -> dict[str, Any]:
    return json.loads(to_messages(request(**fields), "claude-sonnet-4-5").body)


def turns(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return translated(messages=messages)["messages"]


def blocks(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return turns({"role": "user", "content": parts})[0]["content"]


def refusal(**fields: Any) -> str:
    with pytest.raises(MalformedRequest) as caught:
        to_messages(request(**fields), "claude-sonnet-4-5")
    assert (caught.value.code, caught.value.status) == (2004, 400)
    return caught.value.said


def calling(*calls: tuple[str, str], text: str | None = None) -> dict[str, Any]:
    made = [{"id": id, "type": "function", "function": {"name": "weather", "arguments": given}} for id, given in calls]
    return {"role": "assistant", "content": text, "tool_calls": made}


def result(call_id: str, content: Any = "sunny") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def test_a_plain_request_has_the_given_model_and_the_bound_that_anthropic_wants():
    assert translated() == {"model": "claude-sonnet-4-5", "max_tokens": 4096, "messages": [HELLO_TURN]}


def test_system_and_developer_messages_anywhere_become_the_system_text():
    body = translated(
        messages=[
            {"role": "system", "content": "Be kind."},
            HELLO,
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        ]
    )
    assert body["system"] == "Be kind.\n\nBe brief."
    assert body["messages"] == [HELLO_TURN]


def test_a_request_of_system_text_alone_is_asked_as_a_user():
    body = translated(messages=[{"role": "system", "content": "Tell a joke."}])
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Tell a joke."}]}]
    assert "system" not in body


def test_text_parts_stay_apart():
    assert blocks({"type": "text", "text": "a"}, {"type": "text", "text": "b"}) == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]


def test_an_image_by_url_is_left_for_anthropic_to_fetch():
    part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}}
    assert blocks(part) == [{"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}]


@pytest.mark.parametrize(
    ("url", "media_type"),
    [
        (f"data:image/png;base64,{PNG}", "image/png"),
        (f"DATA:IMAGE/PNG;BASE64,{PNG}", "image/png"),
        (f"data:image/webp;charset=utf-8;base64,{PNG}", "image/webp"),
        (f"data:image/jpg;base64,{PNG}", "image/jpeg"),
    ],
)
def test_an_image_in_a_data_url_goes_along(url: str, media_type: str):
    source = {"type": "base64", "media_type": media_type, "data": PNG}
    assert blocks({"type": "image_url", "image_url": {"url": url}}) == [{"type": "image", "source": source}]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "neither"),
        ("ftp://example.com/a.png", "neither"),
        ("file:///etc/passwd", "neither"),
        ("data:image/png;base64", "neither"),
        (f"data:image/png,{PNG}", "neither"),
        (f"data:image/svg+xml;base64,{PNG}", "media type"),
        (f"data:;base64,{PNG}", "media type"),
        ("data:image/png;base64,", "not base64"),
        ("data:image/png;base64,abc", "not base64"),
        ("data:image/png;base64,ab=c", "not base64"),
        ("data:image/png;base64,a===", "not base64"),
        ("data:image/png;base64,ab d", "not base64"),
        ("data:image/png;base64,ab-_", "not base64"),
        ("data:image/png;base64,äöüß", "not base64"),
    ],
)
def test_a_bad_image_url_is_refused(url: str, problem: str):
    said = refusal(messages=[HELLO, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])
    assert said.startswith("messages[1].content[0].image_url.url: ")
    assert problem in said


def test_a_pdf_in_a_file_part_becomes_a_document():
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    assert blocks(part) == [{"type": "document", "source": source, "title": "a.pdf"}]


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"type": "file", "file": {"file_id": "file-1"}}, "file"),
        ({"type": "file", "file": {"file_data": "data:text/csv;base64,YQ=="}}, "file.file_data"),
        ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "input_audio"),
        ({"type": "video_url", "video_url": {"url": "https://x"}}, "type"),
        ({"type": "image_url"}, "image_url"),
        ({"type": "text"}, "text"),
    ],
)
def test_a_part_that_anthropic_has_not_is_refused_by_its_place(part: dict[str, Any], place: str):
    said = refusal(messages=[HELLO, {"role": "user", "content": [{"type": "text", "text": "see"}, part]}])
    assert said.startswith(f"messages[1].content[1].{place}: ")


def test_an_assistants_calls_become_tool_use_with_their_arguments_decoded():
    assert turns(HELLO, calling(("call_1", '{"city": "Rome"}'), text="Let me see."))[1] == {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome"}},
        ],
    }


@pytest.mark.parametrize("arguments", ["", " \n"])
def test_a_call_without_arguments_has_an_empty_input(arguments: str):
    assert turns(HELLO, calling(("call_1", arguments)))[1]["content"][0]["input"] == {}


def test_arguments_keep_numbers_that_no_float_holds():
    body = to_messages(request(messages=[HELLO, calling(("c", '{"n": 12345678901234567890.10}'))]), "m").body
    assert b"12345678901234567890.10" in body


@pytest.mark.parametrize("arguments", ["{", "[1]", '"text"', "null", "{} {}", '{"a": nil}', "[" * 5000])
def test_arguments_that_are_no_json_object_are_refused(arguments: str):
    said = refusal(messages=[HELLO, calling(("a", "{}"), ("b", arguments))])
    assert said == "messages[1].tool_calls[1].function.arguments: not a JSON object"


def test_results_of_parallel_calls_and_what_the_user_adds_are_one_turn():
    told = turns(HELLO, calling(("a", "{}"), ("b", "{}")), result("a"), result("b", "rainy"), HELLO)
    assert [turn["role"] for turn in told] == ["user", "assistant", "user"]
    assert told[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": "sunny"},
        {"type": "tool_result", "tool_use_id": "b", "content": "rainy"},
        {"type": "text", "text": "Hello"},
    ]


def test_results_stand_before_what_the_user_said_first():
    told = turns(HELLO, calling(("a", "{}")), HELLO, result("a"))
    assert [block["type"] for block in told[2]["content"]] == ["tool_result", "text"]


def test_a_result_may_be_parts_with_images_or_nothing():
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    told = turns(HELLO, calling(("a", "{}"), ("b", "{}")), result("a", [{"type": "text", "text": "x"}, image]))
    assert [block["type"] for block in told[2]["content"][0]["content"]] == ["text", "image"]
    told = turns(HELLO, calling(("a", "{}")), result("a", ""))
    assert told[2]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]


def test_ids_of_other_vendors_are_made_to_fit_alike_in_call_and_result():
    told = turns(HELLO, calling(("functions.weather:0", "{}")), result("functions.weather:0"))
    assert told[1]["content"][0]["id"] == told[2]["content"][0]["tool_use_id"] == "functions_weather_0"


def test_a_result_without_an_id_is_refused():
    said = refusal(messages=[HELLO, calling(("a", "{}")), {"role": "tool", "content": "x"}])
    assert said == "messages[2].tool_call_id: missing"


def test_messages_of_one_side_in_a_row_become_one_turn():
    said = {"role": "assistant", "content": "Hi"}
    assert [len(turn["content"]) for turn in turns(HELLO, HELLO, said, said, HELLO)] == [2, 2, 1]


def test_blank_text_is_left_out_and_its_neighbours_meet():
    blank = {"role": "assistant", "content": " \n"}
    assert turns(HELLO, blank, {"role": "assistant", "content": None}, HELLO) == [
        {"role": "user", "content": HELLO_TURN["content"] * 2}
    ]


@pytest.mark.parametrize("messages", [[], [{"role": "user", "content": ""}], [{"role": "system", "content": " "}]])
def test_a_request_without_any_text_is_refused(messages: list[dict[str, Any]]):
    assert refusal(messages=messages) == "messages: there is no text in them"


def test_an_assistant_may_begin():
    assert [turn["role"] for turn in turns({"role": "assistant", "content": "Hi"}, HELLO)] == ["assistant", "user"]


def test_a_refusal_of_the_assistant_is_text_of_its():
    part = {"type": "refusal", "refusal": "No."}
    assert (
        turns(HELLO, {"role": "assistant", "content": [part]})[1]
        == turns(HELLO, {"role": "assistant", "content": None, "refusal": "No."})[1]
    )


def test_the_newer_bound_of_tokens_counts_before_the_older():
    assert translated(max_tokens=7)["max_tokens"] == 7
    assert translated(max_tokens=7, max_completion_tokens=9)["max_tokens"] == 9
    assert translated(max_tokens=None, max_completion_tokens=None)["max_tokens"] == 4096


def test_temperature_is_clipped_to_one():
    assert [translated(temperature=given)["temperature"] for given in (0, 0.3, 1, 2)] == [0, 0.3, 1, 1]


def test_top_p_passes_unless_it_says_nothing_beside_a_temperature():
    assert translated(top_p=0.5)["top_p"] == 0.5
    assert translated(top_p=0.5, temperature=0.2)["top_p"] == 0.5
    assert translated(top_p=1)["top_p"] == 1
    assert "top_p" not in translated(top_p=1, temperature=0.2)


def test_stream_passes_and_tells_whether_usage_is_wanted():
    assert translated(stream=True)["stream"] is True
    assert "stream" not in translated(stream=False)
    plain = to_messages(request(stream=True), "m")
    told = to_messages(request(stream=True, stream_options={"include_usage": True}), "m")
    assert [(one.stream, one.include_usage) for one in (plain, told)] == [(True, False), (True, True)]


@pytest.mark.parametrize(
    ("stop", "sequences"),
    [("END", ["END"]), (["a", "b"], ["a", "b"]), (["\n", "", "a\n"], ["a\n"]), ("\n", None), ([], None), (None, None)],
)
def test_stop_becomes_stop_sequences_without_blank_ones(stop: Any, sequences: list[str] | None):
    assert translated(stop=stop).get("stop_sequences") == sequences


def test_tools_have_their_schema_under_another_name():
    assert translated(tools=[WEATHER])["tools"] == [
        {
            "name": "weather",
            "description": "Tells the weather.",
            "input_schema": WEATHER["function"]["parameters"],
        }
    ]


def test_a_tool_without_parameters_takes_any_object():
    tools = [{"type": "function", "function": {"name": "now"}}]
    assert translated(tools=tools)["tools"] == [
        {"name": "now", "input_schema": {"type": "object", "properties": {}}},
    ]
    tools = [{"type": "function", "function": {"name": "now", "parameters": {"properties": {"a": {}}}}}]
    assert translated(tools=tools)["tools"][0]["input_schema"] == {"type": "object", "properties": {"a": {}}}


def test_a_tool_that_is_no_function_is_refused():
    said = refusal(tools=[WEATHER, {"type": "custom", "custom": {"name": "x"}}])
    assert said == "tools[1].type: 'custom' cannot be sent to this provider"
    assert refusal(tools=[{"type": "function"}]) == "tools[0].function: missing"


@pytest.mark.parametrize(
    ("choice", "translation"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "weather"}}, {"type": "tool", "name": "weather"}),
    ],
)
def test_every_form_of_tool_choice_has_its_counterpart(choice: Any, translation: dict[str, Any]):
    assert translated(tools=[WEATHER], tool_choice=choice)["tool_choice"] == translation


def test_allowed_tools_are_the_only_ones_sent():
    other = {"type": "function", "function": {"name": "now"}}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "now"}}]}
    body = translated(tools=[WEATHER, other], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert [tool["name"] for tool in body["tools"]] == ["now"]
    assert body["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize(
    ("choice", "place"),
    [
        ("sometimes", "tool_choice"),
        ({"type": "custom", "custom": {"name": "x"}}, "tool_choice.type"),
        ({"type": "function"}, "tool_choice.function"),
        ({"type": "function", "function": {"name": "other"}}, "tool_choice.function.name"),
        ({"type": "allowed_tools"}, "tool_choice.allowed_tools"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}, "tool_choice.allowed_tools.tools"),
    ],
)
def test_a_choice_that_cannot_be_kept_is_refused(choice: Any, place: str):
    assert refusal(tools=[WEATHER], tool_choice=choice).startswith(f"{place}: ")


def test_a_void_choice_without_tools_is_left_out_and_another_refused():
    assert "tool_choice" not in translated(tool_choice="auto")
    assert "tool_choice" not in translated(tools=[], tool_choice="none", parallel_tool_calls=False)
    assert refusal(tool_choice="required").startswith("tool_choice: ")


def test_calls_can_be_made_one_at_a_time():
    one = {"tools": [WEATHER], "parallel_tool_calls": False}
    assert translated(**one)["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert translated(**one, tool_choice="required")["tool_choice"]["disable_parallel_tool_use"] is True
    assert translated(**one, tool_choice="none")["tool_choice"] == {"type": "none"}
    assert "tool_choice" not in translated(tools=[WEATHER], parallel_tool_calls=True)


def test_legacy_functions_are_tools():
    body = translated(
        functions=[WEATHER["function"]],
        function_call={"name": "weather"},
        messages=[
            HELLO,
            {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
            {"role": "function", "name": "weather", "content": "sunny"},
        ],
    )
    assert body["tools"] == translated(tools=[WEATHER])["tools"]
    assert body["tool_choice"] == {"type": "tool", "name": "weather"}
    assert body["messages"][1]["content"][0]["id"] == body["messages"][2]["content"][0]["tool_use_id"]
    assert translated(functions=[WEATHER["function"]], function_call="auto")["tool_choice"] == {"type": "auto"}
    assert refusal(messages=[HELLO, {"role": "function", "name": "x", "content": "y"}]).startswith("messages[1]: ")


def test_the_user_becomes_metadata():
    assert translated(user="user-7")["metadata"] == {"user_id": "user-7"}


def test_a_schema_for_the_answer_becomes_the_output_config():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    assert translated(response_format=wanted)["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


def test_bounds_that_anthropic_does_not_compile_are_told_in_words():
    inner = {"type": "integer", "description": "How many.", "minimum": 1, "maximum": 9}
    schema = {"$defs": {"n": inner}, "type": "array", "minItems": 2, "items": {"anyOf": [{"$ref": "#/$defs/n"}, inner]}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"properties": {"list": schema}}}}
    told = {"type": "integer", "description": "How many. (minimum: 1, maximum: 9)"}
    assert translated(response_format=wanted)["output_config"]["format"]["schema"] == {
        "properties": {
            "list": {
                "$defs": {"n": told},
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [{"$ref": "#/$defs/n"}, told]},
                "description": "(minItems: 2)",
            }
        },
        "additionalProperties": False,
    }


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_other_formats_of_the_answer_are_left_to_the_words_of_the_request(kind: str):
    assert "output_config" not in translated(response_format={"type": kind})


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ({"type": "grammar"}, "response_format.type"),
        ({"type": "json_schema"}, "response_format.json_schema.schema"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "response_format.json_schema.schema"),
    ],
)
def test_an_unknown_format_of_the_answer_is_refused(wanted: dict[str, Any], place: str):
    assert refusal(response_format=wanted).startswith(f"{place}: ")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"n": 2}, "n"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, "messages[0].audio"),
        (
            {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]},
            "messages[0].content",
        ),
    ],
)
def test_what_would_bring_another_kind_of_answer_is_refused(fields: dict[str, Any], place: str):
    assert refusal(**fields).startswith(f"{place}: ")


def test_hints_that_anthropic_has_not_are_left_out():
    hints = {
        "n": 1,
        "modalities": ["text"],
        "logprobs": True,
        "top_logprobs": 3,
        "logit_bias": {"1": 2},
        "presence_penalty": 1,
        "frequency_penalty": 1,
        "seed": 7,
        "reasoning_effort": "high",
        "verbosity": "low",
        "store": True,
        "metadata": {"a": "b"},
        "service_tier": "flex",
        "prediction": {"type": "content", "content": "x"},
    }
    assert translated(**hints) == translated()


def test_thinking_and_top_k_pass_for_those_who_ask_for_them_in_anthropics_words():
    body = translated(thinking={"type": "enabled", "budget_tokens": 2000}, top_k=5)
    assert (body["thinking"], body["top_k"]) == ({"type": "enabled", "budget_tokens": 2000}, 5)
