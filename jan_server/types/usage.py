"""How many tokens an answer took, and how long."""

from __future__ import annotations

from msgspec import Struct


class PromptTokensDetails(Struct, kw_only=True):
    """`cached_tokens` were kept from an earlier answer and not computed again."""

    cached_tokens: int


class Usage(Struct, kw_only=True):
    """Real tokens of this model's tokenizer; the prompt's count once for all choices."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class Timings(Struct, kw_only=True):
    """What was computed and in how many milliseconds, under llama-server's names.

    `prompt_n` tokens of the prompt were evaluated, `cache_n` were not, as they were cached;
    `predicted_n` were generated. Rates are tokens per second, 0 where nothing was timed. The
    figures of several choices are added up.
    """

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_second: float
