"""How `--fix` mends: under the resource's lock, on the bytes as they are then.

What is found to be mended, or changed, since it was looked at is left alone. Before a file is
changed a copy of it goes to `.jan_server/trash/<time>/doctor/<where it was>`; what is not wanted
any more goes there itself. Nothing is ever removed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from jan_server.errors import JanError, LiesOutside, WriteFailed
from jan_server.store import Store, formats, jsonl, merging, scanner, torn
from jan_server.store.doctor import lines
from jan_server.store.doctor.found import How, Mend
from jan_server.store.doctor.names import are_equal, is_stale, original_of
from jan_server.store.document import edited, written
from jan_server.store.locks import Locks
from jan_server.store.paths import MESSAGES, THREADS
from jan_server.store.signature import now


def mend(store: Store, locks: Locks, what: Mend) -> str:
    """Do it; the reason when it could not be done, else an empty string."""
    try:
        with locks.hold(what.lock):
            _check_is_inside(store, what.path)
            _HOW[what.how](store, what)
    except JanError as error:
        return error.message
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def _mend_lines(store: Store, what: Mend) -> None:
    raw, signature = store.files.read(what.path)
    new = lines.mended(raw)
    if new.raw == raw:
        return
    if new.torn and now() - signature.mtime_ns / 1e9 < torn.SECONDS:
        raise WriteFailed("It was written to a moment ago, and may not be finished. Try again.")
    _keep_copy(store, what, raw)
    if new.torn:
        torn.keep(store.files, store.work_path("torn"), new.torn, thread=what.path.parent.name)

    def merge(theirs: bytes) -> bytes | None:
        again = lines.mended(theirs)
        return None if again.torn else again.raw  # Torn: it may not be finished.

    merging.replace(store.files, what.path, new.raw, base=raw, merge=merge)


def _write_thread(store: Store, what: Mend) -> None:
    """The thread as it is served without a document."""
    path = what.path / THREADS.document
    if os.path.lexists(path):
        return
    raw, _ = store.files.read(what.path / MESSAGES)
    values = (record.value for record in jsonl.records(raw) if record.value is not None)
    first = formats.message_seconds(next(values, {}))
    times = formats.thread_times(
        {},
        id=what.path.name,
        first_message_time=lambda: first,
        mtime=what.path.stat().st_mtime,
    )
    value = formats.new_thread(
        store.generation, id=what.path.name, now=times.updated, title="New Thread", assistants=[]
    )
    store.files.create(path, written(value))


def _write_id(store: Store, what: Mend) -> None:
    raw, _ = store.files.read(what.path)
    if not isinstance(scanner.decode(raw), dict):
        return
    _keep_copy(store, what, raw)
    said = {"id": what.path.parent.name}
    ours = edited(raw, said)
    merging.replace(store.files, what.path, ours, base=raw, merge=merging.of_keys(raw, said))


def _take_leftover(store: Store, what: Mend) -> None:
    if is_stale(what.path):
        _take(store, what)


def _take_copy(store: Store, what: Mend) -> None:
    original = what.path.with_name(original_of(what.path.name))
    if original != what.path and are_equal(what.path, original, store.files):
        _take(store, what)


_HOW: dict[How, Callable[[Store, Mend], None]] = {
    "lines": _mend_lines,
    "thread": _write_thread,
    "id": _write_id,
    "leftover": _take_leftover,
    "copy": _take_copy,
}


def _check_is_inside(store: Store, path: Path) -> None:
    """Race: a link may stand there since we looked. What it leads to is not ours."""
    places = [collection.place for collection in store.collections]
    for real in map(Path, map(os.path.realpath, (path, path.parent))):
        if not any(real.is_relative_to(root) for root in (store.root, *(p.path for p in places))):
            raise LiesOutside(path.name)


def _take(store: Store, what: Mend) -> None:
    store.trash.take([what.path], below=f"doctor/{what.lock}")


def _keep_copy(store: Store, what: Mend, raw: bytes) -> None:
    staged = store.work_folder("new") / secrets.token_hex(8)
    store.files.make_folder(staged)
    store.files.create(staged / what.path.name, raw, like=what.path)
    store.trash.take([staged / what.path.name], below=f"doctor/{what.lock}")
    staged.rmdir()
