"""A reply by file: what a person writes into `messages.jsonl` begins a run, and the file answers.

Only in threads whose `metadata.auto_reply` is true, or those that `answer_in` names. What begins it
is a user's line that an editor, `echo >>` or another program added; a message that came by this
server's API is its client's to answer. The last user's line of a thread is answered, once: the
run says in its metadata which line it answers, so whoever looks later, another server too, sees
that. One that failed is not tried again; writing another line is a new request.

Two servers on one folder both hear of a line. Whoever has the thread's claim answers; the other
leaves it to him. A program that writes a line for each answer is not answered for ever.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from jan_server.errors import JanError, NotFound, RunActive
from jan_server.events import Event, Hub, Resync
from jan_server.logs import frames
from jan_server.runs import Runs
from jan_server.store import Message, Store
from jan_server.types.run import CreateRun, StoredRun

log = logging.getLogger(__name__)

MARK = "auto_reply_to"
"""Under this key a run's metadata has the id of the message that it answers."""

MOST = 30
WITHIN = 60.0
"""No more replies than that in so many seconds, in one thread."""


class Quota:
    """How many replies may begin in each thread; of what began longer ago nothing is kept."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun: dict[str, deque[float]] = {}

    def __repr__(self) -> str:
        return f"<Quota of {sorted(self._begun)}>"

    def take(self, thread_id: str) -> bool:
        """Whether one more may begin in that thread now; then it counts."""
        now = self._clock()
        lately = {id: begun for id, begun in self._begun.items() if now - begun[-1] < WITHIN}
        begun = lately.setdefault(thread_id, deque(maxlen=MOST))
        self._begun = lately
        if len(begun) == MOST and now - begun[0] < WITHIN:
            return False
        begun.append(now)
        return True


class Replying:
    """Belongs to one event loop. `start` it once; whoever starts it ends it with `close`."""

    def __init__(self, store: Store, runs: Runs, events: Hub) -> None:
        self._store = store
        self._runs = runs
        self._events = events
        self._named: str | None = None
        self._is_everywhere = False
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._quota = Quota()
        self._listening: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Replying in {sorted(self._looking)}>"

    def answer_in(self, thread_id: str | None) -> None:
        """In this thread too, whatever its file says; None is in all that do not say `false`."""
        self._named, self._is_everywhere = thread_id, thread_id is None

    def start(self) -> None:
        """Lines that are waiting in threads that ask for it are answered first."""
        told = self._events.listen()  # Before the first look: nothing falls between.
        self._listening = asyncio.create_task(self._listen(told))

    async def close(self) -> None:
        """Begins no more; what is being answered is the runs' to end."""
        tasks = [task for task in (self._listening, *self._looking.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- what is heard ----------------------------------------------------------------------

    async def _listen(self, told: Any) -> None:
        async with aclosing(told):
            await self._look_everywhere()
            async for item in told:
                if isinstance(item, Resync):
                    await self._look_everywhere()
                elif (thread_id := _concerned(item.event)) is not None:
                    self._look(thread_id)

    async def _look_everywhere(self) -> None:
        try:
            waiting = await asyncio.to_thread(self._asking)
        except JanError as error:
            log.warning("threads that ask for a reply are not known: %s", error)
            return
        for thread_id in waiting:
            self._look(thread_id)

    def _asking(self) -> list[str]:
        """The threads that ask for it in their file, and the named one."""
        self._store.wait_until_read()
        entries = self._store.threads.index.oldest_first()
        # The body is the file's JSON: nearly all are passed over without reading it.
        likely = (entry for entry in entries if b'"auto_reply"' in entry.body)
        found = [entry.id for entry in likely if asks_for_it(msgspec.json.decode(entry.body))]
        return [*found, *([self._named] if self._named else [])]

    def _look(self, thread_id: str) -> None:
        if thread_id in self._looking:
            self._again.add(thread_id)
            return
        task = self._looking[thread_id] = asyncio.create_task(self._answer(thread_id))
        task.add_done_callback(lambda _: self._done(thread_id))

    def _done(self, thread_id: str) -> None:
        del self._looking[thread_id]
        if thread_id in self._again:
            self._again.discard(thread_id)
            self._look(thread_id)

    # --- what is done -----------------------------------------------------------------------

    async def _answer(self, thread_id: str) -> None:
        """Until nothing waits in the thread, or somebody else is at it."""
        try:
            if await asyncio.to_thread(self._due, thread_id) is None:
                return
            claim = await asyncio.to_thread(self._store.runs(thread_id).claim_replying)
            if claim is None:
                return
            try:
                # Under the claim: who had it before may have answered just now.
                while (due := await asyncio.to_thread(self._due, thread_id)) is not None:
                    if not self._may_begin(thread_id):
                        return
                    await self._run(thread_id, due)
            finally:
                claim.release(forget=True)
        except RunActive:
            log.info("%s is being answered by a client's run", thread_id)
        except JanError as error:
            log.warning("what was written into %s is not answered: %s", thread_id, error)
        except Exception as error:  # noqa: BLE001 - one thread's trouble is not the others'
            log.error("answering what was written into %s failed:\n%s", thread_id, frames(error))

    def _due(self, thread_id: str) -> str | None:
        try:
            thread = self._store.threads.get(thread_id)
            if not self._is_wanted(thread_id, thread.value):
                return None
            messages = self._store.messages(thread_id).list()
            return waiting(messages, self._store.runs(thread_id).list())
        except NotFound:
            return None  # Deleted or moved since: where it is now, it is heard of again.

    def _is_wanted(self, thread_id: str, thread: Mapping[str, Any]) -> bool:
        if asks_for_it(thread) or thread_id == self._named:
            return True
        return self._is_everywhere and not refuses_it(thread)

    async def _run(self, thread_id: str, message_id: str) -> None:
        begun = await self._runs.create(thread_id, CreateRun(metadata={MARK: message_id}))
        log.info("%s: the line %s is answered by %s", thread_id, message_id, begun.run.id)
        async with aclosing(begun.events) as events:
            async for _ in events:
                pass
        ended = await self._runs.get(thread_id, begun.run.id)
        if ended.last_error is not None:
            log.warning("%s: %s failed: %s", thread_id, ended.id, ended.last_error.message)

    def _may_begin(self, thread_id: str) -> bool:
        may_begin = self._quota.take(thread_id)
        if not may_begin:
            log.warning(
                "%s was answered %d times in a minute: its next line is left to its next change",
                thread_id,
                MOST,
            )
        return may_begin


def asks_for_it(thread: Mapping[str, Any]) -> bool:
    """Whether a `thread.json` says that what is written into the thread is to be answered."""
    return _said(thread) is True


def refuses_it(thread: Mapping[str, Any]) -> bool:
    return _said(thread) is False


def waiting(messages: Sequence[Message], runs: Iterable[StoredRun]) -> str | None:
    """The id of the last user's message, if nobody has answered it or tried to. Pure.

    What stands behind it may only be the reply to an earlier one, which was being given when it
    came.
    """
    answered = {run.id: str(run.metadata[MARK]) for run in runs if MARK in run.metadata}
    later: list[Message] = []
    for message in reversed(messages):
        if message.value.get("role") == "user":
            break
        later.append(message)
    else:
        return None
    if message.id in answered.values():
        return None
    are_replies = all(_answers_another(each, answered) for each in later)
    return message.id if are_replies else None


def _answers_another(message: Message, answered: Mapping[str, str]) -> bool:
    return message.value.get("run_id") in answered


def _said(thread: Mapping[str, Any]) -> Any:
    metadata = thread.get("metadata")
    return metadata.get("auto_reply") if isinstance(metadata, Mapping) else None


def _concerned(event: Event) -> str | None:
    """The thread in which something by another program may ask for a reply."""
    if event.cause != "file" or event.change not in ("created", "updated"):
        return None
    if event.kind == "thread":
        return event.id
    return event.thread_id if event.kind == "message" and event.change == "created" else None
