"""Which tools may be called, and whether one must be: `tools`, `tool_choice`, parallel calls.

All tools are shown to a model that may call some of them. A named tool is called once; any tool is,
with `parallel_tool_calls` false.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from jan_server.errors import InvalidRequest
from jan_server.types.chat import ChatCompletionRequest
from jan_server.types.tool import AllowedTools, FunctionDefinition, NamedTool

Mode = Literal["auto", "required"]


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """The tools that may be called, and how; `one` call at most."""

    tools: tuple[FunctionDefinition, ...]
    mode: Mode
    one: bool


def read(request: ChatCompletionRequest) -> Offer | None:
    """None where nothing can be called. Raises InvalidRequest with the path of what is wrong."""
    tools = [tool.function for tool in request.tools or ()]
    _check_tools(tools)
    mode, names = _choice(request, {tool.name for tool in tools})
    if mode is None or not tools:
        return None
    named = isinstance(request.tool_choice, NamedTool)
    return Offer(
        tools=tuple(tool for tool in tools if tool.name in names),
        mode=mode,
        one=named or request.parallel_tool_calls is False,
    )


def _check_tools(tools: Sequence[FunctionDefinition]) -> None:
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        path = f"$.tools[{index}].function"
        if tool.name in seen:
            raise InvalidRequest(
                f"{path}.name: another tool is named {tool.name!r}.", param=f"{path}.name"
            )
        if (tool.parameters or {}).get("type", "object") != "object":
            raise InvalidRequest(
                f"{path}.parameters: must be the schema of an object.", param=f"{path}.parameters"
            )
        seen.add(tool.name)


def _choice(request: ChatCompletionRequest, known: set[str]) -> tuple[Mode | None, set[str]]:
    """The mode, None for no calls, and the names of the tools that may be called."""
    choice = request.tool_choice
    match choice:
        case NamedTool():
            mode: Mode | None = "required"
            names = {choice.function.name: "$.tool_choice.function.name"}
        case AllowedTools():
            mode = choice.allowed_tools.mode
            path = "$.tool_choice.allowed_tools.tools"
            names = {
                tool.function.name: f"{path}[{index}].function.name"
                for index, tool in enumerate(choice.allowed_tools.tools)
            }
        case _:
            mode = None if choice == "none" else "required" if choice == "required" else "auto"
            names = dict.fromkeys(known, "")
    if mode == "required" and not known:
        raise InvalidRequest("$.tool_choice: there are no tools to call.", param="$.tool_choice")
    for name, path in names.items():
        if name not in known:
            raise InvalidRequest(f"{path}: no tool is named {name!r}.", param=path)
    return mode, set(names)
