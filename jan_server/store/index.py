"""What is known of all resources of one kind: what lists need, and what has changed.

Filled by a scan in the background, kept by whoever looks at a resource again: the watcher, a read
that finds another signature, our own changes. Looking compares what is there with what was known
and publishes the difference. A change of ours is looked at before the watcher can: it is told once,
and as ours.

Single resources never depend on this: their reads look at the file. What does are lists, threads
that people filed into folders of their own, and ids inside files that differ from the folder's.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from jan_server import events
from jan_server.errors import DataFolderMissing, NotReady
from jan_server.events import Cause, Change, Event, Publish
from jan_server.store import paths
from jan_server.store.document import Document
from jan_server.store.entries import Entries, Entry, Readdressed, View
from jan_server.store.files import Files
from jan_server.store.paths import Found, Place
from jan_server.store.reading import Reading, read
from jan_server.store.signature import Signature, now, signature_at

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that a list waits for the first scan."""

Show = Callable[[Document, str], View]
"""Of a document, and of where its folder is."""

CompanionChanged = Callable[[Entry, Signature | None, Cause], Signature | None]
"""Told with the old signature, when the entry has the new one. Answers which one was told of."""


def unforgotten(_folder: Path) -> None:
    """For those who keep nothing of a resource."""


class Writing(msgspec.Struct):
    """What our change of a resource comes to, when that is known without looking.

    `companion` is its signature now that it is longer by `size` bytes; mixed with what others
    wrote, it is told as theirs.
    """

    companion: Signature | None = None
    size: int = 0
    is_mixed: bool = False


class Index:
    """All resources of a place. Thread-safe; it holds nothing open."""

    def __init__(
        self,
        place: Place,
        files: Files,
        *,
        show: Show,
        publish: Publish = events.unheard,
        companion_changed: CompanionChanged = lambda entry, _old, _cause: entry.companion,
        forgotten: Callable[[Path], None] = unforgotten,
    ) -> None:
        self.place = place
        self._root = str(place.root)
        self._folder = str(place.path)
        self._files = files
        self._show = show
        self._publish = publish
        self._companion_changed = companion_changed
        self._forgotten = forgotten
        self._entries = Entries(place.kind.layout)
        self._looked_through: dict[str, Signature | None] = {}
        self._ours: Counter[str] = Counter()
        self._missed: set[str] = set()
        self._untold: set[str] = set()
        self._teller: int | None = None
        self._guard = threading.RLock()
        self._scanning = threading.Lock()
        self._is_complete = False
        self._is_kept = False

    def __repr__(self) -> str:
        state = "complete" if self._is_complete else "not complete"
        return f"<Index of {self.place.kind.folder}: {len(self._entries)}, {state}>"

    def keep(self) -> None:
        """From now on somebody looks again at what changes: lists need not look at everything."""
        self._is_kept = True

    # What lists need. All wait for the first scan, or do it when nobody has begun it.

    def oldest_first(self) -> Sequence[Entry]:
        """All that can be answered, by their last update. Do not change it.

        Raises NotReady when the first scan takes too long, and DataFolderMissing.
        """
        self._catch_up()
        with self._guard:
            return self._entries.oldest_first()

    def broken(self) -> Sequence[Entry]:
        """Those that cannot be answered, each with its problem. Raises as `oldest_first`."""
        self._catch_up()
        with self._guard:
            entries = map(self._entries.at, self._entries)
            return [entry for entry in entries if entry and not entry.body]

    def newest_first_body(self) -> bytes:
        """The JSON array of them all. Raises as `oldest_first`."""
        self._catch_up()
        with self._guard:
            return self._entries.newest_first_body()

    def kept_order(self) -> Sequence[Entry]:
        """What `oldest_first` gives, when it is known without work; else nothing."""
        return self._entries.kept_order if self._is_current() else ()

    def kept_body(self) -> bytes:
        """What `newest_first_body` gives, when it is known without work; else nothing."""
        return self._entries.kept_body if self._is_current() else b""

    def find(self, id: str) -> Path | None:
        """The folder of a resource that a person filed, or whose document alone says this id.

        Only one that is there now. Raises as `oldest_first`.
        """
        self._catch_up()
        self._look_for_new()
        folder = self._known_folder(id)
        if folder is not None:
            self.look(folder)  # It may be gone, or say another id by now.
            folder = self._known_folder(id)
        return folder if folder and self.place.is_found(folder) else None

    def wait_until_read(self) -> None:
        """Whatever changes after this is told; what the first scan finds is not news.

        Raises as `oldest_first`.
        """
        if not self._is_complete:
            self._catch_up()

    def _is_current(self) -> bool:
        return self._is_kept and self._is_complete and self._is_here()

    def _catch_up(self) -> None:
        """Look at everything that nobody has looked at. Raises as `oldest_first`."""
        self._check_root()
        if self._is_kept and self._is_complete:
            return
        if self._teller == threading.get_ident():
            return  # It has the guard, and whoever scans waits for that.
        if not self._scanning.acquire(timeout=PATIENCE):
            raise NotReady("The data folder is being read for the first time.", retry_after=5)
        try:
            if not (self._is_kept and self._is_complete):
                self._scan()
        finally:
            self._scanning.release()

    # Single ones

    def current(self, id: str) -> Entry | None:
        """The entry, when its file is as it was read: one `stat`. None: it must be looked at."""
        # Race: another thread may be changing it. A copy is all of one moment.
        entry = copy.copy(self._entries.by_id(id))
        if entry is None or not entry.is_settled or entry.where != id:
            return None
        signature = signature_at(f"{self._folder}/{id}/{self.place.kind.document}")
        return entry if signature == entry.signature else None

    def entry(self, folder: Path) -> Entry | None:
        """What was known when it was last looked at."""
        return self._entries.at(self.place.where(folder))

    def id_of(self, folder: Path) -> str:
        """The address of a resource's folder."""
        return self._entries.id_of(self.place.where(folder))

    def shown(self, folder: Path) -> tuple[Reading, Entry] | None:
        """What the folder's document is now, and how it is answered; None: it is no resource."""
        with self._guard:
            reading, where = self.look(folder), self.place.where(folder)
            if reading is None:
                return None
            entry = copy.copy(self._entries.at(where)) or Entry(id=self.id_of(folder), where=where)
            if self._ours[where]:
                # It was not noted: what is known is older than what was read.
                entry.problem = reading.problem
                if reading.document is not None:
                    entry.body = self._show(reading.document, where).body
                    entry.etag = reading.document.etag
            return reading, entry

    # Looking

    def look(self, folder: Path, cause: Cause = "file") -> Reading | None:
        """Look at one folder again; None when it holds no resource.

        While a change of ours is under way what is read is not noted: that is done at its end.
        """
        with self._guard:
            if self.place.is_found(folder):
                return self._read(self.place.where(folder), folder, cause)
            self._forget(self.place.where(folder), cause)
            return None

    def notice(self, folder: Path) -> None:
        """Somebody is about to read the files beside the document, which are not as they were."""
        where = self.place.where(folder)
        with self._guard:
            if not self._ours[where]:
                self._look_at_companion(where)

    def tell_again(self, folder: Path) -> None:
        """Not all that changed beside the document was told. While we change it: at the end."""
        where = self.place.where(folder)
        with self._guard:
            entry = self._entries.at(where)
            if self._ours[where]:
                self._untold.add(where)
            elif entry is not None:
                self._tell_of_companion(entry, entry.companion, "file")

    @contextmanager
    def holding(self, folder: Path) -> Iterator[Signature | None]:
        """The signature that the files beside the document were told with, for as long as that."""
        with self._guard:
            entry = self._entries.at(self.place.where(folder))
            yield entry.companion if entry else None

    def look_below(self, path: Path) -> None:
        """Look at the resource that a changed path belongs to, or at all that it holds."""
        owner = self.place.owner(path)
        if owner is not None and owner in self._entries:
            if not self._is_as_known(owner):  # Most changes that are heard of are our own.
                self.look(self.place.path / owner)
            return
        where = self.place.where(path)
        top = owner or ("" if where == "." else self._known_above(where))
        if top and not all(map(paths.is_listed, top.split("/"))):
            return  # As `walk` passes over it when it comes from above.
        for found in self.place.walk(top):
            self._look_at(found)
        for known in self._entries.below(top):
            self.look(self.place.path / known)

    def scan(self) -> None:
        """Look at everything that is not as it was. Raises DataFolderMissing."""
        with self._scanning:
            self._scan()

    @contextmanager
    def writing(self, folder: Path) -> Iterator[Writing]:
        """Around a change of ours, under the resource's lock: what comes of it is told as ours."""
        where = self.place.where(folder)
        writing = Writing()
        with self._guard:
            self._look_at_companion(where)
            self._ours[where] += 1
        try:
            yield writing
        finally:
            with self._guard:
                try:
                    # Still as ours: telling of the companion may look at the document too.
                    is_taken = self._take(where, writing)
                    if not is_taken:
                        self.look(folder, "api")
                finally:
                    self._ours[where] -= 1
                    if not self._ours[where]:
                        del self._ours[where]
                    is_missed = where in self._missed
                    self._missed.discard(where)
                if is_taken and is_missed:
                    self.look(folder)
                if where in self._untold:
                    self._untold.discard(where)
                    self.tell_again(folder)

    def _read(self, where: str, folder: Path, cause: Cause) -> Reading:
        is_noted = cause == "api" or not self._ours[where]
        if is_noted:
            # First: showing a thread may read its messages, and then what they were is gone.
            self._look_at_companion(where, cause)
        reading = read(self.place, self._files, folder, id=self._entries.id_of(where))
        if is_noted:
            self._note(where, reading, cause)
        else:
            self._missed.add(where)
        return reading

    def _take(self, where: str, writing: Writing) -> bool:
        """Whether what came of a change is known without looking."""
        entry = self._entries.at(where)
        if entry is None or writing.companion is None:
            return False
        old, entry.companion = entry.companion, writing.companion
        size = (old.size if old else 0) + writing.size
        if writing.is_mixed or size != writing.companion.size:
            # Race: somebody else wrote between our look and our write. Rather told twice than not.
            self._tell_of_companion(entry, old, "file")
        return True

    def _scan(self) -> None:
        self._check_root()
        seen = set()
        for found in self.place.walk():
            seen.add(found.where)
            self._look_at(found)
        for where in (*self._entries, *list(self._looked_through)):
            if where not in seen:
                self.look(self.place.path / where)
        self._check_root()  # It may be gone since: then not all was seen.
        self._is_complete = True

    def _look_at(self, found: Found) -> None:
        if not found.is_resource:
            self._looked_through[found.where] = signature_at(f"{self._folder}/{found.where}")
        elif not self._is_as_known(found.where):
            folder = self.place.path / found.where
            with self._guard:
                # Race: since it was found it may have gone, or have come to lie in a thread.
                if "/" in found.where or self._read(found.where, folder, "file").signature is None:
                    self.look(folder)

    def _look_for_new(self) -> None:
        """What was put there since the last scan: it changed a folder that is looked through."""
        for where, known in list(self._looked_through.items()):
            folder = self.place.path / where
            signature = signature_at(folder)
            if signature is None:
                self._looked_through.pop(where, None)
                continue
            if signature == known and signature.is_settled(now()):
                continue
            if where and self.place.is_found(folder):
                self._look_at(Found(where, is_resource=True))
            for name in filter(paths.is_listed, self.place.names(folder)):
                below = f"{where}/{name}" if where else name
                if below not in self._entries and below not in self._looked_through:
                    for found in self.place.walk(below):
                        self._look_at(found)
            self._looked_through[where] = signature

    def _known_folder(self, id: str) -> Path | None:
        with self._guard:
            entry = self._entries.by_id(id) or self._entries.named_inside(id)
            return self.place.path / entry.where if entry else None

    def _known_above(self, where: str) -> str:
        """The resource, as far as was known, that this place belongs to; else the place itself."""
        parts = where.split("/")
        above = ("/".join(parts[:count]) for count in range(1, len(parts)))
        return next(filter(self._entries.__contains__, above), where)

    def _is_as_known(self, where: str) -> bool:
        entry = self._entries.at(where)
        if entry is None or not entry.is_settled:
            return False
        folder = f"{self._folder}/{where}"
        return (
            signature_at(f"{folder}/{self.place.kind.document}") == entry.signature
            and self.place.kind.companion(folder) == entry.companion
        )

    def _look_at_companion(self, where: str, cause: Cause = "file") -> None:
        entry = self._entries.at(where)
        if entry is None:
            return
        old, entry.companion = entry.companion, self._companion(where)
        if entry.companion != old:
            self._tell_of_companion(entry, old, cause)

    def _companion(self, where: str) -> Signature | None:
        return self.place.kind.companion(f"{self._folder}/{where}")

    def _check_root(self) -> None:
        if not self._is_here():
            raise DataFolderMissing(self.place.root)

    def _is_here(self) -> bool:
        """Else a data folder that was moved away would look like a thousand deletions."""
        return signature_at(self._root) is not None

    # Noting what was seen

    def _note(self, where: str, reading: Reading, cause: Cause) -> None:
        old = self._entries.at(where)
        change = _change(old, reading)
        readdressed: list[Readdressed] = []
        entry = old
        if entry is None:
            entry, readdressed = self._entries.add(where)
            if any(old_id == entry.id for _, old_id in readdressed):
                change = change and "updated"  # The id was another's.
            entry.companion = self._companion(where)
        entry.is_settled = False  # First: what is read meanwhile is not trusted.
        entry.signature, entry.problem = reading.signature, reading.problem
        document = reading.document
        if document is not None:
            if document.id != entry.id:
                document = msgspec.structs.replace(document, id=entry.id)
            self._show_again(entry, document, is_settled=reading.is_settled)
        if change:
            is_news = old is not None or self._is_news(cause)
            self._tell(entry, change, cause, document=document, is_news=is_news)
        self._follow_ids(readdressed, {old_id for _, old_id in readdressed}, cause, new=entry.id)

    def _show_again(self, entry: Entry, document: Document, *, is_settled: bool) -> None:
        view = self._show(document, entry.where)
        self._entries.show(entry, body=view.body, updated=view.updated)
        entry.etag = document.etag
        entry.is_settled = is_settled and view.is_fixed
        self._entries.set_inner_id(entry, document.value.get("id"))

    def _forget(self, where: str, cause: Cause, *, is_known: bool = True) -> None:
        self._looked_through.pop(where, None)
        entry = self._entries.at(where)
        if entry is None or not self._is_here():
            return
        readdressed = self._entries.remove(where)
        self._forgotten(self.place.path / where)
        before = {old_id for _, old_id in readdressed} | ({entry.id} if is_known else set())
        self._follow_ids(readdressed, before, cause)

    def _follow_ids(
        self, readdressed: Sequence[Readdressed], before: set[str], cause: Cause, *, new: str = ""
    ) -> None:
        """Tell what has become of the ids that there were `before`, and what has others now."""
        after = {new, *(entry.id for entry, _ in readdressed)}
        for id in sorted(before - after):
            self._publish(Event(kind=self.place.kind.name, id=id, change="deleted", cause=cause))
        for entry, _ in readdressed:
            folder = self.place.path / entry.where
            if not self.place.is_found(folder):
                self._forget(entry.where, cause, is_known=entry.id in before)
                continue
            # Its answer holds an id that is not its own any more.
            reading = self.look(folder, cause)
            if reading is not None and reading.document is not None:
                change: Change = "updated" if entry.id in before else "created"
                is_news = self._is_news(cause)
                self._tell(entry, change, cause, document=reading.document, is_news=is_news)

    def _tell(
        self,
        entry: Entry,
        change: Change,
        cause: Cause,
        *,
        document: Document | None,
        is_news: bool,
    ) -> None:
        if change == "broken":
            logger.warning("%s", entry.problem)
        if not is_news:
            return
        event = Event(
            kind=self.place.kind.name,
            id=entry.id,
            change=change,
            cause=cause,
            etag=document.etag if document else None,
            problem=entry.problem or None,
            resource=document,
        )
        self._publish(event)

    def _tell_of_companion(self, entry: Entry, old: Signature | None, cause: Cause) -> None:
        before, self._teller = self._teller, threading.get_ident()
        try:
            entry.companion = self._companion_changed(entry, old, cause)
        finally:
            self._teller = before

    def _is_news(self, cause: Cause) -> bool:
        """What the first scan finds is not; what we change is."""
        return self._is_complete or cause == "api"


def _change(old: Entry | None, reading: Reading) -> Change | None:
    if reading.document is None:
        return "broken" if old is None or old.problem != reading.problem else None
    if old is None:
        return "created"
    return "updated" if old.problem or old.etag != reading.document.etag else None
