"""What is told when another program cuts lines off, ours among them."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jan_server.events import Event
from jan_server.store import Messages, Store
from jan_server.store.files import Files
from jan_server.store.history import History
from jan_server.store.signature import TICK, Signature
from jan_server.store.told import MAX_KEPT, MAX_UNKNOWN, QUIET, Told
from tests.store.conftest import until, write
from tests.store.failing import FailingSystem

A = b'{"id":"a","role":"user","content":"a"}\n'
NEW = {"role": "user", "content": "ours"}
PATH = Path("messages.jsonl")
BEFORE, AFTER = Signature(1, 0, 1), Signature(2, 4, 1)


@pytest.fixture
def path(root: Path) -> Path:
    found = root / "threads/one/messages.jsonl"
    write(found, A)
    return found


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def store(root: Path, path: Path, told: list[Event]) -> Iterator[Store]:
    assert path.exists()
    store = Store(root, fsync=False, publish=told.append)
    store.keep()
    store.look_everywhere()
    yield store
    store.close()


def by_others(told: list[Event]) -> list[tuple[str, str]]:
    return [(event.change, event.id) for event in told if event.cause == "file"]


def test_a_line_of_ours_that_is_cut_off_is_told_by_its_id(
    store: Store, path: Path, told: list[Event]
) -> None:
    store.messages("two").append([NEW])
    [ours] = store.messages("one").append([NEW])
    write(path, A)
    store.look([path])
    until(lambda: ("deleted", ours.id) in by_others(told))


class Neighbour(FailingSystem):
    """Another program that changes a message while we change the title."""

    def exchange(self, one: Path, other: Path) -> None:
        super().exchange(one, other)
        write(other.with_name("messages.jsonl"), A.replace(b"user", b"system"))


def test_what_others_change_while_we_change_the_title_is_not_ours(
    root: Path, path: Path, told: list[Event]
) -> None:
    assert path.exists()
    store = Store(root, files=Files(system=Neighbour()), publish=told.append)
    store.look_everywhere()
    store.messages("one").list()
    store.threads.change("one", {"title": "ours"})
    assert by_others(told) == [("updated", "a")]


def test_a_message_that_a_thread_was_made_with_is_known(store: Store, told: list[Event]) -> None:
    made = store.create_thread(assistants=[{"assistant_id": "jan"}], messages=[NEW, NEW])
    path = made.folder / "messages.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    write(path, first)
    store.look([path])
    until(lambda: by_others(told) == [("deleted", json.loads(second)["id"])])


def test_a_changed_line_that_is_written_over_is_told(
    store: Store, path: Path, told: list[Event]
) -> None:
    store.messages("one").modify("a", {"content": "ours"})
    write(path, A)
    store.look([path])
    assert by_others(told) == [("updated", "a")]


def test_a_file_that_is_emptied_and_filled_again_is_no_news(
    store: Store, path: Path, told: list[Event]
) -> None:
    store.messages("one").list()
    write(path, b"")
    store.look([path])
    write(path, A)
    store.look([path])
    time.sleep(2 * QUIET)
    assert by_others(told) == []


@pytest.mark.parametrize("cut", [Path.unlink, lambda path: write(path, A[:9])])
def test_one_that_nobody_has_read_may_be_filled_again_too(
    cut: Callable[[Path], object], store: Store, path: Path, told: list[Event]
) -> None:
    cut(path)
    store.look([path])
    write(path, A)
    store.look([path])
    store.threads.index.tell_again(path.parent)
    assert by_others(told) == []
    cut(path)
    store.look([path])
    until(lambda: ("deleted", "a") in by_others(told))


def test_that_one_that_nobody_has_read_stays_shorter_is_told(
    store: Store, path: Path, told: list[Event]
) -> None:
    path.unlink()
    store.look([path])
    until(lambda: by_others(told) == [("updated", "one")])


def test_a_file_that_stays_empty_is_told_soon(store: Store, path: Path, told: list[Event]) -> None:
    store.messages("one").list()
    write(path, b"")
    store.look([path])
    until(lambda: by_others(told) == [("deleted", "a")])


def test_what_is_cut_off_while_we_append_is_told(
    store: Store, path: Path, told: list[Event]
) -> None:
    """As today's Jan: it truncates, we append, it writes over our line."""
    messages = store.messages("one")
    messages.list()
    with path.open("wb", buffering=0) as file:
        [ours] = messages.append([NEW])
        file.write(A * 9)
    store.look([path])
    until(lambda: ("deleted", ours.id) in by_others(told))


def test_a_long_file_that_nobody_read_is_told_of_as_far_as_it_grew(
    store: Store, path: Path, told: list[Event]
) -> None:
    line = b'{"id":"long","role":"user","content":"%s"}\n' % (b"x" * MAX_UNKNOWN)
    write(path, line)
    store.look([path])
    told.clear()
    [ours] = store.messages("one").append([NEW])
    with path.open("ab") as file:
        file.write(b'{"id":"a","role":"user","content":"a","created":1705312345000}\n')
    store.look([path])
    time.sleep(2 * QUIET)
    assert by_others(told) == [("created", "a")]
    write(path, line)
    store.look([path])
    until(lambda: by_others(told) == [("created", "a"), ("updated", "one")])
    assert ours.id not in str(by_others(told))


@pytest.mark.parametrize(
    "change", [Messages.delete, lambda messages, id: messages.modify(id, {"content": "again"})]
)
def test_what_we_do_next_to_a_message_is_not_told_as_theirs(
    change: Callable[[Messages, str], object], store: Store, path: Path, told: list[Event]
) -> None:
    [ours] = store.messages("one").append([NEW])
    change(store.messages("one"), ours.id)
    time.sleep(2 * QUIET)
    store.threads.index.tell_again(path.parent)
    assert by_others(told) == []


def test_what_we_are_writing_is_not_told_as_theirs(
    store: Store, path: Path, told: list[Event]
) -> None:
    with store.messages("one").appends().begun([[NEW]]) as begun:
        assert begun is not None
        store.threads.index.tell_again(path.parent)
        with path.open("ab") as file:
            file.write(b'{"id":"theirs","role":"user","content":"a"}\n')
        begun.flush()
        begun.finish()
    assert [(event.change, event.cause) for event in told] == [
        ("created", "api"),
        ("created", "file"),
    ]


class Meanwhile(FailingSystem):
    """At the moment of the replacement another program adds a line."""

    def exchange(self, one: Path, other: Path) -> None:
        if b'"b"' not in other.read_bytes():
            write(other, A + A.replace(b'"a"', b'"b"'))
        super().exchange(one, other)


def test_what_we_delete_while_others_write_is_told_once(
    root: Path, path: Path, told: list[Event]
) -> None:
    store = Store(root, files=Files(system=Meanwhile()), publish=told.append)
    store.look_everywhere()
    store.messages("one").delete("a")
    time.sleep(2 * QUIET)
    store.threads.index.tell_again(path.parent)
    assert path.read_bytes() == A.replace(b'"a"', b'"b"')
    assert sorted((event.change, event.id, event.cause) for event in told) == [
        ("created", "b", "file"),
        ("deleted", "a", "api"),
    ]


def test_what_a_thread_held_is_not_told_of_another_one_in_its_place(
    store: Store, path: Path, told: list[Event]
) -> None:
    store.messages("one").list()
    shutil.rmtree(path.parent)
    store.look([path.parent])
    write(path, A.replace(b'"a"', b'"b"'))
    store.look([path.parent])
    told.clear()
    store.messages("one").append([NEW])
    store.threads.index.tell_again(path.parent)
    assert by_others(told) == []


def test_a_line_that_another_program_is_writing_is_waited_for(store: Store, path: Path) -> None:
    """Else a blank line would come of it, and today's Jan shows nothing of that thread."""
    half = len(A) // 2
    with path.open("ab", buffering=0) as file:
        file.write(A[:half])
        rest = threading.Timer(TICK / 3, file.write, [A[half:]])
        rest.start()
        store.messages("one").append([NEW])
        rest.join()
    raw = path.read_bytes()
    assert raw.startswith(2 * A)
    assert b"\n\n" not in raw


def test_a_line_that_was_left_half_written_does_not_hold_us_up(store: Store, path: Path) -> None:
    write(path, A + A[:9])
    store.messages("one").append([NEW])
    assert path.read_bytes().startswith(A + A[:9] + b"\n")


def test_what_is_added_is_taken_along() -> None:
    told = Told()
    assert told.grew(PATH, None, AFTER, b"{}\n\n")
    assert told.grew(PATH, AFTER, BEFORE, b"{}\n")
    assert not told.grew(PATH, AFTER, BEFORE, b"not behind what is known")
    assert (told.of(PATH) or History(b"")).raw == b"{}\n\n{}\n"
    assert repr(told) == "<Told of 1 files, 7 bytes>"
    told.forget(PATH)
    told.forget(PATH)
    assert (told.of(PATH), repr(told)) == (None, "<Told of 0 files, 0 bytes>")


def test_too_much_is_forgotten_the_oldest_first() -> None:
    told = Told(capacity=2)
    for number in range(3):
        told.keep(Path(str(number)), BEFORE, History(b"x"))
    assert [told.knows(Path(str(number))) for number in range(3)] == [False, True, True]
    told.grew(Path("1"), BEFORE, AFTER, bytes(MAX_KEPT))
    assert [told.knows(Path(str(number))) for number in range(3)] == [False, True, False]


def test_of_an_empty_file_it_is_known_what_it_held() -> None:
    told = Told()
    assert told.grew(PATH, BEFORE, AFTER, b"{}\n")
    assert (told.of(PATH) or History(b"")).raw == b"{}\n"
    assert not told.grew(Path("other"), AFTER, BEFORE, b"{}\n")
