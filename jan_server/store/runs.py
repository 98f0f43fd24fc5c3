"""The runs of a thread: `threads/<id>/runs.jsonl`, beside its messages.

Each change of a run's state adds one line with the whole run, its steps among it: of the lines of
one run the last counts. So the file only grows, a crash can tear no more than its last line, which
hides nothing but itself, and a person reads what happened from top to bottom. The steps are inside
since one line must say all of one moment; a run has a few. Jan reads `thread.json` and
`messages.jsonl` alone and passes over this file; who moves, copies or deletes the thread's folder
takes it along. What the model said is in the messages, and here only which ones.

A run is read under the id of the thread that it lies in now. Keys that a person adds to a run's
last line stay in the lines that follow.

Whoever answers a run holds its claim. One that should be answered and that nobody holds is over;
what it is then is the business of `jan_server.runs`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from jan_server.errors import FileUnreadable, NotFound
from jan_server.store import jsonl
from jan_server.store.document import written_line
from jan_server.store.history import History
from jan_server.store.lines import Shared
from jan_server.store.locks import Claim
from jan_server.store.paths import RUNS
from jan_server.store.scanner import Problem
from jan_server.types.run import StoredRun

RunList = list[StoredRun]


class ThreadRuns:
    """The runs of one thread. Every call looks at the file; changes hold the thread's lock.

    All raise InvalidId and NotFound for the thread, and FileUnreadable.
    """

    def __init__(self, shared: Shared, thread_id: str) -> None:
        self.thread_id = thread_id
        self._shared = shared

    def __repr__(self) -> str:
        return f"<Runs of {self.thread_id}>"

    def list(self) -> RunList:
        """As their last lines have them, the one that was made first first."""
        folder = self._shared.threads.folder(self.thread_id)
        found: dict[str, StoredRun] = {}
        for record in self._history(folder).records:
            run = _read(record.raw) if record.value is not None else None
            if run is not None:
                found[run.id] = run
        replace = msgspec.structs.replace
        return [replace(run, thread_id=self.thread_id) for run in found.values()]

    def get(self, id: str) -> StoredRun:
        """Raises NotFound (run) too."""
        for run in self.list():
            if run.id == id:
                return run
        raise NotFound("run", id)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Nobody else changes the thread's runs or messages meanwhile, in any process."""
        with self._shared.threads.hold(self.thread_id):
            yield

    def add(self, run: StoredRun) -> None:
        """Add the first line of a run that has a new id. Raises what Files.append raises."""
        with self._shared.threads.hold(self.thread_id) as folder:
            self._shared.files.append(self._path(folder), written_line(_told(run)))

    def put(self, run: StoredRun, *, before: StoredRun | None = None) -> None:
        """Add the line that says what a run is now. Raises as `add`.

        `before` is what it was meanwhile: a line of its own, with the same write.
        """
        with self._shared.threads.hold(self.thread_id) as folder:
            by_hand = self._added_by_hand(folder, run.id)
            states = (before, run) if before is not None else (run,)
            lines = [written_line({**_told(state), **by_hand}) for state in states]
            self._shared.files.append(self._path(folder), b"".join(lines))

    def claim(self, id: str) -> Claim | None:
        """Take it to answer a run; None when somebody answers it. Raises as Locks.claim."""
        # By the run alone: a folder that is renamed meanwhile is still its answerer's.
        return self._shared.claims.claim(f"runs/{id}")

    def claim_replying(self) -> Claim | None:
        """Take it to answer what people write into the thread; None when somebody does.

        Raises NotFound, and as Locks.claim.
        """
        self._shared.threads.folder(self.thread_id)
        return self._shared.claims.claim(f"replying/{self.thread_id}")

    def _added_by_hand(self, folder: Path, id: str) -> dict[str, Any]:
        values = [record.value for record in self._history(folder).records if record.value]
        last = [value for value in values if value.get("id") == id][-1:]
        return {key: item for value in last for key, item in value.items() if key not in _KEYS}

    def _history(self, folder: Path) -> History:
        path = self._path(folder)
        try:
            return self._shared.histories.read(path, shown=self._shown(folder))
        except OSError as error:
            reason = f"cannot be read ({error.strerror})"
            raise FileUnreadable(self._shown(folder), reason) from error

    def _path(self, folder: Path) -> Path:
        path = folder / RUNS
        place = self._shared.threads.place
        if os.path.islink(path) and not place.is_inside(path):  # noqa: PTH114  # Never raises.
            raise FileUnreadable(place.shown(path), "is a link that leads out of the data folder")
        return path

    def _shown(self, folder: Path) -> str:
        return self._shared.threads.place.shown(folder / RUNS)


def problems(raw: bytes) -> Iterator[Problem]:
    """What is wrong in a file, with its place."""
    for record in jsonl.records(raw):
        if record.problem is not None:
            yield record.problem
        if record.value is not None and _read(record.raw) is None:
            yield Problem(record.line, 1, "expected a run, with an id, a state and a model")


_KEYS = frozenset(StoredRun.__struct_fields__)


_LONGEST_KEPT = 2**13
"""Bytes of a line whose run is kept; longer ones hold long instructions, or what tools answered.
With all that are kept, 32 MiB of lines at most."""


def _read(raw: bytes) -> StoredRun | None:
    """The run of a line; None for an object that is none."""
    return _kept(raw) if len(raw) <= _LONGEST_KEPT else _decoded(raw)


@lru_cache(maxsize=4096)
def _kept(raw: bytes) -> StoredRun | None:
    return _decoded(raw)


def _decoded(raw: bytes) -> StoredRun | None:
    try:
        return msgspec.json.decode(raw, type=StoredRun)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _told(run: StoredRun) -> dict[str, Any]:
    """What a line says: nothing of what is as always, or not so (yet)."""
    told = {"object": run.object, **_own_words(run)}
    steps = {"steps": [_own_words(step) for step in run.steps]} if run.steps else {}
    return {"id": told.pop("id"), **told, **steps}


def _own_words(value: msgspec.Struct) -> dict[str, Any]:
    """The fields that differ from what a line without them means."""
    return {
        field.name: msgspec.to_builtins(said)
        for field in msgspec.structs.fields(value)
        if (said := getattr(value, field.name)) != _default(field)
    }


def _default(field: msgspec.structs.FieldInfo) -> Any:
    made = field.default_factory
    return field.default if made is msgspec.NODEFAULT else made()
