"""What an engine is: load -> tokenize, generate (an iterator of events), embed -> close.

An engine author writes blocking Python: `Engine.load` gives a `LoadedModel`, whose `generate` is a
plain generator. It runs in a process of its own (`child.py`). A model has one slot or several, each
the context of one answer; a slot is only ever used by one thread at a time, different slots by
different threads at once, and `tokenize` and `detokenize` by yet another meanwhile.

A generation is cancelled by closing its generator, which can happen at any `yield`. So an engine
yields after every chunk of the prompt (`Progress`), and yields each piece of text before it
computes the next token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import msgspec


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine needs to know to load a model.

    `path` are the weights: a whole file, read only, anywhere on the machine; empty for an engine
    without weights. `work_folder` is ours to write in: fitted copies. `gpu_layers` is the
    manifest's `settings.ngl`, `slots` its `n_parallel`; `memory` are the bytes that the model may
    take when the number of slots is left to the engine. `None` means that the engine chooses.
    """

    id: str
    engine: str
    path: str = ""
    work_folder: str = ""
    ctx_len: int | None = None
    gpu_layers: int = 0
    threads: int | None = None
    slots: int | None = None
    memory: int | None = None


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a loaded model says of itself.

    `context_length` is in tokens, prompt and answer together, for each slot. The template is the
    file's own Jinja chat template. `device` is for people: what computes, such as
    `cpu (avx2), 2 threads`. `memory` are the bytes that weights and contexts take.
    `embedding_length` is 0 for a model that embeds nothing, `constrains` whether it honours
    `GenerationRequest.constraint`.
    """

    context_length: int
    chat_template: str | None = None
    bos_token: str = ""
    eos_token: str = ""
    device: str = "cpu"
    slots: int = 1
    memory: int = 0
    embedding_length: int = 0
    constrains: bool = False


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """How to answer; the defaults are those of Jan's document.

    `temperature` 0 is greedy. `top_k` 0, `top_p` 1, `min_p` 0, `typical_p` 1, `mirostat` 0,
    `repeat_penalty` 1 and penalties of 0 switch the respective step off. `repeat_penalty` looks at
    the last `repeat_last_n` tokens, the prompt included (llama.cpp's); presence and frequency look
    at the whole answer alone (OpenAI's). `logit_bias` is added to the logits of token ids.
    `seed` None draws one; with a seed the same request gives the same answer, whatever is cached,
    and with ctransformers whatever else runs. `stop` strings end the answer and are not part of it.
    `logprobs` None is off, else so many of the likeliest tokens are told beside each chosen one.
    """

    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 2048
    top_k: int = 0
    min_p: float = 0.0
    typical_p: float = 1.0
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    logprobs: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    cache_prompt: bool = True


class Constraint(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer must match: a JSON Schema, a regular expression or a grammar in Lark.

    `text` is the schema as JSON, the expression, or the grammar (llguidance's dialect of Lark).
    Without `after` the whole answer matches, and ends when the match is complete. With it the
    answer is free until one of these strings stands in it; what follows must match; after a match
    it is free again, or over, when `ends` says so.
    """

    kind: Literal["json_schema", "regex", "lark"]
    text: str
    after: tuple[str, ...] = ()
    ends: bool = False


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Where in the model's space a text lies. The prompt is as a GenerationRequest's."""

    prompt: str | tuple[int, ...]


class GenerationRequest(Parameters, frozen=True, kw_only=True, tag=True):
    """One generation.

    The prompt is rendered text, in which control tokens count as single tokens, or token ids as
    they are. Of an answer's control tokens only those in `visible` are part of its text.
    """

    prompt: str | tuple[int, ...]
    constraint: Constraint | None = None
    visible: tuple[str, ...] = ()


Request = GenerationRequest | EmbeddingRequest


class Accepted(msgspec.Struct, frozen=True, tag=True):
    """The prompt is tokenised and fits. The first event, before a slot is free; not an engine's."""

    prompt_tokens: int


class Queued(msgspec.Struct, frozen=True, tag=True):
    """So many requests of this model come before this one's turn; not an engine's event."""

    ahead: int


class Started(msgspec.Struct, frozen=True, tag=True):
    """A slot works on it. An engine's first event; `cached_tokens` need not be computed again."""

    cached_tokens: int = 0


class Progress(msgspec.Struct, frozen=True, tag=True):
    """So many tokens of the prompt are evaluated."""

    prompt_tokens_done: int


class Likelihood(msgspec.Struct, frozen=True):
    """A token, the bytes it spells and the natural logarithm of its probability.

    The probability is the model's own: before penalties, bias, constraint and temperature.
    """

    token: int
    data: bytes
    logprob: float


class Choice(msgspec.Struct, frozen=True):
    """A token that was chosen, and the likeliest ones in its place, in falling order."""

    chosen: Likelihood
    top: tuple[Likelihood, ...] = ()


class Piece(msgspec.Struct, frozen=True, tag=True):
    """Text of the answer, never empty, never a part of a character; `tokens` are those it took.

    `choices` are there when `logprobs` was asked for: one for each of those tokens.
    """

    text: str
    tokens: int = 1
    choices: tuple[Choice, ...] = ()


class Embedded(msgspec.Struct, frozen=True, tag=True):
    """An embedding: `ModelInfo.embedding_length` numbers, of length 1 together."""

    vector: list[float]


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The last event of a generation, with how long its two parts took, in seconds.

    `stop`: the model ended, the constraint was complete, or a stop string was met, which
    `stop_string` is then; `length`: no room left.
    """

    reason: Literal["stop", "length"]
    completion_tokens: int
    prompt_seconds: float = 0.0
    answer_seconds: float = 0.0
    stop_string: str | None = None


Event = Accepted | Queued | Started | Progress | Piece | Embedded | Finished


class LoadedModel(Protocol):
    """A model in memory; `close` frees it, when no slot is used any more.

    A class that derives from this may do without `check` and `close`, which do nothing then, and
    without `embed`.
    """

    info: ModelInfo

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        """The ids of the text, control tokens in it as single ones.

        With `bos` the token that begins a text comes first, where the model wants one and the text
        does not have it. Raises InvalidRequest for text that cannot be read.
        """
        ...

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Their text, control tokens spelled. Raises InvalidRequest for an id that is no token."""
        ...

    def check(self, request: GenerationRequest) -> None:
        """Raises InvalidRequest or ParameterNotSupported for what the request itself has wrong.

        Called where `tokenize` is, before the request waits for a slot.
        """
        ...

    def held(self, slot: int) -> Sequence[int]:
        """The tokens whose evaluation the slot still holds; of one that answers nothing now.

        Called by another thread than the slot's, which may do then what comes after Finished.
        """
        ...

    def generate(
        self, prompt: Sequence[int], request: GenerationRequest, *, slot: int = 0
    ) -> Iterator[Event]:
        """Started, then Progress and Piece in any number, then Finished.

        For a token that shows nothing yet the last Progress comes again: it can be cancelled there.

        `prompt` is `request.prompt` as token ids, at least one and fewer than the context holds;
        `check` has nothing against the request. What it does after Finished nobody waits for; it
        may be left out, or hold up the next answer of the slot.
        """
        ...

    def embed(self, prompt: Sequence[int], *, slot: int = 0) -> Iterator[Event]:
        """Started, Progress in any number, Embedded; where `embedding_length` is not 0."""
        ...

    def close(self) -> None: ...


class Engine(Protocol):
    """A way to run models of one kind. A class that derives from this may do without `prepare`."""

    def prepare(self, spec: ModelSpec) -> None:
        """Do once what `load` would else do at first: check the file, make a fitted copy.

        Raises ModelCannotRun with the reason and what would run it.
        """
        ...

    def load(self, spec: ModelSpec) -> LoadedModel:
        """Raises ModelCannotRun like `prepare`. One that does nothing for long is ended."""
        ...
