"""Embeddings: where texts lie in a model's space; OpenAI's request and response."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType


class EmbeddingsRequest(Struct, kw_only=True):
    """Texts, and the model whose space is meant.

    What is embedded is the last token's hidden state behind the last layer, made of length 1:
    a token of these models has read all before it, so the last has read the whole text.
    """

    input: Annotated[
        str | list[Any],
        Meta(
            description="A text, a list of texts, token ids, or a list of lists of token ids.",
            examples=["The quick brown fox"],
        ),
    ]
    model: Annotated[str, Meta(examples=["smollm2-135m-instruct"])] | UnsetType | None = UNSET
    encoding_format: (
        Annotated[
            Literal["float", "base64"],
            Meta(description="`base64` is of the numbers as little-endian 32-bit floats."),
        ]
        | UnsetType
        | None
    ) = UNSET
    dimensions: (
        Annotated[int, Meta(ge=1, description="Only the model's own.")] | UnsetType | None
    ) = UNSET
    keep_alive: float | str | UnsetType | None = UNSET
    user: str | UnsetType | None = UNSET


class Embedding(Struct, kw_only=True):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Struct, kw_only=True):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Struct, kw_only=True):
    """One embedding for each text, in their order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
