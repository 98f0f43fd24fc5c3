"""Which models are in memory, and whose turn it is.

One process per model, started at the first request for it. One request at a time has a model's
turn; others wait in the order they came. Models do not wait for each other. What a request wants is
its spec and the state of the weights file: when that differs from what is loaded, or the process is
dead, the model is loaded again before the turn is given.

What to do next is decided by `schedule.py`, on plain values; `Pool` does it. Not here yet: a memory
budget, unloading what is idle, several contexts of one model.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from jan_server.engines.base import Event, GenerationRequest, ModelInfo, ModelSpec
from jan_server.engines.process import EngineProcess
from jan_server.engines.schedule import Admit, Load, Room, Status, Wanted, decide
from jan_server.errors import EngineDied, JanError, ModelLoading, ShuttingDown

log = logging.getLogger(__name__)

LOAD_PATIENCE = 60.0
RETRY_AFTER = 10
FAILURE_KEPT = 60.0

State = Literal["starting", "running", "stopping"]

_STATES: dict[Status, State] = {
    "starting": "starting",
    "idle": "running",
    "busy": "running",
    "stopping": "stopping",
}


class Process(Protocol):
    """What the pool needs of an EngineProcess."""

    @property
    def alive(self) -> bool: ...
    @property
    def info(self) -> ModelInfo: ...
    async def load(self) -> ModelInfo: ...
    def generate(self, request: GenerationRequest) -> AsyncGenerator[Event]: ...
    async def close(self, because: JanError | None = None) -> None: ...


class Turn:
    """A loaded model, for as long as the request has it."""

    def __init__(self, process: Process) -> None:
        self.info = process.info
        self._process = process
        self._open: list[AsyncGenerator[Event]] = []

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Event]:
        """See EngineProcess.generate. It is closed at the latest when the turn ends."""
        events = self._process.generate(request)
        self._open.append(events)
        return events

    async def close(self) -> None:
        for events in self._open:
            await events.aclose()


class _Waiter:
    """A request in a queue. `outcome` is its turn, or why it gets none."""

    turn: Turn | None = None

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.outcome: asyncio.Future[Turn | BaseException] = asyncio.Future()
        self.patience: asyncio.TimerHandle | None = None
        self.left = asyncio.Event()

    def settle(self, outcome: Turn | BaseException) -> None:
        self.stop_timer()
        if not self.outcome.done():  # else: it was cancelled, and has not left the queue yet
            self.outcome.set_result(outcome)

    def stop_timer(self) -> None:
        if self.patience is not None:
            self.patience.cancel()
            self.patience = None


class _Kept(NamedTuple):
    """Why a load failed, for whoever comes again before `until`, on the monotonic clock."""

    wanted: Wanted
    error: BaseException
    until: float


class _Model:
    """One model's process and queue."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.status: Status = "absent"
        self.process: Process | None = None
        self.holds: Wanted | None = None
        self.holder: _Waiter | None = None
        self.queue: deque[_Waiter] = deque()
        self.loading: asyncio.Task[Process] | None = None
        self.ending: asyncio.Task[None] | None = None
        # Somebody was told to come again while it loads; a failure is kept for them.
        self.promised = False
        self.failure: _Kept | None = None

    @property
    def seen_status(self) -> Status:
        """As it is set, but for a process that died while nobody used it."""
        process = self.process
        dead = self.status == "idle" and not (process and process.alive)
        return "dead" if dead else self.status

    def room(self) -> Room:
        return Room(
            id=self.id,
            status=self.seen_status,
            holds=self.holds,
            waiting=tuple(waiter.wanted for waiter in self.queue),
        )

    def settle(self, outcome: BaseException, *, wanted: Wanted | None = None) -> bool:
        """Tell all waiters, or those who want just this; False when there is none."""
        told = [waiter for waiter in self.queue if wanted in (None, waiter.wanted)]
        for waiter in told:
            self.queue.remove(waiter)
            waiter.settle(outcome)
        return bool(told)

    def take_failure(self, wanted: Wanted) -> BaseException | None:
        """The failure that was kept for whoever comes again wanting this; it is told once."""
        kept, self.failure = self.failure, None
        is_asked_for = kept and kept.wanted == wanted and time.monotonic() < kept.until
        return kept.error if kept and is_asked_for else None


class Pool:
    """Owns the processes: whoever makes a pool must `close` it."""

    def __init__(
        self,
        make_process: Callable[[ModelSpec], Awaitable[Process]] = EngineProcess.start,
        *,
        load_patience: float = LOAD_PATIENCE,
    ) -> None:
        self._make_process = make_process
        self._load_patience = load_patience
        self._models: dict[str, _Model] = {}
        self._closed = False

    def __repr__(self) -> str:
        rooms = [model.room() for model in self._models.values()]
        shown = ", ".join(f"{room.id} {room.status} +{len(room.waiting)}" for room in rooms)
        return f"<Pool {'closed' if self._closed else shown or 'empty'}>"

    @asynccontextmanager
    async def model(self, spec: ModelSpec) -> AsyncIterator[Turn]:
        """The model, loaded, and its turn.

        Raises what loading raises, ModelLoading when that takes long (it goes on), EngineDied when
        the model is unloaded meanwhile, ShuttingDown after `close`.
        """
        if self._closed:
            raise _shutting_down()
        waiter = _Waiter(Wanted(spec, _weights(spec)))
        model = self._models.setdefault(spec.id, _Model(spec.id))
        self._join(model, waiter)
        try:
            outcome = await waiter.outcome
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome
        finally:
            await self._leave(model, waiter)

    def running(self) -> dict[str, State]:
        """The models in memory or on their way, by id. Callable from any thread."""
        # list() of a dict is one step; the queues are the event loop's and not looked at.
        seen = [(model.id, model.seen_status) for model in list(self._models.values())]
        return {id: _STATES[status] for id, status in seen if status in _STATES}

    async def unload(self, id: str, because: JanError | None = None) -> None:
        """Free the model's memory now. Who waits for it or has its turn gets `because`."""
        model = self._models.get(id)
        if model is None:
            return
        if model.ending is None:
            because = because or EngineDied(f"The model {id!r} was unloaded.", retry_after=1)
            model.status, model.holder, model.failure = "stopping", None, None
            model.settle(because)
            model.ending = asyncio.create_task(self._end(model, because))
        await asyncio.shield(model.ending)

    async def drain(self, seconds: float) -> None:
        """Refuse what is new or waits, let who has a turn end it, for so long at most; close."""
        self._closed = True
        for model in self._models.values():
            model.settle(_shutting_down())
        holders = [model.holder for model in self._models.values() if model.holder]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(holder.left.wait() for holder in holders))
        await self.close()

    async def close(self) -> None:
        """End all processes; what waits or runs, and every later request, gets ShuttingDown."""
        self._closed = True
        await asyncio.gather(*(self.unload(id, _shutting_down()) for id in list(self._models)))

    def _join(self, model: _Model, waiter: _Waiter) -> None:
        if failure := model.take_failure(waiter.wanted):
            waiter.settle(failure)
            return
        model.queue.append(waiter)
        if model.status == "starting":
            self._start_timer(model, waiter)
        self._act()

    async def _leave(self, model: _Model, waiter: _Waiter) -> None:
        """Out of the queue, or give the turn on; also for one who was cancelled at any moment."""
        waiter.stop_timer()
        if waiter in model.queue:
            model.queue.remove(waiter)
        try:
            if waiter.turn is not None:
                await waiter.turn.close()
        finally:
            if model.holder is waiter:
                model.holder, model.status = None, "idle"
            waiter.left.set()
            self._act()

    def _act(self) -> None:
        for action in decide([model.room() for model in self._models.values()]):
            model = self._models[action.id]
            match action:
                case Admit():
                    self._admit(model)
                case Load():
                    self._load(model, action.wanted)
        self._forget_the_empty()

    def _admit(self, model: _Model) -> None:
        assert model.process is not None, "idle models have one"
        model.status, model.holder = "busy", model.queue.popleft()
        model.holder.turn = Turn(model.process)
        model.holder.settle(model.holder.turn)

    def _load(self, model: _Model, wanted: Wanted) -> None:
        old, model.process = model.process, None
        model.status, model.holds, model.promised = "starting", wanted, False
        model.loading = asyncio.create_task(self._loaded_process(old, wanted.spec))
        model.loading.add_done_callback(partial(self._load_ended, model, wanted))
        for waiter in model.queue:
            self._start_timer(model, waiter)

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

    def _load_ended(self, model: _Model, wanted: Wanted, task: asyncio.Task[Process]) -> None:
        model.loading = None
        for waiter in model.queue:
            waiter.stop_timer()
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            model.process = task.result()
            log.info("model %s: loaded (%s)", model.id, model.process.info.device)
        else:
            log.warning("model %s: not loaded: %r", model.id, error)
        if model.status == "stopping":
            return  # `_end` waits for this and takes it from here
        model.status = "absent" if error else "idle"
        if error and not model.settle(error, wanted=wanted) and model.promised:
            model.failure = _Kept(wanted, error, time.monotonic() + FAILURE_KEPT)
        self._act()

    def _start_timer(self, model: _Model, waiter: _Waiter) -> None:
        loop = asyncio.get_running_loop()
        waiter.patience = loop.call_later(self._load_patience, self._lose_patience, model, waiter)

    def _lose_patience(self, model: _Model, waiter: _Waiter) -> None:
        model.promised = True
        model.queue.remove(waiter)
        waiter.settle(
            ModelLoading(
                f"The model {model.id!r} is still being loaded, which goes on. Try again soon.",
                retry_after=RETRY_AFTER,
            )
        )

    async def _end(self, model: _Model, because: JanError) -> None:
        if model.loading is not None:
            model.loading.cancel()
            await asyncio.wait({model.loading})
        process, model.process = model.process, None
        if process is not None:
            await process.close(because)
        model.status, model.ending = "absent", None
        if self._closed:
            model.settle(_shutting_down())
        self._act()

    def _forget_the_empty(self) -> None:
        for model in list(self._models.values()):
            if model.status == "absent" and not model.queue and not model.failure:
                del self._models[model.id]


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("The server is shutting down.", retry_after=5)


def _weights(spec: ModelSpec) -> tuple[int, int] | None:
    """None when there is no such file: then loading says so better."""
    try:
        status = Path(spec.path).stat() if spec.path else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if status else None
