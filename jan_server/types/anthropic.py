"""Anthropic's Messages API: its request, its answer and the events of a stream.

What is known and left out here, or refused, is in `jan_server.dialects.anthropic`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from jan_server.types.sampling import Share
from jan_server.types.tool import JsonSchema, ToolName

InputRole = Literal["user", "assistant", "system"]
AnthropicStopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]


class TextBlock(Struct, kw_only=True, tag_field="type", tag="text"):
    text: str


class SystemBlock(Struct, kw_only=True):
    type: Literal["text"] = "text"
    text: str


class ThinkingBlock(Struct, kw_only=True, tag_field="type", tag="thinking"):
    """What the model thought. Signatures are for Anthropic's own servers: ours are empty."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlock(Struct, kw_only=True, tag_field="type", tag="redacted_thinking"):
    """What only Anthropic's servers can read: it is left out."""

    data: str = ""


class ToolUseBlock(Struct, kw_only=True, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any] = {}


class ImageBlock(Struct, kw_only=True, tag_field="type", tag="image"):
    """Not supported: models read text only."""


class DocumentBlock(Struct, kw_only=True, tag_field="type", tag="document"):
    """Not supported: models read text only."""


class ToolResultBlock(Struct, kw_only=True, tag_field="type", tag="tool_result"):
    """What a tool gave. An error is told to the model as one."""

    tool_use_id: str
    content: str | list[TextBlock | ImageBlock | DocumentBlock] | UnsetType | None = UNSET
    is_error: bool | UnsetType | None = UNSET


Block = (
    TextBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | ImageBlock
    | DocumentBlock
)


class InputMessage(Struct, kw_only=True):
    role: InputRole
    content: str | list[Block]


class AnthropicTool(Struct, kw_only=True):
    """A tool that the client runs; those that Anthropic's servers run are refused."""

    name: ToolName
    type: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    input_schema: JsonSchema | UnsetType = UNSET
    strict: bool | UnsetType | None = UNSET


class AnthropicToolChoice(Struct, kw_only=True):
    """`tool` must be called, `any` of them, none of them, or what the model likes."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | UnsetType = UNSET
    disable_parallel_tool_use: bool | UnsetType = UNSET


class Thinking(Struct, kw_only=True):
    """Unless it is asked for, what a model thinks is not shown. `budget_tokens` has no effect."""

    type: Literal["enabled", "adaptive", "between_tools", "disabled"]
    budget_tokens: int | UnsetType = UNSET
    display: Literal["summarized", "omitted"] | UnsetType | None = UNSET


class OutputFormat(Struct, kw_only=True):
    type: Literal["json_schema"] = "json_schema"
    schema: JsonSchema


class OutputConfig(Struct, kw_only=True):
    effort: str | UnsetType | None = UNSET
    format: OutputFormat | UnsetType | None = UNSET


class AnthropicMetadata(Struct, kw_only=True):
    """`user_id`: who asks; waiting users take turns."""

    user_id: str | UnsetType | None = UNSET


class CountMessageTokens(Struct, kw_only=True):
    """A conversation, as a message would be asked for."""

    messages: Annotated[
        list[InputMessage],
        Meta(min_length=1, examples=[[{"role": "user", "content": "What is Jan?"}]]),
    ]
    model: Annotated[str, Meta(examples=["tinyllama-1.1b"])] | UnsetType | None = UNSET
    system: str | list[SystemBlock] | UnsetType | None = UNSET
    tools: list[AnthropicTool] | UnsetType | None = UNSET
    tool_choice: AnthropicToolChoice | UnsetType | None = UNSET
    thinking: Thinking | UnsetType | None = UNSET
    output_config: OutputConfig | UnsetType | None = UNSET


class MessagesRequest(CountMessageTokens, kw_only=True):
    """What to answer, by which model, and how. A missing model is the default one."""

    max_tokens: Annotated[int, Meta(ge=1, examples=[1024])]
    stop_sequences: list[str] | UnsetType | None = UNSET
    stream: bool | UnsetType | None = UNSET
    temperature: Share | UnsetType | None = UNSET
    top_p: Share | UnsetType | None = UNSET
    top_k: Annotated[int, Meta(ge=0)] | UnsetType | None = UNSET
    metadata: AnthropicMetadata | UnsetType | None = UNSET


class MessageTokens(Struct, kw_only=True):
    """How long the prompt is: template, tools and all."""

    input_tokens: int


class AnthropicUsage(Struct, kw_only=True):
    """The prompt has `input_tokens` that were computed and `cache_read_input_tokens` that were
    not, as they were kept from an earlier answer."""

    input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0


AnswerBlock = TextBlock | ThinkingBlock | ToolUseBlock


class AnthropicMessage(Struct, kw_only=True):
    """The answer. `stop_sequence` is the one that was met, if one was."""

    id: Annotated[str, Meta(examples=["msg_01HM5ZK3Q2V8W7T6R5N4M3K2J1"])]
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[AnswerBlock] = []
    stop_reason: AnthropicStopReason | None = None
    stop_sequence: str | None = None
    usage: AnthropicUsage


class MessageStart(Struct, kw_only=True, tag_field="type", tag="message_start"):
    """The message without content."""

    message: AnthropicMessage


class Ping(Struct, kw_only=True, tag_field="type", tag="ping"):
    """Says nothing."""


class ContentBlockStart(Struct, kw_only=True, tag_field="type", tag="content_block_start"):
    index: int
    content_block: AnswerBlock


class TextDelta(Struct, kw_only=True, tag_field="type", tag="text_delta"):
    text: str


class ThinkingDelta(Struct, kw_only=True, tag_field="type", tag="thinking_delta"):
    thinking: str


class SignatureDelta(Struct, kw_only=True, tag_field="type", tag="signature_delta"):
    signature: str = ""


class InputJsonDelta(Struct, kw_only=True, tag_field="type", tag="input_json_delta"):
    """The pieces put together are the tool's input, as JSON."""

    partial_json: str


class ContentBlockDelta(Struct, kw_only=True, tag_field="type", tag="content_block_delta"):
    index: int
    delta: TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta


class ContentBlockStop(Struct, kw_only=True, tag_field="type", tag="content_block_stop"):
    index: int


class StopDelta(Struct, kw_only=True):
    stop_reason: AnthropicStopReason
    stop_sequence: str | None = None


class MessageDelta(Struct, kw_only=True, tag_field="type", tag="message_delta"):
    """Why the answer ended, and what it took in all."""

    delta: StopDelta
    usage: AnthropicUsage


class MessageStop(Struct, kw_only=True, tag_field="type", tag="message_stop"):
    """Nothing follows."""


MessageEvent = (
    MessageStart
    | Ping
    | ContentBlockStart
    | ContentBlockDelta
    | ContentBlockStop
    | MessageDelta
    | MessageStop
)


class AnthropicErrorDetail(Struct, kw_only=True):
    """`type` is Anthropic's word, `code` ours. `details` are for its package's helpers."""

    type: str
    message: str
    param: str | None = None
    code: str | None = None
    details: dict[str, Any] | UnsetType = UNSET


class AnthropicError(Struct, kw_only=True):
    """Anthropic's error, with what ours has beside it."""

    type: Literal["error"] = "error"
    error: AnthropicErrorDetail
    message: str
