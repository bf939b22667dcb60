"""Tools of a responses request, and the choice among them, to Anthropic's."""

from sluice.providers.anthropic_chat.decoding import refused
from sluice.providers.anthropic_chat.messages import Tool, ToolChoice
from sluice.providers.anthropic_chat.tools import by_list, by_name, by_word, in_turn, to_tool
from sluice.providers.anthropic_responses import responses


def to_tools(request: responses.ResponseRequest) -> tuple[list[Tool] | None, ToolChoice | None]:
    """The tools that may be called, and how one of them is to be chosen; those that OpenAI runs itself are refused."""
    tools = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(request.tools or ())]
    choice, tools = _choice(request, tools)
    return tools or None, in_turn(choice, tools, request.parallel_tool_calls)


def _tool(tool: responses.Tool, where: str) -> Tool:
    if tool.type != "function":
        raise refused(f"{where}.type", f"{tool.type[:40]!r} cannot be sent to this provider")
    if tool.name is None:
        raise refused(f"{where}.name", "missing")
    return to_tool(tool.name, tool.description, tool.parameters)


def _choice(request: responses.ResponseRequest, tools: list[Tool]) -> tuple[ToolChoice | None, list[Tool]]:
    asked = request.tool_choice
    if asked is None:
        return None, tools
    if isinstance(asked, str):
        return by_word(asked, tools, "tool_choice"), tools
    if asked.type == "function" and asked.name is not None:
        return by_name(asked.name, tools, "tool_choice.name"), tools
    if asked.type == "allowed_tools" and asked.tools is not None:
        names = {tool.name for tool in asked.tools if tool.type == "function"}
        return by_list(asked.mode, names, tools, "tool_choice.tools")
    if asked.type in ("function", "allowed_tools"):
        raise refused(f"tool_choice.{'name' if asked.type == 'function' else 'tools'}", "missing")
    raise refused("tool_choice.type", f"{asked.type[:40]!r} cannot be sent to this provider")
