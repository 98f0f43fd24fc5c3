"""Streams of JSON lines, as Ollama has them: the same stream, put into other bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from jan_server.errors import JanError
from jan_server.web.errors import ErrorForm
from jan_server.web.sse import Comment

MEDIA_TYPE = "application/x-ndjson"


class Lines:
    """Each value is a line, an error is the last one. There are no comments: clients parse all."""

    media_type = MEDIA_TYPE
    end = b""

    def __init__(self, form: ErrorForm) -> None:
        self._form = form

    def event(self, value: Any) -> bytes:
        return b"" if isinstance(value, Comment) else msgspec.json.encode(value) + b"\n"

    def error(self, error: JanError) -> bytes:
        return self.event(self._form.make(error))
