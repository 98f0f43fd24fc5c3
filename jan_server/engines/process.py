"""A model in a process of its own, as the server sees it: many answers at once over one pipe.

There is one way to cancel: closing an answer's iterator. The child is told and confirms it. One
that does not confirm in time is in native code that cannot hear; it is killed when nobody else's
answer is in it, as soon as that is so. Else it may come to itself, and the watchdog decides.

The watchdog: a child that must speak (`conversation.must_speak` says of what) and says nothing for
`stall_patience` seconds hangs, and is killed. While it loads it says nothing: there one hangs that
neither computes nor reads (`pulse.py`) for five times as long; whoever waits for a process of its
own must compute or read a little meanwhile. Seconds are counted by looks, in which this process was
at work itself: when the machine is suspended or both of us are stopped (Ctrl-Z), that is one
look, however long. (On Linux and macOS the event loop's clock stands still in suspension anyway,
on Windows and while stopped it does not.)

A killed or crashed child is an EngineDied for all who wait. It is not started again here
(`pool.py` does that).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final, TypeVar

from jan_server.engines import wire
from jan_server.engines.base import Event, ModelInfo, ModelSpec, Request
from jan_server.engines.connection import CLOSE_PATIENCE, Connection, how_it_ended
from jan_server.engines.conversation import Conversation, look
from jan_server.engines.pulse import Pulse
from jan_server.errors import EngineDied, InvalidRequest, JanError

# A chunk of a prompt, 64 tokens, takes a large model on a slow CPU this long. Whoever is killed in
# the middle of one loses what all its slots hold.
CANCEL_PATIENCE: Final = 20.0

STALL_PATIENCE: Final = 120.0
_LOOKS: Final = 8
"""In so many looks the patience goes by."""
_LONGER_TO_LOAD: Final = 5

R = TypeVar("R", wire.Prepared, wire.Loaded, wire.Tokenized, wire.Detokenized)


class EngineProcess:
    """Made by `start`; whoever made it must `close` it, also when it died or failed to load."""

    def __init__(self, spec: ModelSpec, *, stall_patience: float = STALL_PATIENCE) -> None:
        self.spec = spec
        self._connection = Connection(self._hear, self._mishear, self._lose)
        self._loop = asyncio.get_running_loop()
        self._stall_patience = stall_patience
        self._conversations: dict[int | None, Conversation] = {}
        self._last_id = 0
        self._info: ModelInfo | None = None
        self._pulse: Pulse | None = None
        self._ended_by: JanError | None = None
        self._cancelling: set[asyncio.Task[None]] = set()
        self._watchdog: asyncio.TimerHandle | None = None

    @classmethod
    async def start(
        cls, spec: ModelSpec, *, stall_patience: float = STALL_PATIENCE
    ) -> EngineProcess:
        """Start the child; nothing is loaded yet. Raises EngineDied when none can be started."""
        process = cls(spec, stall_patience=stall_patience)
        try:
            await process._connection.open()
        except OSError as error:
            raise EngineDied(
                f"No process can be started for the model {spec.id!r}: {error}.", retry_after=5
            ) from error
        return process

    @property
    def alive(self) -> bool:
        return self._ended_by is None and self._connection.returncode is None

    @property
    def pid(self) -> int:
        return self._connection.pid

    @property
    def info(self) -> ModelInfo:
        """What the model said when it was loaded."""
        assert self._info is not None, "load() comes first"
        return self._info

    def __repr__(self) -> str:
        return f"<EngineProcess {self.spec.id} {self._state()} pid={self.pid}>"

    def _state(self) -> str:
        if self._ended_by is not None:
            return "closed"
        if self._connection.returncode is not None:
            return how_it_ended(self._connection.returncode)
        if self._conversations:
            return f"busy with {len(self._conversations)}"
        return "loaded" if self._info else "started"

    async def prepare(self) -> None:
        """See Engine.prepare. Cancelling it kills the process."""
        await self._do_alone(wire.Prepare(self.spec), wire.Prepared)

    async def load(self) -> ModelInfo:
        """See Engine.load. Cancelling it kills the process."""
        self._info = (await self._do_alone(wire.Load(self.spec), wire.Loaded)).info
        return self._info

    async def answer(self, request: Request, *, client: str = "") -> AsyncGenerator[Event]:
        """Accepted, Queued in any number, then as LoadedModel.generate or embed.

        Raises what they raise, and EngineDied when the process ends meanwhile.
        """
        conversation = await self._ask(lambda id: wire.Answer(id, request, client))
        try:
            while isinstance(reply := await conversation.next(), wire.Emitted):
                yield reply.event
            if isinstance(reply, wire.Failed):
                raise wire.raised(reply)
            if not isinstance(reply, wire.Done):
                raise await self._died()  # Only close() ends an answer that we did not cancel.
        finally:
            if not conversation.ended.is_set():
                # In a task of its own, so that cancelling us once more does not stop it half-way.
                await asyncio.shield(self._start_cancelling(conversation))

    async def tokenize(self, text: str, bos: bool = True) -> list[int]:
        """See LoadedModel.tokenize."""
        asked = await self._ask(lambda id: wire.Tokenize(id, text, bos))
        return (await self._only_reply(asked, wire.Tokenized)).tokens

    async def detokenize(self, tokens: list[int]) -> str:
        """See LoadedModel.detokenize."""
        asked = await self._ask(lambda id: wire.Detokenize(id, tokens))
        return (await self._only_reply(asked, wire.Detokenized)).text

    async def close(self, because: JanError | None = None) -> None:
        """End the process, politely at first. Running answers raise `because`."""
        if self._ended_by is None:
            self._ended_by = because or EngineDied(
                f"The model {self.spec.id!r} was unloaded under the request.", retry_after=1
            )
        try:
            self._connection.write(wire.encode(wire.Close()))
            await self._connection.wait(CLOSE_PATIENCE)
        finally:
            self._connection.close()  # Also when we are cancelled: it kills, and shuts the pipes.
        await asyncio.gather(*self._cancelling)

    # --- asking -----------------------------------------------------------------------------

    async def _do_alone(self, command: wire.Prepare | wire.Load, expected: type[R]) -> R:
        conversation = await self._send(None, command)
        self._pulse = Pulse(self.pid)
        try:
            return await self._only_reply(conversation, expected)
        except asyncio.CancelledError:
            # Native loading cannot be interrupted in another way.
            self._end(f"was ended in the middle of {type(command).__name__}: it was given up")
            raise
        finally:
            self._pulse = None

    async def _ask(self, command: Callable[[int], wire.Command]) -> Conversation:
        self._last_id += 1
        return await self._send(self._last_id, command(self._last_id))

    async def _send(self, id: int | None, command: wire.Command) -> Conversation:
        try:
            frame = wire.encode(command)
        except wire.WireError as error:
            raise InvalidRequest(f"The prompt is too long for any engine: {error}.") from error
        if not self.alive:
            raise await self._died()
        self._conversations[id] = conversation = Conversation(id)
        self._connection.write(frame)
        self._keep_watch()
        return conversation

    async def _only_reply(self, conversation: Conversation, expected: type[R]) -> R:
        try:
            reply = await conversation.next()
        finally:
            self._conversations.pop(conversation.id, None)
        if isinstance(reply, expected):
            return reply
        if isinstance(reply, wire.Failed):
            raise wire.raised(reply)
        if reply is not None:
            self._end(f"spoke nonsense: {type(reply).__name__} instead of {expected.__name__}")
        raise await self._died()

    # --- hearing ----------------------------------------------------------------------------

    def _hear(self, reply: wire.Reply) -> None:
        id = getattr(reply, "id", None)
        conversation = self._conversations.get(id)
        if conversation is None:
            return  # Whoever asked has left.
        conversation.hear(reply)
        if conversation.ended.is_set():
            del self._conversations[id]
            self._end_when_all_are_overdue()

    def _mishear(self, error: wire.WireError) -> None:
        self._end(f"spoke nonsense: {error}")

    def _lose(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        for conversation in self._conversations.values():
            conversation.lose()
        self._conversations.clear()

    # --- cancelling -------------------------------------------------------------------------

    def _start_cancelling(self, conversation: Conversation) -> asyncio.Task[None]:
        task = asyncio.create_task(self._cancel(conversation))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)
        return task

    async def _cancel(self, conversation: Conversation) -> None:
        """Have the child stop; returns when it has, is gone, or lets us wait too long."""
        assert conversation.id is not None, "only answers are cancelled"
        conversation.abandon()
        self._connection.write(wire.encode(wire.Cancel(conversation.id)))
        try:
            async with asyncio.timeout(CANCEL_PATIENCE):
                await conversation.ended.wait()
        except TimeoutError:
            conversation.is_overdue = True
            if self._end_when_all_are_overdue():
                await conversation.ended.wait()

    def _end_when_all_are_overdue(self) -> bool:
        there = self._conversations.values()
        if not there or not all(conversation.is_overdue for conversation in there):
            return False
        self._end("did not stop an answer that was cancelled, and was ended")
        return True

    # --- watching ---------------------------------------------------------------------------

    def _keep_watch(self) -> None:
        if self._watchdog is None:
            self._watchdog = self._loop.call_later(self._stall_patience / _LOOKS, self._watch)

    def _watch(self) -> None:
        self._watchdog = None
        if not self._conversations or not self.alive:
            return
        slots = self._info.slots if self._info else 1
        works = self._pulse is not None and self._pulse.beats()
        quiet = look(self._conversations.values(), slots=slots, works=works)
        times = _LONGER_TO_LOAD if self._pulse else 1
        if quiet <= times * _LOOKS:  # The first one came at any moment after it spoke.
            self._keep_watch()
        elif self._pulse:
            self._end(
                f"loaded, but neither computed nor read for {times * self._stall_patience:g} "
                f"seconds ({times} times the setting stall_patience), and was ended"
            )
        else:
            self._end(
                f"said nothing for {self._stall_patience:g} seconds (the setting stall_patience), "
                "and was ended"
            )

    # --- ending -----------------------------------------------------------------------------

    def _end(self, what_happened: str) -> None:
        """Kill the child; its end tells all who wait."""
        if self._ended_by is None:
            self._ended_by = self._died_since(what_happened)
        self._connection.kill()

    async def _died(self) -> JanError:
        """The error that tells how the process ended; ends it when it only stopped talking."""
        await self._connection.wait(CLOSE_PATIENCE)
        if self._ended_by is not None:
            return self._ended_by
        assert self._connection.returncode is not None, "it is gone"
        return self._died_since(_told(self._connection.returncode))

    def _died_since(self, what_happened: str) -> EngineDied:
        return EngineDied(
            f"The process of the model {self.spec.id!r} {what_happened}. "
            "The next request starts a new one.",
            retry_after=1,
        )


def _told(returncode: int) -> str:
    """How a child ended that we did not end ourselves, and what that often means."""
    ended = how_it_ended(returncode)
    return f"{ended}, {_MEANS[ended]}" if ended in _MEANS else ended


_LESS = "a smaller ctx_len or n_parallel in its model.json needs less"
_MEANS = {
    "was killed by SIGKILL": f"probably by the system because memory ran out: {_LESS}",
    "was killed by SIGABRT": f"as native code does that gets no memory: {_LESS}",
}
