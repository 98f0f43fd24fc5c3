"""A run as a chat request: what the run says, then the thread's file, then the assistant's.

What neither says is the model's own. Bounds are the whole run's: what its steps have used counts.
Pure.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
from msgspec import UNSET

from jan_server import parameters
from jan_server.engines.base import Queued
from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.remote import RemoteAnswer
from jan_server.runs.conversation import ChatMessages
from jan_server.runs.states import calls_in, used
from jan_server.types.chat import ChatCompletionChunk, ChatCompletionRequest
from jan_server.types.run import StoredRun

Files = Sequence[tuple[str, Mapping[str, Any]]]
"""Names and parameters of files, the strongest first."""

HOSTED = ("file_search", "code_interpreter", "retrieval")


class Chats(Protocol):
    """Whoever answers chat requests (completions/chats.py)."""

    def check_here(self, request: ChatCompletionRequest, sent: Mapping[str, Any]) -> str: ...

    def stream(
        self,
        request: ChatCompletionRequest,
        sent: Mapping[str, Any],
        *,
        client: str = "",
        prompt_limit: int | None = None,
    ) -> AsyncGenerator[ChatCompletionChunk | Queued | RemoteAnswer]: ...


class Asked(NamedTuple):
    """A chat request; `sent` is it as JSON, for servers that answer remote models.

    `prompt_limit`: so many tokens its prompt may have.
    """

    request: ChatCompletionRequest
    sent: dict[str, Any]
    prompt_limit: int | None


def asked(run: StoredRun, messages: ChatMessages, files: Files) -> Asked:
    """Raises InvalidRequest with the path of what is wrong."""
    if not messages:
        raise InvalidRequest(
            "The thread has no messages and the run no instructions: there is nothing to answer."
        )
    so_far = used(run)
    own = {
        "temperature": run.temperature,
        "top_p": run.top_p,
        "max_tokens": _left(run.max_completion_tokens, so_far.completion_tokens),
        "reasoning_effort": run.reasoning_effort,
        "response_format": None if run.response_format == "auto" else run.response_format,
        **_tools(run),
    }
    sent = {
        **parameters.of_files(files),
        **{name: value for name, value in own.items() if value is not None},
        "model": run.model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    request = _converted(sent)
    # Not in `sent`: another server need not know it.
    is_auto = run.truncation_strategy.type == "auto"
    request.truncation = "auto" if is_auto else "disabled"
    return Asked(request, sent, _left(run.max_prompt_tokens, so_far.prompt_tokens))


def is_spent(run: StoredRun) -> bool:
    """Whether its bound leaves no token to answer with."""
    bound = run.max_completion_tokens
    return bound is not None and used(run).completion_tokens >= bound


def functions(tools: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The tools of a request, all of them functions. Raises ParameterNotSupported for others."""
    for index, tool in enumerate(tools):
        if tool.get("type") != "function":
            place = f"$.tools[{index}].type"
            raise ParameterNotSupported(
                f"{place}: {tool.get('type')!r} is not to be had here, only 'function' is: give "
                "the model a function that does it, and answer its calls.",
                param=place,
            )
    return tuple(map(dict, tools))


def functions_of_file(tools: Any) -> tuple[dict[str, Any], ...]:
    """The same of an assistant's file, without Jan's own tools: those that have `enabled`."""
    given = [tool for tool in tools if isinstance(tool, Mapping)] if isinstance(tools, list) else []
    return functions([tool for tool in given if "enabled" not in tool])


def _tools(run: StoredRun) -> dict[str, Any]:
    if not run.tools:
        # Raises later where a call is demanded, as in a chat.
        return {} if run.tool_choice == "auto" else {"tool_choice": run.tool_choice}
    # What must be called has been, once something was: else the run had no end.
    has_called = any(calls_in(step) for step in run.steps)
    is_free = has_called and run.tool_choice != "none"
    return {
        "tools": list(run.tools),
        "tool_choice": "auto" if is_free else run.tool_choice,
        "parallel_tool_calls": run.parallel_tool_calls,
    }


def _left(bound: int | None, used: int) -> int | None:
    return None if bound is None else max(1, bound - used)


def _converted(sent: Mapping[str, Any]) -> ChatCompletionRequest:
    try:
        return msgspec.convert(sent, ChatCompletionRequest)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at ")
        place = path.strip("`") or "$"
        raise InvalidRequest(f"{place}: {reason[:1].lower()}{reason[1:]}.", param=place) from error


def given(value: Any) -> bool:
    """Whether a field of a request says something."""
    return value is not UNSET and value is not None
