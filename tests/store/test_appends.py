"""Adding to a thread costs the same however long it is; what waits together is written together."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jan_server import ids
from jan_server.errors import (
    DiskFull,
    FileUnreadable,
    InvalidRequest,
    JanError,
    NotFound,
    WriteFailed,
)
from jan_server.events import Event
from jan_server.store import Store, formats, torn
from jan_server.store.document import written_line
from jan_server.store.ends import MAX_IDS, End, Ends
from jan_server.store.files import Files
from jan_server.store.signature import Signature
from jan_server.store.together import append_all
from jan_server.store.told import MAX_UNKNOWN
from tests.store.conftest import CountingFiles, write
from tests.store.failing import FailingSystem

HI = {"role": "user", "content": "hi"}
LAST = "7ZZZZZZZZZZZZZZZZZZZZZZZY0"
LONG_AGO = 1_600_000_000


@pytest.fixture
def path(root: Path) -> Path:
    """The messages of a thread that says itself when it was made."""
    write(root / "threads/one/thread.json", '{"created": 1705312345000}')
    return root / "threads/one/messages.jsonl"


def long_file(path: Path, *, last: str = LAST) -> int:
    """More than is read a moment later, only to tell of what is added; its size."""
    count = MAX_UNKNOWN // 500
    lines = [f'{{"id":"m{n}","role":"user","content":"{"x" * 500}"}}\n' for n in range(count)]
    path.write_text("".join(lines) + f'{{"id":"{last}","role":"user","content":"x"}}\n')
    return path.stat().st_size


def seen(store: Store) -> list[str]:
    return [message.id for message in store.messages("one").list()]


# What is read


def test_an_append_reads_the_end_of_a_long_file_and_that_once(root: Path, path: Path) -> None:
    long_file(path)
    files = CountingFiles()
    messages = Store(root, files=files).messages("one")
    first = messages.append([HI])
    assert 0 < files.bytes_read <= 2**16
    files.bytes_read = 0
    second = messages.append([HI, HI])
    assert files.bytes_read == 0
    found = [message.id for message in (*first, *second)]
    assert found == sorted(found)
    assert found[0] == LAST[:-1] + "1"


def test_what_others_add_meanwhile_is_looked_at(root: Path, path: Path) -> None:
    messages = Store(root, fsync=False).messages("one")
    messages.append([HI])
    with path.open("a") as file:
        file.write(f'{{"id":"{LAST}"}}')
    [added] = messages.append([HI])
    assert added.id == LAST[:-1] + "1"
    assert path.read_text().splitlines()[2:] == [f'{{"id":"{LAST}"}}', added.raw.decode()]


def test_a_chosen_id_is_compared_with_all_ids_read_once(root: Path, path: Path) -> None:
    size = long_file(path)
    files = CountingFiles()
    messages = Store(root, files=files).messages("one")
    messages.append([{**HI, "id": "mine"}])
    assert files.bytes_read >= size
    files.bytes_read = 0
    for taken in ("m0", "mine"):
        with pytest.raises(InvalidRequest, match="has a message"):
            messages.append([{**HI, "id": taken}])
    messages.append([{**HI, "id": "other"}])
    with pytest.raises(InvalidRequest):
        messages.append([{**HI, "id": "other"}])
    assert files.bytes_read == 0


def test_an_id_that_was_taken_out_by_hand_is_free(store: Store, path: Path) -> None:
    messages = store.messages("one")
    messages.append([{**HI, "id": "mine"}])
    path.write_text("\n".join(path.read_text().splitlines()[:1]))
    messages.append([{**HI, "id": "mine"}])
    assert seen(store) == ["a", "mine"]


def test_who_writes_between_our_look_and_our_write_is_not_overlooked(
    root: Path, path: Path
) -> None:
    class Neighbour(FailingSystem):
        def write(self, fd: int, data: bytes, /) -> int:
            with path.open("a") as file:
                file.write('{"id":"theirs","role":"user","content":"x"}\n')
            return super().write(fd, data)

    store = Store(root, files=Files(system=Neighbour()))
    store.messages("one").append([{**HI, "id": "ours"}])
    with pytest.raises(InvalidRequest):
        store.messages("one").append([{**HI, "id": "theirs"}])
    assert seen(store) == ["a", "theirs", "ours"]


def test_a_file_that_cannot_be_read_is_not_added_to(root: Path, path: Path) -> None:
    path.unlink()
    path.mkdir()
    with pytest.raises(FileUnreadable, match=r"threads/one/messages\.jsonl: cannot be read"):
        Store(root, fsync=False).messages("one").append([HI])


def test_the_known_ends_are_bounded() -> None:
    ends = Ends(capacity=2)
    signature = Signature(1, 2, 3)
    for name in ("a", "b", "c"):
        ends.keep(Path(name), End(signature, True, None, {name}))
    assert ends.take(Path("a"), signature) is None
    assert ends.take(Path("b"), Signature(1, 2, 4)) is None
    assert ends.take(Path("c"), signature) == End(signature, True, None, {"c"})
    assert ends.take(Path("c"), signature) is None
    ends.keep(Path("a"), End(signature, True, None, set(map(str, range(MAX_IDS)))))
    ends.keep(Path("b"), End(signature, True, None, {"x"}))
    assert repr(ends) == "<Ends of 1 files, 1 ids>"


# Several at once


def test_what_is_appended_together_is_one_write_and_one_flush(root: Path, path: Path) -> None:
    system = FailingSystem()
    messages = Store(root, files=Files(system=system)).messages("one")
    messages.append([HI])
    system.calls.clear()
    outcomes = messages.append_many([[HI], [HI, HI], [{**HI, "id": "mine"}]])
    assert system.calls == ["open", "write", "fsync"]
    added = [message.raw for each in outcomes if isinstance(each, list) for message in each]
    assert path.read_bytes().splitlines()[2:] == added
    assert len(added) == 4


def test_a_batch_that_is_refused_does_not_spoil_the_others(store: Store) -> None:
    taken = {**HI, "id": "a"}
    first, refused, second, twice = store.messages("one").append_many(
        [[{**HI, "id": "x"}], [HI, taken], [HI], [{**HI, "id": "x"}]]
    )
    assert isinstance(refused, InvalidRequest)
    assert isinstance(twice, InvalidRequest)
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert seen(store) == ["a", "x", second[0].id]


def test_a_write_that_fails_fails_all_and_their_ids_stay_free(root: Path, path: Path) -> None:
    system = FailingSystem()
    messages = Store(root, files=Files(system=system)).messages("one")
    messages.append([{**HI, "id": "x"}])
    before = path.read_bytes()
    system.nth, system.code = len(system.calls) + 2, errno.ENOSPC
    with pytest.raises(DiskFull):
        messages.append_many([[{**HI, "id": "y"}], [HI]])
    assert path.read_bytes() == before
    messages.append([{**HI, "id": "y"}])


def test_what_is_added_is_told_with_its_etag(root: Path) -> None:
    told: list[Event] = []
    store = Store(root, fsync=False, publish=told.append)
    added = store.messages("one").append([HI, HI])
    assert [event for event in told if event.kind == "message"] == [
        Event(
            kind="message",
            id=message.id,
            change="created",
            cause="api",
            etag=message.etag,
            thread_id="one",
            resource=message,
        )
        for message in added
    ]


def test_several_threads_are_written_first_and_flushed_then(root: Path) -> None:
    system = FailingSystem()
    store = Store(root, files=Files(system=system))
    for name in ("one", "two"):
        store.messages(name).append([HI])
    system.calls.clear()
    appends = [(store.messages(name).appends(), [[HI]]) for name in ("one", "two")]
    outcomes = append_all(appends)
    assert system.calls == ["open", "write", "open", "write", "fsync", "fsync"]
    assert [[message] for message in (store.messages(n).list()[-1] for n in ("one", "two"))] == [
        outcome[0] for outcome in outcomes if isinstance(outcome, list)
    ]


def test_of_several_threads_each_has_its_own_outcome(root: Path) -> None:
    write(root / "threads/three/thread.json", "{}")
    system = FailingSystem()
    store = Store(root, files=Files(system=system))
    for name in ("one", "two", "three"):
        store.messages(name).append([HI])
    before = (root / "threads/two/messages.jsonl").read_bytes()
    # After three times open and write, the second flush.
    system.nth = len(system.calls) + 8
    wanted = ("one", "two", "nowhere", "three")
    first, failed, missing, last = append_all(
        [(store.messages(name).appends(), [[HI]]) for name in wanted]
    )
    assert isinstance(failed, WriteFailed)
    assert isinstance(missing, NotFound)
    assert isinstance(first, list)
    assert isinstance(last, list)
    assert (root / "threads/two/messages.jsonl").read_bytes() == before
    assert [len(store.messages(n).list()) for n in ("one", "three")] == [3, 2]


def test_a_thread_that_somebody_else_holds_comes_after_the_others(root: Path) -> None:
    """Never wait for one while another is held."""
    store = Store(root, fsync=False)
    is_held, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with store.threads.hold("one"):
            is_held.set()
            may_go.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    is_held.wait()
    order: list[str] = []

    def run(flush: Callable[[Any], JanError | None], begun: Any) -> list[JanError | None]:
        order.append(f"{len(begun)} written")
        may_go.set()
        return list(map(flush, begun))

    wanted = ("one", "two", "nowhere")
    outcomes = append_all([(store.messages(n).appends(), [[HI]]) for n in wanted], run=run)
    holder.join()
    assert order == ["1 written"]
    assert [type(outcome) for outcome in outcomes] == [list, list, NotFound]
    assert len(seen(store)) == 2


def test_what_fails_after_waiting_is_an_outcome_too(root: Path) -> None:
    store = Store(root, fsync=False)
    is_held, may_go = threading.Event(), threading.Event()

    def delete() -> None:
        with store.threads.hold("one"):
            is_held.set()
            may_go.wait()
            store.threads.delete("one")

    deleter = threading.Thread(target=delete)
    deleter.start()
    is_held.wait()

    def run(_flush: Any, _begun: Any) -> list[JanError | None]:
        may_go.set()
        deleter.join()
        return []

    [outcome] = append_all([(store.messages("one").appends(), [[HI]])], run=run)
    assert isinstance(outcome, NotFound)


def test_begun_appends_say_how_many_they_are(store: Store) -> None:
    with store.messages("one").appends().begun([[HI], [HI]]) as begun:
        assert repr(begun) == "<Begun, 2 batches>"


# Torn lines


def line_of(generation: formats.Generation, **given: Any) -> bytes:
    id = ids.new_message_id()
    value = formats.new_message(
        generation, id=id, thread_id="one", now=1.7e9, given={**HI, **given}
    )
    return written_line(value)


def old(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


OURS = {
    "Jan 0.4": line_of("A"),
    "today's": line_of("C"),
    "today's, with an assistant": line_of("C", assistant_id="jan"),
    "today's, of an assistant": line_of("C", role="assistant"),
    "with an id of the client's": line_of("A").replace(b'"id":"0', b'"id":"chosen-'),
}
WHOLE = b'{"id":"a","role":"user","content":"hi"}\n'


@pytest.mark.parametrize("name", OURS)
def test_a_line_that_our_crash_cut_short_anywhere_is_recognised(name: str) -> None:
    line = OURS[name]
    openings = (b'{"id":"', b'{"completed_at":', b'{"assistant_id":"')
    shortest = min(len(opening) for opening in openings if line.startswith(opening))
    found = [torn.is_ours(line[:length], thread="one") for length in range(1, len(line) - 1)]
    assert found == [length >= shortest for length in range(1, len(line) - 1)]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"{",
        b'{"role":"user","content":"by ha',
        b'{"id": "a", "thread_id": "one", "stat',
        b'{"id":"a","role":"user","cont',
        b'{"id":"a","thread_id":"other","status":"re',
        b'{"completed_at":0,"content":"by ha',
        b'{"completed_at":"x',
        b"\xff\xfe",
    ],
)
def test_what_others_left_is_not_taken_for_ours(line: bytes) -> None:
    assert not torn.is_ours(line, thread="one")


@pytest.mark.parametrize("name", OURS)
def test_our_own_torn_line_is_moved_away_before_the_next(name: str, root: Path, path: Path) -> None:
    left = OURS[name][:-20]
    old(path, WHOLE + left)
    [added] = Store(root, fsync=False).messages("one").append([HI])
    assert path.read_bytes() == WHOLE + added.raw + b"\n"
    [kept] = (root / ".jan_server/torn").iterdir()
    assert kept.read_bytes() == left
    assert kept.name.endswith("Z-one.jsonl")


def test_somebody_elses_torn_line_stays_and_gets_an_end(root: Path, path: Path) -> None:
    left = b'{"role":"user","content":"by ha'
    old(path, WHOLE + left)
    [added] = Store(root, fsync=False).messages("one").append([HI])
    assert path.read_bytes() == WHOLE + left + b"\n" + added.raw + b"\n"
    assert not (root / ".jan_server/torn").exists()


def test_a_line_that_may_be_on_its_way_stays(root: Path, path: Path) -> None:
    left = OURS["Jan 0.4"][:-20]
    path.write_bytes(WHOLE + left)
    [added] = Store(root, fsync=False).messages("one").append([HI])
    assert path.read_bytes() == WHOLE + left + b"\n" + added.raw + b"\n"


def test_a_torn_line_is_kept_before_it_is_cut_off(root: Path, path: Path) -> None:
    old(path, WHOLE + OURS["Jan 0.4"][:-20])
    system = FailingSystem()
    store = Store(root, files=Files(system=system))
    store.messages("one").append([HI])
    exchange = system.calls.index("exchange")
    assert system.calls[:exchange].count("fsync") >= 3  # the kept line, its folder, the new file


def test_what_is_added_to_a_torn_file_while_it_is_mended_is_not_lost(
    root: Path, path: Path
) -> None:
    left = OURS["Jan 0.4"][:-20]
    old(path, WHOLE + left)
    theirs = b'\n{"id":"theirs","role":"user","content":"x"}\n'

    class Neighbour(FailingSystem):
        def exchange(self, one: Path, other: Path) -> None:
            if "exchange" not in self.calls:
                with path.open("ab") as file:
                    file.write(theirs)
            super().exchange(one, other)

    Store(root, files=Files(system=Neighbour())).messages("one").append([HI])
    [copy] = (root / "threads/one").glob("messages.conflict-*")
    assert copy.read_bytes() == WHOLE + left + theirs
