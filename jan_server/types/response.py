"""Responses: OpenAI's newer API, its request, its answer and the events of a stream.

What is known and left out here, or refused, is in `jan_server.dialects.responses`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from jan_server.types.sampling import Truncation
from jan_server.types.tool import JsonSchema, ToolName

ItemStatus = Literal["in_progress", "completed", "incomplete"]
ResponseStatus = Literal["in_progress", "completed", "incomplete", "failed", "cancelled"]

# --- a request -------------------------------------------------------------------------------


class InputPart(Struct, kw_only=True, omit_defaults=True):
    """A part of a text: `input_text`, `output_text`, `reasoning_text` or `summary_text`.

    Images and files are a 400.
    """

    type: Annotated[str, Meta(examples=["input_text"])]
    text: str | UnsetType = UNSET


class InputItem(Struct, kw_only=True, omit_defaults=True):
    """A message, a `function_call`, a `function_call_output` or a `reasoning`, by its `type`.

    An `item_reference` has the `id` of such an item of a response that is kept, and stands for it.
    """

    type: Annotated[str, Meta(examples=["message"])] = "message"
    id: str | UnsetType | None = UNSET
    role: Literal["user", "assistant", "system", "developer"] | UnsetType = UNSET
    content: str | list[InputPart] | UnsetType | None = UNSET
    call_id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET
    output: str | list[InputPart] | UnsetType = UNSET
    summary: list[InputPart] | UnsetType = UNSET


class ResponseTool(Struct, kw_only=True, omit_defaults=True):
    """A function that the client runs. Tools that OpenAI's servers run are a 400."""

    type: Annotated[str, Meta(examples=["function"])]
    name: ToolName | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    parameters: JsonSchema | UnsetType | None = UNSET
    strict: bool | UnsetType | None = UNSET


class ResponseToolChoice(Struct, kw_only=True, omit_defaults=True):
    """`function`, which must be called then, or `allowed_tools`."""

    type: Annotated[str, Meta(examples=["function"])]
    name: str | UnsetType = UNSET
    mode: Literal["auto", "required"] | UnsetType = UNSET
    tools: list[ResponseToolChoice] | UnsetType = UNSET


class ResponseTextFormat(Struct, kw_only=True, omit_defaults=True):
    """`text`, `json_object` or `json_schema`."""

    type: Literal["text", "json_object", "json_schema"]
    name: ToolName | UnsetType = UNSET
    schema: JsonSchema | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    strict: bool | UnsetType | None = UNSET


class TextConfig(Struct, kw_only=True, omit_defaults=True):
    """Which form the text has; `verbosity` only as it is anyway."""

    format: ResponseTextFormat | UnsetType | None = UNSET
    verbosity: Literal["low", "medium", "high"] | UnsetType | None = UNSET


class ReasoningConfig(Struct, kw_only=True, omit_defaults=True):
    """For templates that know an effort. What a model thinks is told whole, without a summary."""

    effort: str | UnsetType | None = UNSET
    summary: str | UnsetType | None = UNSET
    generate_summary: str | UnsetType | None = UNSET


class CreateResponse(Struct, kw_only=True):
    """What to answer, by which model, and how.

    With `store`, as it is unless it is said otherwise, the conversation is a thread of the data
    folder. `previous_response_id` goes on with one. Values that are not sent come from the model's
    `model.json`.
    """

    model: Annotated[str, Meta(examples=["smollm2-135m-instruct"])] | UnsetType | None = UNSET
    input: Annotated[str | list[InputItem], Meta(examples=["What is Jan?"])] | UnsetType | None = (
        UNSET
    )
    instructions: (
        Annotated[str, Meta(description="The system message, of this answer alone.")]
        | UnsetType
        | None
    ) = UNSET
    previous_response_id: str | UnsetType | None = UNSET
    store: bool | UnsetType | None = UNSET
    stream: bool | UnsetType | None = UNSET
    tools: list[ResponseTool] | UnsetType | None = UNSET
    tool_choice: Literal["none", "auto", "required"] | ResponseToolChoice | UnsetType | None = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    text: TextConfig | UnsetType | None = UNSET
    reasoning: ReasoningConfig | UnsetType | None = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | UnsetType | None = UNSET
    top_p: Annotated[float, Meta(ge=0, le=1)] | UnsetType | None = UNSET
    max_output_tokens: Annotated[int, Meta(ge=1)] | UnsetType | None = UNSET
    truncation: Truncation | UnsetType | None = UNSET
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | UnsetType | None = UNSET
    include: list[str] | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType | None = UNSET
    user: str | UnsetType | None = UNSET


# --- an answer -------------------------------------------------------------------------------


class OutputText(Struct, kw_only=True, tag_field="type", tag="output_text"):
    text: str
    annotations: list[Any] = []
    logprobs: list[Any] = []


class ReasoningText(Struct, kw_only=True, tag_field="type", tag="reasoning_text"):
    text: str


class OutputMessage(Struct, kw_only=True, tag_field="type", tag="message"):
    id: str
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: list[OutputText] = []


class OutputCall(Struct, kw_only=True, tag_field="type", tag="function_call"):
    """`arguments` is JSON, as text."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str = ""


class OutputReasoning(Struct, kw_only=True, tag_field="type", tag="reasoning"):
    id: str
    status: ItemStatus
    summary: list[Any] = []
    content: list[ReasoningText] = []


OutputItem = OutputMessage | OutputCall | OutputReasoning


class InputTokensDetails(Struct, kw_only=True):
    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputTokensDetails(Struct, kw_only=True):
    reasoning_tokens: int = 0


class ResponseUsage(Struct, kw_only=True):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseError(Struct, kw_only=True):
    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class IncompleteDetails(Struct, kw_only=True):
    reason: Literal["max_output_tokens"]


class Response(Struct, kw_only=True):
    """An answer, with what was asked for. What the request left to the server is null.

    Its `id` holds the name of the thread that it is kept in, where it is kept.
    """

    id: Annotated[str, Meta(examples=["resp_jan_1705312345_01HM5ZK3Q2V8W7T6R5N4M3K2J1"])]
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: ResponseStatus
    background: Literal[False] = False
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    model: str
    output: list[OutputItem] = []
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    reasoning: dict[str, Any] = {}
    store: bool = True
    temperature: float | None = None
    text: dict[str, Any] = {}
    tool_choice: Any = "auto"
    tools: list[Any] = []
    top_logprobs: int | None = None
    top_p: float | None = None
    truncation: Truncation | None = None
    usage: ResponseUsage | None = None
    user: str | None = None
    metadata: dict[str, str] = {}


class ResponseItems(Struct, kw_only=True):
    """What a response was asked: its own items, not those of the responses before it."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedResponse(Struct, kw_only=True):
    """It is not found any more. Its messages stay in their thread."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class ResponseQuery(Struct, kw_only=True, frozen=True):
    """`stream=true` is a 400: nothing is answered in the background."""

    stream: bool = False


# --- events ----------------------------------------------------------------------------------


class ResponseCreated(Struct, kw_only=True, tag_field="type", tag="response.created"):
    sequence_number: int = 0
    response: Response


class ResponseInProgress(Struct, kw_only=True, tag_field="type", tag="response.in_progress"):
    sequence_number: int = 0
    response: Response


class ItemAdded(Struct, kw_only=True, tag_field="type", tag="response.output_item.added"):
    sequence_number: int = 0
    output_index: int
    item: OutputItem


class PartAdded(Struct, kw_only=True, tag_field="type", tag="response.content_part.added"):
    sequence_number: int = 0
    item_id: str
    output_index: int
    content_index: int = 0
    part: OutputText | ReasoningText


class OutputTextDelta(Struct, kw_only=True, tag_field="type", tag="response.output_text.delta"):
    sequence_number: int = 0
    item_id: str
    output_index: int
    content_index: int = 0
    delta: str
    logprobs: list[Any] = []


class OutputTextDone(Struct, kw_only=True, tag_field="type", tag="response.output_text.done"):
    sequence_number: int = 0
    item_id: str
    output_index: int
    content_index: int = 0
    text: str
    logprobs: list[Any] = []


class ReasoningDelta(Struct, kw_only=True, tag_field="type", tag="response.reasoning_text.delta"):
    sequence_number: int = 0
    item_id: str
    output_index: int
    content_index: int = 0
    delta: str


class ReasoningDone(Struct, kw_only=True, tag_field="type", tag="response.reasoning_text.done"):
    sequence_number: int = 0
    item_id: str
    output_index: int
    content_index: int = 0
    text: str


class PartDone(Struct, kw_only=True, tag_field="type", tag="response.content_part.done"):
    sequence_number: int = 0
    item_id: str
    output_index: int
    content_index: int = 0
    part: OutputText | ReasoningText


class ArgumentsDelta(
    Struct, kw_only=True, tag_field="type", tag="response.function_call_arguments.delta"
):
    sequence_number: int = 0
    item_id: str
    output_index: int
    delta: str


class ArgumentsDone(
    Struct, kw_only=True, tag_field="type", tag="response.function_call_arguments.done"
):
    sequence_number: int = 0
    item_id: str
    output_index: int
    name: str
    arguments: str


class ItemDone(Struct, kw_only=True, tag_field="type", tag="response.output_item.done"):
    sequence_number: int = 0
    output_index: int
    item: OutputItem


class ResponseCompleted(Struct, kw_only=True, tag_field="type", tag="response.completed"):
    sequence_number: int = 0
    response: Response


class ResponseIncomplete(Struct, kw_only=True, tag_field="type", tag="response.incomplete"):
    sequence_number: int = 0
    response: Response


class ResponseFailed(Struct, kw_only=True, tag_field="type", tag="response.failed"):
    sequence_number: int = 0
    response: Response


ResponseEvent = (
    ResponseCreated
    | ResponseInProgress
    | ItemAdded
    | PartAdded
    | OutputTextDelta
    | OutputTextDone
    | ReasoningDelta
    | ReasoningDone
    | PartDone
    | ArgumentsDelta
    | ArgumentsDone
    | ItemDone
    | ResponseCompleted
    | ResponseIncomplete
    | ResponseFailed
)


class ResponseErrorEvent(Struct, kw_only=True):
    """What ends a stream when the server itself cannot go on."""

    type: Literal["error"] = "error"
    code: str
    message: str
    param: str | None = None
    sequence_number: int = 0


# --- on the disk -----------------------------------------------------------------------------


class StoredResponse(Struct, kw_only=True, omit_defaults=True):
    """A line of `threads/<id>/responses.jsonl`.

    `input` and `output` are items; a message among them is `{"type": "message", "message": id}`,
    and says what that line of the thread's messages says now. `asked` are the fields of the request
    that a response shows. Times are whole seconds.
    """

    id: str
    status: ResponseStatus
    created_at: int
    completed_at: int | None = None
    model: str = ""
    previous_response_id: str | None = None
    input: list[dict[str, Any]] = []
    output: list[dict[str, Any]] = []
    asked: dict[str, Any] = {}
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    usage: ResponseUsage | None = None
    deleted: bool = False
