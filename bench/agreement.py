"""Whether ctransformers, two years behind, still says what a current llama.cpp says of one file.

Its own greedy answers are walked along, token by token: at each step both are asked for the next
token after the same tokens, by id. They multiply in another precision (what is multiplied with
quantised weights is quantised too, and how has changed), so tokens that are nearly as likely change
places now and then, and no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from math import exp
from statistics import median

import msgspec
from msgspec import Struct

from bench.figure import Figure
from bench.subject import Subject
from jan_server.engines.base import Choice, GenerationRequest, LoadedModel, ModelSpec, Piece
from jan_server.engines.ctransformers.engine import CTransformersEngine
from jan_server.engines.llama_cpp.engine import LlamaCppEngine

STEPS = 48
LEAST_PROBABILITY = 0.01
# No more tokens than these can be as probable as that.
COUNT = 100

SAME_TOKENS = 0.97
LOGPROB_DIFFERENCE = 0.1

PROMPTS = (
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n    ",
    '{"name": "Ada", "born": 1815, "works": [',
    "1, 1, 2, 3, 5, 8, 13,",
    "Dear Sir or Madam,\n\nI am writing to",
    "Q: Why is the sky blue?\nA:",
    "<|im_start|>user\nName three rivers.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nTranslate 'good morning' into Spanish.<|im_end|>\n<|im_start|>assistant\n",
    "# A list of fruits\n\n- apple\n- pear\n-",
    "Die Hauptstadt von Österreich heißt",
    "Le petit prince habitait une planète à peine plus grande que",
    "Москва — столица",
    "Η Αθήνα είναι η πρωτεύουσα",
    "東京は日本の",
    "北京是中国的首都,",
    "עברית היא שפה",
    "اللغة العربية هي",
    "Emoji: 😀 😃 😄 😁 😆 👩‍👩‍👧 🦊 🐻 🐼",
    "x² + y² = z², so ∀ε > 0 ∃δ:",
)


class Agreement(Struct, frozen=True):
    """`same` of `steps` greedy tokens; `differences` of the logarithms of what is probable."""

    steps: int
    same: int
    differences: tuple[float, ...]

    @property
    def share(self) -> float:
        return self.same / self.steps

    @property
    def difference(self) -> float:
        return median(self.differences)


def measure(subject: Subject) -> list[Figure]:
    found = agreement(subject.spec(), PROMPTS, steps=STEPS)
    detail = f"{len(PROMPTS)} prompts, {found.same} of {found.steps} tokens"
    return [
        Figure(
            name="greedy tokens that llama.cpp chooses too",
            value=100 * found.share,
            bound=100 * SAME_TOKENS,
            unit=" %",
            is_floor=True,
            detail=detail,
        ),
        Figure(
            name="median difference of log-probabilities from llama.cpp's",
            value=found.difference,
            bound=LOGPROB_DIFFERENCE,
            detail=f"{len(found.differences)} tokens of 1 % and more",
        ),
    ]


def agreement(spec: ModelSpec, prompts: Sequence[str], *, steps: int) -> Agreement:
    """Loads the model on both engines."""
    # One thread each: the two work side by side.
    spec = msgspec.structs.replace(spec, slots=1, ctx_len=512, threads=1)
    with (
        closing(CTransformersEngine().load(spec)) as tested,
        closing(LlamaCppEngine().load(spec)) as reference,
        ThreadPoolExecutor(1) as ahead,
    ):
        tokens = [reference.tokenize(prompt) for prompt in prompts]
        answers = ahead.map(lambda prompt: _choices(tested, prompt, steps), tokens)
        pairs = [
            pair
            for prompt, answer in zip(tokens, answers, strict=True)
            for pair in zip(answer, _after_each(reference, prompt, answer), strict=True)
        ]
    return Agreement(
        len(pairs),
        sum(one.chosen.token == other.chosen.token for one, other in pairs),
        tuple(found for one, other in pairs for found in _differences(one, other)),
    )


def _after_each(
    model: LoadedModel, prompt: Sequence[int], answer: Sequence[Choice]
) -> Iterator[Choice]:
    """What the model would choose in the place of each token of another's answer."""
    tokens = list(prompt)
    for choice in answer:
        yield from _choices(model, tokens, 1)
        tokens.append(choice.chosen.token)


def _choices(model: LoadedModel, tokens: Sequence[int], count: int) -> list[Choice]:
    request = GenerationRequest(
        prompt=tuple(tokens), temperature=0, max_tokens=count, logprobs=COUNT, ignore_eos=True
    )
    events = model.generate(tokens, request)
    return [choice for event in events if isinstance(event, Piece) for choice in event.choices]


def _differences(tested: Choice, reference: Choice) -> Iterator[float]:
    """Of each token that the reference finds probable."""
    found = {likelihood.token: likelihood.logprob for likelihood in tested.top}
    for likelihood in reference.top:
        if exp(likelihood.logprob) >= LEAST_PROBABILITY and likelihood.token in found:
            yield abs(likelihood.logprob - found[likelihood.token])
