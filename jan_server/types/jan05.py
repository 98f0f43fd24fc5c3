"""What Jan 0.5's own UI asks for beside OpenAI's API, in the shapes of the backend it had then."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType


class EngineVariant(Struct, kw_only=True):
    """An engine as it is installed here."""

    engine: Annotated[str, Meta(examples=["llama-cpp"])]
    name: str
    type: Literal["local", "remote"]
    version: str


class DefaultEngine(Struct, kw_only=True):
    """Which variant of an engine is used: there is one of each here."""

    engine: str
    variant: str
    version: str


class Told(Struct, kw_only=True):
    """That something was done, or why there was nothing to do."""

    message: str


class Configured(Told, kw_only=True):
    """`config` is empty: this server has its settings from its own file, and takes none here."""

    config: dict[str, Any] = {}


class ThreadAssistant(Struct, kw_only=True):
    """What changes of the assistant in a thread. Keys that are sent replace those of the file."""

    id: str | UnsetType = UNSET
    name: str | UnsetType | None = UNSET
    instructions: str | UnsetType | None = UNSET
    model: dict[str, Any] | str | UnsetType | None = UNSET


class NothingListed(Struct, kw_only=True):
    """An empty list."""

    object: Literal["list"] = "list"
    data: list[Any] = []


class NamedModel(Struct, kw_only=True):
    """Which model; whatever else the UI sends says how to load it, as `/models/{id}/start` does."""

    model: str


class PulledModel(Struct, kw_only=True):
    """Which model to get."""

    model: str
    id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


class ModelStatus(Struct, kw_only=True):
    """The model is loaded."""

    id: str
    object: Literal["model"] = "model"
    state: str


class Unloaded(Struct, kw_only=True):
    """The models that were in memory and are not any more."""

    message: str
    models: list[str]
