"""A request as it goes to the server that answers it: as it came, but for what only we know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jan_server import parameters
from jan_server.remote.server import CHAT, TEXTS, Remote

LEFT_OUT = frozenset({"engine", "keep_alive", "cache_prompt"})
"""They speak of this server and its memory, and OpenAI refuses what it does not know."""

SAMPLED = frozenset({CHAT, TEXTS})
"""The kinds of requests that a manifest's parameters are for."""


def request_body(path: str, sent: Mapping[str, Any], remote: Remote) -> dict[str, Any]:
    """The request's own JSON under the model's name there, its manifest's parameters filled in."""
    body = {key: value for key, value in sent.items() if key not in LEFT_OUT}
    body["model"] = remote.name
    return {**body, **_defaults(sent, remote.parameters)} if path in SAMPLED else body


def _defaults(sent: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the request says under none of a parameter's names.

    Jan writes `"stop": []` into every manifest; it says nothing.
    """
    defaults = {}
    for row in parameters.ROWS:
        if all(sent.get(name) is None for name in row.names):
            said = [manifest[name] for name in row.names if manifest.get(name) not in (None, [])]
            if said:
                defaults[row.names[0]] = said[0]
    return defaults


def headers(remote: Remote, *, streams: bool) -> dict[str, str]:
    """`api-key` is Azure's name of the key; Jan sends both. Compression would hold events back."""
    accepted = {"accept": "text/event-stream", "accept-encoding": "identity"} if streams else {}
    key = {"authorization": f"Bearer {remote.key}", "api-key": remote.key} if remote.key else {}
    return {"content-type": "application/json", **accepted, **key}
