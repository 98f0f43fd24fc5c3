"""The API described: the OpenAPI document, and a page that shows it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from jan_server import __version__
from jan_server.services import Services
from jan_server.web import openapi
from jan_server.web.docs_page import show_docs
from jan_server.web.responses import json_response
from jan_server.web.routing import Route

TAGS = {
    "Models": "What can answer, and what could be downloaded.",
    "Chat": "Given a conversation, the model returns a response.",
    "Responses": "OpenAI's newer API: a conversation is a thread, asked on by its last response.",
    "Ollama": "Ollama's API, at the root: chats, embeddings and models, as its clients know them.",
    "Embeddings": "Where texts lie in a model's space.",
    "Tokens": "Texts as a model's tokenizer sees them.",
    "Threads": "Conversations: folders with a `thread.json`.",
    "Messages": "What was said in a thread: lines of its `messages.jsonl`.",
    "Runs": "Replies inside a thread, as OpenAI's Assistants API has them: its `runs.jsonl`.",
    "Assistants": "Who answers: instructions, parameters, a model.",
    "Events": "What happens in the data folder, as it happens.",
    "Trash": "What was deleted, until it is over or put back.",
    "Jan 0.5": "What only the last Jan that spoke HTTP asks for.",
    "Server": "The server itself.",
}
DESCRIPTION = (
    "Jan's and OpenAI's API over the plain files of a Jan data folder. Errors are real HTTP "
    "statuses, all with one body."
)


def routes(described: Sequence[Route[Services]]) -> list[Route[Services]]:
    """The rows that show the table `described`."""

    @functools.cache
    def document() -> dict[str, Any]:
        return openapi.document(
            [*described, shown],
            title="jan_server",
            version=__version__,
            description=DESCRIPTION,
            license={"name": "AGPL-3.0-only", "identifier": "AGPL-3.0-only"},
            servers=["/v1"],
            tags=TAGS,
        )

    async def get_document(_services: Services, _request: Request) -> Response:
        return json_response(document())

    shown = Route(
        "GET",
        "/openapi.json",
        get_document,
        at_root=True,
        operation_id="getOpenAPI",
        tag="Server",
        summary="This document",
        response=dict[str, Any],
    )
    return [shown, Route("GET", "/", show_docs, at_root=True, documented=False)]
