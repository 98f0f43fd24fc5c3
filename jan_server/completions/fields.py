"""Which fields of a request are known: honoured, refused, or without effect."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from jan_server import parameters
from jan_server.errors import ParameterNotSupported
from jan_server.types.chat import ChatCompletionRequest
from jan_server.types.completion import CompletionRequest

log = logging.getLogger(__name__)

# A client that sends ever new names must not make the log or this memory grow.
UNKNOWN_LOGGED_AT_MOST = 100

# What clients of OpenAI, llama.cpp and vLLM know and this server cannot honour, with the values
# that ask for nothing. Null asks for nothing everywhere.
REFUSED: dict[str, tuple[Any, ...]] = {
    "bad_words": ([],),
    "allowed_token_ids": (),
    "best_of": (1,),
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "guided_choice": (),
    "guided_decoding_backend": (),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1,),
    "lora": ([],),
    "min_tokens": (0,),
    "n_probs": (0,),
    "prompt_logprobs": (),
    "skip_special_tokens": (True,),
    "stop_token_ids": ([],),
    "structured_outputs": (),
    "t_max_predict_ms": (-1, 0),
    "top_n_sigma": (-1, 0),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
    "xtc_probability": (0,),
}
REFUSED_IN_CHATS: dict[str, tuple[Any, ...]] = {
    **REFUSED,
    "add_generation_prompt": (True,),
    "audio": (),
    "continue_final_message": (False,),
    "echo": (False,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "prediction": (),
    "verbosity": ("medium",),
    "web_search_options": (),
}
REFUSED_IN_TEXTS: dict[str, tuple[Any, ...]] = {
    **{name: harmless for name, harmless in REFUSED.items() if name != "best_of"},
    "suffix": ("",),
}

# What to send in their place.
INSTEAD = {
    "function_call": "tool_choice",
    "functions": "tools",
    "guided_choice": "regex",
    "n_probs": "top_logprobs",
    "structured_outputs": "response_format",
    "truncate_prompt_tokens": "truncation",
}
INSTEAD_IN_TEXTS = {
    **{name: other for name, other in INSTEAD.items() if name != "truncate_prompt_tokens"},
    "n_probs": "logprobs",
}

# Accepted because clients send them by habit and an answer is right without them.
WITHOUT_EFFECT = {
    "engine",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "store",
}

# They are read from the request's own JSON: who asks, and other names of a constraint.
READ_ELSEWHERE = {"safety_identifier", "guided_json", "guided_regex", "guided_grammar"}


class Fields:
    """The fields of one kind of request. Unknown ones are ignored, and logged once.

    `refused` and `instead` are as above; `also` are known and have no
    effect, or are read elsewhere.
    """

    def __init__(
        self,
        kind: type[Struct],
        refused: Mapping[str, tuple[Any, ...]],
        instead: Mapping[str, str] = MappingProxyType({}),
        *,
        also: Set[str] = frozenset(),
    ) -> None:
        self._kind = kind
        self._refused = refused
        self._instead = instead
        self._known = frozenset({*kind.__struct_fields__, *refused, *also})
        self._logged: set[str] = set()

    def check(self, sent: Mapping[str, Any], *, at: str = "$") -> None:
        """Raises ParameterNotSupported for the first that asks for what cannot be honoured.

        `at` is where in the request these fields are.
        """
        for name, harmless in self._refused.items():
            value = sent.get(name)
            if value is not None and value not in harmless:
                other = self._instead.get(name)
                do = f"send {other!r} instead" if other else "leave it out"
                raise ParameterNotSupported(
                    f"This server cannot honour {name!r}: {do}.", param=f"{at}.{name}"
                )
        self._log_unknown(sent)

    def _log_unknown(self, sent: Mapping[str, Any]) -> None:
        for name in sent.keys() - self._known - self._logged:
            if len(self._logged) < UNKNOWN_LOGGED_AT_MOST:
                self._logged.add(name)
                log.info(
                    "%s: the parameter %.80r is unknown and ignored", self._kind.__name__, name
                )


_ALSO = frozenset(
    {*(name for row in parameters.ROWS for name in row.names), *READ_ELSEWHERE, *WITHOUT_EFFECT}
)


def of_chats() -> Fields:
    return Fields(ChatCompletionRequest, REFUSED_IN_CHATS, INSTEAD, also=_ALSO)


def of_texts() -> Fields:
    return Fields(CompletionRequest, REFUSED_IN_TEXTS, INSTEAD_IN_TEXTS, also=_ALSO)
