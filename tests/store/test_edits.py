"""One message is changed, deleted or put back; every other byte of the file stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jan_server.errors import (
    AlreadyExists,
    InvalidId,
    InvalidRequest,
    JanError,
    NotFound,
    PreconditionFailed,
    WriteFailed,
    WriteUncertain,
)
from jan_server.events import Event
from jan_server.store import Message, Store, deletion
from jan_server.store.document import written_line
from jan_server.store.files import Files
from tests.store.failing import FailingSystem

A = b'{"id":"a","role":"user","content":"hi"}'
B = b'{ "id": "b", "n": 1.50, "role": "user", "content": "\\u00e9", "updated": 5 }'
C = b'{"id":"c","role":"assistant","content":[],"metadata":{"k":1}}'
BAD = b'{"id":'
BOM = b"\xef\xbb\xbf"


@pytest.fixture
def path(root: Path) -> Path:
    return root / "threads/one/messages.jsonl"


def ids_of(store: Store) -> list[str]:
    return [message.id for message in store.messages("one").list()]


# Changing

Row = tuple[bytes, str, dict[str, Any], bytes]
MODIFIED: dict[str, Row] = {
    "a value": (
        A + b"\n" + C + b"\n",
        "a",
        {"role": "assistant"},
        A.replace(b'"user"', b'"assistant"') + b"\n" + C + b"\n",
    ),
    "null": (C + b"\n", "c", {"metadata": None}, C.replace(b'{"k":1}', b"null") + b"\n"),
    "a new key comes last": (C, "c", {"x": [1]}, C[:-1] + b',"x":[1]}'),
    "a member of an object": (C, "c", {"metadata": {"k": 2}}, C.replace(b":1", b":2")),
    "a text becomes parts": (
        C,
        "c",
        {"content": "x"},
        C.replace(b"[]", b'[{"type":"text","text":{"value":"x","annotations":[]}}]'),
    ),
    "other lines stay as they are": (
        BOM + b"\r\n" + BAD + b"\n\n" + C + b"\r\n  " + A + b" \n" + BAD,
        "c",
        {"role": "user"},
        BOM
        + b"\r\n"
        + BAD
        + b"\n\n"
        + C.replace(b"assistant", b"user")
        + b"\r\n  "
        + A
        + b" \n"
        + BAD,
    ),
    "the first, behind a byte order mark": (
        BOM + C + b"\n",
        "c",
        {"role": "user"},
        BOM + C.replace(b"assistant", b"user") + b"\n",
    ),
    "glued to another": (
        A + C + b"\n",
        "c",
        {"role": "user"},
        A + C.replace(b"assistant", b"user") + b"\n",
    ),
    "glued before another": (
        C + A + b"\n",
        "c",
        {"role": "user"},
        C.replace(b"assistant", b"user") + A + b"\n",
    ),
    "the second of one id": (
        A + b"\n" + A + b"\n",
        "a.2",
        {"role": "system"},
        A + b"\n" + A.replace(b"user", b"system") + b"\n",
    ),
    "a number for an id": (b'{"id":7}\n', "7", {"x": 1}, b'{"id":7,"x":1}\n'),
    "what is the server's to say": (
        A,
        "a",
        {"id": "z", "object": "z", "created": 1, "created_at": 1, "thread_id": "z", "updated": 1},
        A,
    ),
    "the same values": (C, "c", {"metadata": {"k": 1.0}, "content": []}, C),
    "the same text": (A, "a", {"content": "hi"}, A),
    "the same text as parts": (A, "a", {"content": [{"type": "text", "text": "hi"}]}, A),
}


@pytest.mark.parametrize("name", MODIFIED)
def test_only_the_changed_values_differ(name: str, store: Store, path: Path) -> None:
    before, id, changes, after = MODIFIED[name]
    path.write_bytes(before)
    inode = path.stat().st_ino
    changed = store.messages("one").modify(id, changes)
    assert path.read_bytes() == after
    assert store.messages("one").get(id) == changed
    assert (path.stat().st_ino == inode) is (before == after)


def test_the_time_of_the_change_moves_in_its_own_unit(store: Store, path: Path) -> None:
    path.write_bytes(B)
    changed = store.messages("one").modify("b", {"role": "system"})
    moved = changed.value["updated"]
    assert isinstance(moved, int)
    assert 1.7e9 < moved < 1e11
    assert path.read_bytes() == B.replace(b'"user"', b'"system"').replace(b"5 }", b"%d }" % moved)


@pytest.mark.parametrize("line", [b'{"role":"user","content":"hi"}', b"{}"])
def test_a_message_without_an_id_keeps_its_address(line: bytes, store: Store, path: Path) -> None:
    path.write_bytes(line + b"\n" + A)
    [address, _] = ids_of(store)
    changed = store.messages("one").modify(address, {"role": "system"})
    assert changed.id == changed.value["id"] == address
    assert ids_of(store) == [address, "a"]


def test_a_message_whose_id_cannot_be_asked_for_is_answered_with_its_new_address(
    store: Store, path: Path
) -> None:
    path.write_bytes(b'{"id":"../x","role":"user"}\n')
    [address] = ids_of(store)
    changed = store.messages("one").modify(address, {"role": "system"})
    assert path.read_bytes() == b'{"id":"../x","role":"system"}\n'
    assert [changed.id] == ids_of(store) != [address]


@pytest.mark.parametrize(
    ("id", "kind"), [("nope", NotFound), ("line-1234", NotFound), ("x/y", InvalidId)]
)
@pytest.mark.parametrize(
    "change", [lambda m, id: m.modify(id, {"role": "user"}), lambda m, id: m.delete(id)]
)
def test_what_is_not_there_cannot_be_changed(
    id: str, kind: type[JanError], change: Callable[[Any, str], Any], store: Store, path: Path
) -> None:
    path.write_bytes(BAD + b"\n" + A)
    with pytest.raises(kind):
        change(store.messages("one"), id)
    assert path.read_bytes() == BAD + b"\n" + A


def refuse(message: Message) -> None:
    raise PreconditionFailed(message.etag)


def test_a_condition_sees_the_message_as_it_is_on_the_disk(store: Store, path: Path) -> None:
    messages = store.messages("one")
    messages.list()
    path.write_bytes(A + b"\n" + C)
    seen: list[bytes] = []
    messages.modify("c", {"role": "user"}, condition=lambda message: seen.append(message.raw))
    messages.delete("c", condition=lambda message: seen.append(message.raw))
    assert seen == [C, C.replace(b"assistant", b"user")]
    for change in (
        lambda: messages.modify("a", {"role": "system"}, condition=refuse),
        lambda: messages.delete("a", condition=refuse),
    ):
        with pytest.raises(PreconditionFailed):
            change()
    assert path.read_bytes() == A + b"\n"


# Deleting and putting back

DELETED: dict[str, tuple[bytes, str, bytes]] = {
    "the only one": (A + b"\n", "a", b""),
    "the first": (A + b"\n" + C + b"\n", "a", C + b"\n"),
    "the last": (A + b"\n" + C + b"\n", "c", A + b"\n"),
    "the last, without an end": (A + b"\n" + C, "c", A + b"\n"),
    "with CRLF": (A + b"\r\n" + C + b"\r\n", "a", C + b"\r\n"),
    "behind a byte order mark": (BOM + A + b"\n" + C, "a", BOM + C),
    "among blanks": (b"\n  " + A + b"\t\n\n" + C, "a", b"\n\n" + C),
    "glued behind": (A + C + b"\n", "c", A + b"\n"),
    "glued before": (A + C + b"\n", "a", C + b"\n"),
    "glued to what is torn": (A + BAD, "a", BAD),
    "among broken lines": (BAD + b"\n" + A + b"\n" + BAD, "a", BAD + b"\n" + BAD),
}


@pytest.mark.parametrize("name", DELETED)
def test_a_deletion_takes_the_line_and_nothing_else(name: str, store: Store, path: Path) -> None:
    before, id, after = DELETED[name]
    path.write_bytes(before)
    was = store.messages("one").get(id)
    assert store.messages("one").delete(id) == was
    assert path.read_bytes() == after
    [item] = store.trash.list()
    assert (item.kind, item.resource_id, item.thread_id) == ("message", id, "one")
    kept = deletion.read_message(item.path)
    assert kept is not None
    assert kept.line.encode() == was.raw


@pytest.mark.parametrize("id", ["a", "b", "c"])
def test_a_deleted_message_goes_back_to_its_place(id: str, store: Store, path: Path) -> None:
    whole = A + b"\n" + BAD + b"\n" + B + b"\n" + C + b"\n"
    path.write_bytes(whole)
    store.messages("one").delete(id)
    [item] = store.trash.list()
    store.restore(item.id)
    assert json.loads(path.read_bytes().splitlines()[0])["id"] == "a"
    assert ids_of(store) == ["a", "b", "c"]
    assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())


INSERTED: dict[str, tuple[bytes, str | None, bytes]] = {
    "it was the first": (A + b"\n", None, C + b"\n" + A + b"\n"),
    "the first behind a byte order mark": (BOM + A, None, BOM + C + b"\n" + A),
    "behind another": (A + b"\n" + B, "a", A + b"\n" + C + b"\n" + B),
    "behind the last": (A + b"\n", "a", A + b"\n" + C + b"\n"),
    "behind a line without an end": (A, "a", A + b"\n" + C + b"\n"),
    "behind one that is gone": (A, "gone", A + b"\n" + C + b"\n"),
    "into an empty file": (b"", "gone", C + b"\n"),
    "into nothing but a byte order mark": (BOM, "gone", BOM + C + b"\n"),
    "behind one that is glued": (A + B + b"\n", "a", A + B + b"\n" + C + b"\n"),
}


@pytest.mark.parametrize("name", INSERTED)
def test_a_line_is_put_back_behind_the_one_that_it_stood_after(
    name: str, store: Store, path: Path
) -> None:
    before, after, expected = INSERTED[name]
    path.write_bytes(before)
    inserted = store.messages("one").insert(C, after=after)
    assert path.read_bytes() == expected
    assert store.messages("one").get("c") == inserted.__class__(
        id="c", value=inserted.value, seconds=store.messages("one").get("c").seconds, raw=C
    )


def test_a_line_is_put_back_into_a_file_that_is_gone(store: Store, path: Path) -> None:
    path.unlink()
    store.messages("one").insert(C, after="a")
    assert path.read_bytes() == C + b"\n"


@pytest.mark.parametrize("line", [b"", b"x", A + C, C + b"\n" + A, C + b"\n", b"[]"])
def test_only_the_line_of_one_message_is_put_back(line: bytes, store: Store, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(InvalidRequest):
        store.messages("one").insert(line, after=None)
    assert path.read_bytes() == before


def test_a_line_is_not_put_back_beside_one_of_its_id(store: Store, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(AlreadyExists):
        store.messages("one").insert(A, after=None)
    assert path.read_bytes() == before


PIECES = [A, C, BAD, b"", A + C, A + BAD, b"\0", b" " + A + b" ", BOM + A, b'{"role":"user"}']


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.sampled_from(PIECES), max_size=6),
    ending=st.sampled_from([b"\n", b"\r\n"]),
    is_ended=st.booleans(),
    data=st.data(),
)
def test_whatever_the_file_holds_a_change_and_a_deletion_leave_the_rest(
    lines: list[bytes], ending: bytes, is_ended: bool, data: st.DataObject, store: Store, path: Path
) -> None:
    path.write_bytes(ending.join(lines) + (ending if is_ended else b""))
    messages = store.messages("one")
    before = messages.list()
    if not before:
        return
    chosen = data.draw(st.sampled_from(before))
    raw = path.read_bytes()
    changed = messages.modify(chosen.id, {"new": 1})
    assert path.read_bytes().count(changed.raw) >= 1
    assert len(path.read_bytes()) == len(raw) + len(changed.raw) - len(chosen.raw)
    assert [m.raw for m in messages.list() if m.raw != changed.raw] == [
        m.raw for m in before if m.id != chosen.id
    ]
    messages.delete(changed.id)
    # A mark that begins a line is the file's own when that line is the first now.
    rest = [m.raw.removeprefix(BOM) for m in before if m.id != chosen.id]
    assert [m.raw.removeprefix(BOM) for m in messages.list()] == rest


# Others who write at the same moment


class Neighbour(FailingSystem):
    """Writes the file itself right before ours takes its place, `times` times."""

    def __init__(self, path: Path, texts: list[bytes]) -> None:
        super().__init__()
        self._path = path
        self._texts = texts

    def exchange(self, one: Path, other: Path) -> None:
        if other == self._path and self._texts:
            self._path.write_bytes(self._texts.pop(0))
        super().exchange(one, other)


def conflicts(path: Path) -> list[bytes]:
    return [copy.read_bytes() for copy in sorted(path.parent.glob("messages.conflict-*"))]


CHANGED = C.replace(b"assistant", b"user")
BOTH = A + b"\n" + C + b"\n"


@pytest.mark.parametrize(
    ("theirs", "merged", "kept"),
    [
        (BOTH + B + b"\n", [A, CHANGED, B], []),
        (C + b"\n", [CHANGED], []),
        (BOTH.replace(b"hi", b"ho"), [A.replace(b"hi", b"ho"), CHANGED], []),
        (BOTH.replace(b'"k":1', b'"k":2'), [A, CHANGED], [BOTH.replace(b'"k":1', b'"k":2')]),
        (A + b"\n", [A, CHANGED], [A + b"\n"]),
    ],
)
def test_a_change_merges_with_what_others_write_elsewhere_else_theirs_is_kept(
    theirs: bytes, merged: list[bytes], kept: list[bytes], root: Path, path: Path
) -> None:
    path.write_bytes(BOTH)
    store = Store(root, files=Files(system=Neighbour(path, [theirs])))
    store.messages("one").modify("c", {"role": "user"})
    assert path.read_bytes().splitlines() == merged
    assert conflicts(path) == kept


@pytest.mark.parametrize(
    ("theirs", "merged", "kept"),
    [
        (BOTH + B + b"\n", [A, B], []),
        (BOTH.replace(b'"k":1', b'"k":2'), [A], [BOTH.replace(b'"k":1', b'"k":2')]),
    ],
)
def test_a_deletion_merges_likewise(
    theirs: bytes, merged: list[bytes], kept: list[bytes], root: Path, path: Path
) -> None:
    path.write_bytes(BOTH)
    store = Store(root, files=Files(system=Neighbour(path, [theirs])))
    store.messages("one").delete("c")
    assert path.read_bytes().splitlines() == merged
    assert conflicts(path) == kept


def test_a_line_put_back_merges_likewise(root: Path, path: Path) -> None:
    path.write_bytes(A + b"\n")
    theirs = [A + b"\n" + B + b"\n"]
    store = Store(root, files=Files(system=Neighbour(path, theirs)))
    store.messages("one").insert(C, after="b")
    assert path.read_bytes().splitlines() == [A, B, C]
    path.write_bytes(A + b"\n")
    store = Store(root, files=Files(system=Neighbour(path, [BOTH])))
    store.messages("one").insert(C, after="a")
    assert path.read_bytes().splitlines() == [A, C]
    assert conflicts(path) == [BOTH]


# Failures and news


@pytest.mark.parametrize("code_kind", [WriteFailed, WriteUncertain])
def test_what_could_not_be_deleted_is_not_in_the_trash_either(
    code_kind: type[JanError], store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise code_kind("no")

    monkeypatch.setattr(store.files, "try_replace", fail)
    with pytest.raises(code_kind):
        store.messages("one").delete("a")
    # When it may have been deleted, what is in the trash may be the only one.
    assert len(store.trash.list()) == (code_kind is WriteUncertain)


def test_changes_are_told_with_their_etags(root: Path) -> None:
    told: list[Event] = []
    store = Store(root, fsync=False, publish=told.append)
    messages = store.messages("one")
    changed = messages.modify("a", {"role": "system"})
    messages.modify("a", {"role": "system"})
    messages.delete("a")
    messages.insert(A, after=None)
    assert [
        (event.kind, event.id, event.change, event.cause, event.thread_id, event.etag)
        for event in told
        if event.kind == "message"
    ] == [
        ("message", "a", "updated", "api", "one", changed.etag),
        ("message", "a", "deleted", "api", "one", None),
        ("message", "a", "created", "api", "one", messages.get("a").etag),
    ]


def test_a_line_written_by_us_is_changed_in_place(store: Store, path: Path) -> None:
    [added] = store.messages("one").append([{"role": "user", "content": "é"}])
    changed = store.messages("one").modify(added.id, {"metadata": {"x": "ü"}})
    value = {**added.value, "updated": changed.value["updated"], "metadata": {"x": "ü"}}
    assert path.read_bytes().splitlines()[1] + b"\n" == written_line(value)
