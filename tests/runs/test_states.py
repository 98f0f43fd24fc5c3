"""The machine of runs, as OpenAI has it."""

from __future__ import annotations

from typing import get_args

import pytest
from msgspec.structs import replace

from jan_server.runs import states
from jan_server.types.run import Limit, RunError, RunStatus, RunUsage, StoredRun
from jan_server.types.tool import FunctionCall, ToolCall

ERROR = RunError(code="server_error", message="It failed.")
BEGUN = StoredRun(
    id="run_1",
    created_at=5,
    thread_id="t",
    assistant_id="a",
    status="in_progress",
    model="m",
    expires_at=605,
    started_at=6,
)
LIMIT: Limit = "max_completion_tokens"
CALL = ToolCall(id="c", function=FunctionCall(name="f", arguments="{}"))


def working(*, used: int = 0) -> StoredRun:
    """A run with one whole step, and one that is open."""
    usage = RunUsage(prompt_tokens=used, completion_tokens=1, total_tokens=used + 1)
    whole = states.ended_step(states.calling_step("one", 6), "completed", 7)
    open_ = states.message_step("two", 7, message_id="m")
    run = states.with_step(BEGUN, replace(whole, usage=usage))
    return states.with_step(run, replace(open_, usage=usage))


@pytest.mark.parametrize(
    ("end", "status", "moment", "step"),
    [
        (lambda run: states.completed(run, 9), "completed", "completed_at", "completed"),
        (lambda run: states.failed(run, 9, ERROR), "failed", "failed_at", "failed"),
        (lambda run: states.cancelled(run, 9), "cancelled", "cancelled_at", "cancelled"),
        (lambda run: states.expired(run, 9), "expired", None, "expired"),
        (lambda run: states.incomplete(run, 9, LIMIT), "incomplete", None, "completed"),
    ],
)
def test_an_end_ends_the_open_step_and_counts_what_was_used(end, status, moment, step):
    ended = end(working(used=2))
    assert (ended.status, ended.expires_at, ended.required_action) == (status, None, None)
    assert moment is None or getattr(ended, moment) == 9
    assert [each.status for each in ended.steps] == ["completed", step]
    assert getattr(ended.steps[1], f"{step}_at") == 9
    assert ended.steps[0] == working(used=2).steps[0]
    assert ended.usage == RunUsage(prompt_tokens=4, completion_tokens=2, total_tokens=6)
    assert not states.is_active(ended)
    assert states.settled(ended, 10_000) is ended


def test_an_error_is_told_at_the_run_and_at_its_step():
    failed = states.failed(working(), 9, ERROR)
    assert (failed.last_error, failed.steps[1].last_error) == (ERROR, ERROR)
    assert failed.steps[0].last_error is None


def test_a_bound_is_named():
    incomplete = states.incomplete(BEGUN, 9, "max_prompt_tokens")
    assert incomplete.incomplete_details is not None
    assert incomplete.incomplete_details.reason == "max_prompt_tokens"


def test_calls_are_answered_in_the_step_that_made_them():
    step = states.with_calls(states.calling_step("s", 6), [CALL])
    waiting = states.requiring(states.with_step(BEGUN, step), [CALL])
    assert (waiting.status, states.calls_of(waiting)) == ("requires_action", ["c"])
    going_on = states.answered(waiting, 8, {"c": "done"})
    assert (going_on.status, going_on.required_action) == ("queued", None)
    [step] = going_on.steps
    assert (step.status, step.completed_at) == ("completed", 8)
    assert [call.function.output for call in states.calls_in(step)] == ["done"]
    again = states.begun(going_on, 9)
    assert (again.status, again.started_at) == ("in_progress", 6)


@pytest.mark.parametrize(
    ("status", "now", "settled"),
    [
        ("queued", 10, "failed"),
        ("in_progress", 10, "failed"),
        ("cancelling", 10, "cancelled"),
        ("requires_action", 604, "requires_action"),
        ("requires_action", 605, "expired"),
        ("completed", 10_000, "completed"),
    ],
)
def test_what_nobody_answers_is_over_but_for_what_waits_for_its_client(status, now, settled):
    assert states.settled(replace(BEGUN, status=status), now).status == settled


def test_every_state_is_active_or_has_an_end():
    assert set(get_args(RunStatus)) == set(states.ENDINGS) | states.ACTIVE
