"""What only shows at one moment; `test_child.py` has the rest, in real children."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from jan_server.engines import serving as serving_module
from jan_server.engines import wire
from jan_server.engines.base import Event, GenerationRequest, Piece, Progress, Queued
from jan_server.engines.echo import EchoModel
from jan_server.engines.serving import Serving

PATIENCE = 30


def test_who_asks_again_after_the_last_reply_finds_the_slot_free() -> None:
    heard: list[wire.Reply] = []
    arrived, ended = threading.Event(), threading.Event()

    def send(reply: wire.Reply) -> None:
        heard.append(reply)
        match reply:
            case wire.Done(1):
                serving.put(wire.Answer(2, GenerationRequest(prompt="again"), ""))
                serving.put(wire.Tokenize(3, "x", True))
                # What came before it has a slot then, or was told to wait.
                arrived.wait(PATIENCE)
            case wire.Tokenized(3):
                arrived.set()
            case wire.Done(2):
                ended.set()

    serving = Serving(EchoModel(64, 1), send)
    serving.put(wire.Answer(1, GenerationRequest(prompt="once"), ""))
    assert ended.wait(PATIENCE)
    serving.close()
    events = [reply.event for reply in heard if isinstance(reply, wire.Emitted)]
    assert not [event for event in events if isinstance(event, Queued)]


class Lingering(EchoModel):
    """Calls `afterwards` when an answer is out, with its prompt."""

    def __init__(self, afterwards: Callable[[str], object]) -> None:
        super().__init__(64, 1)
        self._afterwards = afterwards

    def generate(
        self, prompt: Sequence[int], request: GenerationRequest, *, slot: int = 0
    ) -> Iterator[Event]:
        yield from super().generate(prompt, request, slot=slot)
        self._afterwards(self.detokenize(prompt))


class Heard:
    """What was sent, and who may wait for it."""

    def __init__(self) -> None:
        self._all: list[wire.Reply] = []
        self._more = threading.Condition()

    def send(self, reply: wire.Reply) -> None:
        with self._more:
            self._all.append(reply)
            self._more.notify_all()

    def until(self, last: wire.Reply) -> str:
        """The text of its answer."""
        with self._more:
            assert self._more.wait_for(lambda: last in self._all, PATIENCE), self._all
        return "".join(
            reply.event.text
            for reply in self._all
            if isinstance(reply, wire.Emitted) and reply.id == last.id
            if isinstance(reply.event, Piece)
        )


def ask(serving: Serving, id: int, prompt: str) -> None:
    serving.put(wire.Answer(id, GenerationRequest(prompt=prompt), ""))


def test_nobody_waits_for_what_an_engine_does_after_an_answer() -> None:
    heard, begun, go_on, done = Heard(), threading.Event(), threading.Event(), threading.Event()

    def afterwards(prompt: str) -> None:
        if prompt == "once":
            begun.set()
            assert go_on.wait(PATIENCE)
            done.set()

    serving = Serving(Lingering(afterwards), heard.send)
    ask(serving, 1, "once")
    assert heard.until(wire.Done(1)) == "once"
    assert begun.wait(PATIENCE)
    ask(serving, 2, "again")
    go_on.set()
    assert heard.until(wire.Done(2)) == "again"
    assert done.is_set()
    serving.close()


def test_it_is_left_out_where_the_next_comes_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_module, "QUIET_SECONDS", 100 * PATIENCE)
    heard, lingered = Heard(), []
    serving = Serving(Lingering(lingered.append), heard.send)
    for id in (1, 2):
        ask(serving, id, "word")
        assert heard.until(wire.Done(id)) == "word"
    serving.close()
    assert lingered == []


def test_an_error_in_it_is_logged_and_the_slot_goes_on(
    capfd: pytest.CaptureFixture[str],
) -> None:
    heard, begun = Heard(), threading.Event()

    def afterwards(prompt: str) -> None:
        begun.set()
        raise RuntimeError("no power left")

    serving = Serving(Lingering(afterwards), heard.send)
    ask(serving, 1, "once")
    assert heard.until(wire.Done(1)) == "once"
    assert begun.wait(PATIENCE)
    ask(serving, 2, "again")
    assert heard.until(wire.Done(2)) == "again"
    serving.close()
    assert "no power left" in capfd.readouterr().err


class Untidy(EchoModel):
    """Fails when an answer's generator is closed."""

    def generate(
        self, prompt: Sequence[int], request: GenerationRequest, *, slot: int = 0
    ) -> Iterator[Event]:
        try:
            yield from super().generate(prompt, request, slot=slot)
            yield Progress(len(prompt))
        finally:
            if self.detokenize(prompt) == "once":
                raise RuntimeError("no power left")


def test_an_error_at_the_close_is_that_answers_alone(capfd: pytest.CaptureFixture[str]) -> None:
    heard = Heard()
    serving = Serving(Untidy(64, 1), heard.send)
    for id, prompt in ((1, "once"), (2, "again")):
        ask(serving, id, prompt)
        assert heard.until(wire.Done(id)) == prompt
    serving.close()
    assert "no power left" in capfd.readouterr().err
