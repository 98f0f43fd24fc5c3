"""Texts and tokens, with the names of llama-server and of vLLM."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

TokenId = Annotated[int, Meta(ge=0)]


class TokenizeRequest(Struct, kw_only=True):
    """One text, as `content` (llama-server's name), `prompt` (vLLM's) or `text`.

    Control tokens in it count as single ones. `add_special` (vLLM: `add_special_tokens`) puts the
    token that begins a text first, where the model has one. Unless it is sent it is as those
    servers have it: false for `content`, else true. What else those servers know is refused where
    it would change the answer.
    """

    model: Annotated[str, Meta(examples=["smollm2-135m-instruct"])] | UnsetType | None = UNSET
    content: Annotated[str, Meta(examples=["Hello"])] | UnsetType = UNSET
    prompt: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    add_special: bool | UnsetType = UNSET
    add_special_tokens: bool | UnsetType = UNSET
    parse_special: Annotated[bool, Meta(description="Only true.")] | UnsetType = UNSET
    with_pieces: Annotated[bool, Meta(description="Only false.")] | UnsetType = UNSET
    return_token_strs: Annotated[bool, Meta(description="Only false.")] | UnsetType | None = UNSET


class Tokenized(Struct, kw_only=True):
    """`max_model_len` is how many tokens the model's context holds."""

    tokens: list[int]
    count: int
    max_model_len: int


class DetokenizeRequest(Struct, kw_only=True):
    tokens: list[TokenId]
    model: Annotated[str, Meta(examples=["smollm2-135m-instruct"])] | UnsetType | None = UNSET


class Detokenized(Struct, kw_only=True):
    """The text, as `content` (llama-server's name) and as `prompt` (vLLM's)."""

    content: str
    prompt: str


class TokenCount(Struct, kw_only=True):
    """How long the prompt of a chat is, in tokens: OpenAI's name and vLLM's.

    `max_model_len` is how many tokens the model's context holds.
    """

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int
    count: int
    max_model_len: int
