"""Threads, and what their runs called, as a model reads them."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from jan_server.runs import states
from jan_server.runs.conversation import chat_messages
from jan_server.store import Message
from jan_server.types.run import Step, StoredRun, TruncationStrategy
from jan_server.types.tool import FunctionCall, ToolCall

RUN = StoredRun(
    id="run_1", created_at=5, thread_id="t", assistant_id="a", status="queued", model="m"
)


def message(id: str, content: Any, role: str = "user", **more: Any) -> Message:
    return Message(id=id, value={"role": role, "content": content, **more}, seconds=1, raw=b"{}")


def said(id: str) -> Step:
    return states.ended_step(states.message_step(f"s-{id}", 1, message_id=id), "completed", 2)


def called(name: str, output: str | None) -> Step:
    """A step with one call; None: nobody has answered it."""
    call = ToolCall(id=f"c-{name}", function=FunctionCall(name=name, arguments="{}"))
    step = states.with_calls(states.calling_step(f"s-{name}", 1), [call])
    if output is None:
        return step
    run = states.requiring(states.with_step(RUN, step), [call])
    return states.answered(run, 2, {call.id: output}).steps[0]


def turns(name: str, output: str, content: str | None = None) -> list[dict[str, Any]]:
    function = {"name": name, "arguments": "{}"}
    call = {"id": f"c-{name}", "type": "function", "function": function}
    return [
        {"role": "assistant", "content": content, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"c-{name}", "content": output},
    ]


def asked(run: StoredRun, *messages: Message, others: tuple[StoredRun, ...] = ()) -> Any:
    return chat_messages(run, messages, {each.id: each for each in (*others, run)})


def test_instructions_then_what_was_said():
    run = replace(RUN, instructions="Be kind.")
    parts = [{"type": "text", "text": {"value": "again", "annotations": []}}]
    assert asked(
        run, message("1", "hi"), message("2", "Hello!", "assistant"), message("3", parts)
    ) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "again"},
    ]


def test_what_says_nothing_is_left_out():
    assert asked(
        RUN,
        message("1", "hi"),
        message("2", "", "assistant", status="error"),
        message("3", "half", "assistant", status="in_progress"),
        message("4", "a result", "tool", tool_call_id="x"),
        message("5", [{"type": "tool_call", "input": {}}], "assistant"),
        message("6", None),
    ) == [{"role": "user", "content": "hi"}]


def test_what_a_user_sent_beside_text_is_for_the_model_to_know():
    image = {"type": "image_url", "image_url": {"url": "data:x"}}
    [turn] = asked(RUN, message("1", ["see", image]))
    assert turn["content"] == [{"type": "text", "text": "see"}, image]


def test_the_calls_of_the_run_itself_come_last():
    run = replace(RUN, steps=(called("f", "done"), called("g", None)))
    assert asked(run, message("1", "hi")) == [
        {"role": "user", "content": "hi"},
        *turns("f", "done"),
    ]


def test_what_is_said_and_then_called_is_one_turn():
    run = replace(RUN, steps=(said("2"), called("f", "done")))
    reply = message("2", "I look.", "assistant", run_id="run_1")
    assert asked(run, message("1", "hi"), reply) == [
        {"role": "user", "content": "hi"},
        *turns("f", "done", "I look."),
    ]


def test_calls_of_runs_before_stand_before_what_they_led_to():
    before = replace(
        RUN,
        id="run_0",
        status="completed",
        steps=(said("2"), called("f", "one"), called("g", "two"), said("3")),
    )
    assert asked(
        RUN,
        message("1", "hi"),
        message("2", "I look.", "assistant", run_id="run_0"),
        message("3", "Found.", "assistant", run_id="run_0"),
        message("4", "thanks"),
        others=(before,),
    ) == [
        {"role": "user", "content": "hi"},
        *turns("f", "one", "I look."),
        *turns("g", "two"),
        {"role": "assistant", "content": "Found."},
        {"role": "user", "content": "thanks"},
    ]


def test_calls_that_led_to_nothing_are_left_out():
    lost = replace(RUN, id="run_0", status="cancelled", steps=(said("2"), called("f", "one")))
    reply = message("2", "I look.", "assistant", run_id="run_0")
    gone = message("9", "?", "assistant", run_id="run_gone")
    assert asked(RUN, reply, gone, others=(lost,)) == [
        {"role": "assistant", "content": "I look."},
        {"role": "assistant", "content": "?"},
    ]


def test_of_many_messages_the_last_are_read():
    strategy = TruncationStrategy(type="last_messages", last_messages=2)
    run = replace(RUN, truncation_strategy=strategy, instructions="Be kind.")
    assert [
        turn["content"] for turn in asked(run, *(message(str(n), str(n)) for n in range(5)))
    ] == [
        "Be kind.",
        "3",
        "4",
    ]
