"""What the server and an engine's child process say to each other, and how it is framed.

A message is a msgpack map with a `type`, in a frame: four bytes of length, big-endian, then so
many bytes. Commands go to the child's standard input, replies come from its standard output.

    Prepare(spec)               -> Prepared | Failed
    Load(spec)                  -> Loaded | Failed
    Answer(id, request, client) -> Emitted(id, event)*, then Done(id), Cancelled(id) or Failed(id)
    Tokenize(id, text)          -> Tokenized(id, tokens) | Failed(id)
    Detokenize(id, tokens)      -> Detokenized(id, text) | Failed(id)
    Cancel(id)                  no reply of its own; ignored unless that answer is still to end
    Close()                     no reply: the child ends

Ids of one child rise. The server sends one Prepare or Load at a time and reads its reply before
anything else. After that, replies to different ids come in any order; those to one id in theirs.
An Answer's first event is Accepted; Queued may follow, while others have all slots. Encoding and
`Splitter` are pure: either side brings its own pipe.
"""

from __future__ import annotations

import struct
from typing import TypeVar, cast

import msgspec

from jan_server import errors
from jan_server.engines.base import Event, ModelInfo, ModelSpec, Request
from jan_server.errors import JanError

# A prompt comes out of a body of at most some 10 MiB; what is larger is noise on the pipe.
MAX_FRAME = 64 * 1024 * 1024

_HEAD = struct.Struct(">I")


class WireError(Exception):
    """The other side does not speak this protocol."""


class Prepare(msgspec.Struct, frozen=True, tag=True):
    spec: ModelSpec


class Load(msgspec.Struct, frozen=True, tag=True):
    spec: ModelSpec


class Answer(msgspec.Struct, frozen=True, tag=True):
    """`client` names who asks: waiting clients take turns."""

    id: int
    request: Request
    client: str = ""


class Tokenize(msgspec.Struct, frozen=True, tag=True):
    id: int
    text: str
    bos: bool = True


class Detokenize(msgspec.Struct, frozen=True, tag=True):
    id: int
    tokens: list[int]


class Cancel(msgspec.Struct, frozen=True, tag=True):
    id: int


class Close(msgspec.Struct, frozen=True, tag=True):
    pass


Command = Prepare | Load | Answer | Tokenize | Detokenize | Cancel | Close


class Prepared(msgspec.Struct, frozen=True, tag=True):
    pass


class Loaded(msgspec.Struct, frozen=True, tag=True):
    info: ModelInfo


class Tokenized(msgspec.Struct, frozen=True, tag=True):
    id: int
    tokens: list[int]


class Detokenized(msgspec.Struct, frozen=True, tag=True):
    id: int
    text: str


class Emitted(msgspec.Struct, frozen=True, tag=True):
    id: int
    event: Event


class Done(msgspec.Struct, frozen=True, tag=True):
    id: int


class Cancelled(msgspec.Struct, frozen=True, tag=True):
    id: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A JanError by its class name; `id` is the command's, None for Prepare and Load."""

    error: str
    message: str
    code: str
    param: str | None = None
    retry_after: int | None = None
    id: int | None = None


Reply = Prepared | Loaded | Tokenized | Detokenized | Emitted | Done | Cancelled | Failed

M = TypeVar("M")

_encoder = msgspec.msgpack.Encoder()
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(
    cast("type[Command]", Command)
)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(cast("type[Reply]", Reply))


def encode(message: Command | Reply) -> bytes:
    """One whole frame. Raises WireError for a message beyond MAX_FRAME."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME:
        raise WireError(f"a message of {len(body)} bytes is too large to send")
    return _HEAD.pack(len(body)) + body


def decode_command(body: bytes) -> Command:
    return _decode(_commands, body)


def decode_reply(body: bytes) -> Reply:
    return _decode(_replies, body)


def _decode(decoder: msgspec.msgpack.Decoder[M], body: bytes) -> M:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"not a message: {error}") from error


class Splitter:
    """Bytes as they come from a pipe -> bodies of whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. Raises WireError as soon as a length is too large."""
        self._buffer += data
        bodies: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= _HEAD.size:
            (length,) = _HEAD.unpack_from(self._buffer, start)
            if length > MAX_FRAME:
                raise WireError(f"a frame of {length} bytes is announced")
            end = start + _HEAD.size + length
            if end > len(self._buffer):
                break
            bodies.append(bytes(self._buffer[start + _HEAD.size : end]))
            start = end
        del self._buffer[:start]
        return bodies


def failed(error: JanError, *, id: int | None = None) -> Failed:
    return Failed(
        error=type(error).__name__,
        message=error.message,
        code=error.code,
        param=error.param,
        retry_after=error.retry_after,
        id=id,
    )


def raised(failure: Failed) -> JanError:
    """The error again, of its class; of JanError itself when this side does not know the class."""
    kind = getattr(errors, failure.error, None)
    if not (isinstance(kind, type) and issubclass(kind, JanError)):
        kind = JanError
    # Not through the class's own __init__: those build the message from facts that stayed behind.
    error = kind.__new__(kind)
    JanError.__init__(error, failure.message, param=failure.param, retry_after=failure.retry_after)
    error.code = failure.code
    return error
