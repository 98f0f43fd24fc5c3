"""Messages between the server and an engine's process, and their frames."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jan_server.engines import wire
from jan_server.engines.base import (
    Accepted,
    Choice,
    Constraint,
    Embedded,
    EmbeddingRequest,
    Event,
    Finished,
    GenerationRequest,
    Likelihood,
    ModelInfo,
    ModelSpec,
    Piece,
    Progress,
    Queued,
    Started,
)
from jan_server.errors import (
    ContextLengthExceeded,
    EngineDied,
    InvalidRequest,
    JanError,
    ModelCannotRun,
    NotFound,
)

SPEC = ModelSpec(id="m", engine="echo", path="/w/m.gguf", ctx_len=512, threads=2)
REQUEST = GenerationRequest(prompt="Grüße 👋", stop=("a", "b"), seed=2**64 - 1)
CONSTRAINED = GenerationRequest(
    prompt=(1, 2, 3),
    logit_bias={5: -100.0},
    constraint=Constraint(kind="regex", text="[a-z]+", after=("<x>",), ends=True),
    visible=("<x>",),
)
COMMANDS: list[wire.Command] = [
    wire.Prepare(SPEC),
    wire.Load(SPEC),
    wire.Answer(7, REQUEST, "somebody"),
    wire.Answer(8, EmbeddingRequest(prompt=(1, 2))),
    wire.Answer(9, CONSTRAINED),
    wire.Tokenize(10, "Grüße", bos=False),
    wire.Detokenize(11, [1, 2]),
    wire.Cancel(7),
    wire.Close(),
]
CHOICE = Choice(Likelihood(3, b"\xf0\x9f", -0.5), (Likelihood(4, b"a", -0.1),))
EVENTS: list[Event] = [
    Accepted(3),
    Queued(2),
    Started(1),
    Progress(2),
    Piece("é👋", 2, (CHOICE,)),
    Embedded([0.5, -0.5]),
    Finished("length", 5, prompt_seconds=0.5, answer_seconds=1.5),
]
REPLIES: list[wire.Reply] = [
    wire.Prepared(),
    wire.Loaded(ModelInfo(context_length=512, chat_template="{{ x }}", device="cpu (avx2)")),
    *(wire.Emitted(7, event) for event in EVENTS),
    wire.Tokenized(10, [1, 2]),
    wire.Detokenized(11, "é"),
    wire.Done(7),
    wire.Cancelled(7),
    wire.Failed("EngineDied", "why", "engine_died", param="$.x", retry_after=3, id=7),
]


def bodies(data: bytes, size: int) -> Iterator[bytes]:
    splitter = wire.Splitter()
    for start in range(0, len(data), size):
        yield from splitter.feed(data[start : start + size])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 10**6])
def test_messages_survive_however_the_pipe_cuts_their_bytes(size: int) -> None:
    commands = b"".join(map(wire.encode, COMMANDS))
    replies = b"".join(map(wire.encode, REPLIES))
    assert [wire.decode_command(body) for body in bodies(commands, size)] == COMMANDS
    assert [wire.decode_reply(body) for body in bodies(replies, size)] == REPLIES


def test_an_unfinished_frame_gives_nothing_yet() -> None:
    splitter = wire.Splitter()
    frame = wire.encode(wire.Cancel(1))
    assert splitter.feed(frame + frame[:-1]) == [frame[4:]]
    assert splitter.feed(frame[-1:]) == [frame[4:]]


def test_an_announced_frame_beyond_the_limit_is_refused_before_its_bytes_come() -> None:
    splitter = wire.Splitter()
    with pytest.raises(wire.WireError, match="a frame of 67108865 bytes is announced"):
        splitter.feed((wire.MAX_FRAME + 1).to_bytes(4, "big"))


def test_a_message_beyond_the_limit_is_not_sent() -> None:
    request = GenerationRequest(prompt="x" * wire.MAX_FRAME)
    with pytest.raises(wire.WireError, match="too large to send"):
        wire.encode(wire.Answer(1, request))


@pytest.mark.parametrize("body", [b"", b"\xff", b"\x80", b"\x81\xa4type\xa4Nope", b"\xa1\xff"])
def test_what_is_no_message_is_a_wire_error(body: bytes) -> None:
    with pytest.raises(wire.WireError, match="not a message"):
        wire.decode_command(body)
    with pytest.raises(wire.WireError, match="not a message"):
        wire.decode_reply(body)


@pytest.mark.parametrize(
    "error",
    [
        ModelCannotRun("no such architecture", param="engine"),
        ContextLengthExceeded(3000, 2048),
        InvalidRequest("bad"),
        EngineDied("gone", retry_after=1),
        NotFound("model", "x"),
        JanError("something"),
    ],
)
def test_an_error_of_ours_comes_out_as_what_it_was(error: JanError) -> None:
    (body,) = wire.Splitter().feed(wire.encode(wire.failed(error, id=3)))
    failure = wire.decode_reply(body)
    assert isinstance(failure, wire.Failed)
    again = wire.raised(failure)
    assert (type(again), again.status, again.code) == (type(error), error.status, error.code)
    assert (str(again), again.message, again.param, again.retry_after, failure.id) == (
        str(error),
        error.message,
        error.param,
        error.retry_after,
        3,
    )


@pytest.mark.parametrize("name", ["Unheard", "annotations", "ValueError"])
def test_an_error_of_an_unknown_class_is_still_one_of_ours(name: str) -> None:
    error = wire.raised(wire.Failed(name, "what happened", "some_code"))
    assert (type(error), error.message, error.code) == (JanError, "what happened", "some_code")
