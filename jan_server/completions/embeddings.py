"""Where texts lie in a model's space: one embedding for each."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from jan_server.completions.inputs import Input, read_inputs
from jan_server.completions.opening import Opening, answers, places
from jan_server.completions.usage import Tally
from jan_server.engines.base import Embedded, EmbeddingRequest, ModelInfo
from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.models import KnownModel
from jan_server.remote import EMBEDDINGS, RemoteAnswer, Remotes
from jan_server.types.embedding import (
    Embedding,
    EmbeddingList,
    EmbeddingsRequest,
    EmbeddingUsage,
)


class Embeddings:
    """Embeds texts with the models that are there."""

    def __init__(self, opening: Opening, remotes: Remotes) -> None:
        self._opening = opening
        self._remotes = remotes

    async def embed(
        self, request: EmbeddingsRequest, sent: Mapping[str, Any], *, client: str = ""
    ) -> EmbeddingList | RemoteAnswer:
        """`sent` is the request's own JSON object.

        Raises ParameterNotSupported for a model that embeds nothing.
        """
        model = await self._opening.find(request.model)
        if model.remote:
            return await self._remotes.ask(model.remote, EMBEDDINGS, sent)
        return await self._embed(model, request, client)

    async def _embed(
        self, model: KnownModel, request: EmbeddingsRequest, client: str
    ) -> EmbeddingList:
        inputs = read_inputs(request.input, "$.input")
        _check_not_empty(inputs)
        async with self._opening.load(model, keep_alive=request.keep_alive) as opened:
            check_length(request, model.id, opened.lease.info)
            vectors, tally = [], Tally()
            requests = [EmbeddingRequest(prompt=prompt) for prompt in inputs]
            events = answers(opened.lease, requests, client=client, places=places(prompt="$.input"))
            async with aclosing(events):
                async for _, event in events:
                    tally.take(event)
                    if isinstance(event, Embedded):
                        vectors.append(event.vector)
        in_base64 = request.encoding_format == "base64"
        tokens = tally.usage().prompt_tokens
        return EmbeddingList(
            data=[
                Embedding(index=index, embedding=_base64(vector) if in_base64 else vector)
                for index, vector in enumerate(vectors)
            ],
            model=model.id,
            usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
        )


def _check_not_empty(inputs: Sequence[Input]) -> None:
    for index, prompt in enumerate(inputs):
        if not prompt:
            path = "$.input" if len(inputs) == 1 else f"$.input[{index}]"
            raise InvalidRequest(f"{path}: is empty.", param=path)


def check_length(request: EmbeddingsRequest, model: str, info: ModelInfo) -> None:
    """Raises ParameterNotSupported for a model without embeddings, or with others."""
    if not info.embedding_length:
        raise ParameterNotSupported(
            f"The model {model!r} embeds nothing: its engine gives text alone.", param="$.model"
        )
    if request.dimensions and request.dimensions != info.embedding_length:
        raise ParameterNotSupported(
            f"$.dimensions: the embeddings of {model!r} have {info.embedding_length} numbers.",
            param="$.dimensions",
        )


def _base64(vector: Sequence[float]) -> str:
    """OpenAI's form: 32-bit floats, little-endian."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
