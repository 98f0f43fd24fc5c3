"""A second process on the same folder: `python -m tests.store.neighbour`.

One request a line, one answer a line, in JSON. It keeps its store, with all that this remembers,
until a request names another folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jan_server.errors import JanError
from jan_server.store import Store

Answer = tuple[bool, Any]
"""Whether it was done, and what came of it, or the code of the error."""


def _append(store: Store, thread: str, text: str) -> str:
    [added] = store.messages(thread).append([{"role": "user", "content": text}])
    return added.raw.decode()


def _modify(store: Store, thread: str, id: str, text: str) -> str:
    return store.messages(thread).modify(id, {"content": text}).raw.decode()


def _look(store: Store) -> dict[str, Any]:
    """All that the store says: each thread's document and its messages' ids and bytes."""
    return {
        thread.id: [
            thread.value,
            [[message.id, message.raw.decode()] for message in store.messages(thread.id).list()],
        ]
        for thread in store.threads.list()
    }


OPERATIONS: dict[str, Callable[..., Any]] = {
    "append": _append,
    "modify": _modify,
    "remove": lambda store, thread, id: store.messages(thread).delete(id).raw.decode(),
    "change": lambda store, thread, changes: store.threads.change(thread, changes).value,
    "create": lambda store, title: (
        store.create_thread(assistants=[{"assistant_id": "jan"}], title=title).id
    ),
    "delete": lambda store, thread: str(store.threads.delete(thread)),
    "look": _look,
}


def perform(store: Store, operation: str, *arguments: Any) -> Answer:
    try:
        return True, OPERATIONS[operation](store, *arguments)
    except JanError as error:
        return False, error.code


class Here:
    """A store in this process."""

    def __init__(self, root: Path) -> None:
        self._store = Store(root, fsync=False).open()
        self._store.close()  # What is done a moment later is done at once.

    def ask(self, operation: str, *arguments: Any) -> Answer:
        return perform(self._store, operation, *arguments)


class Neighbour:
    """One in a process of its own, for several folders one after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.neighbour"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.root = Path()

    def begin(self, operation: str, *arguments: Any) -> None:
        """Ask, and do not wait: `end` gives the answer."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([str(self.root), operation, *arguments]) + "\n")
        self._process.stdin.flush()

    def end(self) -> Answer:
        assert self._process.stdout
        is_done, value = json.loads(self._process.stdout.readline())
        return is_done, value

    def ask(self, operation: str, *arguments: Any) -> Answer:
        self.begin(operation, *arguments)
        return self.end()

    def close(self) -> None:
        self._process.communicate(timeout=60)


def _main() -> None:
    root, store = "", None
    for line in sys.stdin:
        asked, operation, *arguments = json.loads(line)
        if store is None or asked != root:
            root, store = asked, Store(Path(asked), fsync=False).open()
            store.close()
        print(json.dumps(perform(store, operation, *arguments)), flush=True)


if __name__ == "__main__":
    _main()
