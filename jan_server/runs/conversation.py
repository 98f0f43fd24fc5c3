"""A thread's messages, and what its runs have called, as the messages of one chat request. Pure.

A message that a run has made stands behind the calls that the run made before it, with what came
of them: so a model sees how it came to what it said. Calls that led to nothing are left out, but
for those of the run that is being answered. What says nothing is left out too: an empty reply that
a Jan stored, replies that still grow, and what today's Jan keeps of tools that it called itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jan_server.runs.states import calls_in
from jan_server.store import Message, formats
from jan_server.types.run import MessageCreation, Step, StoredRun

ChatMessages = list[dict[str, Any]]
_ROLES = ("user", "assistant", "system")


def chat_messages(
    run: StoredRun, messages: Sequence[Message], runs: Mapping[str, StoredRun]
) -> ChatMessages:
    """`messages` in the order of the file, `runs` those of the thread, by their ids."""
    strategy = run.truncation_strategy
    said = [message for message in messages if message.value.get("status") != "in_progress"]
    if strategy.type == "last_messages" and strategy.last_messages is not None:
        said = said[-strategy.last_messages :]
    found: ChatMessages = []
    if run.instructions:
        found.append({"role": "system", "content": run.instructions})
    for message in said:
        of_run = runs.get(str(message.value.get("run_id")))
        found += _called(_before(of_run, message.id)) if of_run else []
        found += _said(message)
    return _joined([*found, *_called(_at_the_end(run))])


def _said(message: Message) -> ChatMessages:
    role = message.value.get("role")
    content = _content(message, role)
    return [{"role": role, "content": content}] if content and role in _ROLES else []


def _content(message: Message, role: Any) -> str | list[Any]:
    """Its text; what a user sent with it too, for models that know what that is."""
    parts = formats.message_content(message.value.get("content"))
    if role != "user" or all(_is_text(part) for part in parts):
        return formats.parts_text(parts)
    return [_part(part) for part in parts]


def _part(part: Any) -> Any:
    """A text part as chats have it."""
    if _is_text(part):
        return {"type": "text", "text": formats.parts_text([part])}
    return part


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text"


def _before(run: StoredRun, message_id: str) -> Iterator[Step]:
    """The steps of calls that come between the run's message before this one, and this one."""
    calling: list[Step] = []
    for step in run.steps:
        if isinstance(step.step_details, MessageCreation):
            if step.step_details.message_creation.message_id == message_id:
                yield from calling
                return
            calling = []
        elif step.status == "completed":
            calling.append(step)


def _at_the_end(run: StoredRun) -> Iterator[Step]:
    """Those that no message of the run has come after."""
    calling: list[Step] = []
    for step in run.steps:
        if isinstance(step.step_details, MessageCreation):
            calling = []
        elif step.status == "completed":
            calling.append(step)
    yield from calling


def _called(steps: Iterator[Step]) -> ChatMessages:
    found: ChatMessages = []
    for step in steps:
        calls = calls_in(step)
        told = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in calls
        ]
        found.append({"role": "assistant", "content": None, "tool_calls": told})
        found += [
            {"role": "tool", "tool_call_id": call.id, "content": call.function.output or ""}
            for call in calls
        ]
    return found


def _joined(messages: ChatMessages) -> ChatMessages:
    """What an assistant says and then calls is one turn: templates want them to take turns."""
    found: ChatMessages = []
    for message in messages:
        last = found[-1] if found else {}
        is_one_turn = (
            "tool_calls" in message and last.get("role") == "assistant" and "tool_calls" not in last
        )
        if is_one_turn:
            found[-1] = {**message, "content": last["content"]}
        else:
            found.append(message)
    return found
