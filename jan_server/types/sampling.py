"""What chats and completions may both say of how to answer; OpenAI's names, then llama.cpp's.

Values that are not sent come from the model's `model.json`, then from the defaults shown.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from jan_server.types.tool import ResponseFormat

Penalty = Annotated[float, Meta(ge=-2, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Length = Annotated[
    float, Meta(ge=-1, description="Default 2048; -1 is as much as there is room for.")
]

Truncation = Literal["auto", "disabled"]

StopReason = Annotated[str, Meta(description="The stop string that was met, if one was (vLLM's).")]


class StreamOptions(Struct, kw_only=True):
    """`include_usage`: a last chunk without choices carries the usage.

    With `continuous_usage_stats` (vLLM's) every chunk carries what it is so far.
    """

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class Sampling(Struct, kw_only=True):
    """The model and the way to answer. `stream` is false unless asked for."""

    model: Annotated[str, Meta(examples=["tinyllama-1.1b"])] | UnsetType | None = UNSET
    stream: bool | None = False
    stream_options: StreamOptions | UnsetType | None = UNSET
    n: (
        Annotated[int, Meta(ge=1, le=128, description="How many answers, one after the other.")]
        | UnsetType
        | None
    ) = UNSET
    max_tokens: Length | UnsetType | None = UNSET
    stop: str | list[str] | UnsetType | None = UNSET
    seed: (
        Annotated[int, Meta(description="The answers of `n` > 1 have seed, seed + 1 ...")]
        | UnsetType
        | None
    ) = UNSET
    temperature: (
        Annotated[float, Meta(ge=0, le=2, description="Default 0.7.")] | UnsetType | None
    ) = UNSET
    top_p: Annotated[float, Meta(ge=0, le=1, description="Default 0.95.")] | UnsetType | None = (
        UNSET
    )
    presence_penalty: Penalty | UnsetType | None = UNSET
    frequency_penalty: Penalty | UnsetType | None = UNSET
    logit_bias: (
        Annotated[
            dict[str, float] | list[Any],
            Meta(
                description="Token ids and what is added to their logits, -100 to 100; "
                "or llama.cpp's list of pairs, in which `false` forbids the token.",
                examples=[{"42": -100}],
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    top_k: Annotated[int, Meta(ge=-1, description="0 is off.")] | UnsetType | None = UNSET
    min_p: Share | UnsetType | None = UNSET
    typical_p: Annotated[Share, Meta(description="1 is off.")] | UnsetType | None = UNSET
    mirostat: Annotated[int, Meta(ge=0, le=2, description="0 is off.")] | UnsetType | None = UNSET
    mirostat_tau: Annotated[float, Meta(ge=0, le=100)] | UnsetType | None = UNSET
    mirostat_eta: Share | UnsetType | None = UNSET
    repeat_penalty: Annotated[float, Meta(ge=0.001, le=1000)] | UnsetType | None = UNSET
    repeat_last_n: Annotated[int, Meta(ge=0)] | UnsetType | None = UNSET
    ignore_eos: bool | UnsetType | None = UNSET
    cache_prompt: bool | UnsetType | None = UNSET
    response_format: ResponseFormat | UnsetType | None = UNSET
    json_schema: (
        Annotated[dict[str, Any] | bool, Meta(description="The answer is JSON of this schema.")]
        | UnsetType
        | None
    ) = UNSET
    regex: (
        Annotated[
            str,
            Meta(
                description="The whole answer matches this expression. `guided_regex` (vLLM's) too."
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    grammar: (
        Annotated[
            str,
            Meta(
                description="The whole answer matches this grammar: Lark, in llguidance's dialect. "
                "`guided_grammar` (vLLM's) too."
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    keep_alive: (
        Annotated[
            float | str,
            Meta(
                description="How long the model stays loaded afterwards: seconds, or `5m`; "
                "-1 is for ever, 0 is not at all.",
                examples=["15m"],
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    user: (
        Annotated[str, Meta(description="Who asks: waiting users take turns.")] | UnsetType | None
    ) = UNSET
