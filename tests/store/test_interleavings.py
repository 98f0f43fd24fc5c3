"""Hand edits, and the changes of two processes, in any order on one folder, against a model.

After every step both say what the files say, and the files say what was acknowledged and what was
written by hand: byte for byte, nothing twice. In a race the model takes over what the files say
when that is one of the outcomes that are allowed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.store.conftest import until
from tests.store.neighbour import Here, Neighbour

MOVES = ("updated",)
"""What a change of ours brings along."""

texts = st.text(alphabet='ab \\"\né', max_size=5)
numbers = st.integers(0, 5)
sides = st.sampled_from(("here", "there"))
newlines = st.sampled_from(("\n", "\n", "\r\n", "\n\n", ""))


class Thread:
    """What the model knows: the document, and the whole file of the messages."""

    def __init__(self, document: dict[str, Any], messages: bytes) -> None:
        self.document = document
        self.messages = messages


class Folder(RuleBasedStateMachine):
    """One data folder; `neighbour` is set by whoever runs it."""

    neighbour: Neighbour

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.here = Here(self.root)
        self.neighbour.root = self.root
        self.threads: dict[str, Thread] = {}
        self.conflicts: list[Path] = []
        self.made = 0

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @initialize()
    def begin_with_a_thread(self) -> None:
        self.a_thread_by_hand()

    # What a person does

    @rule()
    def a_thread_by_hand(self) -> None:
        name = self._new_name()
        document = {"title": name, "created": 1, "updated": 1}
        folder = self._path(name)
        folder.mkdir(parents=True)
        (folder / "thread.json").write_text(json.dumps(document))
        self.threads[name] = Thread(document, b"")

    @precondition(lambda self: self.threads)
    @rule(number=numbers, text=texts, newline=newlines)
    def a_line_by_hand(self, number: int, text: str, newline: str) -> None:
        name, _ = self._pick(number)
        self._write_line_by_hand(name, self._line(text) + newline.encode())

    @precondition(lambda self: self.threads)
    @rule(number=numbers)
    def a_broken_line_by_hand(self, number: int) -> None:
        name, _ = self._pick(number)
        self._write_line_by_hand(name, b"not a message\n")

    @precondition(lambda self: self.threads)
    @rule(number=numbers, title=texts, in_place=st.booleans())
    def a_title_by_hand(self, number: int, title: str, in_place: bool) -> None:
        name, thread = self._pick(number)
        thread.document = {**thread.document, "title": title}
        self._save(name, thread.document, in_place=in_place)

    @precondition(lambda self: self.threads)
    @rule(number=numbers)
    def the_last_line_taken_out_by_hand(self, number: int) -> None:
        name, thread = self._pick(number)
        lines = thread.messages.splitlines(keepends=True)
        thread.messages = b"".join(lines[:-1])
        (self._path(name) / "messages.jsonl").write_bytes(thread.messages)

    @precondition(lambda self: self.threads)
    @rule(number=numbers)
    def a_folder_renamed(self, number: int) -> None:
        name, _ = self._pick(number)
        new = self._new_name()
        self._path(name).rename(self._path(new))
        self.threads[new] = self.threads.pop(name)

    @precondition(lambda self: self.threads)
    @rule(number=numbers)
    def a_folder_copied(self, number: int) -> None:
        name, thread = self._pick(number)
        new = self._new_name()
        shutil.copytree(self._path(name), self._path(new))
        self.threads[new] = Thread(thread.document, thread.messages)

    @precondition(lambda self: len(self.threads) > 1)
    @rule(number=numbers)
    def a_folder_removed(self, number: int) -> None:
        name, _ = self._pick(number)
        shutil.rmtree(self._path(name))
        del self.threads[name]

    # What clients do

    @rule(side=sides, title=texts)
    def a_thread_created(self, side: str, title: str) -> None:
        id = self._done(side, "create", title)
        document = json.loads((self._path(id) / "thread.json").read_bytes())
        assert document["title"] == title
        self.threads[id] = Thread(document, b"")

    @precondition(lambda self: self.threads)
    @rule(number=numbers, side=sides, text=texts)
    def a_message_added(self, number: int, side: str, text: str) -> None:
        name, thread = self._pick(number)
        raw = self._done(side, "append", name, text).encode()
        thread.messages = _ended(thread.messages) + raw + b"\n"

    @precondition(lambda self: self.threads)
    @rule(number=numbers, side=sides, text=texts)
    def a_message_changed(self, number: int, side: str, text: str) -> None:
        name, thread = self._pick(number)
        for id, old in _served(thread.messages)[:1]:
            new = self._done(side, "modify", name, id, text).encode()
            thread.messages = thread.messages.replace(old, new)

    @precondition(lambda self: self.threads)
    @rule(number=numbers, side=sides)
    def a_message_deleted(self, number: int, side: str) -> None:
        name, thread = self._pick(number)
        for id, old in _served(thread.messages)[-1:]:
            assert self._done(side, "remove", name, id).encode() == old
            before, _, after = thread.messages.partition(old)
            thread.messages = before + after.removeprefix(b"\r").removeprefix(b"\n")

    @precondition(lambda self: self.threads)
    @rule(number=numbers, side=sides, title=texts)
    def a_title_changed(self, number: int, side: str, title: str) -> None:
        name, thread = self._pick(number)
        self._done(side, "change", name, {"title": title})
        thread.document = {**thread.document, "title": title}

    @precondition(lambda self: len(self.threads) > 1)
    @rule(number=numbers, side=sides)
    def a_thread_deleted(self, number: int, side: str) -> None:
        name, thread = self._pick(number)
        trashed = Path(self._done(side, "delete", name))
        assert _bytes(trashed / "messages.jsonl") == thread.messages
        del self.threads[name]

    # Both at once

    @precondition(lambda self: self.threads)
    @rule(number=numbers, text=texts)
    def both_and_a_hand_add_a_message(self, number: int, text: str) -> None:
        name, thread = self._pick(number)
        before = _ended(thread.messages)
        self._write_by_hand(name, before[len(thread.messages) :])
        with self._meanwhile("append", name, text) as theirs:
            ours = self._done("here", "append", name, text).encode()
            by_hand = self._line(text)
            self._write_by_hand(name, by_hand + b"\n")
        thread.messages = self._messages(name)
        assert thread.messages.startswith(before)
        added = [line for line in thread.messages[len(before) :].split(b"\n") if line]
        assert Counter(added) == Counter([ours, theirs["value"].encode(), by_hand])

    @precondition(lambda self: self.threads)
    @rule(number=numbers, text=texts)
    def a_message_changed_while_a_hand_saves_them_with_another(
        self, number: int, text: str
    ) -> None:
        name, thread = self._pick(number)
        for id, old in _served(thread.messages)[:1]:
            by_hand = self._line(text)
            theirs = _ended(thread.messages) + by_hand + b"\n"
            with self._meanwhile("modify", name, id, text) as changed:
                self._save_messages(name, theirs)
            thread.messages = self._messages(name)
            # The hand's may have come last, with the message as it was when that was read.
            ours = theirs.replace(old, changed["value"].encode(), 1)
            assert thread.messages in (ours, theirs)

    @precondition(lambda self: self.threads)
    @rule(number=numbers, title=texts)
    def a_title_changed_while_a_hand_saves_another_key(self, number: int, title: str) -> None:
        name, thread = self._pick(number)
        document = {**self._document(name), f"hand{self.made}": title}
        self.made += 1
        with self._meanwhile("change", name, {"title": title}):
            self._save(name, document, in_place=False)
        found = self._document(name)
        # The hand's may have come last: who saves what was read before undoes what came between.
        assert _without(found, "title") == _without(document, "title")
        assert found["title"] in (title, document["title"])
        thread.document = found

    @precondition(lambda self: self.threads)
    @rule(number=numbers, title=texts)
    def a_title_changed_while_a_hand_saves_one(self, number: int, title: str) -> None:
        name, thread = self._pick(number)
        ours, theirs = f"ours {title}", f"theirs {title}"
        document = {**self._document(name), "title": theirs}
        with self._meanwhile("change", name, {"title": ours}):
            self._save(name, document, in_place=False)
        found = self._document(name)
        assert _without(found, "title") == _without(document, "title")
        assert found["title"] in (ours, theirs)
        for copy in self._new_conflicts():
            self.conflicts.append(copy)
            assert found["title"] == ours
            assert _without(json.loads(copy.read_bytes()), "") == _without(document, "")
        thread.document = found

    @precondition(lambda self: self.threads)
    @rule(number=numbers, title=texts)
    def both_change_a_title(self, number: int, title: str) -> None:
        name, thread = self._pick(number)
        ours, theirs = f"ours {title}", f"theirs {title}"
        with self._meanwhile("change", name, {"title": theirs}):
            self._done("here", "change", name, {"title": ours})
        found = self._document(name)
        assert found["title"] in (ours, theirs)
        thread.document = {**thread.document, "title": found["title"]}

    @precondition(lambda self: len(self.threads) > 1)
    @rule(number=numbers, text=texts)
    def a_thread_deleted_while_a_message_is_added(self, number: int, text: str) -> None:
        name, thread = self._pick(number)
        with self._meanwhile("delete", name) as deleted:
            is_added, value = self.here.ask("append", name, text)
        if is_added:
            self._take_in(value, name)
        else:
            assert value == "thread_not_found"
        del self.threads[name]
        assert _bytes(Path(deleted["value"]) / "messages.jsonl") == thread.messages

    @precondition(lambda self: self.threads)
    @rule(number=numbers, text=texts)
    def a_folder_renamed_while_a_message_is_added(self, number: int, text: str) -> None:
        name, _ = self._pick(number)
        new = self._new_name()
        with self._meanwhile("append", name, text, may_fail=True) as added:
            self._path(name).rename(self._path(new))
        if added["is_done"]:
            self._take_in(added["value"], name, new)
        else:
            assert added["value"] in ("thread_not_found", "write_failed")
        self.threads[new] = self.threads.pop(name)
        assert not self._path(name).exists()

    # What always holds

    @invariant()
    def the_files_say_what_was_acknowledged_and_written_by_hand(self) -> None:
        for name, thread in self.threads.items():
            assert self._messages(name) == thread.messages
            assert _without(self._document(name)) == _without(thread.document)
        assert list(self.root.glob("threads/**/.jan_server-*")) == []
        until(lambda: self._new_conflicts() == [])  # What was merged goes a moment later.

    @invariant()
    def both_say_what_the_files_say(self) -> None:
        expected = {
            name: [
                self._document(name),
                [[id, raw.decode()] for id, raw in _served(thread.messages)],
            ]
            for name, thread in self.threads.items()
        }
        assert self._done("here", "look") == expected
        assert self._done("there", "look") == expected

    # How

    def _new_name(self) -> str:
        self.made += 1
        return f"thread{self.made}"

    def _line(self, text: str) -> bytes:
        self.made += 1
        value = {"id": f"hand{self.made}", "role": "user", "content": text, "created_at": 5}
        return json.dumps(value).encode()

    def _pick(self, number: int) -> tuple[str, Thread]:
        name = sorted(self.threads)[number % len(self.threads)]
        return name, self.threads[name]

    def _path(self, name: str) -> Path:
        return self.root / "threads" / name

    def _messages(self, name: str) -> bytes:
        return _bytes(self._path(name) / "messages.jsonl")

    def _document(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._path(name) / "thread.json").read_bytes())
        return found

    def _save(self, name: str, document: dict[str, Any], *, in_place: bool) -> None:
        path = self._path(name) / "thread.json"
        target = path if in_place else path.with_name(".saved")
        target.write_text(json.dumps(document))
        if not in_place:
            target.replace(path)

    def _save_messages(self, name: str, data: bytes) -> None:
        target = self._path(name) / ".saved"
        target.write_bytes(data)
        target.replace(self._path(name) / "messages.jsonl")

    def _write_by_hand(self, name: str, data: bytes) -> None:
        fd = os.open(
            self._path(name) / "messages.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
        )
        os.write(fd, data)
        os.close(fd)

    def _take_in(self, line: str, *asked_for: str) -> None:
        """A line was added to a thread whose folder went away: another may say its id inside."""
        landed = json.loads(line)["thread_id"]
        thread = self.threads[asked_for[0] if landed in asked_for else landed]
        thread.messages = _ended(thread.messages) + line.encode() + b"\n"

    def _write_line_by_hand(self, name: str, line: bytes) -> None:
        """As an editor does it: on a line of its own."""
        thread = self.threads[name]
        before = _ended(thread.messages)
        self._write_by_hand(name, before[len(thread.messages) :] + line)
        thread.messages = before + line

    def _new_conflicts(self) -> list[Path]:
        found = sorted(self.root.glob("threads/*/*.conflict-*"))
        return [path for path in found if path.name not in {each.name for each in self.conflicts}]

    def _done(self, side: str, operation: str, *arguments: Any) -> Any:
        asked = self.here if side == "here" else self.neighbour
        is_done, value = asked.ask(operation, *arguments)
        assert is_done, (operation, arguments, value)
        return value

    @contextmanager
    def _meanwhile(
        self, operation: str, *arguments: Any, may_fail: bool = False
    ) -> Iterator[dict[str, Any]]:
        """The neighbour does it during the block; afterwards `value` is what came of it."""
        answer: dict[str, Any] = {}
        self.neighbour.begin(operation, *arguments)
        try:
            yield answer
        finally:
            answer["is_done"], answer["value"] = self.neighbour.end()
        assert answer["is_done"] or may_fail, (operation, arguments, answer)


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _ended(raw: bytes) -> bytes:
    return raw if not raw or raw.endswith(b"\n") else raw + b"\n"


def _without(document: dict[str, Any], key: str = "") -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in (*MOVES, key)}


def _served(raw: bytes) -> list[tuple[str, bytes]]:
    """The lines that are messages: their ids and bytes."""
    lines = [line.removesuffix(b"\r") for line in raw.split(b"\n")]
    return [(json.loads(line)["id"], line) for line in lines if line.startswith(b"{")]


@pytest.fixture(scope="module")
def neighbour() -> Iterator[Neighbour]:
    neighbour = Neighbour()
    yield neighbour
    neighbour.close()


def test_in_any_order_nothing_is_lost_doubled_or_stale(neighbour: Neighbour) -> None:
    class Both(Folder):
        pass

    Both.neighbour = neighbour
    run_state_machine_as_test(
        Both,
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            derandomize=True,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
