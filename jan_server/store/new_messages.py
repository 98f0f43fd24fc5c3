"""What requests for new messages become: values with ids and times, and their lines. Pure."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from jan_server import ids
from jan_server.errors import InvalidRequest, JanError
from jan_server.store import formats
from jan_server.store.document import written_line
from jan_server.store.history import Message

Batch = Sequence[Mapping[str, Any]]
"""The messages of one request."""

Outcome = list[Message] | JanError
"""What they have become, or why they are refused: all of them."""


def made(
    batches: Iterable[Batch],
    *,
    thread_id: str,
    known: set[str],
    after: str | None,
    generation: formats.Generation,
) -> Iterator[Outcome]:
    """What each batch becomes, one after the other; their ids are added to `known`."""
    for batch in batches:
        new = new_messages(
            batch, thread_id=thread_id, known=known, generation=generation, after=after
        )
        try:
            messages = list(map(_message, new))
        except JanError as error:
            yield error
            continue
        known.update(message.id for message in messages)
        after = latest((message.id for message in messages), after)
        yield messages


def new_messages(
    given: Iterable[Mapping[str, Any]],
    *,
    thread_id: str,
    known: Container[str],
    generation: formats.Generation,
    after: str | None = None,
    path: str = "$",
) -> Iterator[dict[str, Any]]:
    """The messages that these requests become, after those that the thread has.

    A client's own id is kept when it is valid and not `known`; others are ULIDs greater than
    `after`. Raises InvalidId and InvalidRequest, whose `param` begins with `path`, a JSON path in
    which `{}` stands for the request's number.
    """
    taken: set[str] = set()
    for number, request in enumerate(given):
        id = request.get("id")
        if id is None:
            id = ids.new_message_id(after=after)
        else:
            _check_is_free(id, known, taken, param=f"{path.format(number)}.id")
        taken.add(id)
        after = latest([id], after)
        yield formats.new_message(
            generation, id=id, thread_id=thread_id, now=time.time(), given=request
        )


def latest(given: Iterable[str], before: str | None = None) -> str | None:
    """The greatest ULID of these, or the one before them."""
    found = list(filter(ids.is_ulid, given))
    return max([*found, before] if before else found, default=None)


def _message(value: dict[str, Any]) -> Message:
    return Message(
        id=value["id"],
        value=value,
        seconds=formats.message_seconds(value) or 0,
        raw=written_line(value).removesuffix(b"\n"),
    )


def _check_is_free(chosen: str, *taken: Container[str], param: str) -> None:
    ids.check_new_id("message", chosen, param=param)
    if any(chosen in each for each in taken):
        raise InvalidRequest(
            f"The thread has a message {chosen!r} already: send no id, or another one.", param=param
        )
