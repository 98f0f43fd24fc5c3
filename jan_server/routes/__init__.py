"""The API as one table: each file has the rows of its kind."""

from __future__ import annotations

from jan_server.routes import assistants, chat, documents, health, messages, models, threads
from jan_server.services import Services
from jan_server.web.routing import Route

API: list[Route[Services]] = [
    *models.ROUTES,
    *chat.ROUTES,
    *threads.ROUTES,
    *messages.ROUTES,
    *assistants.ROUTES,
    *health.ROUTES,
]
ROUTES = [*API, *documents.routes(API)]
