"""Models: `models/<id>/model.json`, and what the API says about them.

A `Manifest` is how this server understands a manifest; the file's own bytes stay with the store.
It is read leniently: numbers may be written as strings, as Jan's document shows them, and a field
of a wrong type counts as absent and is logged, since one slip of a hand must not hide a model.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from jan_server import amounts
from jan_server.types.download import Download

logger = logging.getLogger(__name__)

ModelState = Literal[
    "not_downloaded", "downloading", "downloaded", "starting", "running", "stopping", "stopped"
]

WeightsFate = Literal["trash", "freed", "kept", "absent"]

Sha256 = Annotated[str, Meta(pattern="^[0-9a-fA-F]{64}$")]
Bytes = Annotated[int, Meta(ge=0)]
# More than any machine has: what is beyond is a slip, and native code takes it at its word.
Count = Annotated[int, Meta(ge=1, le=2**24)]
Layers = Annotated[int, Meta(ge=-1, le=10_000)]
Threads = Annotated[int, Meta(ge=1, le=512)]
Slots = Annotated[int, Meta(ge=1, le=64)]
KeepAlive = float | Annotated[str, Meta(pattern=amounts.DURATION)]


class Source(Struct, kw_only=True, frozen=True):
    """Where one file of a model comes from.

    `size` and `sha256` are the file's; `download_size` is what crosses the wire where that
    differs, as for a file inside a package.
    """

    url: str = ""
    filename: str = ""
    sha256: Sha256 | None = None
    size: Bytes | None = None
    download_size: Bytes | None = None


class ModelSettings(Struct, kw_only=True, frozen=True):
    """How a model is loaded. `None` leaves the choice to the engine.

    `llama_model_path` and `mmproj` name files: beside the manifest, or anywhere by absolute path.
    `system_message` is said in conversations that have none of their own (as Ollama's SYSTEM).
    `n_parallel` is how many requests it works on at once, `keep_alive` how long it stays loaded
    when nobody uses it, in seconds or as `5m`; negative is for ever. `truncation` says what
    becomes of a conversation that is too long: `auto` drops its oldest turns.

    `embedding` is how today's Jan marks what is there for embeddings, such as the model of its own
    search in files: the default model is another one where there is any. It forbids and allows
    nothing else, since Jan writes false into the manifests of all others, and nobody chose that.

    Of a model that another server answers, `remote_model` is its name there, by default its id, and
    `full_url` where chat completions are there, by default as `engines/<engine>.json` says.
    """

    ctx_len: Count | None = None
    ngl: Layers | None = None
    cpu_threads: Threads | None = None
    n_parallel: Slots | None = None
    keep_alive: KeepAlive | None = None
    truncation: Literal["auto", "disabled"] | None = None
    embedding: bool | None = None
    prompt_template: str | None = None
    system_message: str | None = None
    llama_model_path: str | None = None
    mmproj: str | None = None
    remote_model: str | None = None
    full_url: str | None = None


class Manifest(Struct, kw_only=True, frozen=True):
    """A model.json of any Jan 0.4 or 0.5, its `parameters` reduced to the known ones."""

    id: str = ""
    object: str = "model"
    name: str = ""
    version: str | int = "1.0"
    description: str = ""
    format: str = ""
    source_url: str = ""
    sources: tuple[Source, ...] = ()
    settings: ModelSettings = ModelSettings()
    parameters: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    engine: str = ""
    aliases: tuple[str, ...] = ()

    @classmethod
    def from_value(cls, value: Any, *, name: str = "") -> Manifest:
        """Understand a decoded model.json, whatever it holds. Never raises.

        `name` is the model's, for the log; without one it is the id in the manifest.
        """
        own = value.get("id") if isinstance(value, Mapping) else None
        return _read_struct(cls, value, f"model.json of {name or own}")

    def downloads(self) -> tuple[Source, ...]:
        """The files to get: `sources` (Jan 0.4.6 and later), else the one of `source_url`."""
        listed = tuple(source for source in self.sources if source.url)
        if listed or not self.source_url:
            return listed
        return (Source(url=self.source_url),)


class KnownParameters(Struct, kw_only=True, frozen=True):
    """The sampling parameters that a manifest may set, under the names Jan and clients use."""

    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    min_p: float | UnsetType = UNSET
    max_tokens: int | UnsetType = UNSET
    max_completion_tokens: int | UnsetType = UNSET
    token_limit: int | UnsetType = UNSET
    n_predict: int | UnsetType = UNSET
    stream: bool | UnsetType = UNSET
    stop: list[str] | str | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    frequency_penalty: float | UnsetType = UNSET
    presence_penalty: float | UnsetType = UNSET
    repeat_penalty: float | UnsetType = UNSET
    repetition_penalty: float | UnsetType = UNSET
    repeat_last_n: int | UnsetType = UNSET
    typical_p: float | UnsetType = UNSET
    typ_p: float | UnsetType = UNSET
    mirostat: int | UnsetType = UNSET
    mirostat_tau: float | UnsetType = UNSET
    mirostat_eta: float | UnsetType = UNSET
    logit_bias: dict[str, float] | list[Any] | UnsetType = UNSET
    ignore_eos: bool | UnsetType = UNSET
    cache_prompt: bool | UnsetType = UNSET


class Model(Struct, kw_only=True):
    """A model as it is answered: the keys of its manifest, with these put right or filled in."""

    id: Annotated[str, Meta(examples=["smollm2-135m-instruct"])]
    object: Literal["model"]
    created: Annotated[int, Meta(description="Seconds since 1970: when the manifest was written.")]
    owned_by: Annotated[str, Meta(description="Who made the model, as far as its manifest says.")]
    state: ModelState
    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    version: str | int | UnsetType = UNSET
    format: Annotated[str, Meta(examples=["gguf"])] | UnsetType = UNSET
    source_url: Annotated[
        str, Meta(description="Where the weights come from: a page of the hub, or a package URL.")
    ] = ""
    settings: (
        Annotated[dict[str, Any], Meta(examples=[{"ctx_len": 4096, "ngl": 100}])] | UnsetType | None
    ) = UNSET
    parameters: (
        Annotated[dict[str, Any], Meta(examples=[{"temperature": 0.2, "top_p": 0.9}])]
        | UnsetType
        | None
    ) = UNSET
    metadata: dict[str, Any] | None = {}
    engine: Annotated[str, Meta(examples=["ctransformers"])] | UnsetType | None = UNSET
    parts: (
        Annotated[list[str], Meta(description="The files of a split model, all of them.")]
        | UnsetType
    ) = UNSET
    mmproj: (
        Annotated[str, Meta(description="The file that turns images into what the model reads.")]
        | UnsetType
    ) = UNSET
    download: Annotated[Download, Meta(description="While it is downloaded.")] | UnsetType = UNSET
    download_error: (
        Annotated[str, Meta(description="Why the last download failed, if it did.")] | UnsetType
    ) = UNSET
    weights_changed: (
        Annotated[str, Meta(description="That its file changed after its sum was verified.")]
        | UnsetType
    ) = UNSET


class ModelChanges(Struct, kw_only=True):
    """Top-level keys of a manifest; others are kept too."""

    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    settings: dict[str, Any] | UnsetType | None = UNSET
    parameters: dict[str, Any] | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    engine: str | UnsetType | None = UNSET
    aliases: list[str] | UnsetType | None = UNSET


class ModelList(Struct, kw_only=True):
    """All models that can answer; with `state=all` those of the catalogue too."""

    object: Literal["list"]
    data: list[Model]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


class RemovedFile(Struct, kw_only=True, frozen=True):
    """What became of one file: from the data folder on, or its whole path elsewhere.

    A link is itself, not what it leads to. `why` is said where it is not plain.
    """

    path: str
    bytes: int
    fate: Literal["trash", "freed", "kept"]
    why: str | UnsetType = UNSET


class DeletedModel(Struct, kw_only=True):
    """What became of a model.

    `weights`: `trash` (moved there, restorable for 24 hours or until space is short), `freed`
    (gone, as `now=true` asked), `kept` (they lie outside the models folder and were not touched)
    or `absent`. `manifest` stays when the catalogue carries the model. `files` are all that were
    in its folder, and weights elsewhere; the first 1,000 of them, and `more` counts the others.
    `deletion` is what `POST /trash/{deletion}/restore` brings back.
    """

    id: str
    object: Literal["model"] = "model"
    deleted: bool = True
    weights: WeightsFate = "trash"
    manifest: Literal["trash", "kept"] = "kept"
    deletion: str
    files: list[RemovedFile]
    more: int = 0


class StartedModel(Struct, kw_only=True):
    """The model is in memory."""

    id: str
    object: Literal["model"] = "model"
    state: Literal["running"] = "running"


class StoppedModel(Struct, kw_only=True):
    """The model is not in memory any more."""

    id: str
    object: Literal["model"] = "model"
    state: Literal["stopped"] = "stopped"


# --- reading leniently -----------------------------------------------------------------------

S = TypeVar("S", bound=Struct)


def _read_struct(cls: type[S], value: object, place: str) -> S:
    if not isinstance(value, Mapping):
        _log_skipped(place, "is not an object")
        value = {}
    found: dict[str, Any] = {}
    for name, type_ in _fields(cls).items():
        if value.get(name) is not None:
            read = _read_field(name, type_, value[name], f"{place}, {name}")
            if read is not UNSET:
                found[name] = read
    return cls(**found)


@functools.cache
def _fields(cls: type[Struct]) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _read_field(name: str, type_: Any, value: object, place: str) -> Any:
    """The value as its type, or UNSET when it is of another one."""
    if name == "parameters":
        return msgspec.to_builtins(_read_struct(KnownParameters, value, place))
    if isinstance(type_, type) and issubclass(type_, Struct):
        return _read_struct(type_, value, place)
    if get_origin(type_) is tuple and isinstance(value, list):
        element = get_args(type_)[0]
        read = [_read_field("", element, v, f"{place}[{i}]") for i, v in enumerate(value)]
        return tuple(item for item in read if item is not UNSET)
    try:
        return msgspec.convert(value, type_, strict=False)
    except msgspec.ValidationError as error:
        _log_skipped(place, str(error))
        return UNSET


@functools.lru_cache(maxsize=1000)  # Once: a manifest is read at every look at its model.
def _log_skipped(place: str, reason: str) -> None:
    logger.warning("%s: left out: %s", place, reason)
