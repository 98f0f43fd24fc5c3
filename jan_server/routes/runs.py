"""Runs: begin, list, read, change, cancel, answer their calls; their steps; the events of each.

What runs are is the business of `jan_server.runs`; here it gets OpenAI's form.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from jan_server import representations
from jan_server.errors import (
    WRITING,
    AlreadyExists,
    AmbiguousAlias,
    FileUnreadable,
    InvalidId,
    InvalidRequest,
    ModelCannotRun,
    ModelNotDownloaded,
    NotFound,
    ParameterNotSupported,
    PreconditionFailed,
    RunActive,
    RunNotActive,
    ShuttingDown,
)
from jan_server.representations import Client
from jan_server.routes import answering, messages, threads
from jan_server.routes.callers import caller
from jan_server.routes.entities import changed_entity_response, entity_response, entity_tag
from jan_server.runs import Begun, states
from jan_server.runs.events import CallsAdded, RunEvent, StepOf, TextAdded
from jan_server.services import Services
from jan_server.store import Entry
from jan_server.types.message import Message
from jan_server.types.page import PageQuery
from jan_server.types.run import (
    CallsDelta,
    ContentDelta,
    CreateRun,
    CreateThreadAndRun,
    DetailsDelta,
    MessageCreation,
    ModifyRun,
    Run,
    RunList,
    RunMessageDelta,
    RunStep,
    RunStepList,
    RunTextDelta,
    Step,
    StepDelta,
    StoredRun,
    SubmitToolOutputs,
    TextPartDelta,
)
from jan_server.types.thread import CreateThread, Thread
from jan_server.web.conditions import condition
from jan_server.web.requests import decode_json, read_json, read_query
from jan_server.web.responses import json_response
from jan_server.web.routing import Route
from jan_server.web.sse import Named, Together

DONE = b"event: done\ndata: [DONE]\n\n"

POLL_AFTER = "100"
"""Milliseconds: clients that wait for a run ask again so often, instead of once a second."""


async def create_run(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, CreateRun)
    _check_messages(asked)
    thread_id, client = request.path_params["thread_id"], caller(request, sent)
    added = sent.get("additional_messages") or ()
    begun = await services.runs.create(thread_id, asked, messages=added, client=client)
    return _begun_response(begun, streams=asked.stream)


async def create_thread_and_run(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, CreateThreadAndRun)
    run = await services.runs.plan(asked)
    said = sent.get("thread") or {}
    assistants = said.get("assistants") or [{"assistant_id": run.assistant_id, "model": {}}]
    new = {**said, "assistants": assistants}
    as_asked, _ = decode_json(msgspec.json.encode(new), CreateThread)
    thread = await asyncio.to_thread(threads.create, services, as_asked, new)
    begun = await services.runs.begin(thread.id, run, client=caller(request, sent))
    return _begun_response(begun, streams=asked.stream, thread=thread)


async def list_runs(services: Services, request: Request) -> Response:
    query = read_query(request, PageQuery)
    runs = await services.runs.list(request.path_params["thread_id"])
    return _listing("runs", runs, query, request, show=shown)


async def retrieve_run(services: Services, request: Request) -> Response:
    run = await _run(services, request)
    headers = {"openai-poll-after-ms": POLL_AFTER} if states.is_active(run) else {}
    return entity_response(request, shown(run), headers=headers)


async def modify_run(services: Services, request: Request) -> Response:
    asked, _ = await read_json(request, ModifyRun)
    check = condition(request)

    def is_as_seen(run: StoredRun) -> None:
        check(entity_tag(shown(run)))

    run = await _run(services, request)
    if asked.metadata is UNSET:
        is_as_seen(run)
    else:
        metadata = asked.metadata or {}
        run = await services.runs.modify(run.thread_id, run.id, metadata, condition=is_as_seen)
    return changed_entity_response(shown(run))


async def cancel_run(services: Services, request: Request) -> Response:
    ids = request.path_params
    return json_response(shown(await services.runs.cancel(ids["thread_id"], ids["run_id"])))


async def submit_tool_outputs(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, SubmitToolOutputs)
    ids = request.path_params
    begun = await services.runs.submit(
        ids["thread_id"], ids["run_id"], asked.tool_outputs, client=caller(request, sent)
    )
    return _begun_response(begun, streams=asked.stream)


async def list_steps(services: Services, request: Request) -> Response:
    query = read_query(request, PageQuery)
    run = await _run(services, request)
    return _listing("steps", run.steps, query, request, show=partial(shown_step, run))


async def retrieve_step(services: Services, request: Request) -> Response:
    run, id = await _run(services, request), request.path_params["step_id"]
    for step in run.steps:
        if step.id == id:
            return entity_response(request, shown_step(run, step))
    raise NotFound("run step", id)


def shown(run: StoredRun) -> Run:
    """It without its steps."""
    return Run(**{name: getattr(run, name) for name in Run.__struct_fields__})


def shown_step(run: StoredRun, step: Step) -> RunStep:
    is_message = isinstance(step.step_details, MessageCreation)
    return RunStep(
        **msgspec.structs.asdict(step),
        run_id=run.id,
        thread_id=run.thread_id,
        assistant_id=run.assistant_id,
        type="message_creation" if is_message else "tool_calls",
    )


async def _run(services: Services, request: Request) -> StoredRun:
    ids = request.path_params
    return await services.runs.get(ids["thread_id"], ids["run_id"])


def _listing(
    kind: str, items: Sequence[Any], query: PageQuery, request: Request, *, show: Any
) -> Response:
    client = representations.client_of(request.headers, query)
    return json_response(representations.listing(kind, items, query, client, show=show))


def _check_messages(asked: CreateRun) -> None:
    for index, message in enumerate(asked.additional_messages or []):
        messages.check_content(message.content, f"$.additional_messages[{index}].content")


def _begun_response(begun: Begun, *, streams: bool | None, thread: Entry | None = None) -> Response:
    if not streams:
        return json_response(shown(begun.run))
    return answering.event_stream(_events(begun, thread), ending=DONE)


async def _events(begun: Begun, thread: Entry | None) -> AsyncGenerator[Named | Together]:
    if thread is not None:
        value = representations.for_openai("thread", msgspec.json.decode(thread.body))
        yield Named(None, "thread.created", value)
    async with aclosing(begun.events):
        async for told in begun.events:
            named = (Named(None, event.name, _wire(begun.run.thread_id, event)) for event in told)
            yield Together(tuple(named))


def _wire(thread_id: str, event: RunEvent) -> Any:
    match event.about:
        case StoredRun() as run:
            return shown(run)
        case StepOf(run, step):
            return shown_step(run, step)
        case TextAdded(id, text):
            part = TextPartDelta(text=RunTextDelta(value=text))
            return RunMessageDelta(id=id, delta=ContentDelta(content=[part]))
        case CallsAdded(id, delta):
            # In every piece, as OpenAI's: its clients tell the kinds of tools by it.
            piece = msgspec.structs.replace(delta, type="function")
            details = CallsDelta(tool_calls=[piece])
            return StepDelta(id=id, delta=DetailsDelta(step_details=details))
        case message:
            return messages.shown(thread_id, message, Client.OPENAI)


_EVENTS = (Run, RunStep, StepDelta, Message, RunMessageDelta)
_NAMED = " Each event of a stream has its name, as OpenAI's; the last one is `done`."
_READING = (InvalidId, NotFound, FileUnreadable)
_ANSWERING = (
    InvalidRequest,
    *_READING,
    AmbiguousAlias,
    ParameterNotSupported,
    ModelNotDownloaded,
    ModelCannotRun,
    ShuttingDown,
    *WRITING,
)

ROUTES = [
    Route(
        "POST",
        "/threads/runs",
        create_thread_and_run,
        operation_id="createThreadAndRun",
        tag="Runs",
        summary="Create thread and run",
        description=f"A new thread with its messages, and a reply in it.{_NAMED}",
        request=CreateThreadAndRun,
        response=Run,
        event=(Thread, *_EVENTS),
        names=("assistant", *answering.NAMES),
        errors=(AlreadyExists, *_ANSWERING),
    ),
    Route(
        "GET",
        "/threads/{thread_id}/runs",
        list_runs,
        operation_id="listRuns",
        tag="Runs",
        summary="List runs",
        query=PageQuery,
        response=RunList,
        errors=(InvalidRequest, *_READING),
    ),
    Route(
        "POST",
        "/threads/{thread_id}/runs",
        create_run,
        operation_id="createRun",
        tag="Runs",
        summary="Create run",
        description="Adds the `additional_messages`, and lets a model reply to the thread. It goes "
        f"on when the client leaves; the reply is a message of the thread in the end.{_NAMED}",
        request=CreateRun,
        response=Run,
        event=_EVENTS,
        names=("assistant", *answering.NAMES),
        errors=(*_ANSWERING, RunActive),
    ),
    Route(
        "GET",
        "/threads/{thread_id}/runs/{run_id}",
        retrieve_run,
        operation_id="getRun",
        tag="Runs",
        summary="Retrieve run",
        response=Run,
        errors=(*_READING, PreconditionFailed),
    ),
    Route(
        "POST",
        "/threads/{thread_id}/runs/{run_id}",
        modify_run,
        operation_id="modifyRun",
        tag="Runs",
        summary="Modify run",
        request=ModifyRun,
        response=Run,
        errors=(InvalidRequest, *_READING, PreconditionFailed, *WRITING),
    ),
    Route(
        "POST",
        "/threads/{thread_id}/runs/{run_id}/cancel",
        cancel_run,
        operation_id="cancelRun",
        tag="Runs",
        summary="Cancel a run",
        description="Stops it within a token; what it has said stays, as an incomplete message.",
        response=Run,
        errors=(*_READING, RunNotActive, *WRITING),
    ),
    Route(
        "POST",
        "/threads/{thread_id}/runs/{run_id}/submit_tool_outputs",
        submit_tool_outputs,
        operation_id="submitToolOutputsToRun",
        tag="Runs",
        summary="Submit tool outputs to run",
        description=f"What came of all calls that a run waits for; it goes on then.{_NAMED}",
        request=SubmitToolOutputs,
        response=Run,
        event=_EVENTS,
        errors=(InvalidRequest, *_READING, RunNotActive, ShuttingDown, *WRITING),
    ),
    Route(
        "GET",
        "/threads/{thread_id}/runs/{run_id}/steps",
        list_steps,
        operation_id="listRunSteps",
        tag="Runs",
        summary="List run steps",
        query=PageQuery,
        response=RunStepList,
        errors=(InvalidRequest, *_READING),
    ),
    Route(
        "GET",
        "/threads/{thread_id}/runs/{run_id}/steps/{step_id}",
        retrieve_step,
        operation_id="getRunStep",
        tag="Runs",
        summary="Retrieve run step",
        response=RunStep,
        errors=(*_READING, PreconditionFailed),
    ),
]
