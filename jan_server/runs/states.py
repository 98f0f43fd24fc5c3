"""What a run may be, and what becomes of it. Pure; the machine is OpenAI's.

    queued -> in_progress -> completed | incomplete | failed | expired
                          -> requires_action -> queued ...       somebody answers the calls
                          -> cancelling -> cancelled

A run is `queued` until its model has begun with it, `requires_action` until the client has
answered the calls, and nobody works on it then. All others that are not over have an answerer; one
without is what `settled` says. Every function gives a new run; `now` is in whole seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from jan_server.types.run import (
    AnsweredCall,
    AnsweredFunction,
    CallsToAnswer,
    Limit,
    MessageCreation,
    MessageId,
    RequiredAction,
    RunError,
    RunIncompleteDetails,
    RunStatus,
    RunUsage,
    Step,
    StepStatus,
    StoredRun,
    ToolCalls,
)
from jan_server.types.tool import ToolCall

ANSWERED: frozenset[RunStatus] = frozenset({"queued", "in_progress", "cancelling"})
"""Somebody must be at work on these."""

ACTIVE: frozenset[RunStatus] = ANSWERED | {"requires_action"}
"""These are not over: a thread has one of them at most."""

LEFT = RunError(code="server_error", message="The server ended while it answered.")


class Ending(NamedTuple):
    """What the end of a run is for its open step, and why its message is incomplete, if it is."""

    step: StepStatus
    message: str = ""


ENDINGS: dict[RunStatus, Ending] = {
    "completed": Ending("completed"),
    "cancelled": Ending("cancelled", "run_cancelled"),
    "expired": Ending("expired", "run_expired"),
    "failed": Ending("failed", "run_failed"),
    "incomplete": Ending("completed", "max_tokens"),
}


def is_active(run: StoredRun) -> bool:
    return run.status in ACTIVE


def used(run: StoredRun) -> RunUsage:
    """By all its steps together."""
    usages = [step.usage for step in run.steps if step.usage]
    return RunUsage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        total_tokens=sum(usage.total_tokens for usage in usages),
    )


def begun(run: StoredRun, now: int) -> StoredRun:
    return replace(run, status="in_progress", started_at=run.started_at or now)


def cancelling(run: StoredRun) -> StoredRun:
    return replace(run, status="cancelling", required_action=None)


def completed(run: StoredRun, now: int) -> StoredRun:
    return replace(_ended(run, "completed", now), status="completed", completed_at=now)


def incomplete(run: StoredRun, now: int, reason: Limit) -> StoredRun:
    """It has met a bound."""
    ended = _ended(run, "incomplete", now)
    return replace(
        ended, status="incomplete", incomplete_details=RunIncompleteDetails(reason=reason)
    )


def failed(run: StoredRun, now: int, error: RunError) -> StoredRun:
    ended = _ended(run, "failed", now, error=error)
    return replace(ended, status="failed", failed_at=now, last_error=error)


def cancelled(run: StoredRun, now: int) -> StoredRun:
    return replace(_ended(run, "cancelled", now), status="cancelled", cancelled_at=now)


def expired(run: StoredRun, now: int) -> StoredRun:
    return replace(_ended(run, "expired", now), status="expired")


def settled(run: StoredRun, now: int) -> StoredRun:
    """What a run is that nobody answers: itself when it is over, or waits for its client."""
    if run.status == "cancelling":
        return cancelled(run, now)
    if run.status in ANSWERED:
        return failed(run, now, LEFT)
    if run.status == "requires_action" and has_expired(run, now):
        return expired(run, now)
    return run


def has_expired(run: StoredRun, now: float) -> bool:
    return run.expires_at is not None and now >= run.expires_at


def requiring(run: StoredRun, calls: Sequence[ToolCall]) -> StoredRun:
    """It waits until its client has answered these calls, which its last step has made."""
    action = RequiredAction(submit_tool_outputs=CallsToAnswer(tool_calls=tuple(calls)))
    return replace(run, status="requires_action", required_action=action)


def answered(run: StoredRun, now: int, outputs: dict[str, str]) -> StoredRun:
    """The calls have what came of them, by their ids, and the run waits for its model again."""
    step = run.steps[-1]
    assert isinstance(step.step_details, ToolCalls), "its last step has made the calls"
    calls = tuple(_with_output(call, outputs[call.id]) for call in step.step_details.tool_calls)
    details = ToolCalls(tool_calls=calls)
    done = replace(step, step_details=details, status="completed", completed_at=now)
    return replace(with_step(run, done), status="queued", required_action=None)


def calls_of(run: StoredRun) -> list[str]:
    """The ids of the calls that its last step has made."""
    return [call.id for step in run.steps[-1:] for call in calls_in(step)]


def message_step(id: str, now: int, *, message_id: str) -> Step:
    details = MessageCreation(message_creation=MessageId(message_id=message_id))
    return Step(id=id, created_at=now, status="in_progress", step_details=details)


def calling_step(id: str, now: int) -> Step:
    return Step(id=id, created_at=now, status="in_progress", step_details=ToolCalls())


def with_calls(step: Step, calls: Sequence[ToolCall]) -> Step:
    made = tuple(
        AnsweredCall(
            id=call.id,
            function=AnsweredFunction(name=call.function.name, arguments=call.function.arguments),
        )
        for call in calls
    )
    return replace(step, step_details=ToolCalls(tool_calls=made))


def calls_in(step: Step) -> tuple[AnsweredCall, ...]:
    details = step.step_details
    return details.tool_calls if isinstance(details, ToolCalls) else ()


def with_step(run: StoredRun, step: Step) -> StoredRun:
    """The step takes the place of the one of its id, else it is the last."""
    if any(each.id == step.id for each in run.steps):
        steps = tuple(step if each.id == step.id else each for each in run.steps)
    else:
        steps = (*run.steps, step)
    return replace(run, steps=steps)


def ended_step(step: Step, status: StepStatus, now: int, *, error: RunError | None = None) -> Step:
    moment: dict[str, Any] = {f"{status}_at": now}
    return replace(step, status=status, last_error=error, **moment)


def _ended(
    run: StoredRun, status: RunStatus, now: int, *, error: RunError | None = None
) -> StoredRun:
    ending = ENDINGS[status]
    steps = tuple(
        ended_step(step, ending.step, now, error=error) if step.status == "in_progress" else step
        for step in run.steps
    )
    over = replace(run, steps=steps, required_action=None, expires_at=None)
    return replace(over, usage=used(over))


def _with_output(call: AnsweredCall, output: str) -> AnsweredCall:
    return replace(call, function=replace(call.function, output=output))
