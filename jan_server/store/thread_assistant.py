"""The assistant inside a thread, as Jan 0.5's UI asks for it and changes it. Pure.

That UI keeps who answers in a thread in the thread's own file, and reads and writes it under
`/assistants/{thread id}`. In answers it wants `id`, `name` and a `model` that is an object with the
id of an installed model; in the file each Jan has its own keys for the first two, which stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = {"id": "assistant_id", "name": "assistant_name"}
"""Today's keys, and Jan 0.4's."""

_OURS = frozenset({"object", "created_at"})


def shown(thread: Mapping[str, Any], *, default_model: str) -> dict[str, Any]:
    """The first assistant of a `thread.json`, its keys in their order, and what it lacks filled in.

    `default_model` stands for one that is not chosen: none, or Jan's `*`.
    """
    own = _first(thread)
    names = {key: own.get(key) or own.get(old) or "" for key, old in _NAMES.items()}
    return {
        **own,
        "id": names["id"] or "jan",
        "name": names["name"] or names["id"] or "Jan",
        "object": "assistant",
        "created_at": 0,
        "instructions": own.get("instructions") or "",
        "model": _model(own, thread, default_model),
        "tools": own.get("tools") or [],
        "metadata": own.get("metadata") or {},
    }


def changed(thread: Mapping[str, Any], sent: Mapping[str, Any]) -> list[Any]:
    """The thread's `assistants` with the first one's keys as sent; the other keys and ones stay."""
    own = _first(thread)
    has_old_names = not own.keys().isdisjoint(_NAMES.values())
    news = {
        _NAMES.get(key, key) if has_old_names else key: value
        for key, value in sent.items()
        if key not in _OURS
    }
    listed = thread.get("assistants")
    rest = listed[1:] if isinstance(listed, list) else []
    return [{**own, **news}, *rest]


def _first(thread: Mapping[str, Any]) -> dict[str, Any]:
    listed = thread.get("assistants")
    first = listed[0] if isinstance(listed, list) and listed else {}
    if isinstance(first, str):
        return {"assistant_id": first}
    return dict(first) if isinstance(first, Mapping) else {}


def _model(own: Mapping[str, Any], thread: Mapping[str, Any], default_model: str) -> dict[str, Any]:
    """Today's Jan keeps the model at the thread itself as well: `{id, provider}`."""
    said, of_thread = own.get("model"), thread.get("model")
    model = dict(said) if isinstance(said, Mapping) else {"id": said}
    if isinstance(of_thread, Mapping) and not _is_chosen(model.get("id")):
        model["id"] = of_thread.get("id")
    if not _is_chosen(model.get("id")):
        model["id"] = default_model
    return {
        **model,
        "settings": model.get("settings") or {},
        "parameters": model.get("parameters") or {},
    }


def _is_chosen(id: Any) -> bool:
    return isinstance(id, str) and id not in ("", "*")
