"""What a request may say beside its messages: honoured, refused, or without effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jan_server import parameters
from jan_server.errors import ParameterNotSupported
from jan_server.types.chat import ChatCompletionRequest

# Parameters that clients know and this server cannot honour, with the values that ask for nothing.
# Null asks for nothing everywhere.
REFUSED: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "grammar": ("",),
    "json_schema": (),
    "logit_bias": ({}, []),
    "logprobs": (False, 0),
    "mirostat": (0,),
    "modalities": (["text"],),
    "n": (1,),
    "prediction": (),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "typical_p": (1, 1.0),
    "verbosity": ("medium",),
    "web_search_options": (),
}

# Accepted because clients send them by habit and an answer is right without them.
WITHOUT_EFFECT = {
    "engine",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
}

KNOWN = {
    *ChatCompletionRequest.__struct_fields__,
    *(name for row in parameters.ROWS for name in row.names),
    *REFUSED,
    *WITHOUT_EFFECT,
}


def refuse_what_cannot_be_honoured(sent: Mapping[str, Any]) -> None:
    """Raises ParameterNotSupported for the first such parameter."""
    for name, harmless in REFUSED.items():
        value = sent.get(name)
        if value is not None and value not in harmless:
            raise ParameterNotSupported(
                f"This server cannot honour {name!r} here yet: leave it out.", param=f"$.{name}"
            )
