"""The clients: each a connection that changes things at random until the server is gone."""

from __future__ import annotations

import json
import random
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

from jan_server.torture.record import GONE, Fact, Record, Thread
from jan_server.torture.victim import PATIENCE

LIVING = 16
"""With fewer threads than this, more are made; with more, they are deleted."""
LARGE = "x" * 60_000
RECENT = 20

Body = dict[str, Any] | None


@contextmanager
def run_clients(count: int, port: int, record: Record, *, seed: float) -> Iterator[None]:
    """Clients that work while the `with` does; its end must end the server, and waits for them."""
    clients = [
        Client(number, port, record, random.Random(f"{seed} {number}")) for number in range(count)
    ]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        for client in clients:
            client.join()


def text_of(name: str) -> str:
    """The text of a message: some are so long that their line is many pages of memory."""
    return f"{name} {LARGE}" if name.endswith(("00", "50")) else f"{name} says hello"


class Client(threading.Thread):
    """Records what it is about to ask before it asks, and what it was told after."""

    def __init__(self, number: int, port: int, record: Record, chance: random.Random) -> None:
        super().__init__(name=f"client-{number}")
        self._number = number
        self._record = record
        self._chance = chance
        self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._mine: deque[tuple[Thread, str]] = deque(maxlen=RECENT)

    def run(self) -> None:
        weights = [weight for weight, _ in self._operations]
        choices = [operation for _, operation in self._operations]
        with closing(self._connection):
            try:
                while True:
                    operation = self._chance.choices(choices, weights)[0]
                    operation(self)
            except (OSError, HTTPException):
                pass  # The server was killed; what was in flight stays open in the record.

    def create_thread(self) -> None:
        if self._record.count_living() >= LIVING:
            return
        title, names = self._record.new_name(), [self._record.new_name() for _ in range(2)]
        thread = Thread(
            "", self._number, Fact({title}), {name: Fact({text_of(name)}) for name in names}
        )
        self._record.begin_creating(title, thread)
        body = {
            "title": title,
            # It becomes part of the thread's id: of those deleted in this second none is like it.
            "assistants": [{"assistant_id": title}],
            "messages": [_message(name) for name in names],
        }
        status, value = self._ask("POST", "/v1/threads", body)
        if self._is_done("threads created", status, value):
            self._record.created(title, value["id"])

    def change_title(self) -> None:
        if (thread := self._own_thread()) is None:
            return
        title = self._record.new_name()
        self._change(
            *("titles changed", thread.title, title),
            *("PATCH", _path(thread), {"title": title}),
        )

    def delete_thread(self) -> None:
        if self._record.count_living() < LIVING // 2 or (thread := self._own_thread()) is None:
            return
        self._change("threads deleted", thread.title, GONE, "DELETE", _path(thread), None)

    def append(self) -> None:
        if (thread := self._record.pick(self._chance)) is None:
            return
        name = self._record.new_name()
        thread.messages[name] = Fact()
        done = self._change(
            "messages appended",
            thread.messages[name],
            text_of(name),
            *("POST", f"{_path(thread)}/messages", _message(name)),
            # Its owner may delete the thread meanwhile.
            or_gone=thread.title,
        )
        if done:
            self._mine.append((thread, name))

    def change_message(self) -> None:
        if (found := self._own_message()) is None:
            return
        thread, name = found
        text = text_of(f"{name} now {self._record.new_name()}")
        self._change(
            "messages changed",
            thread.messages[name],
            text,
            *("PATCH", f"{_path(thread)}/messages/{name}", {"content": text}),
            or_gone=thread.title,
        )

    def delete_message(self) -> None:
        if (found := self._own_message()) is None:
            return
        thread, name = found
        path = f"{_path(thread)}/messages/{name}"
        fact = thread.messages[name]
        self._change("messages deleted", fact, GONE, "DELETE", path, None, or_gone=thread.title)

    _operations = (
        (70, append),
        (10, change_title),
        (8, create_thread),
        (6, delete_thread),
        (6, change_message),
        (2, delete_message),
    )

    def _change(
        self,
        what: str,
        fact: Fact,
        value: str | None,
        method: str,
        path: str,
        body: Body,
        *,
        or_gone: Fact | None = None,
    ) -> bool:
        """Send a change of a fact; whether it was acknowledged."""
        fact.begin(value)
        status, answer = self._ask(method, path, body)
        if status == 404 and or_gone is not None and not or_gone.is_there:
            fact.refuse(value)
            return False
        if done := self._is_done(what, status, answer):
            fact.settle(value)
        return done

    def _is_done(self, what: str, status: int, answer: Any) -> bool:
        if status == 200:
            self._record.acknowledge(what)
        else:
            self._record.refuse(f"{what}: the server answered {status}: {str(answer)[:300]}")
        return status == 200

    def _own_thread(self) -> Thread | None:
        return self._record.pick(self._chance, owner=self._number)

    def _own_message(self) -> tuple[Thread, str] | None:
        """One of the last that it appended, as long as it is there."""
        there = [
            (thread, name)
            for thread, name in self._mine
            if thread.title.is_there and thread.messages[name].is_there
        ]
        return self._chance.choice(there) if there else None

    def _ask(self, method: str, path: str, body: Body) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        sent = None if body is None else json.dumps(body)
        self._connection.request(method, path, sent, headers)
        with self._connection.getresponse() as response:
            return response.status, json.loads(response.read())


def _path(thread: Thread) -> str:
    return f"/v1/threads/{quote(thread.id, safe='')}"


def _message(name: str) -> dict[str, Any]:
    return {"id": name, "role": "user", "content": text_of(name)}
