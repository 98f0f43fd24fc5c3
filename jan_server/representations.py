"""A stored resource -> what goes over the wire. Pure.

What is answered is the file's JSON object, all keys in the file's order, followed by the fields
that the API documents and the file lacks. Three values are put right on the way: `id` is always
the address, `created_at` and `completed_at` are whole seconds (today's Jan writes milliseconds
under those names), and an empty `attachments` is left out (Jan 0.5's UI draws a file for it).

The clients differ in a few rows here and nowhere else is asked who calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import UNSET

from jan_server.errors import InvalidRequest
from jan_server.store import expiry
from jan_server.store.deletion import Deletion
from jan_server.store.restoring import Restored as Back
from jan_server.types.page import PageQuery
from jan_server.types.trash import Restored, TrashDeletion

Order = Literal["asc", "desc"]


class Client(Enum):
    """Who calls, as far as the answer depends on it."""

    DOCUMENT = "Jan's document, curl, scripts"
    OPENAI = "an OpenAI SDK: the header OpenAI-Beta: assistants=..."
    PAGING = "Jan 0.5.12 and later, or whoever pages: a limit, order or cursor in the query"


class ListDefaults(msgspec.Struct, frozen=True):
    """`limit` None is all. A bare list is an array without the list object around it."""

    order: Order
    limit: int | None = None
    bare: bool = False


NEWEST_FIRST = {
    Client.DOCUMENT: ListDefaults("desc", bare=True),
    Client.OPENAI: ListDefaults("desc", 20),
    Client.PAGING: ListDefaults("desc"),
}
OLDEST_FIRST = {
    Client.DOCUMENT: ListDefaults("asc"),
    Client.OPENAI: ListDefaults("desc", 20),
    Client.PAGING: ListDefaults("asc"),
}
LISTS: dict[str, dict[Client, ListDefaults]] = {
    "threads": NEWEST_FIRST,
    "assistants": NEWEST_FIRST,
    "messages": OLDEST_FIRST,
    "runs": OLDEST_FIRST,
    "steps": OLDEST_FIRST,
}

RESTORED = {
    "thread": "/v1/threads/{id}",
    "assistant": "/v1/assistants/{id}",
    "model": "/v1/models/{id}",
    "message": "/v1/threads/{thread}/messages/{id}",
}
"""Where what is back is found."""


NO_PAGE = PageQuery()


def is_bare(kind: str, client: Client) -> bool:
    """Whether this client gets all of them, as an array, newest first."""
    return LISTS[kind][client].bare


def client_of(headers: Mapping[str, str], query: PageQuery = NO_PAGE) -> Client:
    """Who calls, from the request's headers and paging parameters."""
    if headers.get("openai-beta", "").startswith("assistants="):
        return Client.OPENAI
    return Client.PAGING if query.asks_for_a_part() else Client.DOCUMENT


UNNAMED_ENGINE = "llamacpp"


class HasId(Protocol):
    """What a list is made of before it is shown."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=HasId)


def listing(
    kind: str,
    oldest_first: Sequence[T],
    query: PageQuery,
    client: Client,
    *,
    show: Callable[[T], Any],
) -> Any:
    """The list of a kind as this client expects it: a bare array or a list object.

    `show` gives what msgspec encodes; it is called for those that are in the answer, not for all.
    Raises InvalidRequest for a limit that is not allowed and for a cursor that names nothing.
    """
    defaults = LISTS[kind][client]
    order = defaults.order if query.order is UNSET else query.order
    is_ascending = order == "asc"
    if (query.after, query.before) == (UNSET, UNSET):
        oldest_first = _first(oldest_first, query, defaults, is_ascending=is_ascending)
    items = list(oldest_first) if is_ascending else list(reversed(oldest_first))
    if defaults.bare:
        return [show(item) for item in items]
    part, has_more = _part(items, query, defaults.limit)
    return list_object(part, show=show, has_more=has_more)


def list_object(
    items: Sequence[T], *, show: Callable[[T], Any], has_more: bool = False
) -> dict[str, Any]:
    """OpenAI's list object."""
    return {
        "object": "list",
        "data": [show(item) for item in items],
        "first_id": items[0].id if items else None,
        "last_id": items[-1].id if items else None,
        "has_more": has_more,
    }


def newest(kind: str, query: PageQuery, client: Client) -> int | None:
    """How many of the last items are all that is asked for; None: more must be known than those."""
    defaults = LISTS[kind][client]
    order = defaults.order if query.order is UNSET else query.order
    if order == "asc" or (query.after, query.before) != (UNSET, UNSET):
        return None
    return defaults.limit if query.limit is UNSET else _limit(query.limit)


def _first(
    oldest_first: Sequence[T], query: PageQuery, defaults: ListDefaults, *, is_ascending: bool
) -> Sequence[T]:
    """No more of a long list than its first page takes, and one that tells of others."""
    limit = defaults.limit if query.limit is UNSET else _limit(query.limit)
    if limit is None:
        return oldest_first
    return oldest_first[: limit + 1] if is_ascending else oldest_first[-limit - 1 :]


def _part(items: list[T], query: PageQuery, default: int | None) -> tuple[list[T], bool]:
    """The items between the cursors, cut to the limit, and whether the cut left any out.

    With `before` alone it is the part that ends there, so that paging backwards meets every item.
    """
    limit = default if query.limit is UNSET else _limit(query.limit)
    start = 0 if query.after is UNSET else _position(items, query.after, "after") + 1
    end = len(items) if query.before is UNSET else _position(items, query.before, "before")
    between = items[start:end]
    if limit is None or len(between) <= limit:
        return between, False
    if query.before is not UNSET and query.after is UNSET:
        return between[-limit:], True
    return between[:limit], True


def _limit(limit: int) -> int | None:
    if limit == 0:
        raise InvalidRequest("limit must be 1 to 100, or -1 for all.", param="limit")
    return None if limit == -1 else limit


def _position(items: Sequence[HasId], id: str, param: str) -> int:
    for position, item in enumerate(items):
        if item.id == id:
            return position
    raise InvalidRequest(f"No item of this list has the id {id!r}.", param=param)


def thread(
    value: Mapping[str, Any], *, id: str, created_at: int, folder: str = ""
) -> dict[str, Any]:
    """`value` is the object of thread.json; `created_at` in seconds.

    `folder` is the one that a person filed the thread into, below `threads/`.
    """
    return _filled(
        value,
        right={"id": id, "created_at": created_at, **({"folder": folder} if folder else {})},
        lacking={"object": "thread", "metadata": dict},
    )


def assistant(value: Mapping[str, Any], *, id: str, created_at: int) -> dict[str, Any]:
    """`value` is the object of assistant.json; `created_at` in seconds."""
    return _filled(
        value,
        right={"id": id, "created_at": created_at},
        lacking={"object": "assistant", "metadata": dict},
    )


def message(
    value: Mapping[str, Any],
    *,
    id: str,
    thread_id: str,
    content: list[Any],
    created_at: int,
    completed_at: int | None,
) -> dict[str, Any]:
    """`value` is the object of one line; `content` its parts; times in seconds."""
    right: dict[str, Any] = {"id": id, "content": content, "created_at": created_at}
    if "completed_at" in value:
        right["completed_at"] = completed_at
    shown = {k: v for k, v in value.items() if not (k == "attachments" and not v)}
    return _filled(
        shown,
        right=right,
        lacking={
            "object": "thread.message",
            "thread_id": thread_id,
            "assistant_id": None,
            "run_id": None,
            "file_ids": list,
            "metadata": dict,
        },
    )


def for_openai(kind: str, shown: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenAI's clients see of a thread, assistant or message that is shown so to others."""
    return OPENAI_VIEWS[kind](shown)


def view_etag(client: Client, etag: str) -> str:
    """The entity tag of what this client sees: another view of a file has another one."""
    return f'{etag[:-1]}-openai"' if client is Client.OPENAI else etag


def _openai_thread(shown: Mapping[str, Any]) -> dict[str, Any]:
    return _filled(shown, right={}, lacking={"tool_resources": {}})


def _openai_assistant(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Jan's own tools, which it switches on and off, are none that OpenAI's clients know."""
    tools = shown.get("tools")
    known = [tool for tool in tools if not _is_jans(tool)] if isinstance(tools, list) else []
    return _filled(
        shown,
        right={"tools": known},
        lacking={
            "name": None,
            "description": None,
            "model": "*",
            "instructions": None,
            "tool_resources": {},
            "temperature": None,
            "top_p": None,
            "response_format": "auto",
        },
    )


def _is_jans(tool: Any) -> bool:
    return isinstance(tool, Mapping) and "enabled" in tool


class _Status(msgspec.Struct, frozen=True):
    """A message's status as OpenAI's clients know it; `reason` is why it is incomplete."""

    name: str
    reason: str = ""


STATUSES = {
    "ready": _Status("completed"),
    "completed": _Status("completed"),
    "pending": _Status("in_progress"),
    "in_progress": _Status("in_progress"),
    "stopped": _Status("incomplete", "run_cancelled"),
    "error": _Status("incomplete", "run_failed"),
    "incomplete": _Status("incomplete", "run_failed"),
}
"""Jan's words, and OpenAI's."""


def _openai_message(shown: Mapping[str, Any]) -> dict[str, Any]:
    status = STATUSES.get(str(shown.get("status")), STATUSES["ready"])
    right: dict[str, Any] = {"status": status.name}
    if status.name == "in_progress" and _says_nothing(shown["content"]):
        right["content"] = []  # A part begins with its first piece.
    ended = shown.get("completed_at") or shown["created_at"]
    reason = {"reason": status.reason}
    return _filled(
        {key: value for key, value in shown.items() if key != "completed_at"},
        right=right,
        lacking={
            "attachments": [],  # LangChain walks through them.
            "completed_at": ended if status.name == "completed" else None,
            "incomplete_at": ended if status.name == "incomplete" else None,
            "incomplete_details": reason if status.name == "incomplete" else None,
        },
    )


def _says_nothing(content: Sequence[Any]) -> bool:
    return all(
        isinstance(part, Mapping)
        and part.get("type") == "text"
        and not (isinstance(text := part.get("text"), Mapping) and text.get("value"))
        for part in content
    )


OPENAI_VIEWS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "thread": _openai_thread,
    "assistant": _openai_assistant,
    "message": _openai_message,
}


def model(
    value: Mapping[str, Any],
    *,
    id: str,
    created: int,
    owned_by: str,
    state: str,
    source_url: str,
) -> dict[str, Any]:
    """`value` is the object of model.json, with OpenAI's fields and the runtime state.

    Where no engine is named Jan's name for whichever runs the file stands: its UI needs one.
    """
    return _filled(
        value,
        right={"id": id, "state": state},
        lacking={
            "object": "model",
            "created": created,
            "owned_by": owned_by,
            "source_url": source_url,
            "engine": UNNAMED_ENGINE,
            "settings": dict,
            "parameters": dict,
            "metadata": dict,
        },
    )


def deletion(item: Deletion, *, trash_days: float) -> TrashDeletion:
    """`trash_days` are how long deletions are kept, as for expiry.expires_at."""
    expires_at = expiry.expires_at(item, days=trash_days)
    return TrashDeletion(
        id=item.id,
        kind=item.kind,
        resource_id=item.resource_id,
        thread_id=item.thread_id or UNSET,
        path=item.home,
        deleted_at=int(item.deleted_at),
        expires_at=None if expires_at is None else int(expires_at),
        bytes=item.bytes,
        files=item.files,
    )


def restored(id: str, back: Back) -> Restored:
    """What the deletion of that id has become."""
    path = quote(back.id, safe="/" if back.kind == "model" else "")
    thread = quote(back.thread_id or "", safe="")
    return Restored(
        id=id,
        kind=back.kind,
        resource_id=back.id,
        thread_id=back.thread_id or UNSET,
        url=RESTORED[back.kind].format(id=path, thread=thread),
    )


def _filled(
    value: Mapping[str, Any],
    *,
    right: Mapping[str, Any],
    lacking: Mapping[str, Any | Callable[[], Any]],
) -> dict[str, Any]:
    """The file's keys in their order, `right` over them, then what is lacking.

    A key of `right` that the file has keeps its place; `lacking` values may be types, called for a
    fresh value.
    """
    filled = {key: right.get(key, item) for key, item in value.items()}
    for key, item in {**right, **lacking}.items():
        if key not in filled:
            filled[key] = item() if callable(item) else item
    return filled
