"""Chat completions: OpenAI's request and response, with the local field's extra parameters."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from jan_server.types.message import SentPart
from jan_server.types.sampling import Length, Sampling, StopReason, Truncation
from jan_server.types.tool import FunctionTool, ToolCall, ToolCallDelta, ToolChoice
from jan_server.types.usage import Timings, Usage

ChatRole = Literal["system", "developer", "user", "assistant", "tool", "function"]
FinishReason = Literal["stop", "length", "tool_calls"]


class ChatMessage(Struct, kw_only=True):
    """One turn of the conversation.

    `content` is a string or a list of text parts; only an assistant's may be null. `tool_calls` are
    an assistant's, `tool_call_id` says which of them a tool's message answers.
    """

    role: ChatRole
    content: str | list[SentPart] | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    tool_calls: list[ToolCall] | UnsetType | None = UNSET
    tool_call_id: str | UnsetType | None = UNSET
    function_call: dict[str, Any] | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET


class ChatCompletionRequest(Sampling, kw_only=True):
    """What to answer, by which model, and how.

    Values that are not sent come from the model's `model.json`, then from the defaults shown.
    `stream` is false unless asked for, as every client expects.
    """

    messages: Annotated[
        list[ChatMessage],
        Meta(min_length=1, examples=[[{"role": "user", "content": "What is Jan?"}]]),
    ]
    max_completion_tokens: Length | UnsetType | None = UNSET
    logprobs: bool | UnsetType | None = UNSET
    top_logprobs: (
        Annotated[
            int, Meta(ge=0, le=20, description="So many of the likeliest tokens beside each.")
        ]
        | UnsetType
        | None
    ) = UNSET
    tools: list[FunctionTool] | UnsetType | None = UNSET
    tool_choice: ToolChoice | UnsetType | None = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    truncation: (
        Annotated[
            Truncation,
            Meta(
                description="What becomes of a conversation that is too long: `disabled` is an "
                "error, with `auto` the oldest turns are left out. Default: model.json's."
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    reasoning_effort: (
        Annotated[str, Meta(description="For templates that know it.")] | UnsetType | None
    ) = UNSET
    chat_template_kwargs: (
        Annotated[dict[str, Any], Meta(description="More variables for the model's template.")]
        | UnsetType
        | None
    ) = UNSET


class TokenLikelihood(Struct, kw_only=True):
    """A token: its text, its bytes and the natural logarithm of its probability.

    `token` has replacement characters where the bytes are a part of a character. -9999 stands for a
    token that the model rules out.
    """

    token: str
    logprob: float
    bytes: list[int]


class ChosenToken(TokenLikelihood, kw_only=True):
    """A token of the answer, and the likeliest ones in its place."""

    top_logprobs: list[TokenLikelihood] = []


class LogProbs(Struct, kw_only=True):
    content: list[ChosenToken]
    refusal: None = None


class ReplyMessage(Struct, kw_only=True):
    role: Literal["assistant"] = "assistant"
    content: str | None = ""
    refusal: str | None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class Choice(Struct, kw_only=True):
    index: int
    message: ReplyMessage
    logprobs: LogProbs | None = None
    finish_reason: FinishReason
    stop_reason: StopReason | UnsetType = UNSET


class ChatCompletion(Struct, kw_only=True):
    """The answer. `truncated_messages`, with `truncation: auto`, is how many were left out."""

    id: Annotated[str, Meta(examples=["chatcmpl-01HM5ZK3Q2V8W7T6R5N4M3K2J1"])]
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str | None = None
    timings: Timings
    truncated_messages: int | UnsetType = UNSET


class Delta(Struct, kw_only=True, omit_defaults=True):
    """What a chunk adds to the message."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET


class ChunkChoice(Struct, kw_only=True):
    index: int = 0
    delta: Delta
    logprobs: LogProbs | None = None
    finish_reason: FinishReason | None = None
    stop_reason: StopReason | UnsetType = UNSET


class ChatCompletionChunk(Struct, kw_only=True):
    """One event of a stream.

    `usage` is there when asked for: null until the last chunk. `timings` are in the last chunk,
    `truncated_messages` in the first and the last.
    """

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    system_fingerprint: str | None = None
    usage: Usage | UnsetType | None = UNSET
    timings: Timings | UnsetType = UNSET
    truncated_messages: int | UnsetType = UNSET
