"""Tools that a model may call, its calls, and the form an answer must have; OpenAI's shapes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

# OpenAI allows 64; Anthropic and MCP, whose clients put the server's name before the tool's, 128.
ToolName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,128}$", examples=["get_weather"])]
JsonSchema = dict[str, Any]


class FunctionDefinition(Struct, kw_only=True, omit_defaults=True):
    """`parameters` is a JSON Schema of an object; without it the function takes no arguments.

    With `strict` the arguments match it, and have no properties beside those that it names.
    Without, what no grammar can hold an answer to is passed over.
    """

    name: ToolName
    description: str | UnsetType | None = UNSET
    parameters: JsonSchema | UnsetType | None = UNSET
    strict: bool | UnsetType | None = UNSET


class FunctionTool(Struct, kw_only=True):
    type: Literal["function"]
    function: FunctionDefinition


class FunctionName(Struct, kw_only=True):
    name: str


class NamedTool(Struct, kw_only=True, tag_field="type", tag="function"):
    """The one function that the answer must call."""

    function: FunctionName


class AllowedToolSet(Struct, kw_only=True):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Meta(min_length=1)]


class AllowedTools(Struct, kw_only=True, tag_field="type", tag="allowed_tools"):
    """Only these of the tools may be called, or must be."""

    allowed_tools: AllowedToolSet


ToolChoice = Literal["none", "auto", "required"] | NamedTool | AllowedTools


class FunctionCall(Struct, kw_only=True):
    """`arguments` is JSON, as text."""

    name: str
    arguments: Annotated[str, Meta(examples=['{"city": "Paris"}'])]


class ToolCall(Struct, kw_only=True):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class FunctionCallDelta(Struct, kw_only=True, omit_defaults=True):
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCallDelta(Struct, kw_only=True, omit_defaults=True):
    """A call as it grows. The first of an index has all but the arguments, which follow in pieces.

    The pieces of `arguments` put together are the arguments.
    """

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionCallDelta


class TextFormat(Struct, kw_only=True, tag_field="type", tag="text"):
    """An answer of any form."""


class JsonObjectFormat(Struct, kw_only=True, tag_field="type", tag="json_object"):
    """Any JSON object; with `schema`, which is llama.cpp's, one that matches."""

    schema: JsonSchema | UnsetType | None = UNSET


class NamedSchema(Struct, kw_only=True):
    """With `strict` the answer matches, and has no properties beside those that the schema names.

    Without, what no grammar can hold an answer to is passed over.
    """

    name: ToolName
    schema: JsonSchema | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    strict: bool | UnsetType | None = UNSET


class JsonSchemaFormat(Struct, kw_only=True, tag_field="type", tag="json_schema"):
    json_schema: NamedSchema


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat
