"""What the clients sent and were told: what may be on the disk, and what must be."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Literal, get_args

from msgspec import Struct, field

Kind = Literal["lost", "unreadable", "half-made", "unexpected"]
KINDS: tuple[Kind, ...] = get_args(Kind)
GONE = None
"""The value of what is not there (any more)."""


class Finding(Struct, frozen=True):
    kind: Kind
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


class Fact(Struct):
    """One value, and what it may be: the one that was acknowledged last, and those in flight.

    Only one client at a time changes it.
    """

    possible: set[str | None] = field(default_factory=lambda: {GONE})

    @property
    def is_settled(self) -> bool:
        return len(self.possible) == 1

    @property
    def is_there(self) -> bool:
        """It is there, and nobody is about to remove it."""
        return GONE not in self.possible

    def begin(self, value: str | None) -> None:
        """Before the request is sent: from now on it may be so."""
        self.possible = self.possible | {value}

    def settle(self, value: str | None) -> None:
        """It was acknowledged, or seen on the disk with nobody there to change it."""
        self.possible = {value}

    def refuse(self, value: str | None) -> None:
        """The server said that it is not so."""
        self.possible = self.possible - {value} or {GONE}


class Thread(Struct):
    """`owner` is the client who alone changes the title and deletes it. All append.

    `torn` is the line that an append which was never answered left unfinished.
    """

    id: str
    owner: int
    title: Fact
    messages: dict[str, Fact]
    torn: bytes = b""


class Record:
    """All threads that were ever made, and those that this round touched."""

    def __init__(self) -> None:
        self.threads: dict[str, Thread] = {}
        self.creating: dict[str, Thread] = {}
        self.touched: set[str] = set()
        self.unexpected: list[Finding] = []
        self.acknowledged: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._number = 0

    def begin_round(self) -> None:
        self.touched.clear()

    def touch_all(self) -> None:
        self.touched.update(self.threads)

    def new_name(self) -> str:
        """One that nothing had before."""
        with self._lock:
            self._number += 1
            return f"n{self._number}"

    def begin_creating(self, title: str, thread: Thread) -> None:
        """The server chooses the id: until it says so, the thread is known by its title."""
        with self._lock:
            self.creating[title] = thread

    def created(self, title: str, id: str) -> None:
        """It is there, with all its messages: the server said so, or the disk."""
        with self._lock:
            thread = self.creating.pop(title)
            thread.id = id
            self.threads[id] = thread
            self.touched.add(id)

    def acknowledge(self, what: str) -> None:
        with self._lock:
            self.acknowledged[what] += 1

    def refuse(self, what: str) -> None:
        """An answer that no request should have got."""
        with self._lock:
            self.unexpected.append(Finding("unexpected", what))

    def pick(self, chance: random.Random, *, owner: int | None = None) -> Thread | None:
        """A thread that is there, touched from now on; with `owner` one of theirs."""
        with self._lock:
            choices = [
                thread
                for thread in self.threads.values()
                if thread.title.is_there and owner in (None, thread.owner)
            ]
            if not choices:
                return None
            thread = chance.choice(choices)
            self.touched.add(thread.id)
            return thread

    def count_living(self) -> int:
        with self._lock:
            return sum(thread.title.is_there for thread in self.threads.values())
