"""Runs: replies inside a thread, as OpenAI's Assistants API has them. No HTTP.

    states         what a run may be, and what becomes of it
    planning       who answers and how: a request and two files -> a run
    asking         a run as a chat request; conversation: a thread's messages as a chat's
    work           one run that is being answered; hearing: what an answer's chunks say
    events         what is told of it meanwhile
    (here)         which runs there are, who may begin one, who answers them

The user's words are on the disk before the model is asked. A thread has one run at a time, however
many servers share the folder: a run begins under the thread's lock, and its answerer holds its
claim. A run that nobody answers, because its server ended, is `failed` for whoever looks at it
next, and then in the file too; what it had said is a message that is `incomplete`. One that waits
for its client is not lost with a server: any other may go on with it.

Answering goes on when the client leaves. A server that is stopped lets it end for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

from msgspec.structs import replace

from jan_server import ids
from jan_server.errors import InvalidRequest, JanError, RunActive, RunNotActive, ShuttingDown
from jan_server.runs import asking, states
from jan_server.runs.asking import Asked, Chats
from jan_server.runs.conversation import chat_messages
from jan_server.runs.events import RunEvent, StepOf
from jan_server.runs.planning import Planning
from jan_server.runs.work import Work
from jan_server.store import Store, ThreadRuns
from jan_server.store.locks import Claim
from jan_server.types.run import CreateRun, RunError, RunOptions, StoredRun, ToolOutput

EXPIRE_AFTER = 600
"""Seconds, as OpenAI's."""

STOPPED = RunError(code="server_error", message="The server was stopped while it answered.")


RunList = list[StoredRun]


class Begun(NamedTuple):
    """A run that is being answered; `events` are all from its beginning, some at a time."""

    run: StoredRun
    events: AsyncGenerator[tuple[RunEvent, ...]]


class Runs:
    """Belongs to one event loop. `changed` is told the ids of threads that messages came to."""

    def __init__(
        self,
        store: Store,
        chats: Chats,
        *,
        default_assistant: str,
        changed: Callable[[str], None],
        expire_after: float = EXPIRE_AFTER,
    ) -> None:
        self._store = store
        self._chats = chats
        self._planning = Planning(store, default_assistant=default_assistant)
        self._changed = changed
        self._expire_after = expire_after
        self._works: dict[str, Work] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<Runs {len(self._works)} are answered>"

    async def plan(self, asked: RunOptions, *, thread_id: str | None = None) -> StoredRun:
        """The run that this request would be, in that thread or in a new one. Nothing is written.

        Raises InvalidId and NotFound (thread, assistant, model), and what is wrong with the
        request.
        """
        return await asyncio.to_thread(self._planned, asked, thread_id)

    async def create(
        self,
        thread_id: str,
        asked: CreateRun,
        *,
        messages: Sequence[Mapping[str, Any]] = (),
        client: str = "",
    ) -> Begun:
        """Add the messages, as for Messages.append, and begin. Raises as `plan` and `begin`."""
        self._check_open()
        # One way to a worker and back: a client waits for it.
        run, claim, chat = await asyncio.to_thread(self._create, thread_id, asked, messages)
        return self._told(run, claim, chat, are_added=bool(messages), client=client)

    async def begin(self, thread_id: str, run: StoredRun, *, client: str = "") -> Begun:
        """Begin what was planned. Raises RunActive, ShuttingDown, as ThreadRuns.add."""
        self._check_open()
        run = replace(run, thread_id=thread_id)
        claim, chat = await asyncio.to_thread(self._begin, run, ())
        return self._told(run, claim, chat, are_added=False, client=client)

    async def list(self, thread_id: str) -> RunList:
        """All of a thread, the first one first, as they are now."""
        return await asyncio.to_thread(self._list, self._store.runs(thread_id))

    async def get(self, thread_id: str, id: str) -> StoredRun:
        """Raises NotFound (thread, run) and InvalidId."""
        return await asyncio.to_thread(self._get, self._store.runs(thread_id), id)

    async def check_idle(self, thread_id: str) -> None:
        """Raises RunActive when a run of the thread is active."""
        for run in await self.list(thread_id):
            if states.is_active(run):
                raise RunActive(thread_id, run.id, adding=True)

    async def modify(
        self,
        thread_id: str,
        id: str,
        metadata: dict[str, Any],
        *,
        condition: Callable[[StoredRun], None],
    ) -> StoredRun:
        """Give a run other metadata. `condition` is called with it as it is then; what it raises
        leaves the run as it is.
        """
        run = await self.get(thread_id, id)
        if (work := self._works.get(id)) is not None:
            condition(work.run)
            return await work.modify(metadata)
        return await asyncio.to_thread(self._modify, run, metadata, condition)

    async def cancel(self, thread_id: str, id: str) -> StoredRun:
        """Stop it within a token, whichever server answers it. Raises RunNotActive."""
        await self.get(thread_id, id)
        if (work := self._works.get(id)) is not None:
            return work.cancel()
        return await asyncio.to_thread(self._cancel, self._store.runs(thread_id), id)

    async def submit(
        self, thread_id: str, id: str, outputs: Sequence[ToolOutput], *, client: str = ""
    ) -> Begun:
        """Answer a run's calls, and go on with it. Raises RunNotActive and InvalidRequest."""
        self._check_open()
        runs = self._store.runs(thread_id)
        told = {output.tool_call_id: output.output or "" for output in outputs}
        run, claim, asked = await asyncio.to_thread(self._submit, runs, id, told)
        events = (
            RunEvent("thread.run.step.completed", StepOf(run, run.steps[-1])),
            RunEvent("thread.run.queued", run),
        )
        return self._work(run, claim, asked, told=events, client=client)

    async def drain(self, seconds: float) -> None:
        """Refuse what is new, let what is answered end, for so long at most."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rest()

    async def close(self) -> None:
        """What is still being answered fails, and keeps what it has said."""
        self._closed = True
        for work in list(self._works.values()):
            work.fail(STOPPED)
        await self._rest()

    async def _rest(self) -> None:
        await asyncio.gather(*(work.rest() for work in list(self._works.values())))

    def _check_open(self) -> None:
        if self._closed:
            raise ShuttingDown("The server is shutting down.")

    def _told(
        self,
        run: StoredRun,
        claim: Claim,
        asked: Asked | JanError,
        *,
        are_added: bool,
        client: str,
    ) -> Begun:
        """A new run is being answered; whether messages were added for it."""
        if are_added:
            self._changed(run.thread_id)
        told = (RunEvent("thread.run.created", run), RunEvent("thread.run.queued", run))
        return self._work(run, claim, asked, told=told, client=client)

    def _work(
        self,
        run: StoredRun,
        claim: Claim,
        asked: Asked | JanError,
        *,
        told: tuple[RunEvent, ...],
        client: str,
    ) -> Begun:
        thread_id = run.thread_id
        work = self._works[run.id] = Work(
            run,
            claim,
            runs=self._store.runs(thread_id),
            messages=self._store.messages(thread_id),
            chats=self._chats,
            asked=asked,
            client=client,
            changed=partial(self._changed, thread_id),
            ended=partial(self._forget, run.id),
        )
        return Begun(run, work.start(told=told))

    def _forget(self, id: str) -> None:
        self._works.pop(id, None)

    # What follows is done in a worker.

    def _create(
        self, thread_id: str, asked: CreateRun, messages: Sequence[Mapping[str, Any]]
    ) -> tuple[StoredRun, Claim, Asked | JanError]:
        run = replace(self._planned(asked, thread_id), thread_id=thread_id)
        return run, *self._begin(run, messages)

    def _planned(self, asked: RunOptions, thread_id: str | None) -> StoredRun:
        thread = {} if thread_id is None else self._store.threads.get(thread_id).value
        run = self._planning.run(asked, thread, seconds=self._expire_after)
        words = [{"role": "user", "content": "?"}]
        chat = asking.asked(run, words, self._planning.files(run, thread))
        return replace(run, model=self._chats.check_here(chat.request, chat.sent))

    def _ask(self, run: StoredRun, others: Sequence[StoredRun]) -> Asked | JanError:
        """What the model is asked now; an error is the run's, which there is by now."""
        try:
            return self._asked(run, others)
        except JanError as error:
            return error

    def _asked(self, run: StoredRun, others: Sequence[StoredRun]) -> Asked:
        thread = self._store.threads.get(run.thread_id)
        messages = self._store.messages(run.thread_id).list()
        runs = {each.id: each for each in (*others, run)}
        files = self._planning.files(run, thread.value)
        return asking.asked(run, chat_messages(run, messages, runs), files)

    def _begin(
        self, run: StoredRun, messages: Sequence[Mapping[str, Any]]
    ) -> tuple[Claim, Asked | JanError]:
        runs = self._store.runs(run.thread_id)
        with runs.hold():
            others = self._list(runs)
            for other in others:
                if states.is_active(other):
                    raise RunActive(run.thread_id, other.id)
            claim = runs.claim(run.id)
            assert claim is not None, "nobody knows the id yet"
            with _let_go_unless_well(claim):
                if messages:
                    self._store.messages(run.thread_id).append(messages)
                runs.add(run)
        with _let_go_unless_well(claim):
            return claim, self._ask(run, others)

    def _list(self, runs: ThreadRuns) -> RunList:
        return [self._as_it_is(runs, run) for run in runs.list()]

    def _get(self, runs: ThreadRuns, id: str) -> StoredRun:
        ids.check_lookup_id("run", id)
        return self._as_it_is(runs, runs.get(id))

    def _as_it_is(self, runs: ThreadRuns, run: StoredRun) -> StoredRun:
        """What the line says, unless its answerer knows more, or is gone."""
        if (work := self._works.get(run.id)) is not None:
            return work.run
        now = int(time.time())
        if states.settled(run, now) is run or self._store.is_read_only:
            return run
        with runs.hold():
            return self._settled(runs, runs.get(run.id), now)

    def _settled(self, runs: ThreadRuns, run: StoredRun, now: int) -> StoredRun:
        """Under the thread's lock: what it has become is written."""
        settled = states.settled(run, now)
        if settled is run or run.id in self._works:
            return run
        claim = runs.claim(run.id)
        if claim is None:
            return run  # Another server answers it.
        try:
            runs.put(settled)
        finally:
            claim.release(forget=True)
        return settled

    def _modify(
        self, run: StoredRun, metadata: dict[str, Any], condition: Callable[[StoredRun], None]
    ) -> StoredRun:
        runs = self._store.runs(run.thread_id)
        with runs.hold():
            run = runs.get(run.id)
            condition(run)
            changed = replace(run, metadata=metadata)
            runs.put(changed)
        return changed

    def _cancel(self, runs: ThreadRuns, id: str) -> StoredRun:
        with runs.hold():
            run = self._settled(runs, runs.get(id), int(time.time()))
            if not states.is_active(run):
                raise RunNotActive(f"Cannot cancel run with status '{run.status}'.")
            if run.status == "requires_action":
                run = states.cancelled(run, int(time.time()))
            else:  # The server that answers it looks for this.
                run = states.cancelling(run)
            runs.put(run)
        return run

    def _submit(
        self, runs: ThreadRuns, id: str, outputs: Mapping[str, str]
    ) -> tuple[StoredRun, Claim, Asked | JanError]:
        ids.check_lookup_id("run", id)
        with runs.hold():
            now = int(time.time())
            run = self._settled(runs, runs.get(id), now)
            if run.status != "requires_action":
                raise RunNotActive(f'Runs in status "{run.status}" do not accept tool outputs.')
            _check_outputs(states.calls_of(run), list(outputs))
            claim = runs.claim(id)
            assert claim is not None, "nobody answers a run that waits for its client"
            with _let_go_unless_well(claim):
                run = states.answered(run, now, dict(outputs))
                runs.put(run)
        with _let_go_unless_well(claim):
            return run, claim, self._ask(run, runs.list())


@contextmanager
def _let_go_unless_well(claim: Claim) -> Iterator[None]:
    try:
        yield
    except BaseException:
        claim.release(forget=True)
        raise


def _check_outputs(expected: Sequence[str], sent: Sequence[str]) -> None:
    if sorted(expected) != sorted(sent):
        raise InvalidRequest(
            f"Expected tool outputs for call_ids {list(expected)}, got {list(sent)}.",
            param="$.tool_outputs",
        )
