"""What the engine tells of each token's likelihood, in OpenAI's two shapes.

Chats have a list of objects, completions of plain text have parallel lists.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable

from jan_server.engines.base import Choice, Likelihood
from jan_server.errors import InvalidRequest
from jan_server.types.chat import ChatCompletionRequest, ChosenToken, LogProbs, TokenLikelihood
from jan_server.types.completion import TextLogProbs

# JSON has no infinity; OpenAI writes this for what is all but impossible.
LOWEST = -9999.0


def asked_of_chat(request: ChatCompletionRequest) -> int | None:
    """Parameters.logprobs. Raises InvalidRequest for `top_logprobs` without `logprobs`."""
    if request.logprobs:
        return request.top_logprobs or 0
    if request.top_logprobs:
        path = "$.top_logprobs"
        raise InvalidRequest(f"{path}: needs logprobs: true.", param=path)
    return None


def chat_logprobs(choices: Iterable[Choice]) -> LogProbs:
    return LogProbs(content=[_chosen(choice) for choice in choices])


def _chosen(choice: Choice) -> ChosenToken:
    return ChosenToken(
        token=_text(choice.chosen),
        logprob=_finite(choice.chosen),
        bytes=list(choice.chosen.data),
        top_logprobs=[
            TokenLikelihood(token=_text(one), logprob=_finite(one), bytes=list(one.data))
            for one in choice.top
        ],
    )


class TextOffsets:
    """Where in a text its tokens begin; one that ends a character begins where that one does."""

    def __init__(self, start: int) -> None:
        self._at = start
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def next(self, data: bytes) -> int:
        """The place of the token of these bytes."""
        at = self._at
        self._at += len(self._decoder.decode(data))
        return at


def text_logprobs(choices: Iterable[Choice], offsets: TextOffsets) -> TextLogProbs:
    lists = TextLogProbs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
    for choice in choices:
        lists.tokens.append(_text(choice.chosen))
        lists.token_logprobs.append(_finite(choice.chosen))
        # Falling, so of two tokens of the same text the likelier one is told.
        told = reversed((*choice.top, choice.chosen))
        lists.top_logprobs.append({_text(one): _finite(one) for one in told})
        lists.text_offset.append(offsets.next(choice.chosen.data))
    return lists


def _text(likelihood: Likelihood) -> str:
    return likelihood.data.decode(errors="replace")


def _finite(likelihood: Likelihood) -> float:
    return likelihood.logprob if math.isfinite(likelihood.logprob) else LOWEST
