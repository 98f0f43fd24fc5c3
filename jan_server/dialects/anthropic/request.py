"""A request of Anthropic's -> a chat completion.

A result of a tool is a message of its own, and so is what a user says beside it; an assistant's
blocks are one message. Texts of one message are lines. `cache_control` and signatures say nothing
here. A conversation that ends with the assistant's words is refused: no answer is gone on with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from jan_server.completions.fields import Fields
from jan_server.dialects.chat import (
    Translated,
)
from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.types.anthropic import (
    AnthropicTool,
    AnthropicToolChoice,
    Block,
    CountMessageTokens,
    DocumentBlock,
    ImageBlock,
    InputMessage,
    MessagesRequest,
    SystemBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

ALL_THOUGHTS = {"type": "clear_thinking_20251015", "keep": "all"}

FIELDS = Fields(
    MessagesRequest,
    refused={
        "container": (),
        # Claude Code asks that all thoughts stay, as they do.
        "context_management": ({"edits": []}, {"edits": [ALL_THOUGHTS]}),
        "diagnostics": (),
        "mcp_servers": ([],),
        "thread": (),
    },
    instead={"thread": "the whole conversation"},
    also=frozenset({"betas", "cache_control", "inference_geo", "service_tier", "speed"}),
)


ChatMessages = list[dict[str, Any]]


def chat_request(asked: MessagesRequest, sent: Mapping[str, Any]) -> Translated:
    """`sent` is the request's own JSON object. Raises InvalidRequest, ParameterNotSupported."""
    chat = prompt_request(asked, sent)
    chat.sent["max_tokens"] = asked.max_tokens
    metadata = asked.metadata or None
    said = {
        "stop": asked.stop_sequences or None,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "user": metadata and metadata.user_id,
    }
    chat.sent.update({name: value for name, value in said.items() if value not in (UNSET, None)})
    return chat


def prompt_request(asked: CountMessageTokens, sent: Mapping[str, Any]) -> Translated:
    """What the prompt is made of. Raises as chat_request."""
    FIELDS.check(sent)
    messages, names = _messages(asked)
    chat = {
        "model": asked.model or None,
        "messages": messages,
        **_tools(asked.tools or ()),
        **_tool_choice(asked.tool_choice or None),
        **_thinking(asked),
        **_format(asked),
    }
    return Translated(chat, {**names, **_names_of_tools(asked.tools or ()), **_NAMES})


def shows_thinking(asked: MessagesRequest) -> bool:
    """Clients that do not ask for it expect the text to be the first block."""
    if not (thinking := asked.thinking):
        return False
    return thinking.type != "disabled" and thinking.display != "omitted"


_NAMES = {
    "$.stop": "$.stop_sequences",
    "$.response_format": "$.output_config.format",
    "$.response_format.json_schema.schema": "$.output_config.format.schema",
    "$.tool_choice.function.name": "$.tool_choice.name",
}


def _names_of_tools(tools: Sequence[AnthropicTool]) -> dict[str, str]:
    names = {}
    for index in range(len(tools)):
        names[f"$.tools[{index}].function"] = f"$.tools[{index}]"
        names[f"$.tools[{index}].function.parameters"] = f"$.tools[{index}].input_schema"
    return names


def _messages(asked: CountMessageTokens) -> tuple[ChatMessages, dict[str, str]]:
    """The chat's messages, and which of the request's blocks each of them was."""
    found: ChatMessages = []
    names: dict[str, str] = {}

    def add(message: dict[str, Any], path: str) -> None:
        names[f"$.messages[{len(found)}]"] = path
        names[f"$.messages[{len(found)}].tool_call_id"] = f"{path}.tool_use_id"
        found.append(message)

    if asked.system:
        add({"role": "system", "content": _joined(asked.system)}, "$.system")
    for index, message in enumerate(asked.messages):
        path = f"$.messages[{index}]"
        read = [*_read(message, path)]
        if not read:
            raise InvalidRequest(f"{path}.content: it is empty.", param=f"{path}.content")
        for more, place in read:
            add(more, f"{path}{place}")
    if message.role == "assistant":
        raise ParameterNotSupported(
            f"{path}: an answer that is begun is not gone on with here: let the last message be "
            "the user's.",
            param=path,
        )
    return found, names


def _joined(text: str | Sequence[TextBlock | SystemBlock]) -> str:
    return text if isinstance(text, str) else "\n".join(block.text for block in text)


def _read(message: InputMessage, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The chat's messages that it is, each with the rest of its path."""
    if isinstance(message.content, str):
        yield {"role": message.role, "content": message.content}, ""
        return
    _check_blocks(message, path)
    if message.role == "assistant":
        yield _assistants(message.content), ""
        return
    texts: list[TextBlock] = []
    for index, block in enumerate(message.content):
        if isinstance(block, ToolResultBlock):
            if texts:
                yield {"role": message.role, "content": _joined(texts)}, ""
                texts = []
            yield _result(block, f"{path}.content[{index}]"), f".content[{index}]"
        elif isinstance(block, TextBlock):
            texts.append(block)
    if texts:
        yield {"role": message.role, "content": _joined(texts)}, ""


def _check_blocks(message: InputMessage, path: str) -> None:
    """Raises for what such a message cannot hold."""
    for index, block in enumerate(message.content):
        place = f"{path}.content[{index}]"
        if isinstance(block, ImageBlock | DocumentBlock):
            raise _no_text(place)
        if isinstance(block, ToolUseBlock) and message.role != "assistant":
            raise InvalidRequest(f"{place}: only an assistant uses tools.", param=place)
        if isinstance(block, ToolResultBlock) and message.role != "user":
            raise InvalidRequest(f"{place}: only a user's message has results.", param=place)


def _no_text(place: str) -> ParameterNotSupported:
    return ParameterNotSupported(
        f"This model reads text only, and {place} is not a text block.", param=place
    )


def _assistants(blocks: str | Sequence[Block]) -> dict[str, Any]:
    texts = [block for block in blocks if isinstance(block, TextBlock)]
    thoughts = [block.thinking for block in blocks if isinstance(block, ThinkingBlock)]
    calls = [_call(block) for block in blocks if isinstance(block, ToolUseBlock)]
    return {
        "role": "assistant",
        "content": _joined(texts),
        **({"reasoning_content": "\n".join(thoughts)} if thoughts else {}),
        **({"tool_calls": calls} if calls else {}),
    }


def _call(block: ToolUseBlock) -> dict[str, Any]:
    arguments = msgspec.json.encode(block.input).decode()
    function = {"name": block.name, "arguments": arguments}
    return {"id": block.id, "type": "function", "function": function}


def _result(block: ToolResultBlock, path: str) -> dict[str, Any]:
    content = block.content or ""
    for index, part in enumerate([] if isinstance(content, str) else content):
        if not isinstance(part, TextBlock):
            raise _no_text(f"{path}.content[{index}]")
    texts = content if isinstance(content, str) else _joined(content)  # type: ignore[arg-type]
    failed = "Error: " if block.is_error is True else ""
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": failed + texts}


def _tools(tools: Sequence[AnthropicTool]) -> dict[str, Any]:
    shown = [_tool(tool, f"$.tools[{index}]") for index, tool in enumerate(tools)]
    return {"tools": shown} if shown else {}


def _tool(tool: AnthropicTool, path: str) -> dict[str, Any]:
    if tool.type not in (UNSET, None, "custom"):
        raise ParameterNotSupported(
            f"{path}.type: {tool.type!r} is a tool that Anthropic's servers know; only tools that "
            "you run are possible here.",
            param=f"{path}.type",
        )
    if tool.input_schema is UNSET:
        raise InvalidRequest(f"{path}.input_schema: it is missing.", param=f"{path}.input_schema")
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description:
        function["description"] = tool.description
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _tool_choice(choice: AnthropicToolChoice | None) -> dict[str, Any]:
    if choice is None:
        return {}
    one = {"parallel_tool_calls": False} if choice.disable_parallel_tool_use is True else {}
    if choice.type != "tool":
        return {"tool_choice": {"any": "required"}.get(choice.type, choice.type), **one}
    if choice.name is UNSET:
        raise InvalidRequest("$.tool_choice.name: it is missing.", param="$.tool_choice.name")
    return {"tool_choice": {"type": "function", "function": {"name": choice.name}}, **one}


def _thinking(asked: CountMessageTokens) -> dict[str, Any]:
    """Templates that know no thinking pass over both."""
    effort = asked.output_config and asked.output_config.effort
    switch = asked.thinking and {"enable_thinking": asked.thinking.type != "disabled"}
    return {
        **({"reasoning_effort": effort} if effort else {}),
        **({"chat_template_kwargs": switch} if switch else {}),
    }


def _format(asked: CountMessageTokens) -> dict[str, Any]:
    form = asked.output_config and asked.output_config.format
    if not form:
        return {}
    schema = {"name": "answer", "schema": form.schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
