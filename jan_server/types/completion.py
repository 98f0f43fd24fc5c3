"""Completions of plain text: OpenAI's older request and response, without a conversation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from jan_server.types.sampling import Sampling, StopReason
from jan_server.types.usage import Timings, Usage

Tokens = Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1)]
"""Ids of the model's tokenizer."""

TextFinishReason = Literal["stop", "length"]


class CompletionRequest(Sampling, kw_only=True):
    """A text to go on with, by which model, and how. No template is applied.

    `prompt` is a text, the ids of its tokens, or a list of either: each is gone on with `n` times.
    `echo` puts the prompt before the answer.
    """

    prompt: Annotated[
        str | list[Any],
        Meta(
            description="A text, a list of texts, token ids, or a list of lists of token ids.",
            examples=["Once upon a time"],
        ),
    ]
    echo: bool | UnsetType | None = UNSET
    logprobs: (
        Annotated[
            int, Meta(ge=0, le=20, description="So many of the likeliest tokens beside each.")
        ]
        | UnsetType
        | None
    ) = UNSET
    best_of: Annotated[int, Meta(ge=1, description="Only the same as `n`.")] | UnsetType | None = (
        UNSET
    )
    suffix: Annotated[str, Meta(description="Not supported.")] | UnsetType | None = UNSET


class TextLogProbs(Struct, kw_only=True):
    """Lists of one value for each token of the answer.

    `top_logprobs` hold the chosen token too. `text_offset` counts characters of `text`.
    """

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(Struct, kw_only=True):
    """The choices of the second prompt follow those of the first."""

    index: int
    text: str
    logprobs: TextLogProbs | None = None
    finish_reason: TextFinishReason | None = None
    stop_reason: StopReason | UnsetType = UNSET


class Completion(Struct, kw_only=True):
    """The answer; in a stream, a piece of it: then `usage` is there when asked for, null until the
    last event, and `timings` are in the last event."""

    id: Annotated[str, Meta(examples=["cmpl-01HM5ZK3Q2V8W7T6R5N4M3K2J1"])]
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    system_fingerprint: str | None = None
    usage: Usage | UnsetType | None = UNSET
    timings: Timings | UnsetType = UNSET
