"""The data folder, and the store that reads and changes it.

The folder belongs to the user. We are one of several who write it: an editor, git, Syncthing and
Jan itself are the others.

    assistants/<id>/assistant.json       who answers: name, instructions, parameters
    models/<id>/model.json               a model's manifest; an id with "/" is folders in folders
    models/<id>/*.gguf                   its weights, or wherever the manifest or a link says
    models/<id>.gguf                     weights alone; their header is the manifest
    models/**/*.yml                      models of Jan 0.5.8-0.5.16; read, never written
    llamacpp/models/<id>/model.yml       models of today's Jan; read, never written
    threads/<id>/thread.json             a conversation: title, assistants, metadata
    threads/<id>/messages.jsonl          its messages, one JSON object a line, oldest first
    threads/<folder>/<id>/...            threads that a person filed; ids are told apart by folder
    threads/<id>/.reply-<id>.json        a reply that grows; at its end it becomes a line
    threads/<id>/responses.jsonl         what each response was asked and answered; ours
    threads/<id>/runs.jsonl              who was asked to reply, and what came of it; ours
    <name>.conflict-<time>.<ext>         what lost when two changed one value at the same moment
    engines/ settings/ logs/ ...         Jan's own; never touched
    .jan_server/                         ours; apart from settings and trash it can be deleted
    .jan_server/trash/<time>/<kind>/<id> what was deleted
    .jan_server/torn/                    what crashed appends of ours left; lines without a thread
    .jan_server/locks/ new/              who writes; folders that are being made
    .jan_server/sums.json                which sums weights had when they were verified
    .jan_server/servers/<ULID>.json      a server that runs on this folder: its address

What is promised:

- A change that returns is on the disk, flushed, the directory entry too.
- A JSON file is replaced whole, and only the values that change differ: unknown keys, their order,
  spelling and layout stay, byte for byte. `messages.jsonl` grows by one write of whole lines; a
  message is changed or deleted by replacing the file, in which every other line stays as it is.
- A file or line that is broken hides only itself, is reported with its place, and is never changed
  or deleted; messages may still be added to a thread whose `thread.json` is broken.
- Two writers are normal. Those of our kind wait for each other. What others write at the same
  moment is merged, or kept beside the file.
- A new folder appears whole. Deleting is moving into the trash, until it expires.
- Every read looks at the file: what is answered is never older than the request. Lists are kept up
  by whoever calls `look`; as long as nobody does (`keep`), each list looks at everything.
- Nothing outside the data folder is changed, whatever an id, a path or a link says.

What a program writes to a file that it holds open while we replace it is added or kept beside when
it closes that; where the system does not tell who has a file open (not Linux), half a second later.

Reading order: system, disk, replacing, adding and files (bytes), scanner and jsonl and document
(what bytes say), formats (what each Jan meant), paths (names), reading and entries and index (what
is known), locks, merging and late and collection (one document each), history and lines and
messages (appends, edits, told, replies), runs, trash, watcher, doctor.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from jan_server import ids
from jan_server.errors import AlreadyExists, JanError, NotFound, ReadOnly, SettingsInvalid
from jan_server.events import Event, Publish, unheard
from jan_server.store import formats, merging, paths, torn
from jan_server.store.answers import Answers
from jan_server.store.collection import Collection
from jan_server.store.document import Document, written, written_line
from jan_server.store.ends import Ends
from jan_server.store.entries import Entry
from jan_server.store.expiry import expire, make_room
from jan_server.store.file_models import FileModels
from jan_server.store.files import Files
from jan_server.store.generations import Generations
from jan_server.store.histories import Histories
from jan_server.store.history import Message
from jan_server.store.index import CompanionChanged, Index
from jan_server.store.late import LateWriters
from jan_server.store.later import Later
from jan_server.store.library import Library
from jan_server.store.lines import Shared
from jan_server.store.locks import Locks
from jan_server.store.messages import Messages
from jan_server.store.new_messages import new_messages
from jan_server.store.news import tell_messages, tell_weights
from jan_server.store.read_only import Refusing, check_readable, own_folder
from jan_server.store.replies import Replies
from jan_server.store.responses import ThreadResponses
from jan_server.store.restoring import Restored, Restoring, restore
from jan_server.store.runs import ThreadRuns
from jan_server.store.sums import VerifiedSums
from jan_server.store.told import QUIET, Told
from jan_server.store.trash import Trash
from jan_server.store.views import Body, Views
from jan_server.store.weights import model_files

logger = logging.getLogger(__name__)

_OR_READ_ONLY = ". Start with --read-only to look at it and chat without changing anything."

__all__ = [
    "Collection",
    "Document",
    "Entry",
    "Index",
    "Message",
    "Messages",
    "Store",
    "ThreadResponses",
    "ThreadRuns",
]


class Store:
    """One data folder. `open` it before use, and `close` it when it has changed something.

    `publish` is told what changes, from any thread. `bodies` give, by the kind's name, the JSON
    that lists answer for a document. A `read_only` one writes nothing below the data folder.
    """

    def __init__(
        self,
        root: Path,
        *,
        fsync: bool = True,
        files: Files | None = None,
        publish: Publish = unheard,
        bodies: Mapping[str, Body] = MappingProxyType({}),
        read_only: bool = False,
        generation: formats.Generation | None = None,
    ) -> None:
        self.root = Path(os.path.realpath(root))
        self.is_read_only = read_only
        # What we keep for ourselves is written in any case, and never below a read-only root.
        self._later = Later()
        late = LateWriters(self._give_back, later=self._later)
        self._own_files = files or Files(fsync=fsync, root=self.root, late=late)
        self.files = Files(system=Refusing()) if read_only else self._own_files
        ours = self.root / paths.WORK_FOLDER
        self._work = own_folder(self.root) if read_only else ours
        self._locks = Locks(None if read_only else ours / "locks")
        self._publish = publish
        self._views = Views(bodies, first_message_time=self._first_message_time)
        self._histories = Histories(self.files)
        self.sums = VerifiedSums(
            self._work, root=self.root, files=self._own_files, locks=self._locks
        )
        self.trash = Trash(ours / "trash", self.files)
        self.assistants = self._collection(paths.ASSISTANTS)
        self.threads = self._collection(paths.THREADS)
        self.models = self._library()
        self.collections = (
            self.assistants,
            self.models.folders,
            self.models.todays,
            self.threads,
        )
        self._generations = Generations(
            self.root,
            thread_names=lambda: self.threads.place.names(self.threads.place.path),
            chosen=generation,
        )
        self._shared = Shared(
            threads=self.threads,
            files=self.files,
            histories=self._histories,
            ends=Ends(),
            answers=Answers(),
            told=Told(),
            tell_again=self._tell_again,
            replies=Replies(self.files, self._locks, torn=ours / "torn"),
            claims=self._locks,
            trash=self.trash,
            torn=ours / "torn",
            publish=publish,
            generation=self._generations.lately,
        )

    def __repr__(self) -> str:
        mode = " read-only" if self.is_read_only else ""
        return f"<Store {self.root} generation {self.generation}{mode}>"

    def open(self) -> Store:
        """Make what is missing: all of Jan's layout in a fresh folder, else only our own folder.

        Nothing that exists is changed, and nothing at all when it is read-only. Raises
        SettingsInvalid when the folder cannot be used.
        """
        if self.is_read_only:
            check_readable(self.root)
            return self
        try:
            self._make_layout()
        except (OSError, JanError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
            raise SettingsInvalid(
                f"The data folder {self.root} cannot be used: {reason}{_OR_READ_ONLY}"
            ) from error
        if not os.access(self.root, os.R_OK | os.W_OK | os.X_OK):
            raise SettingsInvalid(f"The data folder {self.root} is not writable{_OR_READ_ONLY}")
        return self

    def close(self) -> None:
        """See to what other programs were writing this moment."""
        self._later.close()

    @property
    def locks(self) -> Locks:
        """Between the threads of this process, and between processes; a read-only one has its own
        alone."""
        return self._locks

    @property
    def own_files(self) -> Files:
        """For what lies below `work_path`, which is written in any case."""
        return self._own_files

    @property
    def generation(self) -> formats.Generation:
        """Whose shape new files get. Raises as Generations.now."""
        return self._generations.now()

    @property
    def watched_folders(self) -> Sequence[Path]:
        """Where changes are of interest: not in our own folder, nor in Jan's engines and logs."""
        return [collection.place.path for collection in self.collections]

    def keep(self) -> None:
        """From now on somebody calls `look` for what changes, so that lists need not scan."""
        for collection in self.collections:
            collection.index.keep()

    def look(self, paths: Iterable[Path]) -> None:
        """Look again at whatever these paths, below `watched_folders`, belong to or hold."""
        paths = list(paths)
        for collection in self.collections:
            for path in paths:
                if collection.place.is_above(path):
                    collection.index.look_below(path)
        if any(map(self.models.place.is_above, paths)):
            self.models.files.look()

    def look_everywhere(self, _reason: str = "") -> None:
        """Look at all that is not as it was. Raises DataFolderMissing."""
        for collection in self.collections:
            collection.index.scan()
        self.models.files.look()

    def wait_until_read(self) -> None:
        """Whatever changes after this is told. Raises NotReady and DataFolderMissing."""
        for collection in self.collections:
            collection.index.wait_until_read()
        self.models.files.wait_until_read()

    def messages(self, thread_id: str) -> Messages:
        """A thread's messages. Whether there is such a thread is found out by its methods."""
        return Messages(self._shared, thread_id)

    def runs(self, thread_id: str) -> ThreadRuns:
        """A thread's runs, as `messages`."""
        return ThreadRuns(self._shared, thread_id)

    def responses(self, thread_id: str) -> ThreadResponses:
        """A thread's responses, as `messages`."""
        return ThreadResponses(self._shared, thread_id)

    def create_thread(
        self,
        *,
        assistants: list[dict[str, Any]],
        id: str | None = None,
        title: str = "New Thread",
        metadata: Mapping[str, Any] | None = None,
        messages: Iterable[Mapping[str, Any]] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> Document:
        """A new thread with its messages, all of it there at once or not at all.

        `id` names the folder; without one the assistant does. `assistants` are objects in the
        document's shape (`assistant_id` ...), at least one. `messages` are as for Messages.append.
        Raises InvalidId for what cannot be (part of) a folder's name, AlreadyExists for a taken
        `id`.
        """
        if id is not None:
            self._check_is_free(id)
        now = time.time()
        generation = self.generation
        given = list(messages)

        def contents(id: str) -> dict[str, bytes]:
            lines = new_messages(
                given, thread_id=id, known=(), generation=generation, path="$.messages[{}]"
            )
            thread = formats.new_thread(
                generation,
                id=id,
                now=now,
                title=title,
                assistants=assistants,
                metadata=metadata,
                extra=extra,
            )
            return {
                paths.MESSAGES: b"".join(map(written_line, lines)),
                paths.THREADS.document: written(thread),
            }

        name = id or self._new_thread_id(generation, assistants, now)
        made = self.threads.create(name, contents, with_suffix=id is None)
        if given:
            self.messages(made.id).lines()  # From now on it is known what others cut off.
        return made

    def restore(self, deletion_id: str) -> Restored:
        """Put back what was deleted. Raises as restoring.restore."""
        collections: dict[str, Restoring] = {c.place.kind.folder: c for c in self.collections}
        for folder in (paths.MODELS.folder, paths.LLAMACPP.folder):
            collections[folder] = self.models
        return restore(self.trash, deletion_id, collections=collections, messages=self.messages)

    def expire(self, *, days: float) -> None:
        """Remove from the trash what is over, after so many days; 0 is never. Raises ReadOnly.

        And the files of locks that nobody holds.
        """
        self.check_writable()
        self._locks.sweep()
        expire(self.trash, days=days, now=time.time())

    def make_room(self, needed: int) -> None:
        """Remove weights from the trash until so many bytes can be written. Raises ReadOnly."""
        self.check_writable()
        make_room(self.trash, needed)

    def check_writable(self) -> None:
        """For those who write in the data folder by other ways than ours. Raises ReadOnly."""
        if self.is_read_only:
            raise ReadOnly

    def weights(self, model_id: str) -> Path | None:
        """The file that holds a model's weights; None when it is not here. Raises NotFound."""
        return self.models.files_of(self.models.get(model_id)).weights

    def work_folder(self, name: str) -> Path:
        """A folder of our own, made when it is not there."""
        folder = self.work_path(name)
        self._own_files.make_folders(folder)
        return folder

    def work_path(self, name: str) -> Path:
        """Where such a folder is, or would be. `name` may have parts, each a checked id."""
        return self._work / name

    def remove_work_folder(self, name: str) -> None:
        """What is in our own folders can be made again."""
        shutil.rmtree(self.work_path(name), ignore_errors=True)

    def _library(self) -> Library:
        folders = self._collection(paths.MODELS)
        todays = self._collection(paths.LLAMACPP)

        def folder_weights(id: str) -> Path | None:
            try:
                document = folders.get(id)
            except JanError:  # It has none, or cannot be read.
                return None
            return model_files(document.path, self.root, document.value).weights

        files = FileModels(
            folders.place,
            files=self.files,
            locks=self._locks,
            trash=self.trash,
            publish=self._publish,
            is_taken=lambda id: folders.has(id) or todays.has(id),
            weights_of=folder_weights,
        )
        return Library(folders, todays, files)

    def _publish_todays(self, event: Event) -> None:
        """An event of today's Jan's models, by the id that reaches the model."""
        self._publish(msgspec.structs.replace(event, id=self.models.address(event.id)))

    def _collection(self, kind: paths.Kind) -> Collection:
        publish = self._publish_todays if kind is paths.LLAMACPP else self._publish
        place = paths.Place(self.root, kind)
        index = Index(
            place,
            self.files,
            show=partial(self._views.view, place),
            publish=publish,
            companion_changed=self._companion_changed(kind, publish),
            forgotten=self._forget_messages,
        )
        return Collection(
            place,
            index,
            files=self.files,
            locks=self._locks,
            trash=self.trash,
            staging=self._work / "new",
            moved=_thread_moved if kind is paths.THREADS else _nothing_moved,
        )

    def _companion_changed(self, kind: paths.Kind, publish: Publish) -> CompanionChanged:
        if kind is paths.THREADS:
            return partial(tell_messages, self.messages, publish)
        return partial(tell_weights, publish)  # An assistant has none: never called.

    def _forget_messages(self, folder: Path) -> None:
        self._shared.told.forget(folder / paths.MESSAGES)

    def _give_back(self, path: Path, seen: bytes, later: bytes) -> None:
        files, home = self._own_files, path.parent
        if not home.is_dir():
            kept = torn.keep(files, self._work / "torn", later, thread=home.name)
            logger.warning("what came late for %s is kept as %s", path, kept)
            return
        with self._locks.hold(self._lock_of(home)):
            merging.give_back(files, path, seen, later)

    def _lock_of(self, folder: Path) -> str:
        """The name of a resource's lock; where a link led to its file, one of its own."""
        places = (collection.place for collection in self.collections)
        place = next((place for place in places if place.is_above(folder)), None)
        return place.shown(folder) if place else str(folder)

    def _tell_again(self, path: Path) -> None:
        if self._later.is_closed:
            return  # Nobody listens any more.

        self._later.call(QUIET, partial(self.threads.index.tell_again, path.parent))

    def _first_message_time(self, folder: Path) -> float | None:
        path = folder / paths.MESSAGES
        try:
            records = self._histories.read(path, shown=self.threads.place.shown(path)).records
        except OSError:
            return None
        said = (formats.message_seconds(record.value or {}) for record in records)
        return next((seconds for seconds in said if seconds is not None), None)

    def _make_layout(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_fresh = not any(not name.startswith(".") for name in os.listdir(self.root))  # noqa: PTH208
        for name in paths.LAYOUT if is_fresh else ():
            self.files.make_folders(self.root / name)
        self._work.mkdir(mode=0o700, exist_ok=True)  # Another server may start at this moment.

    def _check_is_free(self, id: str) -> None:
        """Also where a person filed the thread of that id."""
        try:
            self.threads.folder(id)
        except NotFound:
            return
        raise AlreadyExists("thread", id)

    def _new_thread_id(
        self, generation: formats.Generation, assistants: list[dict[str, Any]], now: float
    ) -> str:
        if generation == "C":
            return ids.new_uuid()
        first = formats.thread_assistants({"assistants": assistants[:1]})
        assistant_id = first[0].id if first else "jan"
        ids.check_new_id("assistant", assistant_id, param="$.assistants[0].assistant_id")
        return ids.new_thread_id(assistant_id, now)


def _thread_moved(value: Mapping[str, Any]) -> dict[str, Any]:
    return formats.touched(value, time.time())


def _nothing_moved(_value: Mapping[str, Any]) -> dict[str, Any]:
    return {}
