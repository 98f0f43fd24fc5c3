"""What is told of messages and weights: the files beside a resource's document."""

from __future__ import annotations

import logging
from collections.abc import Callable

from jan_server.errors import JanError
from jan_server.events import Cause, Event, Publish
from jan_server.store.entries import Entry
from jan_server.store.history import message_event
from jan_server.store.messages import Messages
from jan_server.store.signature import Signature

logger = logging.getLogger(__name__)


def tell_messages(
    messages: Callable[[str], Messages],
    publish: Publish,
    thread: Entry,
    old: Signature | None,
    _cause: Cause,
) -> Signature | None:
    """What others did to a thread's messages since their file had that signature.

    What we do is told by whoever does it: while we change `thread.json`, others may write messages.
    That some stand in another order, or that it is not known which are others, is a change of the
    thread.
    """
    try:
        changes, signature, are_all = messages(thread.id).changes_since(old)
    except JanError as error:
        logger.warning("what changed in the messages of %s is not told: %s", thread.id, error)
        return thread.companion
    if not are_all:
        publish(
            Event(kind="thread", id=thread.id, change="updated", cause="file", etag=thread.etag)
        )
    for change, message in changes:
        publish(message_event(thread.id, message, change=change, cause="file"))
    return signature


def tell_weights(
    publish: Publish, model: Entry, _old: Signature | None, cause: Cause
) -> Signature | None:
    """That a model's files are others than before."""
    publish(Event(kind="model", id=model.id, change="updated", cause=cause))
    return model.companion
