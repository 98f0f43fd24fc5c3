"""Which models there are: those of the data folder, then those of the catalogue.

A folder's manifest wins over the catalogue's of the same id. A model that is known can be asked
about; one that is `ready` has its weights here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from jan_server import aliases, amounts, catalogue, engines, remote
from jan_server.downloads import Downloads
from jan_server.engines.base import ModelSpec
from jan_server.engines.pool import Pool
from jan_server.errors import (
    EngineDied,
    EngineFailed,
    InvalidRequest,
    LiesOutside,
    ModelCannotRun,
    ModelNotDownloaded,
    NotFound,
)
from jan_server.ids import check_new_id
from jan_server.remote import Remote
from jan_server.settings import Settings
from jan_server.store import Store, formats, headers
from jan_server.store.document import Document, etag, written
from jan_server.store.weights import ModelFiles, is_gguf
from jan_server.types.download import Download
from jan_server.types.model import Manifest, ModelSettings, ModelState

FALLBACK_DEFAULT = "smollm2-135m-instruct"


class KnownModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model and what is known of it.

    `value` is the JSON object of its manifest, `raw` that as bytes; `created` in seconds; `weights`
    is None where there are none, and `answers` whether it could answer a chat. `parts` are all
    files of a split model, and `mmproj` turns images into what it reads. `download` is one that
    runs, waits or has failed, and `weights_changed` says so of weights that are not as they were
    when their sum was verified. `remote` is the server that answers it, None where an engine of
    this machine does. `stale` is the place and the reason when the manifest is broken now, and this
    is the last good one that was seen.
    """

    id: str
    value: Mapping[str, Any]
    raw: bytes
    manifest: Manifest
    created: int
    weights: Path | None
    state: ModelState
    parts: tuple[Path, ...] = ()
    mmproj: Path | None = None
    download: Download | None = None
    weights_changed: str | None = None
    remote: Remote | None = None
    stale: str = ""

    @property
    def answers(self) -> bool:
        if self.remote:
            return not self.remote.problem
        return self.weights is not None or not _needs_weights(self.manifest)

    @property
    def etag(self) -> str:
        """Of the manifest and of what else is told of the model, which changes without it."""
        told = (
            *(self.state, self.created, self.weights_changed),
            *((self.download,) if self.download else ()),
            *((*self.parts, self.mmproj) if self.parts or self.mmproj else ()),
        )
        return etag(self.raw, state=" ".join(map(str, told)))


Known = list[KnownModel]


class Models:
    """Finds models. Reads the disk; asks pool and downloads for what runs and what comes."""

    def __init__(
        self, settings: Settings, store: Store, *, pool: Pool, downloads: Downloads
    ) -> None:
        self._settings = settings
        self._store = store
        self._pool = pool
        self._downloads = downloads
        self._started: dict[str, ModelSettings] = {}
        self._manifests: dict[str, tuple[Mapping[str, Any], Manifest]] = {}

    def list(self, *, everything: bool = False) -> Known:
        """The models that can answer; `everything` adds what is known and not here yet."""
        mine = self._here()
        ids = {model.id for model in mine}
        rest = [self._of_catalogue(id) for id in catalogue.load() if id not in ids]
        return [model for model in (*mine, *rest) if everything or model.answers]

    def get(self, id: str) -> KnownModel:
        """The model of that id, else the one that has it as an alias.

        Raises InvalidId, NotFound, FileUnreadable for a broken manifest, and AmbiguousAlias.
        """
        try:
            return self._of_document(self._store.models.get(id))
        except NotFound:
            if id in catalogue.load():
                return self._of_catalogue(id)
            if named := self._aliased(id):
                return self.get(named)
            if (manifest := self._downloads.manifest(id)) is not None:
                return self._without_files(id, manifest)
            raise NotFound("model", id, hint=self._hint()) from None

    def change(
        self,
        id: str,
        changes: Mapping[str, Any],
        *,
        condition: Callable[[str], None] = lambda _etag: None,
    ) -> KnownModel:
        """Give top-level keys of its manifest new values, null among them; all else stays.

        Weights without a manifest get one. `condition` is called with the model's ETag. Raises as
        it does and as `get`, ModelNotDownloaded for one of the catalogue, FileBroken and
        NotEditable.
        """
        model = self.get(id)
        condition(model.etag)
        if not self._store.models.has(model.id):
            raise ModelNotDownloaded(model.id, data_folder=self._settings.data_folder)
        document = self._store.models.get(model.id)
        if document.raw:
            self._store.models.change(model.id, changes)
        elif is_gguf(document.path.name):
            self._give_manifest(model, document.path, changes)
        elif changes:
            self._store.models.change(model.id, {**model.value, **changes})
        return self.get(model.id)

    def _give_manifest(self, model: KnownModel, weights: Path, changes: Mapping[str, Any]) -> None:
        """To weights that lie in no folder of their own: they stay where they are."""
        root = self._store.root
        is_here = weights.is_relative_to(root)
        path = weights.relative_to(root).as_posix() if is_here else str(weights)
        settings = {"settings": {**model.value.get("settings", {}), "llama_model_path": path}}
        manifest = written({**model.value, **settings, **changes})
        self._store.models.folders.create(model.id, lambda _: {"model.json": manifest})

    def ready(self, id: str | None) -> KnownModel:
        """A model that can answer, the default one for None.

        Raises as `get`, ModelCannotRun for an engine that nobody knows and a remote server that
        nobody named, and ModelNotDownloaded or NotFound with what to do.
        """
        model = self.get(id or self.default_id())
        _check_engine(model)
        if model.answers:
            return model
        self.address(model)
        raise ModelNotDownloaded(model.id, data_folder=self._settings.data_folder)

    def default_id(self) -> str:
        """The model for requests that name none: as set, else the catalogue's, else the first.

        A model without weights, such as the echo engine's, is never chosen by itself, and one for
        embeddings only where there is no other.
        """
        if self._settings.default_model:
            return self._settings.default_model
        there = [model for model in self.list() if model.weights]
        if not there or FALLBACK_DEFAULT in (model.id for model in there):
            return FALLBACK_DEFAULT
        return min(there, key=lambda model: bool(model.manifest.settings.embedding)).id

    def spec(self, model: KnownModel) -> ModelSpec:
        """How to load a model that is ready; may read its header. Raises ModelCannotRun."""
        chosen = self._chosen(model)
        return ModelSpec(
            id=model.id,
            engine=engines.choose(model.manifest.engine, str(model.weights or "")),
            path=str(model.weights or ""),
            work_folder=str(self._store.work_path(fitted(model.id))),
            ctx_len=chosen.ctx_len,
            gpu_layers=max(chosen.ngl or 0, 0),
            threads=chosen.cpu_threads or self._settings.threads,
            slots=chosen.n_parallel or self._settings.n_parallel,
        )

    def describe(self, model: KnownModel) -> str:
        """What would compute its answers. Raises ModelCannotRun."""
        if model.remote:
            return f"{model.remote.engine} at {model.remote.origin}"
        return engines.describe(self.spec(model))

    def keep_alive(self, model: KnownModel, asked: float | str | None = None) -> float:
        """How many seconds it stays in memory when nobody uses it, for ever being infinity.

        What the request asks, else as it was started, its manifest, the server's setting. Raises
        InvalidRequest.
        """
        said = self._chosen(model).keep_alive if asked is None else asked
        try:
            return amounts.seconds(self._settings.keep_alive if said is None else said)
        except ValueError as error:
            raise InvalidRequest(f"$.keep_alive: {error}.", param="$.keep_alive") from error

    async def start(self, id: str, settings: ModelSettings) -> KnownModel:
        """Load a model, if it is not loaded so already.

        What the settings say goes before its manifest, until it is stopped or started again. One
        that another server answers is ready as it is. Raises as `ready` and as Pool.model.
        """
        model = await asyncio.to_thread(self.ready, id)
        if model.remote:
            return model
        self._started[model.id] = settings
        try:
            spec = await asyncio.to_thread(self.spec, model)
            async with self._pool.model(spec, keep_alive=self.keep_alive(model)):
                return model
        except (ModelCannotRun, EngineDied, EngineFailed):
            self._started.pop(model.id, None)  # Else no chat could load it either.
            raise

    async def stop(self, id: str) -> KnownModel:
        """Unload a model; answers that it still gives end with EngineDied. Raises as `get`."""
        model = await asyncio.to_thread(self.get, id)
        self._started.pop(model.id, None)
        await self._pool.stop(model.id)
        return model

    def address(self, model: KnownModel) -> str:
        """Where a model can be got from. Raises NotFound with what to do when nobody says.

        Raises ModelCannotRun for one that another server answers: Jan writes a web page into the
        sources of such manifests.
        """
        if model.remote:
            _check_engine(model)
        sources = model.manifest.downloads()
        if sources:
            return sources[0].url
        hint = f"Its manifest names no address: put a .gguf into {self.folder_of(model.id)}."
        raise NotFound("model file", model.id, hint=hint)

    def folder_of(self, id: str) -> Path:
        """Where a model's files are, or will be. Raises InvalidId, and LiesOutside."""
        try:
            folder = self._store.models.folder(id)
            if self._store.models.lies_outside(id):
                raise LiesOutside(str(folder))
            return folder
        except NotFound:
            return self._store.models.place.path / check_new_id("model", id)

    def _here(self) -> Known:
        """Those of the data folder. Weights that a manifest names are no model of their own."""
        found = [
            (self._of_document(document), is_gguf(document.path.name))
            for document in self._store.models.list()
        ]
        named = {model.weights for model, is_bare in found if not is_bare}
        return [model for model, is_bare in found if not (is_bare and model.weights in named)]

    def _aliased(self, alias: str) -> str | None:
        """Raises AmbiguousAlias."""
        known = self.list(everything=True)
        all_names = {m.id: {*m.manifest.aliases, *catalogue.aliases(m.id)} for m in known}
        ready = {model.id: all_names[model.id] for model in known if model.answers}
        return aliases.resolve(alias, ready, all_names)

    def _of_document(self, document: Document) -> KnownModel:
        files = self._store.models.files_of(document)
        value, raw = document.value, document.raw
        if not raw and (first := files.weights or next(iter(files.parts), None)):
            value = headers.manifest(first, id=document.id)
            raw = msgspec.json.encode(value)
        return self._known(
            document.id,
            value,
            raw=raw,
            stale=document.stale,
            files=files,
            created=formats.seconds(value.get("created")) or document.mtime,
        )

    def _of_catalogue(self, id: str) -> KnownModel:
        return self._without_files(id, catalogue.load()[id])

    def _without_files(self, id: str, value: Mapping[str, Any]) -> KnownModel:
        raw = msgspec.json.encode(value)
        return self._known(id, value, raw=raw, files=ModelFiles(None), created=0)

    def _known(
        self,
        id: str,
        value: Mapping[str, Any],
        *,
        raw: bytes,
        files: ModelFiles,
        created: float,
        stale: str = "",
    ) -> KnownModel:
        manifest = self._manifest(id, value)
        model = KnownModel(
            id=id,
            value=value,
            raw=raw,
            stale=stale,
            manifest=manifest,
            remote=remote.find(self._settings.data_folder, id, manifest),
            download=self._downloads.look(id),
            weights_changed=self._weights_changed(files),
            created=int(created),
            weights=files.weights,
            parts=files.parts,
            mmproj=files.mmproj,
            state="not_downloaded",
        )
        return msgspec.structs.replace(model, state=self._state(model))

    def _manifest(self, id: str, value: Mapping[str, Any]) -> Manifest:
        """What it means, worked out once for each object that the store read."""
        known = self._manifests.get(id)
        if known is None or known[0] is not value:
            known = self._manifests[id] = (value, Manifest.from_value(value, name=id))
        return known[1]

    def _state(self, model: KnownModel) -> ModelState:
        if running := self._pool.running().get(model.id):
            return running
        if model.remote:
            return "not_downloaded" if model.remote.problem else "downloaded"
        if model.answers:
            return "stopped" if self._pool.was_stopped(model.id) else "downloaded"
        is_coming = model.download is not None and model.download.is_running
        return "downloading" if is_coming else "not_downloaded"

    def _chosen(self, model: KnownModel) -> ModelSettings:
        """The manifest's settings, and over them those that it was started with."""
        started = msgspec.structs.asdict(self._started.get(model.id, ModelSettings()))
        said = {name: value for name, value in started.items() if value is not None}
        return msgspec.structs.replace(model.manifest.settings, **said)

    def _hint(self) -> str:
        there = [model.id for model in self.list()]
        more = [id for id in catalogue.load() if id not in there]
        here = f"Here are: {', '.join(there)}. " if there else "None is here yet. "
        return f"{here}The catalogue has: {', '.join(more)}."

    def _weights_changed(self, files: ModelFiles) -> str | None:
        if files.weights is None:
            return None
        for path in files.parts or (files.weights,):
            if was := self._store.sums.changed(path):
                return (
                    f"{path.name} changed after its sum was verified, {was.verified}. "
                    "`python -m jan_server doctor` verifies it again."
                )
        return None


def fitted(id: str) -> str:
    """The work folder for what an engine makes of a model's weights."""
    return f"fitted/{id}"


def _check_engine(model: KnownModel) -> None:
    """Raises ModelCannotRun when it is known that nothing could answer."""
    if not model.remote:
        engines.canonical_name(model.manifest.engine)
    elif model.remote.problem:
        raise ModelCannotRun(
            f"The model {model.id!r} is answered by another server: {model.remote.problem}."
        )


def _needs_weights(manifest: Manifest) -> bool:
    try:
        return engines.needs_weights(manifest.engine)
    except ModelCannotRun:
        return True  # An engine that nobody knows: said when somebody wants an answer of it.
