"""The power is cut after every call of every operation: what is flushed is there, and no more.

A killed process proves nothing about this, since the system's cache outlives it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jan_server.store import Store
from jan_server.store.files import Files
from tests.store.forgetful import ForgetfulSystem, Tree, tree_of, write_tree
from tests.store.operations import (
    OPERATIONS,
    before_and_after,
    check_it_works_on,
    fresh,
    is_sound,
    prepared,
    seen,
)


@pytest.mark.parametrize("name", OPERATIONS)
def test_after_a_power_cut_all_is_old_or_new_and_what_was_answered_is_there(
    name: str, tmp_path: Path
) -> None:
    operation = OPERATIONS[name]
    before, after = before_and_after(operation, tmp_path / "whole")
    root = prepared(operation, tmp_path / "cut")
    system = ForgetfulSystem(root)
    old = tree_of(root)
    operation.run(Store(root, files=Files(system=system)))
    answered = system.possible()
    kept = _contents(old) & _contents(tree_of(root))
    for number, tree in enumerate({*answered, *system.states}):
        found = seen(write_tree(tree, tmp_path / str(number)))
        assert tree not in answered or found == after
        assert is_sound(found, operation, before=before, after=after), tree
        # What is there before and after, in the trash or wherever, is there at every moment.
        assert kept <= _contents(tree)
        check_it_works_on(tmp_path / str(number))


class Neighbour(ForgetfulSystem):
    """At the moment of the replacement another program saves, and flushes, the file."""

    theirs = b'{"title": "Theirs"}'
    has_saved = False

    def exchange(self, one: Path, other: Path) -> None:
        if not self.has_saved:
            self.has_saved = True
            self.states.clear()
            fd = self.open(other, os.O_WRONLY | os.O_TRUNC)
            self.ftruncate(fd, 0)
            self.write(fd, self.theirs)
            self.fsync(fd)
            os.close(fd)
            self.states.clear()
        super().exchange(one, other)


def test_what_loses_a_conflict_is_on_the_disk_at_every_moment(tmp_path: Path) -> None:
    root = fresh(tmp_path / "root")
    system = Neighbour(root)
    Store(root, files=Files(system=system)).threads.change("one", {"title": "Ours"})
    assert len(system.states) > 3
    for tree in system.states | system.possible():
        assert Neighbour.theirs in _contents(tree)
    assert seen(root)[0][2] == "Ours"


def _contents(tree: Tree) -> set[bytes | None]:
    return {data for _, data in tree}


@pytest.mark.parametrize("name", ["change", "append", "touch", "delete"])
def test_a_store_that_does_not_flush_would_be_found_out(name: str, tmp_path: Path) -> None:
    operation = OPERATIONS[name]
    _, after = before_and_after(operation, tmp_path / "whole")
    root = prepared(operation, tmp_path / "cut")
    system = ForgetfulSystem(root)
    operation.run(Store(root, files=Files(system=system, fsync=False)))
    found = [seen(write_tree(tree, tmp_path / str(i))) for i, tree in enumerate(system.possible())]
    assert after in found
    assert any(state != after for state in found)


def _system(tmp_path: Path) -> ForgetfulSystem:
    root = tmp_path / "disk"
    (root / "folder").mkdir(parents=True)
    (root / "file").write_bytes(b"old")
    return ForgetfulSystem(root)


OLD: Tree = (("file", b"old"), ("folder", None))


def test_bytes_that_are_not_flushed_may_be_there_or_not_or_half_or_zeros(tmp_path: Path) -> None:
    system = _system(tmp_path)
    fd = system.open(tmp_path / "disk/file", os.O_WRONLY | os.O_APPEND)
    system.write(fd, b"new")
    found = {tree[0][1] for tree in system.possible()}
    assert found == {b"old", b"oldn", b"old\0\0\0", b"oldnew"}
    system.write(fd, b"er")
    system.ftruncate(fd, 7)
    assert {tree[0][1] for tree in system.possible()} > found | {b"oldnewe", b"oldnewer"}
    system.fsync(fd)
    assert system.possible() == {(("file", b"oldnewe"), ("folder", None))}
    os.close(fd)
    assert repr(system) == "<ForgetfulSystem 5 calls>"


def test_a_name_that_is_not_flushed_may_be_there_or_not(tmp_path: Path) -> None:
    system = _system(tmp_path)
    disk = tmp_path / "disk"
    os.close(system.open(disk / "new", os.O_WRONLY | os.O_CREAT))
    system.unlink(disk / "file")
    gone, made = (("folder", None),), ("new", b"")
    assert system.possible() == {OLD, gone, (*OLD, made), (*gone, made)}
    _flush(system, disk)
    assert system.possible() == {(*gone, made)}


def test_a_rename_into_another_folder_is_two_steps_that_flushes_can_turn_round(
    tmp_path: Path,
) -> None:
    system = _system(tmp_path)
    disk = tmp_path / "disk"
    system.rename(disk / "file", disk / "folder/file")
    folder, moved = ("folder", None), ("folder/file", b"old")
    assert system.possible() == {OLD, (*OLD, moved), (folder, moved)}
    _flush(system, disk)  # The wrong one first: neither name is sure to be there.
    assert system.possible() == {(folder,), (folder, moved)}
    _flush(system, disk / "folder")
    assert system.possible() == {(folder, moved)}


def test_names_change_places_in_one_step(tmp_path: Path) -> None:
    system = _system(tmp_path)
    disk = tmp_path / "disk"
    fd = system.open(disk / "new", os.O_WRONLY | os.O_CREAT)
    system.write(fd, b"new")
    system.fsync(fd)
    os.close(fd)
    _flush(system, disk)
    system.exchange(disk / "new", disk / "file")
    exchanged: Tree = (("file", b"new"), ("folder", None), ("new", b"old"))
    assert system.possible() == {(*OLD, ("new", b"new")), exchanged}
    system.replace(disk / "new", disk / "file")
    assert system.possible() == {(*OLD, ("new", b"new")), exchanged, OLD}


def _flush(system: ForgetfulSystem, folder: Path) -> None:
    fd = system.open(folder, os.O_RDONLY)
    system.fsync(fd)
    os.close(fd)
