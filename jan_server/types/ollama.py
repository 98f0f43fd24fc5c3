"""Ollama's API: chat, generate, embed and what it tells of models.

Times are text (RFC 3339), durations are nanoseconds. What is left out here, or refused, is in
`jan_server.dialects.ollama`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from jan_server.types.sampling import Penalty, Share
from jan_server.types.tool import FunctionTool, JsonSchema

ModelName = Annotated[
    str,
    Meta(min_length=1, description="`:latest` is left out.", examples=["smollm2-135m-instruct"]),
]
OllamaRole = Literal["system", "user", "assistant", "tool"]
DoneReason = Literal["stop", "length", "load", "unload"]


class OllamaOptions(Struct, kw_only=True):
    """How to choose. `num_ctx` may be as large as the context that the model is loaded with."""

    num_ctx: int | UnsetType | None = UNSET
    num_predict: (
        Annotated[int, Meta(description="0 and less: as much as there is room for.")]
        | UnsetType
        | None
    ) = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | UnsetType | None = UNSET
    top_k: Annotated[int, Meta(ge=-1)] | UnsetType | None = UNSET
    top_p: Share | UnsetType | None = UNSET
    min_p: Share | UnsetType | None = UNSET
    typical_p: Share | UnsetType | None = UNSET
    seed: int | UnsetType | None = UNSET
    stop: str | list[str] | UnsetType | None = UNSET
    repeat_penalty: (
        Annotated[float, Meta(ge=0, le=1000, description="0 and 1 are off.")] | UnsetType | None
    ) = UNSET
    repeat_last_n: (
        Annotated[int, Meta(description="-1 is the whole context.")] | UnsetType | None
    ) = UNSET
    presence_penalty: Penalty | UnsetType | None = UNSET
    frequency_penalty: Penalty | UnsetType | None = UNSET
    mirostat: Annotated[int, Meta(ge=0, le=2)] | UnsetType | None = UNSET
    mirostat_tau: Annotated[float, Meta(ge=0, le=100)] | UnsetType | None = UNSET
    mirostat_eta: Share | UnsetType | None = UNSET


class OllamaRequest(Struct, kw_only=True):
    """What chat and generate have in common. `stream` is true unless it is said otherwise."""

    model: ModelName
    stream: bool | UnsetType | None = UNSET
    format: str | JsonSchema | UnsetType | None = UNSET
    options: OllamaOptions | UnsetType | None = UNSET
    keep_alive: float | str | UnsetType | None = UNSET
    think: bool | str | UnsetType | None = UNSET
    logprobs: bool | UnsetType | None = UNSET
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | UnsetType | None = UNSET


class OllamaFunction(Struct, kw_only=True):
    """`index` tells the calls of one answer apart."""

    index: int | UnsetType | None = UNSET
    name: str
    arguments: dict[str, Any] = {}


class OllamaToolCall(Struct, kw_only=True, omit_defaults=True):
    function: OllamaFunction
    id: str | UnsetType = UNSET


class OllamaMessage(Struct, kw_only=True):
    """A tool's message says which call it answers: by its id, or by the tool's name."""

    role: OllamaRole
    content: str | UnsetType | None = UNSET
    thinking: str | UnsetType | None = UNSET
    images: list[Any] | UnsetType | None = UNSET
    tool_calls: list[OllamaToolCall] | UnsetType | None = UNSET
    tool_name: str | UnsetType | None = UNSET
    tool_call_id: str | UnsetType | None = UNSET


class OllamaChatRequest(OllamaRequest, kw_only=True):
    """A conversation. Without messages the model is loaded, or unloaded by `keep_alive: 0`.

    Its oldest turns are left out where it is too long, unless `truncate` is false.
    """

    messages: list[OllamaMessage] | UnsetType | None = UNSET
    tools: list[FunctionTool] | UnsetType | None = UNSET
    truncate: bool | UnsetType | None = UNSET


class GenerateRequest(OllamaRequest, kw_only=True):
    """A prompt. Without one the model is loaded, or unloaded by `keep_alive: 0`.

    `raw`: no template is applied.
    """

    prompt: str | UnsetType | None = UNSET
    system: str | UnsetType | None = UNSET
    raw: bool | UnsetType | None = UNSET


class OllamaReply(Struct, kw_only=True, omit_defaults=True):
    role: Literal["assistant"]
    content: str
    thinking: str | UnsetType = UNSET
    tool_calls: list[OllamaToolCall] | UnsetType = UNSET


class Line(Struct, kw_only=True):
    """A piece of an answer, or all of it. What it took is told where it is `done`."""

    model: str
    created_at: str
    done: bool = False
    done_reason: DoneReason | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET
    logprobs: list[Any] | UnsetType = UNSET


class ChatLine(Line, kw_only=True):
    message: OllamaReply


class GenerateLine(Line, kw_only=True):
    response: str = ""
    thinking: str | UnsetType = UNSET


class EmbedRequest(Struct, kw_only=True):
    """Texts to embed. One that is longer than the context is a 400."""

    model: ModelName
    input: str | list[str]
    dimensions: int | UnsetType | None = UNSET
    keep_alive: float | str | UnsetType | None = UNSET


class Embedded(Struct, kw_only=True):
    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int = 0
    prompt_eval_count: int


class EmbedPromptRequest(Struct, kw_only=True):
    """One text to embed, as Ollama once had it."""

    model: ModelName
    prompt: str
    keep_alive: float | str | UnsetType | None = UNSET


class EmbeddedPrompt(Struct, kw_only=True):
    embedding: list[float]


class ModelDetails(Struct, kw_only=True):
    """What the file says of itself; empty where it is not here."""

    parent_model: str = ""
    format: str = ""
    family: str = ""
    families: list[str] = []
    parameter_size: Annotated[str, Meta(examples=["134.5M"])] = ""
    quantization_level: Annotated[str, Meta(examples=["Q4_1"])] = ""


class Tag(Struct, kw_only=True):
    """A model that can answer. `digest` is the manifest's, `size` the file's in bytes."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: ModelDetails


class Tags(Struct, kw_only=True):
    models: list[Tag]


class LoadedTag(Struct, kw_only=True):
    """A model in memory. `size` is what it takes there."""

    name: str
    model: str
    size: int
    size_vram: int = 0
    digest: str
    details: ModelDetails
    expires_at: str


class LoadedTags(Struct, kw_only=True):
    models: list[LoadedTag]


class ShowRequest(Struct, kw_only=True):
    """`name` is what `model` was once called."""

    model: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


class Shown(Struct, kw_only=True):
    """`model_info` are the values of the file's header, without the lists."""

    modelfile: str = ""
    parameters: str
    template: str
    license: str = ""
    details: ModelDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class OllamaVersion(Struct, kw_only=True):
    """The version of Ollama whose API this is: clients refuse older ones."""

    version: str = "0.12.11"


class OllamaError(Struct, kw_only=True):
    error: str
