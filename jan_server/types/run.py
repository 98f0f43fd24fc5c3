"""Runs: replies inside a thread, as OpenAI's Assistants API has them; lines of `runs.jsonl`.

All times are whole seconds since 1970.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from jan_server.types.message import CreateMessage
from jan_server.types.thread import CreateThread
from jan_server.types.tool import ResponseFormat, ToolCall, ToolCallDelta

RunStatus = Literal[
    "queued",
    "in_progress",
    "requires_action",
    "cancelling",
    "cancelled",
    "failed",
    "completed",
    "incomplete",
    "expired",
]
StepStatus = Literal["in_progress", "cancelled", "failed", "completed", "expired"]
ErrorCode = Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
Limit = Literal["max_completion_tokens", "max_prompt_tokens"]
Answered = Literal["none", "auto", "required"] | dict[str, Any]
Tokens = Annotated[int, Meta(ge=1)]


class RunUsage(Struct, kw_only=True, frozen=True):
    """Of a step, or of all steps of a run."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class RunError(Struct, kw_only=True, frozen=True):
    code: ErrorCode
    message: str


class RunIncompleteDetails(Struct, kw_only=True, frozen=True):
    """Which bound the run has met."""

    reason: Limit


class AnsweredFunction(Struct, kw_only=True, frozen=True):
    """A call with what came of it; null as long as nobody has said that."""

    name: str
    arguments: str
    output: str | None = None


class AnsweredCall(Struct, kw_only=True, frozen=True):
    id: str
    type: Literal["function"] = "function"
    function: AnsweredFunction


class MessageId(Struct, kw_only=True, frozen=True):
    message_id: str


class MessageCreation(Struct, kw_only=True, frozen=True, tag_field="type", tag="message_creation"):
    """The step has made this message."""

    message_creation: MessageId


class ToolCalls(Struct, kw_only=True, frozen=True, tag_field="type", tag="tool_calls"):
    """The step has called these tools."""

    tool_calls: tuple[AnsweredCall, ...] = ()


class Step(Struct, kw_only=True, frozen=True):
    """A step as it is stored, inside its run."""

    id: Annotated[str, Meta(examples=["step_01HM5ZK3Q2V8W7T6R5N4M3K2J1"])]
    created_at: int
    status: StepStatus
    step_details: MessageCreation | ToolCalls
    completed_at: int | None = None
    cancelled_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    last_error: RunError | None = None
    usage: RunUsage | None = None
    metadata: dict[str, Any] = {}


class RunStep(Step, kw_only=True, frozen=True):
    """A step as it is answered."""

    object: Literal["thread.run.step"] = "thread.run.step"
    run_id: str
    thread_id: str
    assistant_id: str
    type: Literal["message_creation", "tool_calls"]


class CallsToAnswer(Struct, kw_only=True, frozen=True):
    tool_calls: tuple[ToolCall, ...]


class RequiredAction(Struct, kw_only=True, frozen=True):
    """What the client is to do: answer these calls."""

    type: Literal["submit_tool_outputs"] = "submit_tool_outputs"
    submit_tool_outputs: CallsToAnswer


class TruncationStrategy(Struct, kw_only=True, frozen=True):
    """`auto` leaves out the oldest messages where all are too many; `last_messages` takes the last
    ones only."""

    type: Literal["auto", "last_messages"] = "auto"
    last_messages: Annotated[int, Meta(ge=1)] | None = None


class Run(Struct, kw_only=True, frozen=True):
    """A run as it is answered.

    `instructions` are all that the model was told. `usage` is null until the run is over.
    """

    id: Annotated[str, Meta(examples=["run_01HM5ZK3Q2V8W7T6R5N4M3K2J1"])]
    object: Literal["thread.run"] = "thread.run"
    created_at: int
    thread_id: str
    assistant_id: str
    status: RunStatus
    required_action: RequiredAction | None = None
    last_error: RunError | None = None
    expires_at: int | None = None
    started_at: int | None = None
    cancelled_at: int | None = None
    failed_at: int | None = None
    completed_at: int | None = None
    incomplete_details: RunIncompleteDetails | None = None
    model: str
    instructions: str = ""
    tools: tuple[dict[str, Any], ...] = ()
    metadata: dict[str, Any] = {}
    usage: RunUsage | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None
    truncation_strategy: TruncationStrategy = TruncationStrategy()
    tool_choice: Answered = "auto"
    parallel_tool_calls: bool = True
    response_format: Literal["auto"] | dict[str, Any] = "auto"
    reasoning_effort: str | None = None


class StoredRun(Run, kw_only=True, frozen=True):
    """A run as a line has it: with its steps, the first one first."""

    steps: tuple[Step, ...] = ()


class RunOptions(Struct, kw_only=True):
    """Who is to answer, and how. What is not said is the assistant's, then the model's.

    `tools` and `instructions` take the place of the assistant's.
    """

    assistant_id: str | UnsetType | None = UNSET
    model: str | UnsetType | None = UNSET
    instructions: str | UnsetType | None = UNSET
    tools: list[dict[str, Any]] | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | UnsetType | None = UNSET
    top_p: Annotated[float, Meta(ge=0, le=1)] | UnsetType | None = UNSET
    max_prompt_tokens: Tokens | UnsetType | None = UNSET
    max_completion_tokens: Tokens | UnsetType | None = UNSET
    truncation_strategy: TruncationStrategy | UnsetType | None = UNSET
    tool_choice: Answered | UnsetType | None = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    response_format: Literal["auto"] | ResponseFormat | UnsetType | None = UNSET
    reasoning_effort: str | UnsetType | None = UNSET
    stream: bool | None = False


class CreateRun(RunOptions, kw_only=True):
    """A run in a thread that is there; `additional_messages` are added to the thread first."""

    additional_instructions: str | UnsetType | None = UNSET
    additional_messages: list[CreateMessage] | UnsetType | None = UNSET


class CreateThreadAndRun(RunOptions, kw_only=True):
    """A new thread, and a run in it."""

    thread: CreateThread | UnsetType | None = UNSET


class ModifyRun(Struct, kw_only=True):
    metadata: dict[str, Any] | UnsetType | None = UNSET


class ToolOutput(Struct, kw_only=True):
    """What came of one call."""

    tool_call_id: str
    output: str | UnsetType | None = UNSET


class SubmitToolOutputs(Struct, kw_only=True):
    """What came of all the calls that a run waits for."""

    tool_outputs: Annotated[list[ToolOutput], Meta(min_length=1)]
    stream: bool | None = False


class RunList(Struct, kw_only=True):
    object: Literal["list"]
    data: list[Run]
    first_id: str | None
    last_id: str | None
    has_more: bool


class RunStepList(Struct, kw_only=True):
    object: Literal["list"]
    data: list[RunStep]
    first_id: str | None
    last_id: str | None
    has_more: bool


class RunTextDelta(Struct, kw_only=True):
    value: str
    annotations: list[Any] = []


class TextPartDelta(Struct, kw_only=True):
    index: Literal[0] = 0
    type: Literal["text"] = "text"
    text: RunTextDelta


class ContentDelta(Struct, kw_only=True):
    content: list[TextPartDelta]


class RunMessageDelta(Struct, kw_only=True):
    """What an event adds to a message."""

    id: str
    object: Literal["thread.message.delta"] = "thread.message.delta"
    delta: ContentDelta


class CallsDelta(Struct, kw_only=True):
    type: Literal["tool_calls"] = "tool_calls"
    tool_calls: list[ToolCallDelta]


class DetailsDelta(Struct, kw_only=True):
    step_details: CallsDelta


class StepDelta(Struct, kw_only=True):
    """What an event adds to a step: the calls of tools, in pieces."""

    id: str
    object: Literal["thread.run.step.delta"] = "thread.run.step.delta"
    delta: DetailsDelta
