"""The responses of a thread: `threads/<id>/responses.jsonl`, beside its messages.

Each change of a response's state adds one line with the whole of it: of the lines of one response
the last counts, as in `runs.jsonl`. Not as metadata of message lines: a response need not have a
message (it may only call), its inputs are several, and its calls and their results are no messages
that Jan could show. What was said is in `messages.jsonl` and here only which line, so that an edit
of a message by hand counts in the next turn.

A response's id has the id of its thread in it, so it is found without an index: `resp_`, the
thread's id, `_` and a ULID; and so have those of its items. Where a person renamed the folder
meanwhile, all threads are looked at.

Whoever answers a response holds its claim. One that is in progress and that nobody holds is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from jan_server.errors import NotFound
from jan_server.store import jsonl
from jan_server.store.beside import Beside
from jan_server.store.lines import Shared
from jan_server.store.locks import Claim
from jan_server.store.paths import RESPONSES
from jan_server.store.scanner import Problem
from jan_server.types.response import StoredResponse

PREFIX = "resp_"

ById = dict[str, StoredResponse]


def thread_of(id: str) -> str | None:
    """The thread that a response or an item was first kept in; None for one that was not."""
    thread_id, mark, _ = id.partition("_")[2].rpartition("_")
    return thread_id if mark else None


class ThreadResponses:
    """The responses of one thread. Every call looks at the file.

    All raise InvalidId and NotFound for the thread, and FileUnreadable.
    """

    def __init__(self, shared: Shared, thread_id: str) -> None:
        self.thread_id = thread_id
        self._shared = shared
        self._file = Beside(shared, thread_id, RESPONSES)

    def __repr__(self) -> str:
        return f"<Responses of {self.thread_id}>"

    def all(self) -> ById:
        """As their last lines have them, deleted ones too."""
        found: ById = {}
        for record in self._file.records():
            if record.value is not None and (response := _read(record.value)) is not None:
                found[response.id] = response
        return found

    def get(self, id: str) -> StoredResponse:
        """Raises NotFound (response) too, for a deleted one as well."""
        response = self.all().get(id)
        if response is None or response.deleted:
            raise NotFound("response", id)
        return response

    def put(self, response: StoredResponse) -> None:
        """Add the line that says what it is now. Raises what Files.append raises."""
        self._file.append(msgspec.to_builtins(response))

    def claim(self, id: str) -> Claim | None:
        """Take it to answer it; None when somebody does. Raises as Locks.claim."""
        return self._shared.claims.claim(f"responses/{id}")


def problems(raw: bytes) -> Iterator[Problem]:
    """What is wrong in a file, with its place."""
    for record in jsonl.records(raw):
        if record.problem is not None:
            yield record.problem
        if record.value is not None and _read(record.value) is None:
            yield Problem(record.line, 1, "expected a response, with an id, a status and a time")


def _read(value: Any) -> StoredResponse | None:
    """None for an object that is no response."""
    try:
        return msgspec.convert(value, StoredResponse)
    except msgspec.ValidationError:
        return None
