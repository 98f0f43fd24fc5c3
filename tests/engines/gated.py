"""An echo engine that waits where a prompt says so: what happens at once, tests can put in order.

A word such as `answer:7` waits at its place until a byte can be read from the file descriptor 7,
which the test holds the other end of. The places:

    tokenise:7   while the prompt is tokenised
    prefill:7    when one token of the prompt is evaluated, of at least two
    answer:7     before this word is said

What else a model does is said by its id.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence

import msgspec

from jan_server.engines.base import (
    Event,
    GenerationRequest,
    ModelSpec,
    Piece,
    Progress,
)
from jan_server.engines.echo import EchoModel
from jan_server.errors import InvalidRequest, ModelCannotRun


def wait_at(place: str, text: str) -> None:
    for gate in re.findall(rf"{place}:(\d+)", text):
        os.read(int(gate), 1)


class GatedEngine:
    needs_weights = False

    def prepare(self, spec: ModelSpec) -> None:
        raise ModelCannotRun("prepared and found wanting")

    def load(self, spec: ModelSpec) -> GatedModel:
        if spec.id == "fails to load":
            print(1 // 0)
        print("noise on the standard output", flush=True)
        return GatedModel(spec)


class GatedModel(EchoModel):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec.ctx_len or 64, spec.slots or 1)
        self.id = spec.id
        self.in_use: set[int] = set()
        if spec.id == "embeds nothing":
            self.info = msgspec.structs.replace(self.info, embedding_length=0)

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        wait_at("tokenise", text)
        return super().tokenize(f"<s> {text}" if bos and self.id == "with bos" else text)

    def check(self, request: GenerationRequest) -> None:
        if request.logit_bias:
            raise InvalidRequest("refused by the engine", param="$.logit_bias")

    def held(self, slot: int) -> Sequence[int]:
        if self.id == "forgets its slots":
            print(1 // 0)
        return super().held(slot)

    def generate(
        self, prompt: Sequence[int], request: GenerationRequest, *, slot: int = 0
    ) -> Iterator[Event]:
        assert slot not in self.in_use
        self.in_use.add(slot)
        text = self.detokenize(prompt)
        try:
            for event in super().generate(prompt, request, slot=slot):
                if isinstance(event, Progress):
                    yield Progress(1)
                    wait_at("prefill", text)
                if isinstance(event, Piece):
                    wait_at("answer", event.text)
                    if event.text == "exit":
                        sys.exit(3)
                yield event
        finally:
            self.in_use.remove(slot)

    def close(self) -> None:
        print("the model is closed", file=sys.stderr, flush=True)
