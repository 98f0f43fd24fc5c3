"""Importing a model: what a request says, and what is told of it."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Mode = Literal["copy", "link", "move"]


class ImportRequest(Struct, kw_only=True, frozen=True):
    """A file of this machine that is to be a model.

    `modelPath` and `option`, or `path` and `mode`: the first are Jan's. `symlink` is Jan's word for
    `link`. So are `model` and `id`.
    """

    modelPath: Annotated[str, Meta(examples=["/home/me/m.gguf"])] | UnsetType = UNSET  # noqa: N815
    path: str | UnsetType = UNSET
    mmproj: Annotated[str, Meta(description="The projector that goes along.")] | UnsetType = UNSET
    id: str | UnsetType = UNSET
    model: (
        Annotated[str, Meta(description="Its id. Default: made of the file's name.")] | UnsetType
    ) = UNSET
    name: Annotated[str, Meta(description="As people are shown it.")] | UnsetType = UNSET
    option: Literal["copy", "symlink", "link"] | UnsetType = UNSET
    mode: Literal["copy", "symlink", "link"] | UnsetType = UNSET


class ImportedFile(Struct, kw_only=True, frozen=True):
    """Where a file of the model is now: from the data folder on, or its whole path elsewhere.

    `sha256` is there when the file was read whole, which a copy needs and a link does not.
    """

    path: str
    bytes: int
    sha256: str | UnsetType = UNSET


class ImportedModel(Struct, kw_only=True, frozen=True):
    """The model is there, whole. `cannot_run` says why it will not answer here all the same."""

    id: str
    object: Literal["model"] = "model"
    imported: bool = True
    mode: Mode
    files: list[ImportedFile]
    originals_left: (
        Annotated[list[str], Meta(description="Originals that a move could not remove.")]
        | UnsetType
    ) = UNSET
    cannot_run: str | UnsetType = UNSET
