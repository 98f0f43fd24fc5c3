"""The API as one table: each file has the rows of its kind."""

from __future__ import annotations

from jan_server.routes import (
    anthropic,
    assistants,
    chat,
    completions,
    diagnostics,
    documents,
    downloads,
    embeddings,
    events,
    health,
    importing,
    jan05,
    messages,
    models,
    ollama,
    responses,
    runs,
    threads,
    tokens,
    trash,
)
from jan_server.services import Services
from jan_server.web.routing import Route

API: list[Route[Services]] = [
    *models.ROUTES,
    *importing.ROUTES,
    *downloads.ROUTES,
    *chat.ROUTES,
    *responses.ROUTES,
    *anthropic.ROUTES,
    *completions.ROUTES,
    *embeddings.ROUTES,
    *tokens.ROUTES,
    *threads.ROUTES,
    *messages.ROUTES,
    *runs.ROUTES,
    *assistants.ROUTES,
    *events.ROUTES,
    *trash.ROUTES,
    *diagnostics.ROUTES,
    *ollama.ROUTES,
    *health.ROUTES,
    *jan05.ROUTES,
]
ROUTES = [*API, *documents.routes(API)]
