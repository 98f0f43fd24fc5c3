"""Who asks a model: those who wait for it take turns, so that none of them can hold up the others.

A program that serves several people says who they are, by OpenAI's `safety_identifier` or `user`.
Else it is the program, by its address and `User-Agent`. Not by the API key: all who may ask have
the same one, and clients of a server without a key send any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

# Two ports of one program are one caller, so the address has none.
_FIELDS = ("safety_identifier", "user")
_LONGEST = 200


def caller(request: Request, sent: Mapping[str, Any]) -> str:
    """A name that is the same for all requests of one caller. `sent` is the request's JSON."""
    host = request.client.host if request.client else ""
    return name_of(sent, host=host, user_agent=request.headers.get("user-agent", ""))


def name_of(sent: Mapping[str, Any], *, host: str, user_agent: str) -> str:
    for field in _FIELDS:
        if (said := sent.get(field)) and isinstance(said, str):
            return f"{field} {said}"[:_LONGEST]
    return f"{host} {user_agent}"[:_LONGEST]
