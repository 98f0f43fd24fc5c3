"""One run that is being answered: from `queued` until it is over, or waits for its client.

It goes on whoever listens or leaves. What it says grows as a reply of the store (durability:
`.reply-<id>.json`, one line in the end), and each change of its state is a line of `runs.jsonl`.
Those of its end are on the disk before they are told. Those on the way are written a little later,
so that nobody waits for them: if they are lost, the run is found unanswered all the same.

The engine is stopped by closing its iterator. The disk is left alone only between two calls:
whatever a worker thread does for a run is waited for, even when the run is stopped meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from msgspec.structs import replace
from ulid import ULID

from jan_server.errors import JanError, ModelLoading, NotFound, PromptLimitExceeded
from jan_server.logs import frames
from jan_server.runs import states
from jan_server.runs.asking import Asked, Chats, is_spent
from jan_server.runs.events import CallsAdded, RunEvent, StepOf, Telling, TextAdded, Told
from jan_server.runs.hearing import Heard, hear
from jan_server.store import Message, Messages, ThreadRuns
from jan_server.store.locks import Claim
from jan_server.store.replies import Reply
from jan_server.types.run import ErrorCode, RunError, Step, StoredRun
from jan_server.types.tool import FunctionCall, ToolCall, ToolCallDelta
from jan_server.workers import to_its_end

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.25
"""Seconds: whether the reply is to be saved, and whether another server was asked to cancel."""

LOAD_AGAIN = 1.0
"""Seconds until a model that takes long to load is waited for again."""

SAVE_AFTER = 0.05
"""Seconds until a state on the way is written, with what has come since: the first piece of the
answer does not wait for its line (measured on a busy machine: 5 ms less)."""

Outcome = Callable[[StoredRun, int], StoredRun]
"""What becomes of a run at a time."""


class Work:
    """Belongs to one event loop; `start` it, and wait for `rest`.

    `asked` is what the model is asked, or why it cannot be. `changed` is told of the messages that
    have come, `ended` when nothing more is done here. The claim is let go.
    """

    def __init__(
        self,
        run: StoredRun,
        claim: Claim,
        *,
        runs: ThreadRuns,
        messages: Messages,
        chats: Chats,
        asked: Asked | JanError,
        client: str,
        changed: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self.run = run
        self._claim = claim
        self._runs = runs
        self._messages = messages
        self._chats = chats
        self._asked = asked
        self._client = client
        self._changed = changed
        self._ended = ended
        self._telling = Telling()
        self._stop = asyncio.Event()
        self._why: Outcome = states.expired
        self._task: asyncio.Task[None] | None = None
        self._reply: Reply | None = None
        self._is_shown = False
        self._calls: dict[int, ToolCall] = {}
        self._writing = asyncio.Lock()
        self._unsaved: StoredRun | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._saving: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Work {self.run.id} {self.run.status}>"

    def start(self, *, told: tuple[RunEvent, ...]) -> AsyncGenerator[tuple[RunEvent, ...]]:
        """Begin, and listen from the beginning: first what is `told` already."""
        heard = self._telling.listen()
        for event in told:
            self._telling.tell(*event)
        self._task = asyncio.create_task(self._work(), name=f"run {self.run.id}")
        return heard

    async def rest(self) -> None:
        """Until it is over, or waits for its client."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def cancel(self) -> StoredRun:
        """Stop within a token; the run as it is until then."""
        if not self._stop.is_set():
            self._change(states.cancelling(self.run), save=True)
            self._stop_because(states.cancelled)
        return self.run

    def fail(self, error: RunError) -> None:
        """Stop, because we cannot go on."""
        self._stop_because(lambda run, now: states.failed(run, now, error))

    async def modify(self, metadata: dict[str, Any]) -> StoredRun:
        """Give it other metadata. Raises what ThreadRuns.put raises."""
        changed = await asyncio.to_thread(self._put, metadata=metadata)
        self.run = replace(self.run, metadata=changed.metadata)
        return self.run

    async def _work(self) -> None:
        watching = asyncio.create_task(self._watch())
        try:
            outcome = await self._until_answered()
            async with self._writing:  # The watcher is at no file any more.
                await _ended_task(watching)
            await self._come_to_rest(outcome)
        finally:
            await _ended_task(watching)
            self._claim.release(forget=True)
            self._telling.end()
            self._ended()

    async def _until_answered(self) -> Outcome:
        answering = asyncio.create_task(self._answer())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait(
                {answering, stopping},
                timeout=self._seconds_left(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._stop.is_set() or not answering.done():
                return self._why
            error = answering.exception()
            return answering.result() if error is None else _failure(error)
        finally:
            await _ended_task(stopping)
            await _ended_task(answering)

    async def _answer(self) -> Outcome:
        """Ask, and tell what is answered. Raises JanError."""
        if is_spent(self.run):
            return partial(states.incomplete, reason="max_completion_tokens")
        asked = self._asked
        if isinstance(asked, JanError):
            raise asked
        last = Heard()
        async with aclosing(self._heard(asked)) as all_heard:
            async for heard in all_heard:
                await self._take(heard)
                last = Heard(reason=heard.reason or last.reason, usage=heard.usage or last.usage)
        return await self._outcome(last)

    async def _heard(self, asked: Asked) -> AsyncGenerator[Heard]:
        """What the model says, however long it takes to load: nobody else would ask again."""
        while True:
            chunks = self._chats.stream(
                asked.request, asked.sent, client=self._client, prompt_limit=asked.prompt_limit
            )
            with suppress(ModelLoading):
                async with aclosing(chunks):
                    async for chunk in chunks:
                        if (heard := hear(chunk)) is not None:
                            yield heard
                return
            await asyncio.sleep(LOAD_AGAIN)

    async def _outcome(self, last: Heard) -> Outcome:
        if not self._is_shown and not self._calls:
            await self._open_message()  # A model that says nothing has said "".
        step = self.run.steps[-1]
        if self._calls:
            step = states.with_calls(step, list(self._calls.values()))
        self._change(states.with_step(self.run, replace(step, usage=last.usage)))
        if last.reason == "length":
            return partial(states.incomplete, reason="max_completion_tokens")
        if self._calls:
            return lambda run, _now: states.requiring(run, list(self._calls.values()))
        return states.completed

    async def _take(self, heard: Heard) -> None:
        if self.run.status == "queued":
            self._change(states.begun(self.run, _now()), save=True)
        if heard.text and not self._calls:  # Behind calls nothing is said that counts.
            await self._say(heard.text)
        for delta in heard.calls:
            await self._call(delta)

    async def _say(self, text: str) -> None:
        if not self._is_shown:
            await self._open_message()
        assert self._reply is not None, "a message that is shown grows"
        self._reply.add(text)
        self._tell("thread.message.delta", TextAdded(self._reply.id, text))

    async def _open_message(self) -> None:
        if self._reply is None:
            async with self._writing:
                await to_its_end(self._begin_reply)
        self._show_message()

    def _begin_reply(self) -> None:
        run = self.run
        self._reply = self._messages.begin_reply(
            {"role": "assistant", "assistant_id": run.assistant_id, "run_id": run.id}
        )

    def _show_message(self) -> None:
        assert self._reply is not None, "it was begun"
        self._is_shown = True
        step = states.message_step(_new_step_id(), _now(), message_id=self._reply.id)
        self._open_step(step)
        message = self._reply.message
        self._tell("thread.message.created", message)
        self._tell("thread.message.in_progress", message)

    def _open_step(self, step: Step) -> None:
        self._change(states.with_step(self.run, step))
        self._save_soon()
        self._tell("thread.run.step.created", StepOf(self.run, step))
        self._tell("thread.run.step.in_progress", StepOf(self.run, step))

    async def _call(self, delta: ToolCallDelta) -> None:
        if not self._calls:
            if self._is_shown:
                await self._close_message("")
                step = states.ended_step(self.run.steps[-1], "completed", _now())
                self._change(states.with_step(self.run, step))
                self._tell("thread.run.step.completed", StepOf(self.run, step))
            self._open_step(states.calling_step(_new_step_id(), _now()))
        _add(self._calls, delta)
        self._tell("thread.run.step.delta", CallsAdded(self.run.steps[-1].id, delta))

    async def _close_message(self, reason: str) -> None:
        """It becomes a line: `ready`, or incomplete for a reason."""
        if self._reply is None:
            return
        if not self._is_shown:  # We were stopped at its beginning.
            self._show_message()
        line: list[Message] = []
        status = "incomplete" if reason else "ready"
        more = {"incomplete_details": {"reason": reason}} if reason else {}
        finish = partial(self._finish, self._reply, line, status=status, more=more)
        async with self._writing:
            await to_its_end(finish)
        self._reply, self._is_shown = None, False
        for message in line:
            is_whole = message.value.get("status") == "ready"
            self._tell(f"thread.message.{'completed' if is_whole else 'incomplete'}", message)
            self._changed()

    def _finish(
        self, reply: Reply, line: list[Message], *, status: str, more: Mapping[str, Any]
    ) -> None:
        try:
            line.append(reply.finish(status=status, more=more))
        except NotFound:
            logger.info("%s has lost its thread", self.run.id)
        finally:
            reply.close()

    async def _come_to_rest(self, outcome: Outcome) -> None:
        run = outcome(self.run, _now())
        if run.status in states.ENDINGS:
            try:
                await self._close_message(states.ENDINGS[run.status].message)
            except JanError as error:
                run = states.failed(self.run, _now(), _error_of(error))
            for step in run.steps:
                if step not in self.run.steps:
                    self._tell(f"thread.run.step.{step.status}", StepOf(run, step))
        if self._timer is not None:
            self._timer.cancel()
        if self._saving is not None:
            await asyncio.wait({self._saving})
        try:
            run = await asyncio.to_thread(self._put, run)
        except JanError as error:
            logger.warning("the end of %s is not on the disk: %s", run.id, error)
            run = states.failed(self.run, _now(), _error_of(error))
        self.run = run
        self._tell(f"thread.run.{run.status}", run)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            async with self._writing:
                with suppress(JanError):  # It is told of, and tried again.
                    await to_its_end(self._look)

    def _look(self) -> None:
        reply = self._reply
        if reply is not None and reply.is_due:
            reply.save()
        if self._is_unwanted():
            assert self._task is not None, "it was started"
            self._task.get_loop().call_soon_threadsafe(self.cancel)

    def _is_unwanted(self) -> bool:
        """Whether another server was asked to cancel it, or its thread was deleted."""
        try:
            return self._runs.get(self.run.id).status == "cancelling"
        except NotFound:
            return True

    def _stop_because(self, outcome: Outcome) -> None:
        if not self._stop.is_set():
            self._why = outcome
            self._stop.set()

    def _seconds_left(self) -> float | None:
        ends = self.run.expires_at
        return None if ends is None else max(0.0, ends - time.time())

    def _change(self, run: StoredRun, *, save: bool = False) -> None:
        """What it is now; a new state is told."""
        is_new, self.run = run.status != self.run.status, run
        if is_new:
            self._tell(f"thread.run.{run.status}", run)
        if save:
            self._save_soon()

    def _save_soon(self) -> None:
        self._unsaved = self.run
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(SAVE_AFTER, self._begin_to_save)

    def _begin_to_save(self) -> None:
        self._timer = None
        if self._saving is not None and not self._saving.done():
            self._save_soon()  # One at a time: what is written later happened later.
        else:
            self._saving = asyncio.create_task(self._save_quietly())

    async def _save_quietly(self) -> None:
        try:
            await asyncio.to_thread(self._put)
        except JanError as error:
            logger.warning("%s is not on the disk as %s: %s", self.run.id, self.run.status, error)

    def _put(
        self, last: StoredRun | None = None, *, metadata: dict[str, Any] | None = None
    ) -> StoredRun:
        """Write the line of what it is now, or of what it is at `last`; what was written.

        Other servers may have given it metadata, or were asked to cancel it: what the file has
        counts.
        """
        with self._runs.hold():
            there = self._runs.get(self.run.id)
            known = there.metadata if metadata is None else metadata
            before, self._unsaved = self._unsaved, None
            now = states.cancelling(self.run) if there.status == "cancelling" else self.run
            run = replace(last or now, metadata=known)
            self._runs.put(run, before=before and replace(before, metadata=known) if last else None)
            if last is not None:  # Before anybody else can see that it waits for its client.
                self._claim.release(forget=True)
        return run

    def _tell(self, name: str, about: Told) -> None:
        self._telling.tell(name, about)


def _add(calls: dict[int, ToolCall], delta: ToolCallDelta) -> None:
    if delta.index not in calls:
        named = FunctionCall(name=delta.function.name or "", arguments="")
        calls[delta.index] = ToolCall(id=delta.id or "", function=named)
    calls[delta.index].function.arguments += delta.function.arguments or ""


def _failure(error: BaseException) -> Outcome:
    if isinstance(error, PromptLimitExceeded):
        return partial(states.incomplete, reason="max_prompt_tokens")
    if not isinstance(error, JanError):
        # Not its text: it can quote the prompt.
        logger.error("a run failed in:\n%s", frames(error))
        error = JanError("The server failed at this; its log says where.")
    told = _error_of(error)
    return lambda run, now: states.failed(run, now, told)


def _error_of(error: JanError) -> RunError:
    code: ErrorCode = "server_error"
    if error.status == 429:
        code = "rate_limit_exceeded"
    elif error.status < 500:
        code = "invalid_prompt"
    return RunError(code=code, message=error.message)


async def _ended_task(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _new_step_id() -> str:
    return f"step_{ULID()}"


def _now() -> int:
    return int(time.time())
