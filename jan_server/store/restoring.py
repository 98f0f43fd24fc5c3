"""Putting a deletion back: folders by moving them, a message as a line of its thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from jan_server.errors import JanError, NotFound
from jan_server.events import ResourceKind
from jan_server.store import deletion
from jan_server.store.deletion import Deletion
from jan_server.store.messages import Messages
from jan_server.store.trash import Trash

logger = logging.getLogger(__name__)


class Restored(NamedTuple):
    """What is back: its kind, and the id that reaches it now."""

    kind: ResourceKind
    id: str
    thread_id: str | None = None


class Restoring(Protocol):
    """Puts back resources of one folder."""

    def restore(self, item: Deletion) -> str: ...


def restore(
    trash: Trash,
    id: str,
    *,
    collections: Mapping[str, Restoring],
    messages: Callable[[str], Messages],
) -> Restored:
    """Put back the deletion of that id; `collections` by their folders.

    Raises NotFound, also for a message's thread, AlreadyExists when the name is taken again,
    LiesOutside, and what writing raises: nothing was put back then.
    """
    item = trash.get(id)
    if item.folder in collections:
        return Restored(item.kind, collections[item.folder].restore(item))
    return _restore_message(trash, item, messages)


def _restore_message(trash: Trash, item: Deletion, messages: Callable[[str], Messages]) -> Restored:
    kept = deletion.read_message(item.path)
    if kept is None:  # Freed this moment.
        raise NotFound("deletion", item.id)
    messages(kept.thread_id).insert(kept.line.encode(), after=kept.after)
    try:
        trash.free(item.path)
    except JanError as error:  # It is back; that its copy stays is no failure of that.
        logger.warning("The trash keeps a copy of the message %s: %s", kept.id, error)
    return Restored("message", kept.id, kept.thread_id)
