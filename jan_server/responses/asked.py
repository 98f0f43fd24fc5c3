"""A request that can be answered, and the response to it as it begins."""

from __future__ import annotations

import time
from typing import NamedTuple

from ulid import ULID

from jan_server.dialects import chat
from jan_server.dialects.responses.request import Placed, shown
from jan_server.responses.stored import response_of
from jan_server.store.responses import PREFIX
from jan_server.types.response import CreateResponse, Response, StoredResponse


class Asked(NamedTuple):
    """A request that is found right, and what it goes on from."""

    request: CreateResponse
    translated: chat.Translated
    own: list[Placed]
    thread_id: str | None
    model: str
    keeps: bool


def begun(asked: Asked) -> Response:
    """In progress, with nothing in it. Its id is another one when it is kept."""
    stored = StoredResponse(
        id=f"{PREFIX}{ULID()}",
        status="in_progress",
        created_at=int(time.time()),
        model=asked.model,
        previous_response_id=asked.request.previous_response_id or None,
        asked=shown(asked.request),
    )
    response = response_of(stored)
    response.store = asked.keeps
    return response
