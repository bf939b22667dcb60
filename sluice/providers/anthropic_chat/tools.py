"""Tools, and the choice among them, to Anthropic's."""

from collections.abc import Sequence, Set
from typing import Final, Literal

import msgspec

from sluice.providers.anthropic_chat import chat
from sluice.providers.anthropic_chat.decoding import refused
from sluice.providers.anthropic_chat.messages import Tool, ToolChoice

_WORDS: Final[dict[str, Literal["auto", "any", "none"]]] = {"auto": "auto", "none": "none", "required": "any"}
_OBJECT: Final = {"type": msgspec.Raw(b'"object"')}
_ANY_OBJECT: Final = _OBJECT | {"properties": msgspec.Raw(b"{}")}


def to_tools(request: chat.ChatRequest) -> tuple[list[Tool] | None, ToolChoice | None]:
    """The tools that may be called, and how one of them is to be chosen."""
    tools = [_tool(_function(tool, number)) for number, tool in enumerate(request.tools or ())]
    tools += [_tool(function) for function in request.functions or ()]
    choice, tools = _choice(request, tools)
    return tools or None, in_turn(choice, tools, request.parallel_tool_calls)


def in_turn(choice: ToolChoice | None, tools: Sequence[Tool], parallel: bool | None) -> ToolChoice | None:
    """The choice, with no more than one call at a time where that is asked for."""
    if parallel is not False or not tools or (choice is not None and choice.type == "none"):
        return choice
    return msgspec.structs.replace(choice or ToolChoice("auto"), disable_parallel_tool_use=True)


def to_tool(name: str, description: str | None, schema: dict[str, msgspec.Raw] | None) -> Tool:
    """Anthropic wants a schema, and one of an object, where OpenAI takes a function without parameters."""
    if not schema:
        schema = _ANY_OBJECT
    elif "type" not in schema:
        schema = _OBJECT | schema
    return Tool(name, schema, description)


def by_word(word: str, tools: Sequence[Tool], place: str) -> ToolChoice | None:
    """A choice told by a word. Anthropic refuses one where there are no tools, even one that is void."""
    if word not in _WORDS:
        raise refused(place, f"{word[:40]!r} is none of {', '.join(_WORDS)}, nor an object")
    if not tools and word == "required":
        raise refused(place, "there are no tools to choose from")
    return ToolChoice(_WORDS[word]) if tools else None


def by_name(name: str, tools: Sequence[Tool], place: str) -> ToolChoice:
    """The choice of a tool that there must be."""
    if not any(tool.name == name for tool in tools):
        raise refused(place, f"no tool is named {name[:64]!r}")
    return ToolChoice("tool", name)


def by_list(mode: str, names: Set[str], tools: Sequence[Tool], place: str) -> tuple[ToolChoice, list[Tool]]:
    """The choice among some tools. Anthropic has no such list: only the tools that are in it are sent."""
    kept = [tool for tool in tools if tool.name in names]
    if not kept:
        raise refused(place, "none of the tools is in it")
    return ToolChoice(_WORDS[mode]), kept


def _function(tool: chat.Tool, number: int) -> chat.Function:
    if tool.type != "function":
        raise refused(f"tools[{number}].type", f"{tool.type[:40]!r} cannot be sent to this provider")
    if tool.function is None:
        raise refused(f"tools[{number}].function", "missing")
    return tool.function


def _tool(function: chat.Function) -> Tool:
    return to_tool(function.name, function.description, function.parameters)


def _choice(request: chat.ChatRequest, tools: list[Tool]) -> tuple[ToolChoice | None, list[Tool]]:
    asked, legacy = request.tool_choice, request.function_call
    if isinstance(asked, chat.ToolChoice):
        return _chosen(asked, tools)
    if asked is not None:
        return by_word(asked, tools, "tool_choice"), tools
    if isinstance(legacy, chat.FunctionName):
        return by_name(legacy.name, tools, "function_call.name"), tools
    return None if legacy is None else by_word(legacy, tools, "function_call"), tools


def _chosen(asked: chat.ToolChoice, tools: list[Tool]) -> tuple[ToolChoice, list[Tool]]:
    if asked.type == "function" and asked.function is not None:
        return by_name(asked.function.name, tools, "tool_choice.function.name"), tools
    if asked.type == "allowed_tools" and asked.allowed_tools is not None:
        names = {tool.function.name for tool in asked.allowed_tools.tools if tool.function is not None}
        return by_list(asked.allowed_tools.mode, names, tools, "tool_choice.allowed_tools.tools")
    if asked.type in ("function", "allowed_tools"):
        raise refused(f"tool_choice.{asked.type}", "missing")
    raise refused("tool_choice.type", f"{asked.type[:40]!r} cannot be sent to this provider")
