"""What is known of each resource of one kind: ids, order, and the bytes that lists answer. No I/O.

A list of all is asked for more often than one of them changes: the order is kept up, the joined
bytes are kept until then.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from jan_server.store import paths
from jan_server.store.signature import Signature


class View(msgspec.Struct, frozen=True, kw_only=True):
    """How a document is answered: `body` is JSON, `updated` is in seconds and sorts lists.

    Fixed: it says nothing that is not in the document's own file.
    """

    body: bytes
    updated: float
    is_fixed: bool = True


class Entry(msgspec.Struct, kw_only=True, gc=False):
    """One resource: about 1 KB for a thread of 400 bytes, since there may be 100,000.

    `where` is its folder's path below the kind's own. Of a broken document `problem` is the place
    and the reason, and `body` what was answered for its last good version, empty when none was
    seen. `inner_id` is what the document says when that is not the folder's name.
    """

    id: str
    where: str
    signature: Signature | None = None
    is_settled: bool = False
    companion: Signature | None = None
    updated: float = 0.0
    etag: str = ""
    body: bytes = b""
    problem: str = ""
    inner_id: str | None = None


class Readdressed(NamedTuple):
    """An entry that is reached by another id than before."""

    entry: Entry
    old_id: str


class Entries:
    """All resources of a kind. Not thread-safe: whoever changes it holds the index's guard."""

    def __init__(self, layout: str) -> None:
        self._ids_are_paths = layout == "parts"
        self._by_place: dict[str, Entry] = {}
        self._by_id: dict[str, Entry] = {}
        self._by_inner_id: dict[str, list[str]] = {}
        self._filed: set[str] = set()
        self._alike: dict[str, set[str]] = {}  # of the filed ones, those that may want one id
        self._sorted: list[Entry] | None = None
        self._joined: bytes | None = None

    def __repr__(self) -> str:
        return f"<Entries {len(self._by_place)}, {len(self._filed)} filed>"

    def __len__(self) -> int:
        return len(self._by_place)

    def __contains__(self, where: str) -> bool:
        return where in self._by_place

    def __iter__(self) -> Iterator[str]:
        """Where the resources are, as known at this moment."""
        return iter(list(self._by_place))

    def below(self, where: str) -> list[str]:
        """Where the resources are that lie there or below; of "" all."""
        if not where:
            return list(self)
        # Of the other kinds only those that are filed lie below anything.
        deep = self._by_place if self._ids_are_paths else self._filed
        found = [each for each in list(deep) if each.startswith(f"{where}/")]
        return [where, *found] if where in self else found

    def at(self, where: str) -> Entry | None:
        return self._by_place.get(where)

    def by_id(self, id: str) -> Entry | None:
        return self._by_id.get(id)

    def named_inside(self, id: str) -> Entry | None:
        """The only one whose document says that it is `id`."""
        places = self._by_inner_id.get(id, ())
        return self._by_place[places[0]] if len(places) == 1 else None

    def id_of(self, where: str) -> str:
        """The address of a resource, whether it is known yet or not."""
        entry = self._by_place.get(where)
        if entry is not None:
            return entry.id
        return where if self._ids_are_paths else where.rpartition("/")[2]

    def add(self, where: str) -> tuple[Entry, list[Readdressed]]:
        """A new entry, and those that are reached by another id because of it."""
        entry = Entry(id=self.id_of(where), where=where)
        self._by_place[where] = entry
        if "/" in where and not self._ids_are_paths:
            self._filed.add(where)
            self._alike.setdefault(_stem(where), set()).add(where)
        else:
            self._by_id[entry.id] = entry
        others = [each for each in self._readdress(_stem(where)) if each.entry is not entry]
        return entry, others

    def remove(self, where: str) -> list[Readdressed]:
        """Those that are reached by another id because it is gone."""
        entry = self._by_place.pop(where)
        self._take_out(entry)
        if where in self._filed:
            self._filed.discard(where)
            self._alike[_stem(where)].discard(where)
        if self._by_id.get(entry.id) is entry:
            del self._by_id[entry.id]
        self.set_inner_id(entry, None)
        return self._readdress(_stem(where))

    def show(self, entry: Entry, *, body: bytes, updated: float) -> None:
        """What lists answer for it from now on, and where it stands in them."""
        if (body, updated) != (entry.body, entry.updated):
            self._take_out(entry)
            entry.body, entry.updated = body, updated
            if self._sorted is not None:
                insort(self._sorted, entry, key=_rank)

    def set_inner_id(self, entry: Entry, said: Any) -> None:
        """What its document says it is; of interest only when the folder says otherwise."""
        name = entry.where.rpartition("/")[2]
        new = said if isinstance(said, str) and said not in (name, entry.id) else None
        if new == entry.inner_id:
            return
        if entry.inner_id is not None:
            places = self._by_inner_id[entry.inner_id]
            places.remove(entry.where)
            if not places:
                del self._by_inner_id[entry.inner_id]
        if new is not None:
            self._by_inner_id.setdefault(new, []).append(entry.where)
        entry.inner_id = new

    def oldest_first(self) -> Sequence[Entry]:
        """All that can be answered, by their last update. Do not change it."""
        if self._sorted is None:
            shown = [entry for entry in self._by_place.values() if entry.body]
            self._sorted = sorted(shown, key=_rank)
        return self._sorted

    def newest_first_body(self) -> bytes:
        """The JSON array of them all."""
        if self._joined is None:
            bodies = [entry.body for entry in reversed(self.oldest_first())]
            self._joined = b"[" + b",".join(bodies) + b"]"
        return self._joined

    @property
    def kept_order(self) -> Sequence[Entry]:
        """What `oldest_first` gives, if it was asked for since the last change; else nothing."""
        return self._sorted or ()

    @property
    def kept_body(self) -> bytes:
        """What `newest_first_body` gives, if it was asked for since the last change."""
        return self._joined or b""

    def _take_out(self, entry: Entry) -> None:
        """Out of the order; what was joined is not true any more."""
        self._joined = None
        if self._sorted is not None and entry.body:
            del self._sorted[bisect_left(self._sorted, _rank(entry), key=_rank)]

    def _readdress(self, stem: str) -> list[Readdressed]:
        """Give the filed ones so named their ids again; those that have another than before."""
        alike = self._alike.get(stem)
        if not alike:
            self._alike.pop(stem, None)
            return []
        taken = self._by_place.__contains__
        moved = []
        for id, where in paths.addresses(alike, taken).items():
            entry = self._by_place[where]
            if entry.id != id or self._by_id.get(id) is not entry:
                moved.append((id, entry))
        if moved:
            self._sorted = self._joined = None
        readdressed = [Readdressed(entry, entry.id) for _, entry in moved]
        for entry, old_id in readdressed:
            if self._by_id.get(old_id) is entry:
                del self._by_id[old_id]
        for id, entry in moved:
            entry.id = id
            self._by_id[id] = entry
        return readdressed


def _stem(where: str) -> str:
    """What names have in common that may come to be one id: `x@Work` is a name, and `x`'s too."""
    return where.rpartition("/")[2].partition("@")[0]


def _rank(entry: Entry) -> tuple[float, str]:
    return entry.updated, entry.id
