"""What people and programs do to the folder, one row each.

Every row also proves that nothing else changed: the other thread, the other lines.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jan_server.errors import FileBroken, FileUnreadable, NotFound
from jan_server.store import Store
from jan_server.store.jsonl import GLUED
from tests.store.conftest import write

Edit = Callable[[Path], object]
A = b'{"id":"a","role":"user","content":"hi"}\n'
B = b'{"id":"b","role":"user","content":"b"}'
HASHED = "line-ae760f5ba03c31ac"


def _lines(data: bytes) -> Edit:
    return lambda thread: (thread / "messages.jsonl").write_bytes(data)


def _echo(data: bytes) -> Edit:
    def edit(thread: Path) -> None:
        with (thread / "messages.jsonl").open("ab") as file:
            file.write(data)

    return edit


LINES: dict[str, tuple[Edit, list[str], list[str]]] = {
    "echo >>": (_echo(B + b"\n"), ["a", "b"], []),
    "echo -n >>": (_echo(B), ["a", "b"], []),
    "CRLF": (_lines(A.replace(b"\n", b"\r\n") + B + b"\r\n"), ["a", "b"], []),
    "byte order mark": (_lines(b"\xef\xbb\xbf" + A + B), ["a", "b"], []),
    "blank lines": (_lines(b"\n\n" + A + b"\n \n" + B), ["a", "b"], []),
    "deleted line": (_lines(B), ["b"], []),
    "reordered": (_lines(B + b"\n" + A), ["b", "a"], []),
    "glued": (_lines(A.strip() + B), ["a", "b"], [f"1:40 {GLUED}"]),
    "torn": (_echo(b'{"id":"b","ro'), ["a"], ["2:11 a string that begins here does not end"]),
    "bad UTF-8": (_echo(b'{"id":"\xff"}\n' + B), ["a", "b"], ["2:8 is not UTF-8"]),
    "NULs": (_echo(b"\0" * 20 + b"\n" + B), ["a", "b"], ["2:1 holds nothing but zeros"]),
    "trailing comma": (_echo(b'{"id":"c",}\n'), ["a"], ["2:11 expected a key in double quotes"]),
    "id twice": (_echo(A + A + B), ["a", "a.2", "a.3", "b"], []),
    "id twice, and its next name": (
        _lines(A + A + b'{"id":"a.2"}'),
        ["a", "a.3", "a.2"],
        [],
    ),
    "no id": (_lines(b'{"role":"user","content":"hi"}\n'), [HASHED], []),
    "an id that is a number": (
        _lines(b'{"id":7}\n{"id":true}'),
        ["7", "line-9f391e5c3a1fb729"],
        [],
    ),
    "an id that is a path": (_lines(b'{"id":"../x"}'), ["line-7e130ce6b7eede96"], []),
    "empty file": (_lines(b""), [], []),
    "zero-filled": (_lines(b"\0" * 100), [], ["1:1 holds nothing but zeros"]),
    "no file": (lambda thread: (thread / "messages.jsonl").unlink(), [], []),
    "temporary files beside": (
        lambda thread: (thread / ".jan_server-1234").write_bytes(B),
        ["a"],
        [],
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_every_line_that_can_be_read_is_served(name: str, root: Path, store: Store) -> None:
    edit, expected, problems = LINES[name]
    messages = store.messages("one")
    assert [message.id for message in messages.list()] == ["a"]
    edit(root / "threads/one")
    assert [message.id for message in messages.list()] == expected
    assert [messages.get(id).id for id in expected] == expected
    assert messages.problems() == [f"threads/one/messages.jsonl:{each}" for each in problems]


@pytest.mark.parametrize("name", LINES)
def test_an_append_keeps_all_that_was_there(name: str, root: Path, store: Store) -> None:
    edit, expected, _ = LINES[name]
    edit(root / "threads/one")
    path = root / "threads/one/messages.jsonl"
    before = path.read_bytes() if path.exists() else b""
    (added,) = store.messages("one").append([{"role": "user", "content": "new"}])
    after = path.read_bytes()
    separator = b"" if not before or before.endswith(b"\n") else b"\n"
    assert after == before + separator + added.raw + b"\n"
    assert [message.id for message in store.messages("one").list()] == [*expected, added.id]


def test_what_is_broken_is_logged_once(
    root: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    _echo(b"x\n")(root / "threads/one")
    write(root / "threads/two/thread.json", "{\n  x}")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            store.messages("one").list()
            store.threads.list()
    assert [record.getMessage() for record in caplog.records] == [
        "threads/one/messages.jsonl:2:1 expected a value",
        "threads/two/thread.json:2:3 expected a key in double quotes",
    ]


BROKEN: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "1:1", "is empty"),
    "zero-filled": (b"\0" * 64, "1:1", "holds nothing but zeros"),
    "trailing comma": (b'{\n  "a": 1,\n}', "3:1", "expected a key in double quotes"),
    "a comment": (b"{\n  // mine\n}", "2:3", "expected a key in double quotes"),
    "no object": (b"[]", "1:1", "expected an object"),
    "bad UTF-8": (b'{"a": "\xff"}', "1:8", "is not UTF-8"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_hides_only_itself(name: str, root: Path) -> None:
    data, place, reason = BROKEN[name]
    path = root / "threads/one/thread.json"
    write(path, data)
    store = Store(root, fsync=False)
    assert [thread.id for thread in store.threads.list()] == ["two"]
    with pytest.raises(FileUnreadable) as read:
        store.threads.get("one")
    assert read.value.message == f"threads/one/thread.json:{place}: {reason}."
    for change in (
        lambda: store.threads.change("one", {"title": "New"}),
        lambda: store.threads.touch("one"),
        lambda: store.threads.delete("one"),
        lambda: store.threads.delete_files("one", lambda name: True),
    ):
        with pytest.raises(FileBroken):
            change()
    assert path.read_bytes() == data
    store.messages("one").append([{"role": "user", "content": "still here"}])
    store.messages("one").touch()
    assert len(store.messages("one").list()) == 2
    assert path.read_bytes() == data


def test_while_a_good_version_was_seen_it_is_served_as_stale(root: Path, store: Store) -> None:
    good = store.threads.get("one")
    write(root / "threads/one/thread.json", '{"title": "O')
    stale = store.threads.get("one")
    assert (stale.raw, stale.value) == (good.raw, good.value)
    assert stale.stale == "threads/one/thread.json:1:11 a string that begins here does not end"
    assert [thread.id for thread in store.threads.list()] == ["one", "two"]
    with pytest.raises(FileBroken):
        store.threads.change("one", {"title": "New"})
    write(root / "threads/one/thread.json", '{"title": "Mended"}')
    assert store.threads.get("one").value == {"title": "Mended"}
    assert store.threads.get("one").stale == ""


def test_a_thread_without_its_file_is_served_as_if_that_were_empty(
    root: Path, store: Store
) -> None:
    (root / "threads/one/thread.json").unlink()
    thread = store.threads.get("one")
    assert (thread.value, thread.raw, thread.signature) == ({}, b"", None)
    store.messages("one").append([{"role": "user", "content": "more"}])
    store.messages("one").touch()
    assert not (root / "threads/one/thread.json").exists()
    changed = store.threads.change("one", {"title": "Named"})
    assert list(changed.value) == ["title", "updated"]
    assert [thread.id for thread in store.threads.list()] == ["one", "two"]


def test_a_folder_with_neither_file_is_no_thread(root: Path, store: Store) -> None:
    (root / "threads/three").mkdir()
    assert [thread.id for thread in store.threads.list()] == ["one", "two"]
    with pytest.raises(NotFound):
        store.threads.get("three")
    with pytest.raises(NotFound):
        store.messages("three").append([{"role": "user", "content": "x"}])
    assert list((root / "threads/three").iterdir()) == []


def _link_out(threads: Path) -> None:
    outside = threads.parent.parent / "outside"
    write(outside / "thread.json", "{}")
    (threads / "evil").symlink_to(outside)


def _file_link_out(threads: Path) -> None:
    write(threads.parent.parent / "secret.json", '{"id": "evil"}')
    (threads / "evil").mkdir()
    (threads / "evil/thread.json").symlink_to(threads.parent.parent / "secret.json")


STRANGERS: dict[str, Edit] = {
    "a link out of the folder": _link_out,
    "a file that is a link out of the folder": _file_link_out,
    "a dangling link": lambda threads: (threads / "evil").symlink_to("nowhere"),
    "a link to itself": lambda threads: (threads / "evil").symlink_to("evil"),
    ".DS_Store": lambda threads: (threads / ".DS_Store").write_bytes(b"\0\0\0\1Bud1"),
    "a stray file": lambda threads: (threads / "notes.txt").write_text("x"),
    ".stfolder": lambda threads: write(threads / ".stfolder/thread.json", "{}"),
    "our temporary folder": lambda threads: write(threads / ".jan_server-1/thread.json", "{}"),
    "an editor's backup": lambda threads: write(threads / "one~/thread.json", "{}"),
    "an empty folder": lambda threads: (threads / "evil").mkdir(),
    "a name that is not UTF-8": lambda threads: write(
        threads / os.fsdecode(b"evil\xff") / "thread.json", "{}"
    ),
    "a name with a newline": lambda threads: write(threads / "evil\n" / "thread.json", "{}"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_no_thread_is_not_listed(name: str, root: Path, store: Store) -> None:
    STRANGERS[name](root / "threads")
    assert [thread.id for thread in store.threads.list()] == ["one", "two"]
    with pytest.raises(NotFound):
        store.threads.get("evil")


def test_a_fifo_is_no_file_and_keeps_nobody_waiting(root: Path, store: Store) -> None:
    for name in ("thread.json", "messages.jsonl"):
        (root / "threads/one" / name).unlink()
        os.mkfifo(root / "threads/one" / name)
    assert [thread.id for thread in store.threads.list()] == ["two"]
    with pytest.raises(FileUnreadable, match="not a regular file"):
        store.threads.get("one")
    with pytest.raises(FileUnreadable, match="not a regular file"):
        store.messages("one").list()
    with pytest.raises(FileUnreadable, match="not a regular file"):
        store.messages("one").append([{"role": "user", "content": "x"}])


def test_messages_that_are_a_link_out_of_the_folder_are_not_read(root: Path, store: Store) -> None:
    outside = root.parent / "outside.jsonl"
    write(outside, A)
    (root / "threads/two/messages.jsonl").symlink_to(outside)
    with pytest.raises(FileUnreadable, match="leads out of the data folder"):
        store.messages("two").append([{"role": "user", "content": "x"}])
    assert outside.read_bytes() == A


def test_a_link_inside_the_folder_is_followed_and_not_replaced(root: Path, store: Store) -> None:
    real = root / "threads/one/real.json"
    (root / "threads/one/thread.json").rename(real)
    (root / "threads/one/thread.json").symlink_to("real.json")
    store.threads.change("one", {"title": "New"})
    assert (root / "threads/one/thread.json").is_symlink()
    assert b'"title": "New"' in real.read_bytes()


def test_a_renamed_folder_is_found_by_its_new_name_and_by_the_id_inside(
    root: Path, store: Store
) -> None:
    write(root / "threads/one/thread.json", '{"id": "one"}')
    (root / "threads/one").rename(root / "threads/Übersicht (1)")
    assert store.threads.get("Übersicht (1)").id == "Übersicht (1)"
    assert store.threads.get("one").id == "Übersicht (1)"
    assert [message.id for message in store.messages("one").list()] == ["a"]


def test_a_copied_folder_is_a_thread_of_its_own(root: Path, store: Store) -> None:
    write(root / "threads/one/thread.json", '{"id": "one"}')
    shutil.copytree(root / "threads/one", root / "threads/one (copy)")
    assert [thread.id for thread in store.threads.list()] == ["one", "one (copy)", "two"]
    store.threads.change("one (copy)", {"title": "Copy"})
    assert store.threads.get("one").value == {"id": "one"}


def test_an_inner_id_that_two_folders_have_finds_neither(root: Path, store: Store) -> None:
    for name in ("one", "two"):
        write(root / "threads" / name / "thread.json", '{"id": "same"}')
    with pytest.raises(NotFound):
        store.threads.get("same")


def test_a_name_that_a_mac_stored_decomposed_is_found_composed(root: Path, store: Store) -> None:
    write(root / "threads/U\u0308ber/thread.json", "{}")
    assert store.threads.get("\u00dcber").id == "U\u0308ber"
    write(root / "threads/\u00dcber/thread.json", "{}")
    assert store.threads.get("\u00dcber").id == "\u00dcber"


@pytest.mark.parametrize("step", range(20))
def test_an_edit_of_the_same_length_is_seen_at_once(step: int, root: Path, store: Store) -> None:
    path = root / "threads/one/thread.json"
    for number in range(5):
        path.write_text(f'{{"title": "{step:02}{number}"}}')
        assert store.threads.get("one").value == {"title": f"{step:02}{number}"}
        (root / "threads/one/messages.jsonl").write_text(f'{{"id":"{step:02}{number}"}}\n')
        assert [m.id for m in store.messages("one").list()] == [f"{step:02}{number}"]


def test_an_edit_within_the_same_tick_of_the_clock_is_seen(root: Path, store: Store) -> None:
    """Of the same length, in place: the signature is the same, and too young to be trusted."""
    document, lines = root / "threads/one/thread.json", root / "threads/one/messages.jsonl"
    tick = time.time_ns() + 3_600_000_000_000
    for text in ("a", "b", "c"):
        for path, data in ((document, f'{{"title": "{text}"}}'), (lines, f'{{"id":"{text}"}}\n')):
            path.write_text(data)
            os.utime(path, ns=(tick, tick))
        assert store.threads.get("one").value == {"title": text}
        assert json.loads(store.threads.shown("one").body)["title"] == text
        assert {d.id: d.value.get("title") for d in store.threads.list()}["one"] == text
        assert [message.id for message in store.messages("one").list()] == [text]
        assert store.messages("one").get(text).id == text


def test_a_new_folder_is_seen_at_once(root: Path, store: Store) -> None:
    for number in range(30):
        write(root / f"threads/new{number}/thread.json", "{}")
        assert store.threads.get(f"new{number}").value == {}
    assert len(store.threads.list()) == 32
    shutil.rmtree(root / "threads")
    assert store.threads.list() == []
    with pytest.raises(NotFound):
        store.messages("one").list()
