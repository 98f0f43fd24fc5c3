"""Real child processes, driven by frames over their pipes as the server does it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jan_server.engines import wire
from jan_server.engines.base import (
    Accepted,
    Constraint,
    Embedded,
    EmbeddingRequest,
    Event,
    Finished,
    GenerationRequest,
    ModelInfo,
    ModelSpec,
    Piece,
    Progress,
    Queued,
    Started,
)
from jan_server.engines.echo import EXIT_CODE_OF_DIE

PROJECT = Path(__file__).parents[2]
PATIENCE = 60
LAST = (wire.Done, wire.Cancelled, wire.Failed)


class Gate:
    """Where a gated engine waits; the number names it in prompts."""

    def __init__(self) -> None:
        self.number, self._inside = os.pipe()

    def open(self) -> None:
        os.write(self._inside, b".")

    def close(self) -> None:
        os.close(self.number)
        os.close(self._inside)


class Child:
    """A child process, and all that it has said."""

    def __init__(self, process: subprocess.Popen[bytes], gates: list[Gate]) -> None:
        self.process = process
        self.gates = gates
        self.said: list[wire.Reply] = []
        self._splitter = wire.Splitter()

    def send(self, *commands: wire.Command) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(map(wire.encode, commands)))
        self.process.stdin.flush()

    def _read(self) -> bool:
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        ready, _, _ = select.select([fd], [], [], PATIENCE)
        assert ready, f"nothing more after {self.said}"
        data = os.read(fd, 65536)
        self.said += map(wire.decode_reply, self._splitter.feed(data))
        return bool(data)

    def until(self, reply: wire.Reply) -> None:
        """Read until this was said."""
        while reply not in self.said:
            assert self._read(), f"ended after {self.said}"

    def of(self, id: int) -> list[wire.Reply | Event]:
        """What was said of this id so far: the events as they are."""
        return [
            reply.event if isinstance(reply, wire.Emitted) else reply
            for reply in self.said
            if getattr(reply, "id", None) == id
        ]

    def answer(self, id: int) -> list[wire.Reply | Event]:
        """What was said of this id to its end."""
        while not (of := self.of(id)) or not isinstance(of[-1], LAST):
            assert self._read(), f"ended after {self.said}"
        return of

    def error(self, id: int) -> tuple[str, str]:
        """Nothing else was said than that it failed: the error and its message."""
        [failed] = self.answer(id)
        assert isinstance(failed, wire.Failed)
        return failed.error, failed.message

    def end(self) -> int:
        """Read until it has ended; its exit code."""
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """The end of the commands, which ends it whatever it does."""
        with self.process as process:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()

    def log(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()


Start = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a child with a gated model loaded, or with none."""
    info = tmp_path / "gated-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gated\nVersion: 1\n")
    point = "[jan_server.engines]\ngated = tests.engines.gated:GatedEngine\n"
    (info / "entry_points.txt").write_text(point)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(PROJECT)])}
    with ExitStack() as stack:

        def begin(id: str = "gated", *, load: bool = True, **spec: Any) -> Child:
            gates = [Gate() for _ in range(4)]
            for gate in gates:
                stack.callback(gate.close)
            process = subprocess.Popen(
                [sys.executable, "-m", "jan_server.engines.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[gate.number for gate in gates],
                env=environment,
            )
            child = Child(process, gates)
            stack.callback(child.close)
            if load:
                child.send(wire.Load(ModelSpec(id=id, engine="gated", **spec)))
                while not child.said:
                    assert child._read()
            return child

        yield begin


def ask(id: int, prompt: str | tuple[int, ...], client: str = "", **values: Any) -> wire.Answer:
    return wire.Answer(id, GenerationRequest(prompt=prompt, **values), client)


def embed(id: int, prompt: str) -> wire.Answer:
    return wire.Answer(id, EmbeddingRequest(prompt=prompt))


def hold(child: Child, id: int, gate: int, client: str = "") -> None:
    """Let this answer hold a slot until the gate is opened."""
    child.send(ask(id, f"held answer:{child.gates[gate].number}", client))
    child.until(wire.Emitted(id, Piece("held ")))


def text_of(answer: list[wire.Reply | Event]) -> str:
    return "".join(event.text for event in answer if isinstance(event, Piece))


def started(child: Child) -> list[int]:
    """The ids whose answers were begun, in that order."""
    return [
        reply.id
        for reply in child.said
        if isinstance(reply, wire.Emitted) and isinstance(reply.event, Started)
    ]


# -- one answer


def test_a_model_is_loaded_and_answers(start: Start) -> None:
    child = start(slots=2, ctx_len=32)
    child.send(ask(1, "one two"))
    assert child.answer(1) == [
        Accepted(2),
        Started(),
        Progress(1),
        Progress(2),
        Piece("one "),
        Piece("two"),
        Finished("stop", 2),
        wire.Done(1),
    ]
    info = ModelInfo(context_length=32, device="nothing", slots=2, embedding_length=8)
    assert child.said[0] == wire.Loaded(info)


def test_a_prompt_may_be_tokens(start: Start) -> None:
    child = start()
    child.send(wire.Tokenize(1, "one two three"), ask(2, (2, 0)))
    answer = child.answer(2)
    assert (answer[0], text_of(answer)) == (Accepted(2), "threeone ")


def test_text_and_tokens(start: Start) -> None:
    child = start("with bos")
    child.send(
        wire.Tokenize(1, "one"),
        wire.Tokenize(2, "one", bos=False),
        wire.Detokenize(3, [1, 0]),
        wire.Detokenize(4, [1, 2]),
    )
    assert child.error(4) == ("InvalidRequest", "2 is no token of this model.")
    assert child.said[1:4] == [
        wire.Tokenized(1, [0, 1]),
        wire.Tokenized(2, [1]),
        wire.Detokenized(3, "one<s> "),
    ]


def test_embeddings(start: Start) -> None:
    child = start()
    child.send(embed(1, "word"))
    accepted, begun, *progress, embedded, done = child.answer(1)
    assert (accepted, begun, progress, done) == (
        Accepted(1),
        Started(),
        [Progress(1)],
        wire.Done(1),
    )
    assert isinstance(embedded, Embedded)


FORM = Constraint(kind="regex", text="[0-9]")
LONG = (
    "The prompt is too long: it has 64 tokens, and this model's maximum context length is 64 "
    "tokens, at least one of them for an answer. Shorten it (for a chat, `truncation: auto` does), "
    "or raise ctx_len in the model's model.json."
)
FAR_TOO_LONG = LONG.replace("it has 64", "it has at least 205")
REFUSED: dict[str, tuple[str, wire.Answer, tuple[str, str]]] = {
    "empty": ("m", ask(1, ""), ("InvalidRequest", "The prompt is empty.")),
    "no tokens": ("m", ask(1, ()), ("InvalidRequest", "The prompt is empty.")),
    "too long": ("m", ask(1, "word " * 64), ("ContextLengthExceeded", LONG)),
    "far too long": ("m", ask(1, "word " * 500), ("ContextLengthExceeded", FAR_TOO_LONG)),
    "of long words": ("m", ask(1, "w" * 5000 + " a" * 63), ("ContextLengthExceeded", LONG)),
    "no token": ("m", ask(1, (2**40,)), ("InvalidRequest", f"{2**40} is no token of this model.")),
    "constrained": (
        "m",
        ask(1, "word", constraint=FORM),
        ("ParameterNotSupported", "This model's engine cannot keep an answer to a given form."),
    ),
    "embedding": (
        "embeds nothing",
        embed(1, "word"),
        ("ModelCannotRun", "This model makes no embeddings."),
    ),
    "empty embedding": ("m", embed(1, ""), ("InvalidRequest", "The prompt is empty.")),
    "the engine's own": (
        "m",
        ask(1, "word", logit_bias={1: 1.0}),
        ("InvalidRequest", "refused by the engine"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_answered_is_refused_before_it_is_accepted(start: Start, case: str) -> None:
    id, command, error = REFUSED[case]
    child = start(id)
    child.send(command)
    assert child.error(1) == error
    child.send(ask(2, "word"))
    assert text_of(child.answer(2)) == "word"


def test_the_longest_prompt_leaves_room_for_one_token(start: Start) -> None:
    child = start()
    child.send(ask(1, "word " * 63))
    assert child.answer(1)[-2] == Finished("length", 1)


# -- several at once


def test_slots_answer_at_once(start: Start) -> None:
    child = start(slots=2)
    hold(child, 1, 0)
    hold(child, 2, 1)
    child.gates[1].open()
    assert child.answer(2)[-1] == wire.Done(2)
    child.gates[0].open()
    assert child.answer(1)[-1] == wire.Done(1)


def test_replies_of_several_slots_never_mix(start: Start) -> None:
    child = start(slots=4, ctx_len=400)
    prompts = {id: f"{id}{'x' * 4000} " * 100 for id in range(1, 9)}
    child.send(*(ask(id, prompt) for id, prompt in prompts.items()))
    assert {id: text_of(child.answer(id)) for id in prompts} == prompts


def test_tokenising_waits_for_no_answer(start: Start) -> None:
    child = start()
    hold(child, 1, 0)
    child.send(wire.Tokenize(2, "x y"), ask(3, "x y z"), ask(4, ""))
    assert child.error(4) == ("InvalidRequest", "The prompt is empty.")
    assert child.of(2) == [wire.Tokenized(2, [2, 3])]
    assert child.of(3) == [Accepted(3), Queued(0)]
    assert not isinstance(child.of(1)[-1], LAST)


def test_no_answer_waits_for_tokenising(start: Start) -> None:
    child = start()
    hold(child, 1, 0)
    child.send(ask(2, f"tokenise:{child.gates[1].number}"))
    child.gates[0].open()
    assert child.answer(1)[-1] == wire.Done(1)
    assert child.of(2) == []
    child.gates[1].open()
    assert child.answer(2)[-1] == wire.Done(2)


def test_those_who_wait_are_told_their_place_whenever_it_changes(start: Start) -> None:
    child = start()
    hold(child, 1, 0)
    child.send(ask(2, "a"), ask(3, "b"), ask(4, "c"))
    child.until(wire.Emitted(4, Queued(2)))
    child.send(wire.Cancel(3))
    child.until(wire.Emitted(4, Queued(1)))
    assert [child.of(id) for id in (2, 3, 4)] == [
        [Accepted(1), Queued(0)],
        [Accepted(1), Queued(1), wire.Cancelled(3)],
        [Accepted(1), Queued(2), Queued(1)],
    ]
    child.gates[0].open()
    assert child.answer(4)[2:5] == [Queued(1), Queued(0), Started()]
    assert started(child) == [1, 2, 4]


def test_clients_take_turns(start: Start) -> None:
    child = start()
    hold(child, 1, 0, client="many")
    child.send(*(ask(id, "word", "many") for id in (2, 3, 4)), ask(5, "word", "one"))
    child.until(wire.Emitted(5, Queued(0)))
    child.send(ask(6, "word", "another"), ask(7, "word", "one"))
    child.until(wire.Emitted(7, Accepted(1)))
    child.gates[0].open()
    for id in (2, 3, 4, 5, 6, 7):
        assert child.answer(id)[-1] == wire.Done(id)
    assert started(child) == [1, 5, 6, 2, 7, 3, 4]


def test_with_two_slots_a_chat_finds_its_beginning_after_one_other(start: Start) -> None:
    child = start(slots=2)
    turns = ["system a one ", "system b one ", "system a one " * 2 + "more", "system c one"]
    for id, turn in enumerate(turns, start=1):
        child.send(ask(id, turn))
        child.answer(id)
    # What b had is given to c, which finds the word that they begin with.
    cached = [Started(0), Started(0), Started(6), Started(1)]
    assert [child.of(id)[1] for id in (1, 2, 3, 4)] == cached


def test_embeddings_take_one_slot_from_the_chats(start: Start) -> None:
    child = start(slots=2)
    child.send(ask(1, "chat one two "))
    child.answer(1)
    for id in range(2, 6):
        child.send(embed(id, f"text {id}"))
        child.answer(id)
    child.send(ask(6, "chat one two and on"))
    assert child.answer(6)[1] == Started(3)


# -- cancelling


def cancel(child: Child, id: int, *, waiting: int) -> None:
    """Cancel both, and wait until the child has heard it."""
    child.send(wire.Cancel(id), wire.Cancel(waiting))
    child.until(wire.Cancelled(waiting))


REACHED: dict[str, Event] = {"prefill": Progress(1), "answer": Piece("said ")}


@pytest.mark.parametrize("place", REACHED)
def test_an_answer_that_is_cancelled_ends_at_its_next_event(start: Start, place: str) -> None:
    child = start()
    gate = child.gates[0]
    child.send(ask(1, f"said {place}:{gate.number} unsaid"), ask(2, "waits"))
    child.until(wire.Emitted(1, REACHED[place]))
    cancel(child, 1, waiting=2)
    gate.open()
    answer = child.answer(1)
    assert answer[-1] == wire.Cancelled(1)
    assert "unsaid" not in text_of(answer)
    child.send(ask(3, "word"))
    assert text_of(child.answer(3)) == "word"


def test_an_answer_that_is_cancelled_before_it_has_tokens_gets_no_slot(start: Start) -> None:
    child = start()
    hold(child, 1, 0)
    gate = child.gates[1]
    child.send(ask(2, "waits"), ask(3, f"tokenise:{gate.number}"), ask(4, "arrived"))
    child.until(wire.Emitted(2, Queued(0)))
    child.send(wire.Cancel(4))
    cancel(child, 3, waiting=2)
    gate.open()
    assert child.answer(3) == [Accepted(1), wire.Cancelled(3)]
    assert child.answer(4) == [wire.Cancelled(4)]
    child.gates[0].open()
    assert child.answer(1)[-1] == wire.Done(1)
    assert started(child) == [1]


def test_a_cancel_for_what_has_ended_or_never_was_hits_nothing(start: Start) -> None:
    child = start()
    child.send(ask(1, "word"))
    child.answer(1)
    child.send(wire.Cancel(1), wire.Cancel(2), wire.Cancel(9), ask(2, "word"))
    assert text_of(child.answer(2)) == "word"


# -- what goes wrong


def test_an_engine_that_fails_fails_one_answer_and_the_slot_goes_on(start: Start) -> None:
    child = start()
    child.send(ask(1, "said also [[fail]]"), ask(2, "word"))
    answer = child.answer(1)
    message = "The engine failed: ValueError; the server's log says where"
    assert (text_of(answer), answer[-1]) == (
        "said also ",
        wire.Failed("EngineFailed", message, "engine_failed", id=1),
    )
    assert child.answer(2)[-1] == wire.Done(2)


@pytest.mark.parametrize("what", ["prepare", "load"])
def test_a_failing_prepare_or_load_is_told(start: Start, what: str) -> None:
    child = start(load=False)
    spec = ModelSpec(id="fails to load", engine="gated")
    child.send(wire.Prepare(spec) if what == "prepare" else wire.Load(spec))
    child.send(ask(1, "word"), wire.Tokenize(2, "word"), wire.Detokenize(3, []), wire.Cancel(1))
    nothing = ("EngineFailed", "The engine failed: nothing is loaded")
    assert [child.error(id) for id in (1, 2, 3)] == [nothing] * 3
    child.send(wire.Close())
    assert child.end() == 0
    [failed] = [reply for reply in child.said if getattr(reply, "id", 0) is None]
    assert (
        failed
        == {
            "prepare": wire.Failed(
                "ModelCannotRun", "prepared and found wanting", "model_cannot_run"
            ),
            "load": wire.Failed(
                "EngineFailed",
                "The engine failed: ZeroDivisionError; the server's log says where",
                "engine_failed",
            ),
        }[what]
    )
    assert "division by zero" not in child.log()


def test_what_needs_no_preparing_is_prepared(start: Start) -> None:
    child = start(load=False)
    child.send(wire.Prepare(ModelSpec(id="e", engine="echo")), wire.Close())
    assert (child.end(), child.said) == (0, [wire.Prepared()])


def test_another_load_takes_the_place_of_the_first(start: Start) -> None:
    child = start()
    hold(child, 1, 0)
    child.send(ask(2, "waits"), wire.Load(ModelSpec(id="e", engine="echo", ctx_len=5)))
    child.until(wire.Cancelled(2))
    child.gates[0].open()
    info = ModelInfo(context_length=5, device="nothing", embedding_length=8)
    child.until(wire.Loaded(info))
    assert child.answer(1)[-1] == wire.Cancelled(1)
    child.send(ask(3, "word"))
    assert text_of(child.answer(3)) == "word"
    child.send(wire.Close())
    assert child.end() == 0
    assert child.log().count("the model is closed") == 1


@pytest.mark.parametrize(
    ("id", "prompt", "logged"),
    [
        ("forgets its slots", "word", "ZeroDivisionError"),
        ("m", "word exit", "SystemExit"),
    ],
)
def test_an_error_that_is_no_answers_ends_the_process(
    start: Start, id: str, prompt: str, logged: str
) -> None:
    child = start(id)
    child.send(ask(1, prompt))
    log = child.log()
    assert child.end() == 1
    assert logged in log
    assert "division by zero" not in log


def test_an_engine_that_ends_the_process_ends_it(start: Start) -> None:
    child = start()
    child.send(ask(1, "said [[die]]"))
    assert child.end() == EXIT_CODE_OF_DIE
    assert child.of(1)[-1] == Piece("said ")


# -- the end


def test_close_cancels_what_runs_and_what_waits_and_frees_the_model(start: Start) -> None:
    child = start()
    hold(child, 1, 0)
    child.send(ask(2, "waits"))
    child.until(wire.Emitted(2, Queued(0)))
    child.send(wire.Close())
    assert child.answer(2)[-1] == wire.Cancelled(2)
    child.gates[0].open()
    assert child.end() == 0
    assert child.of(1)[-1] == wire.Cancelled(1)
    assert child.log() == "noise on the standard output\nthe model is closed\n"


def test_the_end_of_the_commands_ends_the_process_whatever_it_does(start: Start) -> None:
    child = start()
    child.send(ask(1, "said [[hang]]"))
    child.until(wire.Emitted(1, Piece("said ")))
    assert child.process.stdin is not None
    child.process.stdin.close()
    assert child.end() == 0


def test_the_process_ends_when_nobody_reads_its_replies(start: Start) -> None:
    child = start()
    assert child.process.stdout is not None
    child.process.stdout.close()
    child.send(ask(1, "word"))
    assert child.process.wait(PATIENCE) == 0


def test_what_is_no_command_ends_the_process_with_a_word(start: Start) -> None:
    child = start(load=False)
    assert child.process.stdin is not None
    child.process.stdin.write(b"\xff" * 8)
    child.process.stdin.flush()
    assert child.end() == 0
    assert child.log() == "a frame of 4294967295 bytes is announced\n"


def test_ctrl_c_is_the_servers_affair(start: Start) -> None:
    child = start()
    child.process.send_signal(signal.SIGINT)
    child.send(ask(1, "word"))
    assert text_of(child.answer(1)) == "word"
