"""Chat completions: OpenAI's request and response, with the local field's extra parameters."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from jan_server.types.message import SentPart

ChatRole = Literal["system", "developer", "user", "assistant", "tool", "function"]
FinishReason = Literal["stop", "length", "tool_calls"]


class ChatMessage(Struct, kw_only=True):
    """One turn of the conversation.

    `content` is a string or a list of text parts; only an assistant's may be null. Tool calls are
    not supported.
    """

    role: ChatRole
    content: str | list[SentPart] | UnsetType | None = UNSET
    name: str | UnsetType = UNSET
    tool_calls: list[Any] | UnsetType | None = UNSET
    function_call: dict[str, Any] | UnsetType | None = UNSET


class StreamOptions(Struct, kw_only=True):
    include_usage: bool = False


class ChatCompletionRequest(Struct, kw_only=True):
    """What to answer, by which model, and how.

    Values that are not sent come from the model's `model.json`, then from the defaults shown.
    `stream` is false unless asked for, as every client expects.
    """

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    model: Annotated[str, Meta(examples=["tinyllama-1.1b"])] | UnsetType | None = UNSET
    stream: bool | None = False
    stream_options: StreamOptions | UnsetType | None = UNSET
    max_tokens: Annotated[float, Meta(ge=1, description="Default 2048.")] | UnsetType | None = UNSET
    max_completion_tokens: Annotated[float, Meta(ge=1)] | UnsetType | None = UNSET
    stop: str | list[str] | UnsetType | None = UNSET
    temperature: (
        Annotated[float, Meta(ge=0, le=2, description="Default 0.7.")] | UnsetType | None
    ) = UNSET
    top_p: Annotated[float, Meta(ge=0, le=1, description="Default 0.95.")] | UnsetType | None = (
        UNSET
    )
    top_k: Annotated[int, Meta(ge=-1, description="0 is off.")] | UnsetType | None = UNSET
    min_p: Annotated[float, Meta(ge=0, le=1)] | UnsetType | None = UNSET
    repeat_penalty: Annotated[float, Meta(ge=0.001, le=1000)] | UnsetType | None = UNSET
    repeat_last_n: Annotated[int, Meta(ge=0)] | UnsetType | None = UNSET
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | UnsetType | None = UNSET
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | UnsetType | None = UNSET
    seed: int | UnsetType | None = UNSET
    cache_prompt: bool | UnsetType | None = UNSET
    chat_template_kwargs: dict[str, Any] | UnsetType | None = UNSET


class ReplyMessage(Struct, kw_only=True):
    role: Literal["assistant"] = "assistant"
    content: str = ""
    refusal: str | None = None


class Choice(Struct, kw_only=True):
    index: int
    message: ReplyMessage
    logprobs: None = None
    finish_reason: FinishReason


class PromptTokensDetails(Struct, kw_only=True):
    """`cached_tokens` were kept from the model's last answer and not computed again."""

    cached_tokens: int


class Usage(Struct, kw_only=True):
    """Real tokens of this model's tokenizer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class ChatCompletion(Struct, kw_only=True):
    id: Annotated[str, Meta(examples=["chatcmpl-01HM5ZK3Q2V8W7T6R5N4M3K2J1"])]
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str | None = None


class Delta(Struct, kw_only=True, omit_defaults=True):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChunkChoice(Struct, kw_only=True):
    index: int = 0
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(Struct, kw_only=True):
    """One event of a stream. `usage` is there when asked for: null until the last chunk."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    system_fingerprint: str | None = None
    usage: Usage | UnsetType | None = UNSET
