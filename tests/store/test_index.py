"""What lists need, and what has changed: threads filed into folders, ids inside, events."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from jan_server.errors import DataFolderMissing, FileUnreadable, NotFound, NotReady
from jan_server.events import Event
from jan_server.store import Document, Store, index, paths
from jan_server.store.entries import Entries
from jan_server.store.formats import Times
from jan_server.store.paths import addresses
from jan_server.store.signature import signature_at
from tests.store.conftest import write


class Told:
    """What was published, as short text."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, event: Event) -> None:
        self.events.append(event)

    def take(self) -> list[str]:
        told = [f"{e.kind} {e.id} {e.change} by {e.cause}" for e in self.events]
        self.events.clear()
        return told


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def kept(root: Path, told: Told) -> Store:
    """A store whose folder was looked through once, and that is told what to look at again."""
    store = Store(root, fsync=False, publish=told.publish)
    store.keep()
    store.look_everywhere()
    assert told.take() == []
    return store


def ids(store: Store) -> list[str]:
    return [entry.id for entry in store.threads.index.oldest_first()]


def bodies(store: Store) -> list[Any]:
    return list(json.loads(store.threads.index.newest_first_body()))


def test_lists_are_sorted_by_the_last_update(kept: Store, root: Path) -> None:
    for name, updated in (("a", 3_000_000_000), ("b", 1_000_000_000), ("c", 2_000_000_000)):
        write(root / f"threads/{name}/thread.json", f'{{"updated": {updated}}}')
    kept.look_everywhere()
    assert [id for id in ids(kept) if id in "abc"] == ["b", "c", "a"]
    assert [value["id"] for value in bodies(kept) if value["id"] in "abc"] == ["a", "c", "b"]


def test_the_order_is_kept_up_while_threads_change(kept: Store, root: Path) -> None:
    assert ids(kept)
    for name, updated in [("a", 3), ("b", 1), ("a", 0), ("c", 2), ("b", 4), ("a", 5), ("c", 5)]:
        write(root / f"threads/{name}/thread.json", f'{{"updated": {updated + 4e9}}}')
        kept.look([root / f"threads/{name}"])
        fresh = Store(root)
        assert ids(kept) == ids(fresh)
        assert [v["id"] for v in bodies(kept)] == [v["id"] for v in bodies(fresh)]
    shutil.rmtree(root / "threads/b")
    kept.look([root / "threads/b"])
    assert [id for id in ids(kept) if id in "abc"] == ["a", "c"]


def test_a_list_shows_our_own_changes_at_once(kept: Store, told: Told) -> None:
    assert len(bodies(kept)) == 2
    kept.threads.change("one", {"title": "New"})
    assert "New" in {value["title"] for value in bodies(kept)}
    made = kept.create_thread(assistants=[{"assistant_id": "jan"}]).id
    assert made in ids(kept)
    kept.threads.delete(made)
    assert made not in ids(kept)
    assert told.take() == [
        "thread one updated by api",
        f"thread {made} created by api",
        f"thread {made} deleted by api",
    ]


def test_our_own_changes_are_told_once(kept: Store, root: Path, told: Told) -> None:
    kept.threads.change("one", {"title": "New"})
    told.take()
    kept.look([root / "threads/one/thread.json"])
    kept.look_everywhere()
    assert told.take() == []


EDITS: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "a title": (
        lambda root: write(root / "threads/one/thread.json", '{"title": "x"}'),
        ["thread one updated by file"],
    ),
    "broken": (
        lambda root: write(root / "threads/one/thread.json", "{"),
        ["thread one broken by file"],
    ),
    "a new thread": (
        lambda root: write(root / "threads/new/thread.json", "{}"),
        ["thread new created by file"],
    ),
    "a filed thread": (
        lambda root: write(root / "threads/Work/new/thread.json", "{}"),
        ["thread new created by file"],
    ),
    "a thread is moved away": (
        lambda root: (root / "threads/two").rename(root / "two"),
        ["thread two deleted by file"],
    ),
    "a thread is renamed": (
        lambda root: (root / "threads/two").rename(root / "threads/three"),
        ["thread three created by file", "thread two deleted by file"],
    ),
    "an assistant": (
        lambda root: write(root / "assistants/new/assistant.json", "{}"),
        ["assistant new created by file"],
    ),
    "weights": (
        lambda root: write(root / "models/a/b/x.gguf", "x"),
        ["model a/b created by file"],
    ),
    "all threads are gone": (
        lambda root: shutil.rmtree(root / "threads"),
        ["thread one deleted by file", "thread two deleted by file"],
    ),
}


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("by", ["path", "scan"])
def test_an_edit_by_hand_is_told_once(
    name: str, by: str, kept: Store, root: Path, told: Told
) -> None:
    edit, expected = EDITS[name]
    before = set(root.rglob("*"))
    edit(root)
    changed = before ^ set(root.rglob("*")) | {root / "threads/one/thread.json"}
    for _ in range(2):
        if by == "path":
            kept.look(sorted(changed))
        else:
            kept.look_everywhere()
    assert sorted(told.take()) == expected


def test_weights_beside_a_manifest_are_told(kept: Store, root: Path, told: Told) -> None:
    write(root / "models/m/model.json", "{}")
    kept.look_everywhere()
    write(root / "models/m/weights.gguf", "x")
    kept.look([root / "models/m/weights.gguf"])
    assert told.take() == ["model m created by file", "model m updated by file"]


def test_a_broken_file_is_served_as_it_was_and_listed(kept: Store, root: Path) -> None:
    before = kept.threads.shown("one").body
    write(root / "threads/one/thread.json", '{"title": ')
    entry = kept.threads.shown("one")
    assert (entry.body, entry.problem) == (
        before,
        "threads/one/thread.json:1:11 ends too early",
    )
    assert "one" in ids(kept)
    assert kept.threads.get("one").stale == entry.problem
    assert kept.threads.get("one").value["title"] == "One"


def test_a_read_that_meets_a_change_tells_it(kept: Store, root: Path, told: Told) -> None:
    write(root / "threads/one/thread.json", '{"title": "by hand"}')
    assert kept.threads.get("one").value["title"] == "by hand"
    assert told.take() == ["thread one updated by file"]


def test_filed_threads_are_found_and_keep_their_place(root: Path) -> None:
    write(root / "threads/Work/2024/plan/thread.json", '{"title": "Plan"}')
    write(root / "threads/Work/one/thread.json", '{"title": "Filed"}')
    store = Store(root, fsync=False)
    assert sorted(ids(store)) == ["one", "one@Work", "plan", "two"]
    assert store.threads.get("one").value["title"] == "One"
    assert store.threads.get("one@Work").value["title"] == "Filed"
    store.threads.change("plan", {"title": "Changed"})
    store.messages("plan").append([{"role": "user", "content": "hi"}])
    assert (root / "threads/Work/2024/plan/thread.json").read_text() != '{"title": "Plan"}'
    assert (root / "threads/Work/2024/plan/messages.jsonl").exists()
    store.threads.delete("one@Work")
    assert not (root / "threads/Work/one").exists()
    assert sorted(ids(store)) == ["one", "plan", "two"]


def test_a_name_goes_to_the_thread_directly_there(kept: Store, root: Path) -> None:
    write(root / "threads/Work/x/thread.json", '{"title": "filed"}')
    kept.look_everywhere()
    assert kept.threads.get("x").value["title"] == "filed"
    write(root / "threads/x/thread.json", '{"title": "direct"}')
    kept.look([root / "threads/x"])
    assert kept.threads.get("x").value["title"] == "direct"
    assert kept.threads.get("x@Work").value["title"] == "filed"
    assert {"x", "x@Work"} <= {value["id"] for value in bodies(kept)}
    shutil.rmtree(root / "threads/x")
    kept.look([root / "threads/x"])
    assert kept.threads.get("x").value["title"] == "filed"
    assert "x@Work" not in {value["id"] for value in bodies(kept)}


@pytest.mark.parametrize(
    ("filed", "taken", "expected"),
    [
        (["W/x"], [], {"x": "W/x"}),
        (["W/x"], ["x"], {"x@W": "W/x"}),
        (["B/x", "A/x"], [], {"x": "A/x", "x@B": "B/x"}),
        (["A/B/x", "A/x"], ["x"], {"x@A:B": "A/B/x", "x@A": "A/x"}),
    ],
)
def test_filed_threads_are_told_apart_by_their_folder(
    filed: list[str], taken: list[str], expected: dict[str, str]
) -> None:
    assert addresses(filed, taken.__contains__) == expected


def test_a_filed_thread_is_found_before_anybody_told_of_it(kept: Store, root: Path) -> None:
    with pytest.raises(NotFound):
        kept.threads.get("late")
    write(root / "threads/Later/Still/late/thread.json", '{"title": "late"}')
    assert kept.threads.get("late").value["title"] == "late"


def test_a_thread_keeps_its_id_when_it_is_filed(kept: Store, root: Path) -> None:
    (root / "threads/Home").mkdir()
    (root / "threads/one").rename(root / "threads/Home/one")
    assert kept.threads.get("one").folder == root / "threads/Home/one"
    assert sorted(value["id"] for value in bodies(kept)) == ["one", "two"]


def test_a_thread_in_a_thread_and_a_circle_of_links_are_none(root: Path) -> None:
    write(root / "threads/one/inner/thread.json", "{}")
    (root / "threads/Work").mkdir()
    (root / "threads/Work/circle").symlink_to(root / "threads")
    assert sorted(ids(Store(root))) == ["one", "two"]


def test_an_id_inside_finds_a_renamed_folder_while_only_one_says_it(
    kept: Store, root: Path
) -> None:
    write(root / "threads/renamed/thread.json", '{"id": "old"}')
    kept.look_everywhere()
    assert kept.threads.get("old").id == "renamed"
    shutil.copytree(root / "threads/renamed", root / "threads/copied")
    kept.look_everywhere()
    with pytest.raises(NotFound):
        kept.threads.get("old")
    shutil.rmtree(root / "threads/renamed")
    kept.look_everywhere()
    assert kept.threads.get("old").id == "copied"


def test_a_folder_that_was_moved_away_is_not_a_thousand_deletions(
    kept: Store, root: Path, told: Told
) -> None:
    root.rename(root.parent / "away")
    with pytest.raises(DataFolderMissing, match="Put it back"):
        kept.look_everywhere()
    with pytest.raises(DataFolderMissing):
        kept.threads.index.oldest_first()
    with pytest.raises(DataFolderMissing):
        kept.threads.get("one")
    kept.look([root / "threads/one/thread.json"])
    (root.parent / "away").rename(root)
    kept.look_everywhere()
    assert sorted(ids(kept)) == ["one", "two"]
    assert told.take() == []


def test_a_list_waits_for_the_first_scan_and_not_for_ever(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(root)
    store.keep()
    monkeypatch.setattr(index, "PATIENCE", 0.01)
    with store.threads.index._scanning, pytest.raises(NotReady) as caught:
        store.threads.index.oldest_first()
    assert caught.value.retry_after == 5
    assert sorted(ids(store)) == ["one", "two"]


def test_changes_and_looks_at_once_are_told_once(kept: Store, root: Path, told: Told) -> None:
    """A watcher that is faster than we are: what we change is told as ours all the same."""
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            kept.look([root / "threads/one/thread.json"])

    watching = threading.Thread(target=watch)
    watching.start()
    for number in range(50):
        kept.threads.change("one", {"title": str(number)})
    done.set()
    watching.join()
    assert told.take() == ["thread one updated by api"] * 50


# What somebody else changes while we do something


def test_an_edit_by_hand_while_a_message_is_added_is_read_listed_and_told(
    kept: Store, root: Path, told: Told
) -> None:
    messages = root / "threads/one/messages.jsonl"
    with kept.threads.hold("one") as folder, kept.threads.index.writing(folder) as writing:
        write(root / "threads/one/thread.json", '{"title": "by hand"}')
        kept.look([root / "threads/one/thread.json"])
        assert b"by hand" in kept.threads.shown("one").body
        assert kept.threads.shown("one").etag == kept.threads.get("one").etag
        write(root / "threads/one/thread.json", '{"title":')
        assert "ends too early" in kept.threads.shown("one").problem
        write(root / "threads/one/thread.json", '{"title": "by hand"}')
        writing.companion = signature_at(messages)
    assert "by hand" in {value["title"] for value in bodies(kept)}
    assert told.take() == ["thread one updated by file"]


def test_a_new_thread_is_shown_before_it_is_noted(kept: Store, root: Path) -> None:
    folder = root / "threads/new"
    with kept.threads.index.writing(folder):
        write(folder / "thread.json", '{"title": "New"}')
        assert json.loads(kept.threads.shown("new").body) == {"title": "New", "id": "new"}


def test_messages_of_a_filed_thread_are_told_where_nobody_watches(
    root: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Telling asks for the thread, which asks for a scan, which is what finds them."""
    monkeypatch.setattr(index, "PATIENCE", 0.2)
    write(root / "threads/Work/plan/messages.jsonl", '{"id":"a","role":"user","content":"hi"}\n')
    store = Store(root, fsync=False, publish=told.publish)
    store.look_everywhere()
    with (root / "threads/Work/plan/messages.jsonl").open("a") as file:
        file.write('{"id":"b","role":"user","content":"ho"}\n')
    assert "plan" in ids(store)
    assert told.take() == ["message b created by file"]


def test_a_scan_of_a_folder_that_is_moved_away_meanwhile_is_not_the_whole_list(root: Path) -> None:
    away = root.parent / "away"

    def body(document: Document, _times: Times, _filed: str) -> bytes:
        if root.exists() and not away.exists():
            root.rename(away)
        return json.dumps({"id": document.id}).encode()

    store = Store(root, fsync=False, bodies={"thread": body})
    store.keep()
    with pytest.raises(DataFolderMissing):
        store.look_everywhere()
    (root.parent / "away").rename(root)
    away.mkdir()
    assert sorted(ids(store)) == ["one", "two"]


# Folders that are a resource's, and are not any more


@pytest.mark.parametrize("file", ["threads/two/thread.json", "assistants/jan/assistant.json"])
def test_a_folder_whose_document_is_deleted_is_none(
    file: str, kept: Store, root: Path, told: Told
) -> None:
    (root / file).unlink()
    kept.look([root / file])
    kind, id = file.split("/")[:2]
    assert told.take() == [f"{kind.removesuffix('s')} {id} deleted by file"]


def test_a_folder_of_threads_becomes_a_thread_and_one_of_threads_again(
    kept: Store, root: Path, told: Told
) -> None:
    for name in ("a", "b"):
        write(root / f"threads/Work/{name}/thread.json", "{}")
    kept.look([root / "threads/Work"])
    told.take()
    document = root / "threads/Work/thread.json"
    write(document, "{}")
    kept.look([document])
    assert sorted(ids(kept)) == sorted(ids(Store(root))) == ["Work", "one", "two"]
    assert sorted(told.take()) == [
        "thread Work created by file",
        "thread a deleted by file",
        "thread b deleted by file",
    ]
    document.unlink()
    kept.look([document])
    assert sorted(ids(kept)) == sorted(ids(Store(root))) == ["a", "b", "one", "two"]
    assert sorted(told.take()) == [
        "thread Work deleted by file",
        "thread a created by file",
        "thread b created by file",
    ]


def test_a_folder_that_was_empty_is_found_when_it_has_become_a_thread(
    kept: Store, root: Path
) -> None:
    (root / "threads/Work/late").mkdir(parents=True)
    kept.look_everywhere()
    with pytest.raises(NotFound):
        kept.threads.get("late")
    write(root / "threads/Work/late/thread.json", '{"title": "late"}')
    assert kept.threads.get("late").value["title"] == "late"


@pytest.mark.parametrize("by", ["an unknown id", "looking everywhere"])
def test_folders_that_are_gone_are_not_remembered(by: str, kept: Store, root: Path) -> None:
    (root / "threads/Work").mkdir()
    kept.look_everywhere()
    assert "Work" in kept.threads.index._looked_through
    (root / "threads/Work").rmdir()
    if by == "an unknown id":
        with pytest.raises(NotFound):
            kept.threads.get("nope")
    else:
        kept.look_everywhere()
    assert "Work" not in kept.threads.index._looked_through


def test_ids_inside_copies_that_are_gone_are_not_remembered(kept: Store, root: Path) -> None:
    for name in ("one copy", "one another copy"):
        write(root / f"threads/{name}/thread.json", '{"id": "one"}')
    kept.look_everywhere()
    assert sorted(ids(kept)) == ["one", "one another copy", "one copy", "two"]
    for name in ("one copy", "one another copy"):
        shutil.rmtree(root / f"threads/{name}")
    kept.look_everywhere()
    assert sorted(ids(kept)) == ["one", "two"]
    assert kept.threads.index._entries._by_inner_id == {}


def test_an_id_inside_that_is_another_now_finds_nothing(kept: Store, root: Path) -> None:
    write(root / "threads/two/thread.json", '{"id": "inner"}')
    assert kept.threads.shown("two").id == kept.threads.shown("inner").id == "two"
    write(root / "threads/two/thread.json", '{"id": "another"}')
    with pytest.raises(NotFound):
        kept.threads.shown("inner")


def test_a_filed_thread_is_changed_under_the_name_that_it_has_now(kept: Store, root: Path) -> None:
    document = root / "threads/Work/one/thread.json"
    write(document, '{"title": "Filed"}')
    os.utime(document, (1_700_000_000, 1_700_000_000.5))
    kept.look([document])
    assert kept.threads.get("one@Work").value["title"] == "Filed"
    shutil.rmtree(root / "threads/one")
    kept.look([root / "threads/one"])
    assert kept.threads.get("one").id == "one"
    assert kept.threads.change("one", {"title": "New"}).id == "one"
    document.write_text("{")
    assert kept.threads.get("one").id == "one"


@pytest.mark.parametrize("way", ["Link", ".stversions", "backup~"])
def test_threads_where_no_scan_looks_are_none_however_they_are_heard_of(
    way: str, kept: Store, root: Path, told: Told
) -> None:
    outside = root.parent / "outside"
    write(outside / "x/thread.json", '{"title": "theirs"}')
    (root / f"threads/{way}").symlink_to(outside)
    kept.look([root / f"threads/{way}/x/thread.json"])
    assert (sorted(ids(kept)), told.take()) == (["one", "two"], [])
    with pytest.raises(NotFound):
        kept.threads.change("x", {"title": "ours"})
    assert (outside / "x/thread.json").read_text() == '{"title": "theirs"}'


def test_filed_threads_are_none_when_their_folder_has_become_a_link(
    kept: Store, root: Path, told: Told
) -> None:
    write(root / "threads/Work/x/thread.json", "{}")
    kept.look([root / "threads/Work"])
    (root / "threads/Work").rename(root.parent / "outside")
    (root / "threads/Work").symlink_to(root.parent / "outside")
    with pytest.raises(NotFound):
        kept.threads.get("x")
    assert told.take() == ["thread x created by file", "thread x deleted by file"]


def test_a_filed_thread_costs_no_more_the_more_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand of them took half a minute before a list was whole."""
    asked: list[int] = []

    def counting(filed: Collection[str], is_taken: Callable[[str], bool]) -> dict[str, str]:
        asked.append(len(filed))
        return addresses(filed, is_taken)

    monkeypatch.setattr(paths, "addresses", counting)
    entries = Entries("filed")
    for number in range(100):
        entries.add(f"Work/{number}")
        entries.add(f"Home/{number}")
        entries.add(f"direct {number}")
    assert max(asked) == 2
    assert [(each.id, old_id) for each, old_id in entries.add("7")[1]] == [("7@Home", "7")]
    assert [(each.id, old_id) for each, old_id in entries.remove("7")] == [("7", "7@Home")]
    assert entries.at("Home/7") is entries.by_id("7")


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(root / "threads", (1_700_000_000, 1_700_000_000.5))
    store = Store(root, fsync=False)

    def full(_path: Path) -> list[str]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", full)
        for read in (store.threads.get, store.threads.has):
            with pytest.raises(FileUnreadable, match=r"threads: cannot be listed \(Too many"):
                read("one")
        with pytest.raises(FileUnreadable):
            store.threads.index.oldest_first()
    assert store.threads.has("one")
    assert sorted(ids(store)) == ["one", "two"]


def test_a_message_of_the_same_length_that_we_changed_is_not_told_again(
    kept: Store, root: Path, told: Told
) -> None:
    path = root / "threads/one/messages.jsonl"
    messages = kept.messages("one")
    messages.modify("a", {"content": "ho"})
    messages.list()
    messages.modify("a", {"content": "oh"})
    told.take()
    with path.open("a") as file:
        file.write('{"id":"b","role":"user","content":"hi"}\n')
    kept.look([path])
    assert told.take() == ["message b created by file"]


@pytest.mark.parametrize("is_new_first", [True, False])
def test_whoever_follows_the_events_knows_the_ids_of_threads_that_are_filed(
    is_new_first: bool, kept: Store, root: Path, told: Told
) -> None:
    known = set(ids(kept))
    names = ["threads/Work/one", "threads/one"]
    (root / "threads/Work").mkdir()
    for source, target in ((names[1], names[0]), (names[0], names[1])):
        (root / source).rename(root / target)
        for name in names if is_new_first == (target == names[0]) else reversed(names):
            kept.look([root / name])
        follow(known, told)
        assert known == set(ids(kept)) == {"one", "two"}


def test_whoever_follows_the_events_knows_whose_the_ids_are(
    kept: Store, root: Path, told: Told
) -> None:
    known = set(ids(kept))
    changes: list[tuple[str, set[str]]] = [
        ("Work/one", {"one", "one@Work"}),
        ("Home/one", {"one", "one@Work", "one@Home"}),
    ]
    for name, more in changes:
        write(root / f"threads/{name}/thread.json", "{}")
        kept.look([root / f"threads/{name}"])
        follow(known, told)
        assert known == {*more, "two"} == set(ids(kept))
    for name in ("one", "Home/one", "Work/one"):
        shutil.rmtree(root / f"threads/{name}")
        kept.look([root / f"threads/{name}"])
        follow(known, told)
        assert known == set(ids(kept))
    write(root / "threads/Work/one/thread.json", "{}")
    kept.look([root / "threads/Work/one"])
    told.take()
    write(root / "threads/one/thread.json", "{}")
    kept.look([root / "threads/one"])
    assert told.take() == ["thread one updated by file", "thread one@Work created by file"]


def follow(known: set[str], told: Told) -> None:
    """What a client that shows a list makes of the events."""
    for event in told.events:
        assert (event.id in known) is (event.change != "created"), event
        known.add(event.id)
        if event.change == "deleted":
            known.remove(event.id)
    told.take()


def test_of_threads_of_one_name_that_are_all_gone_each_id_is_told(
    kept: Store, root: Path, told: Told
) -> None:
    write(root / "threads/Work/one/thread.json", "{}")
    kept.look([root / "threads/Work"])
    told.take()
    shutil.rmtree(root / "threads/Work")
    shutil.rmtree(root / "threads/one")
    kept.look([root / "threads/one"])
    assert sorted(told.take()) == ["thread one deleted by file", "thread one@Work deleted by file"]


def test_a_change_of_what_is_known_is_news_before_all_is_known(root: Path, told: Told) -> None:
    store = Store(root, fsync=False, publish=told.publish)
    store.look([root / "threads/one"])
    write(root / "threads/one/thread.json", '{"title": "by hand"}')
    with (root / "threads/one/messages.jsonl").open("a") as file:
        file.write('{"id":"b","role":"user","content":"ho"}\n')
    store.look([root / "threads/one"])
    assert sorted(told.take()) == ["message b created by file", "thread one updated by file"]
    shutil.rmtree(root / "threads/one")
    store.look_everywhere()
    assert told.take() == ["thread one deleted by file"]


def test_a_change_of_ours_is_told_as_ours_when_a_message_comes_by_hand_meanwhile(
    kept: Store, root: Path, told: Told
) -> None:
    with kept.threads.index.writing(root / "threads/one"):
        write(root / "threads/one/thread.json", '{"title": "ours"}')
        with (root / "threads/one/messages.jsonl").open("a") as file:
            file.write('{"id":"b","role":"user","content":"ho"}\n')
    assert "thread one updated by api" in told.take()


@pytest.mark.parametrize("name", [".hidden", "one~", "one\n", "Work/.hidden"])
def test_a_name_that_is_not_listed_is_none_when_it_is_heard_of_either(
    name: str, kept: Store, root: Path, told: Told
) -> None:
    folder = root / "threads" / name
    write(folder / "thread.json", "{}")
    kept.look([folder, folder / "thread.json"])
    assert (sorted(ids(kept)), told.take()) == (["one", "two"], [])
    folder.rename(root / "threads/shown")
    kept.look([folder, root / "threads/shown"])
    assert (sorted(ids(kept)), told.take()) == (
        ["one", "shown", "two"],
        ["thread shown created by file"],
    )


@pytest.mark.parametrize("where", ["gone", "Work/gone"])
def test_what_goes_while_it_is_found_is_not_listed(
    where: str, kept: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root / f"threads/{where}/thread.json", "{}")
    found = list(kept.threads.place.walk())
    shutil.rmtree(root / f"threads/{where}")
    monkeypatch.setattr(type(kept.threads.place), "walk", lambda *_: iter(found))
    kept.threads.index.look_below(root / "threads/nowhere")
    assert sorted(ids(kept)) == ["one", "two"]
