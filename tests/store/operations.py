"""Every operation of the store that writes, as a table, and what a new process finds after one.

What is tested with failing calls (test_failures.py) and with a lost cache (test_lost_cache.py) is
a row here. A new operation is one more row.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from jan_server.store import Store
from jan_server.store.locks import Locks
from jan_server.store.replies import Replies
from jan_server.types.run import StoredRun

Seen = tuple[str, str, Any, bool, list[Any]]
"""Kind, id, title or name, whether its update moved, and the contents of its messages, then the
states of its runs."""

THREAD = '{"id": "one", "title": "Old", "updated": 1, "metadata": {"lastMessage": "b"}}'
MESSAGES = '{"id":"a","role":"user","content":"a"}\n{"id":"b","role":"user","content":"b"}'
OTHER = '{"title": "Untouched"}'
RUN = StoredRun(
    id="run_1", created_at=1, thread_id="one", assistant_id="jan", status="queued", model="m"
)
ASSISTANT = '{"id": "jan", "name": "Old"}'


def _nothing(_store: Store) -> None:
    """What most operations need before them."""


def _reply_of_a_killed_writer(store: Store) -> None:
    work = store.root / ".jan_server"
    replies = Replies(store.files, Locks(work / "locks"), torn=work / "torn")
    with replies.begin(store.messages("one"), {"role": "assistant"}) as reply:
        reply.grow("so far")


class Operation(NamedTuple):
    """`run` is what is disturbed; `prepare` what was done, and is on the disk, before it.

    Disturbed, it was done or not; what takes several `steps` may have done the first of them:
    of the messages that it adds, or of the files that it moves.
    """

    run: Callable[[Store], Any]
    prepare: Callable[[Store], Any] = _nothing
    steps: Literal["one", "messages", "files"] = "one"


OPERATIONS: dict[str, Operation] = {
    "create a thread": Operation(
        lambda store: store.create_thread(
            assistants=[{"assistant_id": "new"}], messages=[{"role": "user", "content": "hi"}]
        )
    ),
    "change": Operation(lambda store: store.threads.change("one", {"title": "New"})),
    "append": Operation(
        lambda store: store.messages("one").append([{"role": "user", "content": "c"}]),
        steps="messages",
    ),
    "append to a new file": Operation(
        lambda store: store.messages("two").append(
            [{"role": "user", "content": "c"}, {"role": "user", "content": "d"}]
        ),
        steps="messages",
    ),
    "append for several": Operation(
        lambda store: store.messages("one").append_many(
            [[{"role": "user", "content": "c"}], [{"role": "user", "content": "d"}]]
        ),
        steps="messages",
    ),
    "change a message": Operation(
        lambda store: store.messages("one").modify("b", {"content": "B"})
    ),
    "delete a message": Operation(lambda store: store.messages("one").delete("a")),
    "change an assistant": Operation(lambda store: store.assistants.change("jan", {"name": "New"})),
    "create an assistant": Operation(
        lambda store: store.assistants.create(
            "new", lambda _id: {"assistant.json": b'{"name": "New"}'}
        )
    ),
    "find a reply": Operation(
        lambda store: store.messages("one").list(), prepare=_reply_of_a_killed_writer
    ),
    "begin a run": Operation(lambda store: store.runs("one").add(RUN)),
    "end a run": Operation(
        lambda store: store.runs("one").put(replace(RUN, status="completed")),
        prepare=lambda store: store.runs("one").add(RUN),
    ),
    "touch": Operation(lambda store: store.messages("one").touch()),
    "delete": Operation(lambda store: store.threads.delete("one")),
    "restore": Operation(
        lambda store: store.restore(store.trash.list()[0].id),
        prepare=lambda store: store.threads.delete("one"),
    ),
    "restore a message": Operation(
        lambda store: store.restore(store.trash.list()[0].id),
        prepare=lambda store: store.messages("one").delete("a"),
    ),
    "delete files": Operation(
        lambda store: store.threads.delete_files("one", lambda name: True), steps="files"
    ),
}


def fresh(root: Path) -> Path:
    """A data folder as a person would write it by hand."""
    for name in ("one", "two", "other"):
        (root / "threads" / name).mkdir(parents=True)
    (root / "threads/one/thread.json").write_text(THREAD)
    (root / "threads/one/messages.jsonl").write_text(MESSAGES)
    (root / "threads/two/thread.json").write_text("{}")
    (root / "threads/other/thread.json").write_text(OTHER)
    (root / "assistants/jan").mkdir(parents=True)
    (root / "assistants/jan/assistant.json").write_text(ASSISTANT)
    return root


def prepared(operation: Operation, root: Path) -> Path:
    operation.prepare(Store(fresh(root), fsync=False))
    return root


def before_and_after(operation: Operation, folder: Path) -> tuple[list[Seen], list[Seen]]:
    """What is found without a disturbance."""
    root = prepared(operation, folder)
    before = seen(root)
    operation.run(Store(root, fsync=False))
    return before, seen(root)


def seen(root: Path) -> list[Seen]:
    """What a new process finds, but for ids and times that differ from run to run."""
    store = Store(root, fsync=False)
    threads = [
        (
            "thread",
            thread.id.split("_")[0],
            thread.value.get("title"),
            thread.value.get("updated", 0) > 1,
            [
                *(message.value["content"] for message in store.messages(thread.id).list()),
                *(run.status for run in store.runs(thread.id).list()),
            ],
        )
        for thread in store.threads.list()
    ]
    assistants: list[Seen] = [
        ("assistant", assistant.id, assistant.value.get("name"), False, [])
        for assistant in store.assistants.list()
    ]
    return [*threads, *assistants]


def is_sound(
    found: list[Seen], operation: Operation, *, before: list[Seen], after: list[Seen]
) -> bool:
    """Whether each thing is old or new, never something between them, and none is missing."""
    old, new = ({thing[:2]: thing for thing in state} for state in (before, after))
    names = [thing[:2] for thing in found]
    is_complete = old.keys() & new.keys() <= set(names)
    return is_complete and all(
        thing in (old.get(name), new.get(name))
        or (operation.steps == "messages" and _is_between(thing, old[name], new[name]))
        or (operation.steps == "files" and name in old)
        for name, thing in zip(names, found, strict=True)
    )


def _is_between(thing: Seen, old: Seen, new: Seen) -> bool:
    """Whether it is the old one with the first of the new one's messages."""
    count, kept = len(thing[4]), len(old[4])
    return thing[:4] == old[:4] and thing[4] == new[4][:count] and thing[4][:kept] == old[4]


def check_it_works_on(root: Path) -> None:
    """No file is unreadable, nothing temporary is listed, and all can go on."""
    store = Store(root, fsync=False)
    threads = store.threads.list()
    assert {path.name for path in (root / "threads").iterdir()} - {"one", "two", "other"} <= {
        thread.id for thread in threads
    }
    assert (root / "threads/other/thread.json").read_text() == OTHER
    for thread in threads:
        messages = store.messages(thread.id)
        count = len(messages.list())
        messages.append([{"role": "user", "content": "again"}])
        store.threads.change(thread.id, {"title": "again"})
        assert len(store.messages(thread.id).list()) == count + 1
