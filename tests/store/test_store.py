"""The store as its callers use it: threads, messages, assistants, deletion, opening."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jan_server.errors import (
    AlreadyExists,
    FileUnreadable,
    InvalidId,
    InvalidRequest,
    NotFound,
    NotWritable,
    SettingsInvalid,
    WriteUncertain,
)
from jan_server.store import Document, Store, paths
from jan_server.store.adding import Adding
from jan_server.store.disk import Disk
from jan_server.store.files import Files
from jan_server.store.histories import Histories
from jan_server.store.paths import Place
from jan_server.store.replacing import Replacing
from jan_server.store.signature import signature_at
from tests.store.conftest import write
from tests.store.failing import FailingSystem

HI = {"role": "user", "content": "hi"}
BAD_IDS = ["", ".", "..", "../evil", "..\\evil", "a/b", "\0", "one\0", "x" * 300, "\n", "\udcff"]


def _tree(root: Path) -> dict[str, bytes | None]:
    """Everything under a folder but our own state."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
        if ".jan_server" not in path.relative_to(root).parts
    }


def test_a_fresh_folder_gets_jans_layout(tmp_path: Path) -> None:
    Store(tmp_path / "new/data").open()
    assert sorted(path.name for path in (tmp_path / "new/data").iterdir()) == sorted(
        [".jan_server", "assistants", "models", "threads", "engines", "settings", "logs"]
    )
    assert stat.S_IMODE((tmp_path / "new/data/.jan_server").stat().st_mode) == 0o700


def test_another_server_may_make_the_folder_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = Path.mkdir

    def made_by_another(path: Path, **options: Any) -> None:
        with contextlib.suppress(FileExistsError):
            mkdir(path, **options)
        mkdir(path, **options)

    monkeypatch.setattr(Path, "mkdir", made_by_another)
    Store(tmp_path / "data").open()
    assert (tmp_path / "data/.jan_server").is_dir()


def test_opening_a_folder_changes_nothing_of_it(root: Path) -> None:
    (root / "logs").rmdir()
    before = _tree(root)
    store = Store(root).open()
    store.threads.list(), store.messages("one").list(), store.assistants.list()
    assert _tree(root) == before


def test_a_folder_that_cannot_be_used_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsInvalid, match=r"The data folder .*file cannot be used: "):
        Store(tmp_path / "file").open()
    with pytest.raises(SettingsInvalid, match="cannot be used"):
        Store(tmp_path / "x", files=Files(system=FailingSystem(1))).open()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # Root may write anywhere.
    with pytest.raises(SettingsInvalid, match=r"The data folder .* is not writable\."):
        Store(tmp_path / "data").open()


def test_a_thread_and_its_messages_come_into_being_at_once(store: Store, root: Path) -> None:
    assistant = {"assistant_id": "jan", "model": {"id": "tiny"}}
    thread = store.create_thread(
        assistants=[assistant],
        title="Plan",
        metadata={"a": 1},
        messages=[HI, {"role": "assistant", "content": "hello", "id": "mine"}],
        extra={"tool_resources": {}},
    )
    assert thread.value == {
        "id": thread.id,
        "object": "thread",
        "title": "Plan",
        "assistants": [assistant],
        "created": thread.value["created"],
        "updated": thread.value["created"],
        "metadata": {"a": 1},
        "tool_resources": {},
    }
    assert thread.raw == json.dumps(thread.value, indent=2).encode()
    assert thread.id == f"jan_{thread.value['created'] // 1000}"
    first, second = store.messages(thread.id).list()
    assert (second.id, second.value["thread_id"]) == ("mine", thread.id)
    assert first.raw == json.dumps(first.value, separators=(",", ":")).encode()
    assert store.threads.shown(thread.id).updated == thread.value["created"] / 1000
    assert list((root / ".jan_server/new").iterdir()) == []


def test_two_creates_in_one_second_are_two_threads(store: Store) -> None:
    found = [store.create_thread(assistants=[{"assistant_id": "jan"}]).id for _ in range(10)]
    assert len(set(found)) == 10
    assert len(store.threads.list()) == 12


def test_many_creates_at_once_are_as_many_threads(store: Store) -> None:
    found: list[str] = []
    _at_once(16, lambda n: found.append(store.create_thread(assistants=[{"assistant_id": "x"}]).id))
    assert len(set(found)) == 16
    assert {thread.id for thread in store.threads.list()} == {"one", "two", *found}


def test_a_thread_in_a_folder_of_todays_jan_has_its_shape(store: Store, root: Path) -> None:
    write(root / "store.json", "{}")
    thread = store.create_thread(assistants=[{"assistant_id": "jan"}], messages=[HI])
    assert len(thread.id) == 36
    assert list(thread.value) == sorted(thread.value)
    (message,) = store.messages(thread.id).list()
    assert message.value["type"] == "text"


@pytest.mark.parametrize("id", [*BAD_IDS, ".hidden", "a b", "Ü"])
def test_an_assistant_id_that_cannot_name_a_folder_creates_nothing(
    id: str, root: Path, store: Store
) -> None:
    before = _tree(root.parent)
    with pytest.raises(InvalidId) as caught:
        store.create_thread(assistants=[{"assistant_id": id}])
    assert caught.value.param == "$.assistants[0].assistant_id"
    assert _tree(root.parent) == before


@pytest.mark.parametrize("id", [*BAD_IDS, "..%2fescape", "nope", "threads", ".jan_server"])
def test_an_id_that_is_none_changes_nothing_anywhere(id: str, root: Path, store: Store) -> None:
    before = _tree(root.parent)
    calls: list[Callable[[], Any]] = [
        lambda: store.threads.get(id),
        lambda: store.threads.change(id, {"title": "x"}),
        lambda: store.threads.delete(id),
        lambda: store.messages(id).list(),
        lambda: store.messages(id).append([HI]),
        lambda: store.messages(id).touch(),
        lambda: store.messages("one").get(id),
        lambda: store.assistants.get(id),
        lambda: store.models.get(id),
    ]
    for call in calls:
        with pytest.raises((InvalidId, NotFound)):
            call()
    assert not store.threads.has(id)
    assert _tree(root.parent) == before


def test_a_change_touches_only_the_changed_keys(store: Store, root: Path) -> None:
    path = root / "threads/one/thread.json"
    write(path, '{\n\t"updated": 1705312345678,\n\t"title":  "One", "x": 1.50\n}\n')
    path.chmod(0o640)
    thread = store.threads.change("one", {"title": "Neu", "note": None})
    now = thread.value["updated"]
    assert thread.raw.decode() == (
        f'{{\n\t"updated": {now},\n\t"title":  "Neu", "x": 1.50,\n\t"note": null\n}}\n'
    )
    assert now > 1705312345678
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(each.name for each in path.parent.iterdir()) == ["messages.jsonl", "thread.json"]


def test_a_change_that_alters_no_value_writes_nothing(store: Store, root: Path) -> None:
    before = signature_at(root / "threads/one/thread.json")
    assert store.threads.change("one", {"title": "One"}).value == {"title": "One"}
    assert store.threads.change("one", {}).value == {"title": "One"}
    assert signature_at(root / "threads/one/thread.json") == before


def test_an_assistants_update_does_not_move(store: Store) -> None:
    changed = store.assistants.change("jan", {"name": "Jane"})
    assert changed.value == {"id": "jan", "name": "Jane"}


def test_a_new_folder_never_takes_the_place_of_another(store: Store, root: Path) -> None:
    before = _tree(root)
    (root / "assistants/empty").mkdir()
    for id in ("jan", "empty"):
        with pytest.raises(AlreadyExists):
            store.assistants.create(id, lambda id: {"assistant.json": b"{}"})
    (root / "assistants/empty").rmdir()
    assert _tree(root) == before
    created = store.assistants.create("new", lambda id: {"assistant.json": b'{"id": "new"}'})
    assert created.value == {"id": "new"}
    for number in (2, 3):
        again = store.assistants.create(
            "new", lambda id: {"assistant.json": b"{}"}, with_suffix=True
        )
        assert again.id == f"new_{number}"


def test_a_name_taken_at_the_last_moment_is_not_overwritten(root: Path) -> None:
    class Neighbour(FailingSystem):
        def rename(self, src: Path, dst: Path) -> None:
            write(dst / "thread.json", '{"title": "Theirs"}')
            super().rename(src, dst)

    store = Store(root, files=Files(fsync=False, system=Neighbour()))
    with pytest.raises(AlreadyExists):
        store.threads.create("new", lambda id: {"thread.json": b"{}"})
    assert store.threads.get("new").value == {"title": "Theirs"}
    assert list((root / ".jan_server/new").iterdir()) == []


def test_deleting_is_moving(store: Store, root: Path) -> None:
    before = _tree(root / "threads/one")
    moved = store.threads.delete("one")
    assert _tree(moved) == before
    assert moved.relative_to(root / ".jan_server/trash").parts[1:] == ("threads", "one")
    assert [thread.id for thread in store.threads.list()] == ["two"]
    write(root / "threads/one/thread.json", "{}")
    assert store.threads.delete("one") != moved
    with pytest.raises(NotFound):
        store.threads.delete("one")


def test_what_is_over_goes_and_so_do_locks_that_nobody_holds(store: Store, root: Path) -> None:
    store.messages("one").append([{"role": "user", "content": "hello"}])
    assert list((root / ".jan_server/locks").iterdir())
    store.threads.delete("one")
    store.expire(days=0)
    assert list((root / ".jan_server/locks").iterdir()) == []
    assert [item.resource_id for item in store.trash.list()] == ["one"]


def test_a_client_may_choose_a_free_message_id(store: Store) -> None:
    messages = store.messages("one")
    added = messages.append([{**HI, "id": "mine"}, HI])
    assert [message.id for message in messages.list()] == ["a", "mine", added[1].id]
    for id, kind in (("mine", InvalidRequest), ("a", InvalidRequest), ("x/y", InvalidId)):
        with pytest.raises(kind) as caught:
            messages.append([HI, {**HI, "id": id}])
        assert caught.value.param == "$.id"
    assert len(messages.list()) == 3
    assert messages.append([]) == []


def test_what_an_append_answers_is_what_a_list_shows(store: Store, root: Path) -> None:
    write(root / "threads/one/messages.jsonl", '\n{"role":"user"}\nx')
    added = store.messages("one").append([HI, HI])
    assert added == store.messages("one").list()[1:]
    assert added == Store(root).messages("one").list()[1:]


def test_message_ids_increase_within_a_thread(store: Store) -> None:
    store.messages("one").append([{**HI, "id": "7ZZZZZZZZZZZZZZZZZZZZZZZY0"}])
    found = [store.messages("one").append([HI])[0].id for _ in range(3)]
    assert found == sorted(found)
    assert found[0] == "7ZZZZZZZZZZZZZZZZZZZZZZZY1"


def test_a_missing_time_is_the_one_before(store: Store, root: Path) -> None:
    lines = ["{}", '{"created": 1705312350123}', "{}", '{"created_at": 1757840130456}', "{}"]
    write(root / "threads/jan_1705312345/messages.jsonl", "\n".join(lines))
    times = [message.seconds for message in store.messages("jan_1705312345").list()]
    assert times == [1705312345, 1705312350, 1705312350, 1757840130, 1757840130]


def test_a_missing_time_is_the_folders_when_nothing_else_is_known(root: Path) -> None:
    write(root / "threads/x/messages.jsonl", "{}")
    write(root / "threads/x/thread.json", "broken")
    os.utime(root / "threads/x", (1_600_000_000, 1_600_000_000))
    store = Store(root)
    assert [message.seconds for message in store.messages("x").list()] == [1_600_000_000]


def test_what_says_no_time_is_not_younger_than_its_answer(root: Path) -> None:
    lines = ['{"role": "user"}', '{"role": "user"}', '{"created": 1705312350123}', "{}"]
    write(root / "threads/x/messages.jsonl", "\n".join(lines))
    write(root / "threads/x/thread.json", "{}")  # As old as the file is, which is much younger.
    store = Store(root)
    assert {message.seconds for message in store.messages("x").list()} == {1705312350}
    assert {message.seconds for message in store.messages("x").last(4)[0]} == {1705312350}
    assert store.threads.shown("x").updated == 1705312350


def test_a_threads_time_may_be_its_first_messages(store: Store, root: Path) -> None:
    write(root / "threads/one/messages.jsonl", 'x\n{"created": 1705312350123}\n')
    assert store.threads.shown("one").updated == 1705312350
    assert store.threads.shown("two").updated == store.threads.get("two").mtime


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"updated": 1, "metadata": {"lastMessage": "", "k": 1}}', {"lastMessage": "hi", "k": 1}),
        ('{"updated": 1, "metadata": {"k": 1}}', {"k": 1}),
        ('{"updated": 1, "metadata": 7}', 7),
    ],
)
def test_the_thread_follows_its_messages(before: str, after: Any, store: Store, root: Path) -> None:
    write(root / "threads/one/thread.json", before)
    store.messages("one").append([HI])
    store.messages("one").touch()
    thread = store.threads.get("one")
    assert thread.value["metadata"] == after
    assert thread.value["updated"] > 1


class Saving(FailingSystem):
    """Somebody saves a file in the moment in which it is replaced."""

    def __init__(self, path: Path, theirs: bytes) -> None:
        super().__init__()
        self._saves = [(path, theirs)]

    def exchange(self, one: Path, other: Path) -> None:
        while self._saves:
            path, theirs = self._saves.pop()
            path.write_bytes(theirs)
        super().exchange(one, other)


@pytest.mark.parametrize(
    "theirs", [b'{"updated": 1, "metadata": {"mine": 1}}', b'{"metadata": {"mine"', b"", b"[]"]
)
def test_a_thread_that_somebody_saves_meanwhile_does_not_follow(
    theirs: bytes, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = root / "threads/one/thread.json"
    write(path, '{"updated": 1, "metadata": {"lastMessage": ""}}')
    store = Store(root, files=Files(fsync=False, system=Saving(path, theirs)))
    before = sorted(path.parent.iterdir())
    with contextlib.suppress(FileUnreadable):
        store.messages("one").touch()
    assert path.read_bytes() == theirs
    assert sorted(path.parent.iterdir()) == before
    assert not [told for told in caplog.messages if "while we changed it" in told]


def test_what_is_saved_just_before_a_thread_follows_is_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "threads/one/thread.json"
    write(path, '{"updated": 1, "metadata": {"lastMessage": ""}}')
    store = Store(root, fsync=False)
    touch = store.threads.touch

    def late(*given: Any) -> Document:
        write(path, '{"updated": 1, "metadata": {"lastMessage": "", "mine": 1}}')
        return touch(*given)

    monkeypatch.setattr(store.threads, "touch", late)
    store.messages("one").touch()
    assert store.threads.get("one").value["metadata"] == {"lastMessage": "hi", "mine": 1}


def test_the_last_message_of_no_messages_is_empty(store: Store, root: Path) -> None:
    write(root / "threads/two/thread.json", '{"metadata": {"lastMessage": "gone"}}')
    store.messages("two").touch()
    assert store.threads.get("two").value["metadata"] == {"lastMessage": ""}


def test_threads_that_append_at_once_lose_nothing(root: Path) -> None:
    store = Store(root, fsync=False)

    def append(number: int) -> None:
        for turn in range(10):
            store.messages("one").append([{**HI, "id": f"{number}-{turn}"}, HI])
            store.threads.change("one", {f"k{number}": turn})

    _at_once(16, append)
    found = [message.id for message in store.messages("one").list()]
    assert len(found) == len(set(found)) == 1 + 16 * 10 * 2
    for number in range(16):
        mine = [id for id in found if id.startswith(f"{number}-")]
        assert mine == [f"{number}-{turn}" for turn in range(10)]
    assert store.messages("one").problems() == []
    value = store.threads.get("one").value
    assert {key: value[key] for key in value if key.startswith("k")} == {
        f"k{number}": 9 for number in range(16)
    }


def test_a_thread_deleted_while_an_append_waits_stays_deleted(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_looked = threading.Event()
    find = store.threads.folder

    def folder(id: str) -> Path:
        found = find(id)
        has_looked.set()
        return found

    def append() -> None:
        with pytest.raises(NotFound):
            store.messages("one").append([HI])

    worker = threading.Thread(target=append)
    with store.threads.hold("one"):
        monkeypatch.setattr(store.threads, "folder", folder)
        worker.start()
        has_looked.wait()
        store.threads.delete("one")
    worker.join()
    assert not (root / "threads/one").exists()


def test_new_files_are_the_owners_only_unless_the_folder_is_wider(root: Path) -> None:
    store = Store(root, fsync=False)
    umask = os.umask(0)
    try:
        for mode, of_file, of_folder in ((0o700, 0o600, 0o700), (0o755, 0o644, 0o755)):
            (root / "threads").chmod(mode)
            thread = store.create_thread(assistants=[{"assistant_id": "jan"}])
            assert stat.S_IMODE(thread.path.stat().st_mode) == of_file
            assert stat.S_IMODE(thread.folder.stat().st_mode) == of_folder
    finally:
        os.umask(umask)


def test_work_folders_are_ours(store: Store, root: Path) -> None:
    folder = store.work_folder("fitted")
    assert (folder, stat.S_IMODE(folder.stat().st_mode)) == (root / ".jan_server/fitted", 0o700)
    assert store.work_folder("fitted") == folder


def test_a_finished_file_is_published(tmp_path: Path) -> None:
    write(tmp_path / "part", "whole")
    write(tmp_path / "models/old", "old")
    Files().publish(tmp_path / "part", tmp_path / "models/old")
    assert _tree(tmp_path) == {"models": None, "models/old": b"whole"}
    write(tmp_path / "part", "again")
    for nth in (1, 2, 3):
        with pytest.raises(Exception, match="models/old was not changed"):
            Files(system=FailingSystem(nth)).publish(tmp_path / "part", tmp_path / "models/old")
    with pytest.raises(WriteUncertain):
        Files(system=FailingSystem(5)).publish(tmp_path / "part", tmp_path / "models/old")
    assert _tree(tmp_path) == {"models": None, "models/old": b"again"}


def test_a_file_that_may_not_be_read_says_so(root: Path) -> None:
    class Denied(Files):
        def read(self, path: Path) -> Any:
            raise PermissionError(13, "Permission denied")

    store = Store(root, files=Denied())
    with pytest.raises(FileUnreadable, match=r"threads/one/thread.json: cannot be read \(Perm"):
        store.threads.get("one")
    with pytest.raises(FileUnreadable, match=r"threads/one/messages.jsonl: cannot be read"):
        store.messages("one").list()


def test_a_folder_that_is_read_only_is_said_so(root: Path) -> None:
    store = Store(root, files=Files(system=FailingSystem(1, for_ever=True, code=30)))
    with pytest.raises(NotWritable, match="Check the folder's permissions"):
        store.messages("one").append([HI])


def test_only_the_files_that_were_read_last_are_kept(root: Path) -> None:
    histories = Histories(Files(fsync=False), capacity=2)
    for number in range(5):
        write(root / f"{number}.jsonl", "{}")
        assert len(histories.read(root / f"{number}.jsonl", shown="x").records) == 1
    assert repr(histories) == "<Histories 2 of 2>"


def test_everything_tells_its_state(store: Store, root: Path) -> None:
    thread = store.threads.get("one")
    write(root / "threads/one/thread.json", "")
    stale = store.threads.get("one")
    (root / "threads/one/thread.json").unlink()
    things = [
        store,
        store.threads,
        store.messages("one"),
        store.files,
        Files(),
        Replacing(Disk(), late=None),
        Adding(Disk()),
        store.trash,
        thread,
        stale,
        store.threads.get("one"),
        Place(root, paths.THREADS),
        store.threads._locks,
    ]
    assert [repr(thing) for thing in things] == [
        f"<Store {root} generation A>",
        "<Collection threads: <Index of threads: 1, not complete>>",
        "<Messages of one>",
        "<Files on <Disk fsync=off>>",
        "<Files on <Disk fsync=always>>",
        "<Replacing, 0 displaced files are kept>",
        "<Adding, 0 names are flushed>",
        f"<Trash {root}/.jan_server/trash>",
        "<Document one/thread.json 16 bytes>",
        "<Document one/thread.json stale>",
        "<Document one/thread.json no file>",
        f"<Place threads at {root}/threads>",
        "<Locks 0 in use>",
    ]


def _at_once(count: int, work: Callable[[int], object]) -> None:
    gate = threading.Barrier(count)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        gate.wait()
        try:
            work(number)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    workers = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
