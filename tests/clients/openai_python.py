"""OpenAI's Python package against a server: every method of assistants, threads, messages, runs.

    python openai_python.py BASE_URL BUSY_BASE_URL

Whatever version of the package this Python has: nothing else is needed. Each check prints a line
of JSON, `{"check": name, "error": null or a traceback}`. Models: `calling` (tests/calling.py), and
`unknown`, which no engine runs. The server at BUSY_BASE_URL lets nobody wait.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import openai

CHECKED: dict[str, Any] = {"api_key": "none", "_strict_response_validation": True}
"""Every answer must be of the package's own types, in all its fields."""

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    },
}
ADDING = 'call add {"a": 1}'
SLOW = "[[slow 0.02]] " + "on and on " * 300
BEGINNING = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
SPEAKING = [
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.run.step.completed",
    "thread.run.completed",
]
CALLING = [
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.run.step.delta",
    "thread.run.requires_action",
]
GOING_ON = ["thread.run.step.completed", "thread.run.queued", "thread.run.in_progress"]

Client = openai.OpenAI
CHECKS: list[Callable[..., None]] = []


def check(function: Callable[..., None]) -> Callable[..., None]:
    CHECKS.append(function)
    return function


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def text(message: Any) -> str:
    return "".join(part.text.value for part in message.content)


def names(events: list[Any]) -> list[str]:
    """Of several deltas in a row one: a busy machine sends them together."""
    found: list[str] = []
    for event in events:
        if not found or event.event != found[-1]:
            found.append(event.event)
    return found


def new_assistant(client: Client, **more: Any) -> Any:
    return client.beta.assistants.create(**{"model": "calling", "name": "Bob", **more})


def outputs(run: Any, output: str = "three") -> list[dict[str, str]]:
    calls = run.required_action.submit_tool_outputs.tool_calls
    return [{"tool_call_id": call.id, "output": output} for call in calls]


def waiting(client: Client) -> Any:
    """A run that waits for the answer to a call."""
    bob = new_assistant(client, tools=[ADD])
    thread = client.beta.threads.create(messages=[user(ADDING)])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=bob.id)
    assert run.status == "requires_action", run
    return run


@check
def assistants(client: Client, _busy: Client) -> None:
    made = new_assistant(
        client,
        instructions="Be kind.",
        description="Counts.",
        tools=[ADD],
        metadata={"a": "b"},
        temperature=0.5,
        top_p=0.9,
        response_format={"type": "json_object"},
    )
    assert (made.object, made.name, made.model) == ("assistant", "Bob", "calling")
    assert (made.instructions, made.description) == ("Be kind.", "Counts.")
    assert made.tools[0].function.name == "add"
    assert (made.temperature, made.top_p, made.metadata) == (0.5, 0.9, {"a": "b"})
    assert made.response_format.type == "json_object"
    assert client.beta.assistants.retrieve(made.id) == made
    changed = client.beta.assistants.update(made.id, name="Amy", tools=[], instructions="Sing.")
    assert (changed.id, changed.name, changed.tools) == (made.id, "Amy", [])
    gone = client.beta.assistants.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "assistant.deleted", True)
    raises(openai.NotFoundError, lambda: client.beta.assistants.retrieve(made.id))


@check
def assistants_are_paged(client: Client, _busy: Client) -> None:
    made = [new_assistant(client, name=f"n{number}").id for number in range(3)]
    page = client.beta.assistants.list(limit=2, order="desc")
    assert len(page.data) == 2
    assert page.has_next_page()
    listed = [each.id for each in client.beta.assistants.list(limit=2, order="asc")]
    assert [id for id in listed if id in made] == made
    assert len(listed) == len(set(listed))
    [after] = client.beta.assistants.list(order="asc", limit=1, after=made[0]).data
    assert after.id == made[1]


@check
def threads(client: Client, _busy: Client) -> None:
    made = client.beta.threads.create(messages=[user("first")], metadata={"a": "1"})
    assert (made.object, made.metadata) == ("thread", {"a": "1"})
    assert made.tool_resources.file_search is None
    assert client.beta.threads.retrieve(made.id) == made
    changed = client.beta.threads.update(made.id, metadata={"a": "2"})
    assert (changed.id, changed.metadata) == (made.id, {"a": "2"})
    gone = client.beta.threads.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "thread.deleted", True)
    raises(openai.NotFoundError, lambda: client.beta.threads.retrieve(made.id))


@check
def messages(client: Client, _busy: Client) -> None:
    api = client.beta.threads.messages
    thread = client.beta.threads.create()
    made = api.create(thread.id, role="user", content="hi", metadata={"a": "b"})
    assert (made.status, made.role, text(made)) == ("completed", "user", "hi")
    assert (made.metadata, made.thread_id, made.run_id) == ({"a": "b"}, thread.id, None)
    parts = api.create(thread.id, role="user", content=[{"type": "text", "text": "parts"}])
    assert text(parts) == "parts"
    assert api.retrieve(made.id, thread_id=thread.id) == made
    changed = api.update(made.id, thread_id=thread.id, metadata={"a": "c"})
    assert (changed.metadata, text(changed)) == ({"a": "c"}, "hi")
    gone = api.delete(made.id, thread_id=thread.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "thread.message.deleted", True)
    assert [each.id for each in api.list(thread.id)] == [parts.id]


@check
def messages_are_paged(client: Client, _busy: Client) -> None:
    thread = client.beta.threads.create(messages=[user(str(number)) for number in range(45)])
    api = client.beta.threads.messages
    texts = [str(number) for number in range(45)]
    assert [text(each) for each in api.list(thread.id, order="asc", limit=10)] == texts
    assert [text(each) for each in api.list(thread.id)] == texts[::-1]
    newest = api.list(thread.id, limit=3)
    assert [text(each) for each in newest.data] == ["44", "43", "42"]
    before = api.list(thread.id, before=newest.data[2].id, limit=5)
    assert [text(each) for each in before.data] == ["44", "43"]


@check
def create_and_poll(client: Client, _busy: Client) -> None:
    bob = new_assistant(client)
    thread = client.beta.threads.create(messages=[user("hello there")])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=bob.id)
    assert (run.status, run.last_error, run.assistant_id) == ("completed", None, bob.id)
    assert run.usage.total_tokens == 4
    [reply] = client.beta.threads.messages.list(thread.id, run_id=run.id)
    assert (text(reply), reply.status, reply.role) == ("hello there", "completed", "assistant")
    assert (reply.run_id, reply.assistant_id) == (run.id, bob.id)


@check
def create_poll_list_retrieve_and_update(client: Client, _busy: Client) -> None:
    api = client.beta.threads.runs
    bob = new_assistant(client)
    thread = client.beta.threads.create(messages=[user("hello")])
    run = api.create(thread_id=thread.id, assistant_id=bob.id, metadata={"a": "b"})
    assert run.status in ("queued", "in_progress", "completed")
    done = api.poll(run.id, thread_id=thread.id)
    assert (done.status, done.metadata) == ("completed", {"a": "b"})
    assert api.retrieve(run.id, thread_id=thread.id) == done
    assert [each.id for each in api.list(thread.id)] == [run.id]
    changed = api.update(run.id, thread_id=thread.id, metadata={"a": "c"})
    assert (changed.metadata, changed.status) == ({"a": "c"}, "completed")
    [step] = api.steps.list(run.id, thread_id=thread.id)
    assert step.step_details.type == "message_creation"
    assert api.steps.retrieve(step.id, thread_id=thread.id, run_id=run.id) == step
    assert (step.status, step.usage.total_tokens) == ("completed", done.usage.total_tokens)


@check
def all_that_a_run_may_say(client: Client, _busy: Client) -> None:
    bob = new_assistant(client, instructions="Be kind.")
    thread = client.beta.threads.create(messages=[user("hello")])
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id,
        assistant_id=bob.id,
        model="calling",
        instructions="Be brief.",
        additional_instructions="Now.",
        additional_messages=[user("one two three four")],
        max_prompt_tokens=500,
        max_completion_tokens=2,
        temperature=0.1,
        top_p=0.5,
        tools=[ADD],
        tool_choice="none",
        parallel_tool_calls=False,
        response_format={"type": "text"},
        truncation_strategy={"type": "last_messages", "last_messages": 1},
        metadata={"a": "b"},
    )
    assert run.status == "incomplete"
    assert run.incomplete_details.reason == "max_completion_tokens"
    assert run.instructions == "Be brief.\nNow."
    assert (run.temperature, run.top_p, run.tool_choice) == (0.1, 0.5, "none")
    assert (run.max_prompt_tokens, run.max_completion_tokens) == (500, 2)
    assert run.truncation_strategy.last_messages == 1
    assert run.parallel_tool_calls is False
    reply = client.beta.threads.messages.list(thread.id).data[0]
    assert (text(reply), reply.status) == ("one two ", "incomplete")
    assert reply.incomplete_details.reason == "max_tokens"


@check
def cancel(client: Client, _busy: Client) -> None:
    api = client.beta.threads.runs
    bob = new_assistant(client)
    thread = client.beta.threads.create(messages=[user(SLOW)])
    run = api.create(thread_id=thread.id, assistant_id=bob.id)
    other = raises(
        openai.BadRequestError, lambda: api.create(thread_id=thread.id, assistant_id=bob.id)
    )
    assert f"Thread {thread.id} already has an active run {run.id}." in str(other)
    new = raises(
        openai.BadRequestError,
        lambda: client.beta.threads.messages.create(thread.id, role="user", content="x"),
    )
    assert f"while a run {run.id} is active" in str(new)
    assert api.cancel(run.id, thread_id=thread.id).status == "cancelling"
    assert api.poll(run.id, thread_id=thread.id).status == "cancelled"
    raises(openai.BadRequestError, lambda: api.cancel(run.id, thread_id=thread.id))
    client.beta.threads.messages.create(thread.id, role="user", content="x")


@check
def submit_tool_outputs(client: Client, _busy: Client) -> None:
    api = client.beta.threads.runs
    run = waiting(client)
    [call] = run.required_action.submit_tool_outputs.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 1})
    wrong = [{"tool_call_id": "call_x", "output": "3"}]
    error = raises(
        openai.BadRequestError,
        lambda: api.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=wrong),
    )
    assert "Expected tool outputs for call_ids" in str(error)
    going = api.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs(run))
    assert going.status in ("queued", "in_progress", "completed")
    assert api.poll(run.id, thread_id=run.thread_id).status == "completed"
    assert text(client.beta.threads.messages.list(run.thread_id).data[0]) == "It is three."
    called, said = api.steps.list(run.id, thread_id=run.thread_id, order="asc")
    assert called.step_details.tool_calls[0].function.output == "three"
    assert (called.type, said.type) == ("tool_calls", "message_creation")


@check
def submit_tool_outputs_and_poll(client: Client, _busy: Client) -> None:
    run = waiting(client)
    done = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs(run, "four")
    )
    assert done.status == "completed"
    # A later run is told what was called in this one, and what came of it.
    again = client.beta.threads.runs.create_and_poll(
        thread_id=run.thread_id, assistant_id=run.assistant_id, additional_messages=[user("and?")]
    )
    assert again.usage.prompt_tokens > done.usage.prompt_tokens / 2


@check
def submit_tool_outputs_stream(client: Client, _busy: Client) -> None:
    run = waiting(client)
    with client.beta.threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs(run)
    ) as stream:
        events = list(stream)
    assert names(events) == [*GOING_ON, *SPEAKING]
    assert stream.get_final_run().status == "completed"
    assert text(stream.get_final_messages()[0]) == "It is three."


@check
def submit_tool_outputs_as_events(client: Client, _busy: Client) -> None:
    run = waiting(client)
    stream = client.beta.threads.runs.submit_tool_outputs(
        run.id, thread_id=run.thread_id, tool_outputs=outputs(run), stream=True
    )
    assert names(list(stream)) == [*GOING_ON, *SPEAKING]


class Handler(openai.AssistantEventHandler):
    """Writes down what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.said = ""

    def on_message_created(self, message: Any) -> None:
        assert message.content == []
        self.told.append("message created")

    def on_text_created(self, _text: Any) -> None:
        self.told.append("text created")

    def on_text_delta(self, delta: Any, _snapshot: Any) -> None:
        self.said += delta.value

    def on_text_done(self, text: Any) -> None:
        self.told.append(f"text done: {text.value}")

    def on_message_done(self, message: Any) -> None:
        self.told.append(f"message {message.status}")

    def on_run_step_created(self, step: Any) -> None:
        self.told.append(f"step created: {step.type}")

    def on_run_step_done(self, step: Any) -> None:
        self.told.append(f"step {step.status}")

    def on_tool_call_created(self, call: Any) -> None:
        self.told.append(f"call created: {call.function.name}")

    def on_tool_call_done(self, call: Any) -> None:
        self.told.append(f"call done: {call.function.arguments}")

    def on_end(self) -> None:
        self.told.append("end")


@check
def stream_with_a_handler(client: Client, _busy: Client) -> None:
    bob = new_assistant(client)
    thread = client.beta.threads.create(messages=[user("hello there you")])
    handler = Handler()
    with client.beta.threads.runs.stream(
        thread_id=thread.id, assistant_id=bob.id, event_handler=handler
    ) as stream:
        stream.until_done()
    assert handler.told == [
        "step created: message_creation",
        "message created",
        "text created",
        "text done: hello there you",
        "message completed",
        "step completed",
        "end",
    ]
    assert handler.said == "hello there you"
    assert stream.get_final_run().usage.total_tokens == 6


@check
def stream_with_a_handler_of_calls(client: Client, _busy: Client) -> None:
    bob = new_assistant(client, tools=[ADD])
    thread = client.beta.threads.create(messages=[user(f'{ADDING}\ncall add {{"a": 2}}')])
    handler = Handler()
    with client.beta.threads.runs.stream(
        thread_id=thread.id, assistant_id=bob.id, event_handler=handler
    ) as stream:
        stream.until_done()
    assert handler.told == [
        "step created: tool_calls",
        "call created: add",
        'call done: {"a": 1}',
        "call created: add",
        'call done: {"a": 2}',
        "end",
    ]
    [step] = stream.get_final_run_steps()
    assert len(step.step_details.tool_calls) == 2
    assert stream.get_final_run().status == "requires_action"


@check
def stream_events(client: Client, _busy: Client) -> None:
    bob = new_assistant(client, tools=[ADD])
    thread = client.beta.threads.create(messages=[user("hello there")])
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=bob.id) as stream:
        assert names(list(stream)) == [*BEGINNING, *SPEAKING]
    with client.beta.threads.runs.create_and_stream(
        thread_id=thread.id, assistant_id=bob.id, additional_messages=[user(ADDING)]
    ) as stream:
        assert names(list(stream)) == [*BEGINNING, *CALLING]
    client.beta.threads.runs.cancel(stream.get_final_run().id, thread_id=thread.id)
    events = client.beta.threads.runs.create(
        thread_id=thread.id,
        assistant_id=bob.id,
        additional_messages=[user("one")],
        stream=True,
    )
    assert names(list(events)) == [*BEGINNING, *SPEAKING]


@check
def text_deltas(client: Client, _busy: Client) -> None:
    bob = new_assistant(client)
    thread = client.beta.threads.create(messages=[user("hello there you")])
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=bob.id) as stream:
        assert "".join(stream.text_deltas) == "hello there you"


@check
def who_leaves_a_stream_does_not_end_the_run(client: Client, _busy: Client) -> None:
    bob = new_assistant(client)
    thread = client.beta.threads.create(messages=[user("[[slow 0.02]] " + "on " * 20)])
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=bob.id) as stream:
        run = next(iter(stream)).data
    assert client.beta.threads.runs.poll(run.id, thread_id=thread.id).status == "completed"
    assert text(client.beta.threads.messages.list(thread.id).data[0]).endswith("on on ")


@check
def a_stream_of_a_cancelled_run(client: Client, _busy: Client) -> None:
    bob = new_assistant(client)
    thread = client.beta.threads.create(messages=[user(SLOW)])
    events = []
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=bob.id) as stream:
        for event in stream:
            events.append(event)
            if event.event == "thread.message.delta" and len(names(events)) == 8:
                client.beta.threads.runs.cancel(stream.current_run.id, thread_id=thread.id)
    assert names(events)[-4:] == [
        "thread.run.cancelling",
        "thread.message.incomplete",
        "thread.run.step.cancelled",
        "thread.run.cancelled",
    ] or names(events)[-5:-3] == ["thread.run.cancelling", "thread.message.delta"]


@check
def create_and_run(client: Client, _busy: Client) -> None:
    bob = new_assistant(client)
    thread = {"messages": [user("hello there")], "metadata": {"a": "b"}}
    run = client.beta.threads.create_and_run(assistant_id=bob.id, thread=thread)
    done = client.beta.threads.runs.poll(run.id, thread_id=run.thread_id)
    assert done.status == "completed"
    assert client.beta.threads.retrieve(run.thread_id).metadata == {"a": "b"}
    polled = client.beta.threads.create_and_run_poll(assistant_id=bob.id, thread=thread)
    assert polled.status == "completed"
    assert polled.thread_id != run.thread_id
    with client.beta.threads.create_and_run_stream(assistant_id=bob.id, thread=thread) as stream:
        assert names(list(stream)) == ["thread.created", *BEGINNING, *SPEAKING]
    events = client.beta.threads.create_and_run(assistant_id=bob.id, thread=thread, stream=True)
    assert names(list(events)) == ["thread.created", *BEGINNING, *SPEAKING]


@check
def an_assistants_change_counts_in_threads_that_it_is_in(client: Client, _busy: Client) -> None:
    bob = new_assistant(client, instructions="Be kind.")
    run = client.beta.threads.create_and_run_poll(
        assistant_id=bob.id, thread={"messages": [user("hi")]}
    )
    assert run.instructions == "Be kind."
    client.beta.assistants.update(bob.id, instructions="Be blunt.")
    again = client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=bob.id)
    assert again.instructions == "Be blunt."


@check
def what_fails(client: Client, _busy: Client) -> None:
    bob = new_assistant(client)
    thread = client.beta.threads.create(messages=[user("one [[fail]]")])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=bob.id)
    assert (run.status, run.last_error.code) == ("failed", "server_error")
    reply = client.beta.threads.messages.list(thread.id).data[0]
    assert (text(reply), reply.incomplete_details.reason) == ("one ", "run_failed")


class AsyncHandler(openai.AsyncAssistantEventHandler):
    def __init__(self) -> None:
        super().__init__()
        self.said = ""

    async def on_text_delta(self, delta: Any, _snapshot: Any) -> None:
        self.said += delta.value


@check
def the_async_client(client: Client, _busy: Client) -> None:
    async def talk() -> None:
        async with openai.AsyncOpenAI(base_url=client.base_url, **CHECKED) as api:
            beta = api.beta
            bob = await beta.assistants.create(model="calling", tools=[ADD])
            thread = await beta.threads.create(messages=[user("hello there")])
            run = await beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=bob.id)
            assert run.status == "completed"
            handler = AsyncHandler()
            async with beta.threads.runs.stream(
                thread_id=thread.id, assistant_id=bob.id, event_handler=handler
            ) as stream:
                await stream.until_done()
            assert "hello there" in handler.said
            listed = [each async for each in beta.threads.messages.list(thread.id)]
            assert len(listed) == 3
            run = await beta.threads.create_and_run_poll(
                assistant_id=bob.id, thread={"messages": [user(ADDING)]}
            )
            assert run.status == "requires_action"
            async with beta.threads.runs.submit_tool_outputs_stream(
                run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs(run)
            ) as stream:
                assert [each async for each in stream.text_deltas][-1].endswith(".")
            assert (await stream.get_final_run()).status == "completed"

    asyncio.run(talk())


@contextmanager
def counted(base_url: Any, *, retries: int) -> Any:
    """A client, and the addresses of its requests."""
    asked: list[str] = []
    http = openai.DefaultHttpxClient(event_hooks={"request": [lambda r: asked.append(str(r.url))]})
    with openai.OpenAI(
        base_url=base_url, **CHECKED, max_retries=retries, http_client=http
    ) as client:
        yield client, asked


def raises(kind: type[Exception], act: Callable[[], Any]) -> Any:
    try:
        act()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


@check
def final_errors_are_typed_and_asked_once(client: Client, _busy: Client) -> None:
    thread = client.beta.threads.create()
    with counted(client.base_url, retries=3) as (api, asked):
        runs = api.beta.threads.runs
        for kind, status, code, act in [
            (
                openai.NotFoundError,
                404,
                "assistant_not_found",
                lambda: runs.create(thread_id=thread.id, assistant_id="nobody"),
            ),
            (
                openai.NotFoundError,
                404,
                "run_not_found",
                lambda: runs.retrieve("run_x", thread_id=thread.id),
            ),
            (
                openai.BadRequestError,
                400,
                "unsupported_parameter",
                lambda: api.beta.assistants.create(
                    model="calling", tools=[{"type": "code_interpreter"}]
                ),
            ),
            (
                openai.NotFoundError,
                404,
                "model_not_found",
                lambda: api.chat.completions.create(
                    model="nope", messages=[user("hello")], stream=True
                ),
            ),
            (
                openai.UnprocessableEntityError,
                422,
                "model_cannot_run",
                lambda: runs.create(thread_id=thread.id, assistant_id="jan", model="unknown"),
            ),
            (
                openai.ConflictError,
                409,
                "already_exists",
                lambda: api.beta.assistants.create(model="m", extra_body={"id": "jan"}),
            ),
        ]:
            asked.clear()
            error = raises(kind, act)
            assert (error.status_code, error.code) == (status, code), error
            assert error.request_id
            assert len(asked) == 1, asked
            headers = error.response.headers
            assert headers["x-should-retry"] == "false"
            assert int(headers["openai-processing-ms"]) >= 0


@check
def a_busy_server_is_asked_again_as_often_as_the_client_may(_client: Client, busy: Client) -> None:
    hello = {"model": "calling", "messages": [user("hello")], "max_tokens": 8}
    slow = {**hello, "messages": [user(SLOW)], "max_tokens": 300}
    with busy.chat.completions.create(**slow, stream=True) as answer:
        next(iter(answer))
        with counted(busy.base_url, retries=1) as (api, asked):
            error = raises(openai.RateLimitError, lambda: api.chat.completions.create(**hello))
        assert (error.status_code, error.code) == (429, "queue_full")
        assert int(error.response.headers["retry-after"]) >= 1
        assert len(asked) == 2
        bob = new_assistant(busy)
        thread = busy.beta.threads.create(messages=[user("hello")])
        run = busy.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=bob.id)
        assert (run.status, run.last_error.code) == ("failed", "rate_limit_exceeded")


def main(base: str, busy: str) -> None:
    warnings.simplefilter("ignore")  # The package says at every call that this API is deprecated.
    with (
        openai.OpenAI(base_url=base, **CHECKED) as client,
        openai.OpenAI(base_url=busy, **CHECKED) as other,
    ):
        for function in CHECKS:
            try:
                function(client, other)
                error = None
            except Exception:  # noqa: BLE001 - whatever it is, it is told.
                error = traceback.format_exc()
            print(json.dumps({"check": function.__name__, "error": error}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
