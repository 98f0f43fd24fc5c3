"""Embeddings."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from jan_server.routes import answering
from jan_server.routes.callers import caller
from jan_server.services import Services
from jan_server.types.embedding import EmbeddingList, EmbeddingsRequest
from jan_server.web.requests import read_json
from jan_server.web.responses import json_response, while_connected
from jan_server.web.routing import Route


async def create_embedding(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, EmbeddingsRequest)
    work = services.completions.embeddings.embed(asked, sent, client=caller(request, sent))
    return json_response(await while_connected(request, work))


ROUTES = [
    Route(
        "POST",
        "/embeddings",
        create_embedding,
        operation_id="createEmbedding",
        tag="Embeddings",
        summary="Create embeddings",
        description="Where texts lie in the model's space. An embedding is the last token's hidden "
        "state behind the model's last layer, made of length 1.",
        request=EmbeddingsRequest,
        response=EmbeddingList,
        keeps_nothing=True,
        names=answering.NAMES,
        errors=answering.ERRORS,
    )
]
