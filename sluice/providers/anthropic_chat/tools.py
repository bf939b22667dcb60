"""Tools, and the choice among them, to Anthropic's."""

from collections.abc import Sequence
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
    if request.parallel_tool_calls is False and tools and (choice is None or choice.type != "none"):
        choice = msgspec.structs.replace(choice or ToolChoice("auto"), disable_parallel_tool_use=True)
    return tools or None, choice


def _function(tool: chat.Tool, number: int) -> chat.Function:
    if tool.type != "function":
        raise refused(f"tools[{number}].type", f"{tool.type[:40]!r} cannot be sent to this provider")
    if tool.function is None:
        raise refused(f"tools[{number}].function", "missing")
    return tool.function


def _tool(function: chat.Function) -> Tool:
    """Anthropic wants a schema, and one of an object, where OpenAI takes a function without parameters."""
    schema = function.parameters
    if not schema:
        schema = _ANY_OBJECT
    elif "type" not in schema:
        schema = _OBJECT | schema
    return Tool(function.name, schema, function.description)


def _choice(request: chat.ChatRequest, tools: list[Tool]) -> tuple[ToolChoice | None, list[Tool]]:
    """Anthropic refuses a choice where there are no tools, even one that is void."""
    if (asked := request.tool_choice) is not None:
        place = "tool_choice"
        if isinstance(asked, chat.ToolChoice):
            return _chosen(asked, tools)
    elif isinstance(request.function_call, chat.FunctionName):
        return _named(request.function_call.name, tools, "function_call.name"), tools
    elif (asked := request.function_call) is not None:
        place = "function_call"
    else:
        return None, tools
    if asked not in _WORDS:
        raise refused(place, f"{asked[:40]!r} is none of {', '.join(_WORDS)}, nor an object")
    if not tools and asked == "required":
        raise refused(place, "there are no tools to choose from")
    return ToolChoice(_WORDS[asked]) if tools else None, tools


def _chosen(asked: chat.ToolChoice, tools: list[Tool]) -> tuple[ToolChoice, list[Tool]]:
    if asked.type == "function" and asked.function is not None:
        return _named(asked.function.name, tools, "tool_choice.function.name"), tools
    if asked.type == "allowed_tools" and asked.allowed_tools is not None:
        return _allowed(asked.allowed_tools, tools)
    if asked.type in ("function", "allowed_tools"):
        raise refused(f"tool_choice.{asked.type}", "missing")
    raise refused("tool_choice.type", f"{asked.type[:40]!r} cannot be sent to this provider")


def _named(name: str, tools: Sequence[Tool], place: str) -> ToolChoice:
    if not any(tool.name == name for tool in tools):
        raise refused(place, f"no tool is named {name[:64]!r}")
    return ToolChoice("tool", name)


def _allowed(allowed: chat.AllowedTools, tools: Sequence[Tool]) -> tuple[ToolChoice, list[Tool]]:
    """Anthropic has no such list: only the tools that are in it are sent."""
    names = {tool.function.name for tool in allowed.tools if tool.function is not None}
    kept = [tool for tool in tools if tool.name in names]
    if not kept:
        raise refused("tool_choice.allowed_tools.tools", "none of the tools is in it")
    return ToolChoice(_WORDS[allowed.mode]), kept
