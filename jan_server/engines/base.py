"""What an engine is: load -> generate (an iterator of events) -> close.

An engine author writes blocking Python: `Engine.load` gives a `LoadedModel`, whose `generate` is a
plain generator. It runs in a process of its own (`child.py`), is only ever called from one thread,
and is cancelled by closing the generator, which can happen at any `yield`. So an engine yields
after every chunk of the prompt (`Progress`), and yields each piece of text before it computes the
next token.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

import msgspec


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine needs to know to load a model.

    `path` are the weights: a whole file, read only, anywhere on the machine; empty for an engine
    without weights. `work_folder` is ours to write in: fitted copies. `gpu_layers` is the
    manifest's `settings.ngl`. `None` means that the engine chooses.
    """

    id: str
    engine: str
    path: str = ""
    work_folder: str = ""
    ctx_len: int | None = None
    gpu_layers: int = 0
    threads: int | None = None


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a loaded model says of itself.

    `context_length` is in tokens, prompt and answer together. The template is the file's own Jinja
    chat template. `device` is for people: what computes, such as `cpu (avx2), 2 threads`.
    """

    context_length: int
    chat_template: str | None = None
    bos_token: str = ""
    eos_token: str = ""
    device: str = "cpu"


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """How to answer; the defaults are those of Jan's document.

    `temperature` 0 is greedy. `top_k` 0, `top_p` 1, `min_p` 0, `repeat_penalty` 1 and penalties
    of 0 switch the respective step off. `repeat_penalty` looks at the last `repeat_last_n` tokens,
    the prompt included (llama.cpp's); presence and frequency look at the whole answer alone
    (OpenAI's). `seed` None draws one. `stop` strings end the answer and are not part of it.
    """

    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 2048
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    cache_prompt: bool = True


class GenerationRequest(Parameters, frozen=True, kw_only=True):
    """One generation. The prompt is rendered text; control tokens in it count as single tokens."""

    prompt: str


class Started(msgspec.Struct, frozen=True, tag=True):
    """The prompt is tokenised and fits. Always the first event, before anything is computed."""

    prompt_tokens: int
    cached_tokens: int = 0


class Progress(msgspec.Struct, frozen=True, tag=True):
    """So many tokens of the prompt are evaluated."""

    prompt_tokens_done: int


class Piece(msgspec.Struct, frozen=True, tag=True):
    """Text of the answer, never empty, never a part of a character; `tokens` are those it took."""

    text: str
    tokens: int = 1


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The last event. `stop`: the model ended, or a stop string was met; `length`: no room left."""

    reason: Literal["stop", "length"]
    completion_tokens: int


Event = Started | Progress | Piece | Finished


class LoadedModel(Protocol):
    """A model in memory. Not thread-safe; `close` frees the memory."""

    info: ModelInfo

    def generate(self, request: GenerationRequest) -> Iterator[Event]:
        """Started, then Progress and Piece in any number, then Finished.

        Raises ContextLengthExceeded or InvalidRequest before `Started`.
        """
        ...

    def close(self) -> None: ...


class Engine(Protocol):
    """A way to run models of one kind."""

    def prepare(self, spec: ModelSpec) -> None:
        """Do once what `load` would else do at first: check the file, make a fitted copy.

        Raises ModelCannotRun with the reason and what would run it.
        """
        ...

    def load(self, spec: ModelSpec) -> LoadedModel:
        """Raises ModelCannotRun like `prepare`."""
        ...
