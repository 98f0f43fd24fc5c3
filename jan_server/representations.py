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

import msgspec
from msgspec import UNSET

from jan_server.errors import InvalidRequest
from jan_server.types.page import PageQuery

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
LISTS: dict[str, dict[Client, ListDefaults]] = {
    "threads": NEWEST_FIRST,
    "assistants": NEWEST_FIRST,
    "messages": {
        Client.DOCUMENT: ListDefaults("asc"),
        Client.OPENAI: ListDefaults("desc", 20),
        Client.PAGING: ListDefaults("asc"),
    },
}


def is_bare(kind: str, client: Client) -> bool:
    """Whether this client gets all of them, as an array, newest first."""
    return LISTS[kind][client].bare


def client_of(headers: Mapping[str, str], query: PageQuery) -> Client:
    """Who calls, from the request's headers and paging parameters."""
    if headers.get("openai-beta", "").startswith("assistants="):
        return Client.OPENAI
    return Client.PAGING if query.asks_for_a_part() else Client.DOCUMENT


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


def model(
    value: Mapping[str, Any],
    *,
    id: str,
    created: int,
    owned_by: str,
    state: str,
    source_url: str,
) -> dict[str, Any]:
    """`value` is the object of model.json, with OpenAI's fields and the runtime state."""
    return _filled(
        value,
        right={"id": id, "state": state},
        lacking={
            "object": "model",
            "created": created,
            "owned_by": owned_by,
            "source_url": source_url,
            "settings": dict,
            "parameters": dict,
            "metadata": dict,
        },
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
