"""A request of Ollama's -> a chat completion, or for a raw prompt a completion of plain text.

Options that only say how a model is loaded or computed have no effect on what is answered, and are
taken. `num_ctx` is another thing: whoever asks for more than the model is loaded with is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from jan_server.completions.fields import Fields
from jan_server.dialects.chat import Translated
from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.parameters import MAX_COUNT
from jan_server.types.completion import CompletionRequest
from jan_server.types.ollama import (
    EmbedPromptRequest,
    EmbedRequest,
    GenerateRequest,
    OllamaChatRequest,
    OllamaMessage,
    OllamaOptions,
    OllamaRequest,
    OllamaToolCall,
)

CHATS = Fields(OllamaChatRequest, refused={"shift": (True,)}, also=frozenset({"truncate"}))
GENERATES = Fields(
    GenerateRequest,
    refused={
        "context": ([],),
        "images": ([],),
        "shift": (True,),
        "suffix": ("",),
        "template": ("",),
        "width": (0,),
        "height": (0,),
        "steps": (0,),
    },
    instead={"context": "messages to /api/chat", "template": "raw"},
    also=frozenset({"truncate"}),
)
OPTIONS = Fields(
    OllamaOptions,
    refused={"tfs_z": (1,)},
    also=frozenset(
        {
            "embedding_only",
            "f16_kv",
            "logits_all",
            "low_vram",
            "main_gpu",
            "num_batch",
            "num_gpu",
            "num_keep",
            "num_thread",
            "numa",
            "penalize_newline",
            "use_mlock",
            "use_mmap",
            "vocab_only",
        }
    ),
)
EMBEDS = Fields(EmbedRequest, refused={}, also=frozenset({"options", "truncate"}))
EMBEDS_PROMPT = Fields(EmbedPromptRequest, refused={}, also=frozenset({"options"}))

_PASSED_ON = [name for name in OllamaOptions.__struct_fields__ if name not in ("num_ctx", "stop")]


def model_name(name: str) -> str:
    """Ollama's clients write the tag that it gives to models without one."""
    return name.removesuffix(":latest")


def chat_request(asked: OllamaChatRequest, sent: Mapping[str, Any]) -> Translated:
    """`asked` has messages. Raises InvalidRequest and ParameterNotSupported."""
    CHATS.check(sent)
    chat = {
        **_common(asked, sent),
        "messages": _messages(asked.messages or []),
        **({"tools": sent["tools"]} if asked.tools else {}),
        **({} if asked.truncate is False else {"truncation": "auto"}),
    }
    return Translated(chat, _NAMES)


def generate_request(asked: GenerateRequest, sent: Mapping[str, Any]) -> Translated:
    """`asked` has a prompt. Raises as chat_request."""
    GENERATES.check(sent)
    if asked.raw is True:
        return _raw_request(asked, sent)
    system = [{"role": "system", "content": asked.system}] if asked.system else []
    messages = [*system, {"role": "user", "content": asked.prompt}]
    names = {**_NAMES, "$.messages": "$.prompt"}
    return Translated({**_common(asked, sent), "messages": messages}, names)


def check_to_load(asked: OllamaRequest, sent: Mapping[str, Any]) -> None:
    """Of a request without anything to answer. Raises as chat_request."""
    (CHATS if isinstance(asked, OllamaChatRequest) else GENERATES).check(sent)


def context_asked(asked: OllamaRequest) -> int | None:
    said = asked.options and asked.options.num_ctx
    return said or None


_NAMES = {
    "$.response_format": "$.format",
    "$.response_format.json_schema.schema": "$.format",
    "$.max_tokens": "$.options.num_predict",
    **{f"$.{name}": f"$.options.{name}" for name in (*_PASSED_ON, "stop")},
}


def _raw_request(asked: GenerateRequest, sent: Mapping[str, Any]) -> Translated:
    for name in ("system", "think", "logprobs"):
        if getattr(asked, name):
            raise ParameterNotSupported(
                f"$.{name}: goes with no raw prompt: leave it or raw out.", param=f"$.{name}"
            )
    text = {**_common(asked, sent), "prompt": asked.prompt}
    return Translated(text, _NAMES, CompletionRequest)


def _common(asked: OllamaRequest, sent: Mapping[str, Any]) -> dict[str, Any]:
    options = asked.options or OllamaOptions()
    OPTIONS.check(sent.get("options") or {}, at="$.options")
    said = {
        "model": model_name(asked.model),
        "keep_alive": asked.keep_alive,
        **_likelihoods(asked),
        **_sampling(options),
        **_format(asked.format or None),
        **_thinking(asked.think),
    }
    return {name: value for name, value in said.items() if value not in (UNSET, None)}


def _sampling(options: OllamaOptions) -> dict[str, Any]:
    said = {name: getattr(options, name) for name in _PASSED_ON}
    said["max_tokens"] = _unbounded(said.pop("num_predict"), below=1)
    said["repeat_last_n"] = _unbounded(said["repeat_last_n"], below=0)
    # LiteLLM writes OpenAI's frequency_penalty here, and most often that is 0.
    said["repeat_penalty"] = options.repeat_penalty or None
    said["stop"] = options.stop or None
    return said


def _unbounded(said: int | UnsetType | None, *, below: int) -> int | None:
    """Ollama writes "no limit" as a number that is too small."""
    if said is UNSET or said is None:
        return None
    return MAX_COUNT if said < below else said


def _likelihoods(asked: OllamaRequest) -> dict[str, Any]:
    if asked.logprobs is not True:
        return {}
    return {"logprobs": True, "top_logprobs": asked.top_logprobs}


def _format(form: str | dict[str, Any] | None) -> dict[str, Any]:
    if form is None:
        return {}
    if isinstance(form, dict):
        schema = {"name": "answer", "schema": form}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if form != "json":
        raise InvalidRequest("$.format: must be 'json' or a JSON Schema.", param="$.format")
    return {"response_format": {"type": "json_object"}}


def _thinking(think: bool | str | UnsetType | None) -> dict[str, Any]:
    """Templates that know no thinking pass over both."""
    if think is UNSET or think is None:
        return {}
    effort = {"reasoning_effort": think} if isinstance(think, str) else {}
    return {"chat_template_kwargs": {"enable_thinking": bool(think)}, **effort}


# --- messages --------------------------------------------------------------------------------

Waiting = list[tuple[str, str]]
"""The calls that no result has answered yet: their ids and the tools' names, oldest first."""


def _messages(messages: Sequence[OllamaMessage]) -> list[dict[str, Any]]:
    waiting: Waiting = []
    return [
        _message(message, f"$.messages[{index}]", waiting) for index, message in enumerate(messages)
    ]


def _message(message: OllamaMessage, path: str, waiting: Waiting) -> dict[str, Any]:
    if message.images:
        place = f"{path}.images"
        raise ParameterNotSupported(
            f"{place}: models read text only here: leave it out.", param=place
        )
    turn: dict[str, Any] = {"role": message.role, "content": message.content or ""}
    if message.thinking:
        turn["reasoning_content"] = message.thinking
    if message.tool_calls:
        turn["tool_calls"] = [_call(call, path, waiting) for call in message.tool_calls]
    if message.role == "tool":
        turn["tool_call_id"] = _answered(message, path, waiting)
    return turn


def _call(call: OllamaToolCall, path: str, waiting: Waiting) -> dict[str, Any]:
    """A call without an id gets one that tells it from the others."""
    id = call.id or f"{path.removeprefix('$.')}-{len(waiting)}"
    name, arguments = call.function.name, msgspec.json.encode(call.function.arguments).decode()
    waiting.append((id, name))
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _answered(message: OllamaMessage, path: str, waiting: Waiting) -> str:
    """The id of the call that a result is of: the one it names, else the oldest that waits."""
    for id, name in waiting:
        if id == (message.tool_call_id or id) and name == (message.tool_name or name):
            waiting.remove((id, name))
            return id
    raise InvalidRequest(
        f"{path}: is the result of no call in an assistant's message before.", param=path
    )
