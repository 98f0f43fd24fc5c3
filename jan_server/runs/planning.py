"""Who answers in a thread and how: a request, the thread's file, the assistant's -> a run.

What the thread's file says of an assistant counts more than the assistant's own file. Reads only.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from ulid import ULID

from jan_server import ids
from jan_server.errors import NotFound
from jan_server.runs.asking import Files, functions, functions_of_file, given
from jan_server.store import Store, formats
from jan_server.types.run import CreateRun, RunOptions, StoredRun

TAKEN = (
    "metadata",
    "temperature",
    "top_p",
    "max_prompt_tokens",
    "max_completion_tokens",
    "truncation_strategy",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
)
"""Fields of a request that a run has under the same name."""

_DATE = re.compile(r"\{\{\s*current_date\s*\}\}", re.IGNORECASE)
"""In the instructions of Jan's own assistant (web-app/src/lib/instructionTemplate.ts)."""


class Assistant(NamedTuple):
    """Who answers in a thread: what its file says, and what the thread's says over it."""

    id: str
    file: Mapping[str, Any]
    in_thread: formats.ThreadAssistant


class Planning:
    """Every call looks at the assistant's file."""

    def __init__(self, store: Store, *, default_assistant: str) -> None:
        self._store = store
        self._default = default_assistant

    def run(self, asked: RunOptions, thread: Mapping[str, Any], *, seconds: float) -> StoredRun:
        """What the request would be in a thread of this value, to expire after so many seconds.

        Raises InvalidId, NotFound (assistant), and ParameterNotSupported for hosted tools.
        """
        assistant, now = self._asked_for(asked, thread), int(time.time())
        return StoredRun(
            id=f"run_{ULID()}",
            created_at=now,
            thread_id="",
            assistant_id=assistant.id,
            status="queued",
            expires_at=now + int(seconds),
            model=asked.model or assistant.in_thread.model or _model(assistant.file),
            instructions=_instructions(asked, assistant),
            tools=_tools(asked, assistant.file),
            response_format=_response_format(asked, assistant.file),
            **{name: value for name in TAKEN if given(value := getattr(asked, name))},
        )

    def files(self, run: StoredRun, thread: Mapping[str, Any]) -> Files:
        """The parameters of the run's assistant, as the files have them now."""
        assistant = self._known(run.assistant_id, thread)
        return [
            ("the thread's assistant", assistant.in_thread.parameters),
            (f"assistants/{assistant.id}/assistant.json", _parameters(assistant.file)),
        ]

    def _asked_for(self, asked: RunOptions, thread: Mapping[str, Any]) -> Assistant:
        """The one that is named, else the thread's first, else the default one."""
        if not asked.assistant_id:
            in_thread = formats.thread_assistants(thread)
            return self._known(in_thread[0].id if in_thread else self._default, thread)
        ids.check_lookup_id("assistant", asked.assistant_id, param="$.assistant_id")
        assistant = self._known(asked.assistant_id, thread)
        if not assistant.file and not _is_in(assistant.id, thread):
            raise NotFound("assistant", assistant.id)
        return assistant

    def _known(self, id: str, thread: Mapping[str, Any]) -> Assistant:
        there = [each for each in formats.thread_assistants(thread) if each.id == id]
        assistants = self._store.assistants
        file = assistants.get(id).value if assistants.has(id) else {}
        return Assistant(id, file, there[0] if there else formats.ThreadAssistant(id=id))


def _is_in(id: str, thread: Mapping[str, Any]) -> bool:
    return any(each.id == id for each in formats.thread_assistants(thread))


def _model(file: Mapping[str, Any]) -> str:
    """`*` is Jan's word for the default one, as is nothing."""
    model = file.get("model")
    return model if isinstance(model, str) and model != "*" else ""


def _instructions(asked: RunOptions, assistant: Assistant) -> str:
    said = assistant.file.get("instructions")
    of_file = said if isinstance(said, str) else ""
    first = asked.instructions or _dated(assistant.in_thread.instructions or of_file)
    more = asked.additional_instructions if isinstance(asked, CreateRun) else None
    return "\n".join(text for text in (first, more) if text)


def _dated(instructions: str) -> str:
    """With today's date where a file leaves room for it, as Jan writes it: August 6, 2025 (UTC)."""
    today = datetime.now(UTC)
    return _DATE.sub(f"{today:%B} {today.day}, {today.year}", instructions)


def _tools(asked: RunOptions, file: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """An empty list in the request means none, whatever the assistant has."""
    if isinstance(asked.tools, list):
        return functions(asked.tools)
    return functions_of_file(file.get("tools"))


def _response_format(asked: RunOptions, file: Mapping[str, Any]) -> Any:
    if given(asked.response_format):
        return msgspec.to_builtins(asked.response_format)
    of_file = file.get("response_format")
    return of_file if isinstance(of_file, dict) else "auto"


def _parameters(file: Mapping[str, Any]) -> Mapping[str, Any]:
    """Jan's `parameters`, and what OpenAI's clients write beside them."""
    said = file.get("parameters")
    own = {name: file[name] for name in ("temperature", "top_p") if file.get(name) is not None}
    return {**(said if isinstance(said, Mapping) else {}), **own}
