"""Which models are in memory, and who has them.

One process per model, started at the first request for it; many requests have it at once, and the
process gives them slots. What a request wants is its spec and the state of the weights file: when
that differs from what is loaded, or the process is dead, the model is loaded again first. At most
`max_queue` requests of a model wait; beyond that they are refused. A model that nobody uses is
unloaded after its `keep_alive`, or when another one needs its memory.

What to do next is decided by `schedule.py`, on plain values; `Pool` does it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from math import inf, isinf
from pathlib import Path

import msgspec

from jan_server.engines.base import ModelSpec
from jan_server.engines.lease import Lease, Process
from jan_server.engines.pooled import (
    STATES,
    Kept,
    PooledModel,
    Seen,
    State,
    Waiter,
    seen,
)
from jan_server.engines.process import EngineProcess
from jan_server.engines.schedule import (
    Admit,
    Load,
    Room,
    Unload,
    Wanted,
    decide,
    next_expiry,
    without_slot,
)
from jan_server.errors import EngineDied, JanError, ModelLoading, QueueFull, ShuttingDown

log = logging.getLogger(__name__)

LOAD_PATIENCE = 60.0
KEEP_ALIVE = 900.0
MAX_QUEUE = 64
RETRY_AFTER = 10
RETRY_AFTER_FULL = 5
# Who was told to come again finds the model, or why it could not be loaded, for so long.
PROMISE_KEPT = 60.0


class Pool:
    """Owns the processes: whoever makes a pool must `close` it.

    `keep_alive` is for requests that say none, in seconds; `memory_budget` in bytes, None is
    without bound.
    """

    def __init__(
        self,
        make_process: Callable[[ModelSpec], Awaitable[Process]] = EngineProcess.start,
        *,
        load_patience: float = LOAD_PATIENCE,
        keep_alive: float = KEEP_ALIVE,
        max_queue: int = MAX_QUEUE,
        memory_budget: int | None = None,
    ) -> None:
        self._make_process = make_process
        self._load_patience = load_patience
        self._keep_alive = keep_alive
        self._max_queue = max_queue
        self._budget = inf if memory_budget is None else memory_budget
        self._models: dict[str, PooledModel] = {}
        self._stopped: set[str] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        rooms = self._rooms()
        shown = ", ".join(
            f"{room.id} {room.status} {room.users}+{len(room.waiting)}" for room in rooms
        )
        return f"<Pool {'closed' if self._closed else shown or 'empty'}>"

    @asynccontextmanager
    async def model(
        self, spec: ModelSpec, *, keep_alive: float | None = None
    ) -> AsyncIterator[Lease]:
        """The model, loaded. It stays for `keep_alive` seconds after its last request; 0 is none.

        Raises what loading raises, ModelLoading when that takes long (it goes on), QueueFull,
        EngineDied when the model is unloaded meanwhile, ShuttingDown after `close`.
        """
        if self._closed:
            raise _shutting_down()
        waiter = Waiter(Wanted(spec, _weights(spec)))
        model = self._models.setdefault(spec.id, PooledModel(spec.id))
        self._refuse_beyond_the_queue(model)
        model.keep_alive = self._keep_alive if keep_alive is None else keep_alive
        self._join(model, waiter)
        try:
            yield await self._lease(model, waiter)
        finally:
            await self._leave(model, waiter)

    def running(self) -> dict[str, State]:
        """The models in memory or on their way, by id. Callable from any thread."""
        # list() of a dict is one step; the queues are the event loop's and not looked at.
        seen = [(model.id, model.seen_status) for model in list(self._models.values())]
        return {id: STATES[status] for id, status in seen if status in STATES}

    def was_stopped(self, id: str) -> bool:
        """Whether somebody stopped it and nobody asked it anything since. From any thread."""
        return id in self._stopped

    def seen(self) -> list[Seen]:
        """The models in memory or on their way, by id, and how they are."""
        now = time.monotonic()
        rooms = sorted(self._rooms(), key=lambda room: room.id)
        loaded = [room for room in rooms if room.status in STATES]
        return [seen(room, self._models[room.id].process, now) for room in loaded]

    async def stop(self, id: str) -> None:
        """Unload, and say `stopped` of it until it runs again."""
        self._stopped.add(id)
        await self.unload(id, EngineDied(f"The model {id!r} was stopped.", retry_after=1))

    async def unload(self, id: str, because: JanError | None = None) -> None:
        """Free the model's memory now. Who waits for it or has it gets `because`."""
        model = self._models.get(id)
        if model is None:
            return
        because = because or EngineDied(f"The model {id!r} was unloaded.", retry_after=1)
        if model.ending is None:
            model.failure = None
            model.users.clear()
            model.settle(because)
        await asyncio.shield(self._begin_to_end(model, because))

    async def drain(self, seconds: float) -> None:
        """Refuse what is new or waits, let who has a model end, for so long at most; close."""
        self._closed = True
        for model in self._models.values():
            model.settle(_shutting_down())
        users = [waiter for model in self._models.values() for waiter in model.users]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(user.left.wait() for user in users))
        await self.close()

    async def close(self) -> None:
        """End all processes; what waits or runs, and every later request, gets ShuttingDown."""
        self._closed = True
        await asyncio.gather(*(self.unload(id, _shutting_down()) for id in list(self._models)))

    # --- a request comes, waits, leaves -----------------------------------------------------

    def _refuse_beyond_the_queue(self, model: PooledModel) -> None:
        waiting = without_slot(model.room())
        if waiting >= self._max_queue:
            raise QueueFull(model.id, waiting, retry_after=RETRY_AFTER_FULL)

    def _join(self, model: PooledModel, waiter: Waiter) -> None:
        if failure := model.take_failure(waiter.wanted):
            waiter.settle(failure)
            return
        model.queue.append(waiter)
        self._act()

    async def _lease(self, model: PooledModel, waiter: Waiter) -> Lease:
        try:
            async with asyncio.timeout(self._load_patience):
                outcome = await waiter.outcome
        except TimeoutError:
            raise self._out_of_patience(model) from None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _out_of_patience(self, model: PooledModel) -> ModelLoading:
        if model.status == "starting":
            model.is_promised = True
            why = "is still being loaded, which goes on"
        else:
            why = "can be loaded when answers end that others wait for"
        return ModelLoading(
            f"The model {model.id!r} {why}. Try again soon.", retry_after=RETRY_AFTER
        )

    async def _leave(self, model: PooledModel, waiter: Waiter) -> None:
        """Out of the queue, or give the model back; also for one cancelled at any moment."""
        if waiter in model.queue:
            model.queue.remove(waiter)
        try:
            if waiter.lease is not None:
                await waiter.lease.close()
        finally:
            if waiter in model.users:
                model.users.remove(waiter)
                model.used = time.monotonic()
            waiter.left.set()
            self._act()

    # --- what was decided is done -----------------------------------------------------------

    def _rooms(self) -> list[Room]:
        return [model.room() for model in self._models.values()]

    def _act(self) -> None:
        for action in decide(self._rooms(), budget=self._budget, now=time.monotonic()):
            model = self._models[action.id]
            match action:
                case Admit():
                    self._admit(model, action.count)
                case Load():
                    self._load(model, action.wanted, memory=action.memory)
                case Unload():
                    self._begin_to_end(model)
        self._forget_the_empty()
        self._set_the_alarm()

    def _admit(self, model: PooledModel, count: int) -> None:
        assert model.process is not None, "a loaded model has one"
        for _ in range(count):
            waiter = model.queue.popleft()
            model.users.add(waiter)
            waiter.lease = Lease(model.process)
            waiter.settle(waiter.lease)

    def _load(self, model: PooledModel, wanted: Wanted, *, memory: float) -> None:
        old, model.process = model.process, None
        model.status, model.holds, model.is_promised = "starting", wanted, False
        self._stopped.discard(model.id)
        spec = wanted.spec
        if not isinf(memory):
            spec = msgspec.structs.replace(spec, memory=int(memory))
        model.loading = asyncio.create_task(self._loaded_process(old, spec))
        model.loading.add_done_callback(partial(self._load_ended, model, wanted))

    async def _loaded_process(self, old: Process | None, spec: ModelSpec) -> Process:
        if old is not None:
            await old.close()
        process = await self._make_process(spec)
        try:
            await process.load()
        except BaseException:
            await process.close()
            raise
        return process

    def _load_ended(self, model: PooledModel, wanted: Wanted, task: asyncio.Task[Process]) -> None:
        model.loading, model.used = None, time.monotonic()
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            model.process = task.result()
            log.info("model %s: loaded (%s)", model.id, model.process.info.device)
            self._warn_of_too_much(model)
        else:
            log.warning("model %s: not loaded: %r", model.id, error)
        if model.status == "stopping":
            return  # `_end` waits for this and takes it from here.
        model.status = "absent" if error else "loaded"
        model.kept_until = model.used + PROMISE_KEPT if model.is_promised else 0.0
        if error and not model.settle(error, wanted=wanted) and model.is_promised:
            model.failure = Kept(wanted, error, model.kept_until)
        self._act()

    def _warn_of_too_much(self, model: PooledModel) -> None:
        if model.memory > self._budget:
            log.warning(
                "model %s: takes %d MB, and all models together may take %d MB: the others are "
                "unloaded for it, and it for them. A larger memory_budget, or a smaller ctx_len or "
                "n_parallel in its model.json, would keep them",
                model.id,
                model.memory >> 20,
                int(self._budget) >> 20,
            )

    def _begin_to_end(
        self, model: PooledModel, because: JanError | None = None
    ) -> asyncio.Task[None]:
        if model.ending is None:
            model.status = "stopping"
            model.ending = asyncio.create_task(self._end(model, because))
        return model.ending

    async def _end(self, model: PooledModel, because: JanError | None) -> None:
        if model.loading is not None:
            model.loading.cancel()
            await asyncio.wait({model.loading})
        process, model.process = model.process, None
        if process is not None:
            await process.close(because)
            log.info("model %s: unloaded", model.id)
        model.status, model.holds, model.ending = "absent", None, None
        if self._closed:
            model.settle(_shutting_down())
        self._act()

    def _forget_the_empty(self) -> None:
        for model in list(self._models.values()):
            if model.status == "absent" and not model.queue and not model.failure:
                del self._models[model.id]

    def _set_the_alarm(self) -> None:
        """For the moment when the time of an idle model is over."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        at = next_expiry(self._rooms())
        if not isinf(at) and not self._closed:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(max(0.0, at - time.monotonic()), self._act)


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("The server is shutting down.", retry_after=5)


def _weights(spec: ModelSpec) -> tuple[int, int] | None:
    """None when there is no such file: then loading says so better."""
    try:
        status = Path(spec.path).stat() if spec.path else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if status else None
