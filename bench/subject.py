"""What is measured: the model of a data folder, and one answer of it with its times."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from jan_server.engines.base import (
    Finished,
    GenerationRequest,
    LoadedModel,
    ModelSpec,
    Piece,
)
from jan_server.templates import render
from jan_server.types.model import Manifest


class Subject(Struct, kw_only=True, frozen=True):
    """A data folder and the model in it that answers, with so many threads, or the usual number."""

    data_folder: Path
    model: str
    threads: int | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """What the server is told beside the folder."""
        return ("--threads", str(self.threads)) if self.threads else ()

    def spec(self) -> ModelSpec:
        """How the server loads it. Raises FileNotFoundError when it is not there."""
        folder = self.data_folder / "models" / self.model
        manifest = Manifest.from_value(msgspec.json.decode((folder / "model.json").read_bytes()))
        weights = folder / (manifest.settings.llama_model_path or "")
        if not weights.is_file():
            raise FileNotFoundError(
                f"No weights in {folder}: python -m jan_server pull {self.model}"
            )
        return ModelSpec(
            id=self.model,
            engine="ctransformers",
            path=str(weights.resolve()),
            work_folder=str(self.data_folder.resolve() / ".jan_server" / "fitted" / self.model),
            ctx_len=manifest.settings.ctx_len,
            gpu_layers=manifest.settings.ngl or 0,
            threads=manifest.settings.cpu_threads or self.threads,
        )


class Question(Struct, kw_only=True, frozen=True):
    """A system and a user message, and what was said before; answered greedily unless told.

    `before` are earlier turns, the user's and the model's. `more` goes into the request as it is.
    """

    text: str
    max_tokens: int
    before: tuple[tuple[str, str], ...] = ()
    temperature: float = 0.0
    seed: int | None = None
    more: dict[str, Any] = {}

    def messages(self) -> list[dict[str, str]]:
        # With a system message of its own, no manifest and no template adds another.
        system = {"role": "system", "content": "You are a helpful assistant."}
        turns = [
            {"role": role, "content": said}
            for turn in self.before
            for role, said in zip(("user", "assistant"), turn, strict=True)
        ]
        return [system, *turns, {"role": "user", "content": self.text}]


class Answer(Struct, kw_only=True, frozen=True):
    """An answer; times in seconds by the same clock."""

    text: str
    prompt_tokens: int
    tokens: int
    begun: float
    first: float
    last: float

    @property
    def to_first(self) -> float:
        return self.first - self.begun

    @property
    def rate(self) -> float:
        """Tokens per second, counted from the first one's arrival."""
        return (self.tokens - 1) / (self.last - self.first)


def answer_in_process(model: LoadedModel, question: Question) -> Answer:
    """The shipped loop itself: no process, no wire, no HTTP."""
    info = model.info
    prompt = render(
        question.messages(),
        chat_template=info.chat_template,
        bos_token=info.bos_token,
        eos_token=info.eos_token,
    )
    request = GenerationRequest(
        prompt=prompt,
        max_tokens=question.max_tokens,
        temperature=question.temperature,
        seed=question.seed,
    )
    times, texts, tokens = [], [], 0
    begun = time.perf_counter()
    ids = model.tokenize(prompt)
    for event in model.generate(ids, request):
        if isinstance(event, Piece):
            times.append(time.perf_counter())
            texts.append(event.text)
        elif isinstance(event, Finished):
            tokens = event.completion_tokens
    return Answer(
        text="".join(texts),
        prompt_tokens=len(ids),
        tokens=tokens,
        begun=begun,
        first=times[0],
        last=times[-1],
    )
