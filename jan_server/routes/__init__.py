"""The API as one table: each file has the rows of its kind."""

from __future__ import annotations

from jan_server.routes import assistants, chat, health, messages, models, threads
from jan_server.services import Services
from jan_server.web.routing import Route

ROUTES: list[Route[Services]] = [
    *models.ROUTES,
    *chat.ROUTES,
    *threads.ROUTES,
    *messages.ROUTES,
    *assistants.ROUTES,
    *health.ROUTES,
]
