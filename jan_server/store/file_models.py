"""Models that are a file, not a folder, below `models/`: read as they are, moved to the trash.

    cortex.so/<model>/<branch>/model.yml        of Jan 0.5.8-0.5.16, the weights beside it
    huggingface.co/<org>/<repo>/<file>.yml      several in one folder, each with its `<file>.gguf`
    imported/<id>.yml                           whose weights lie wherever it says
    <id>.gguf                                   weights that somebody put there, without a manifest
    <folder>/<file>.gguf                        the same, beside a `.yml` that does not name them

A folder that has a `model.json` is not looked into: it is one model (`collection.py`).

A `.yml` is found by the id that it says (`model`, else `id`), as cortex was asked for it; one that
says none by its path, `<model>:<branch>`, `<org>:<repo>:<file>` or `<id>`. Of equal ids the first
path has it, after the models that are folders; the others are `<id>@<path>`, in which colons stand
for slashes, and by that each is found in any case.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from jan_server import ids
from jan_server.errors import FileBroken, FileUnreadable, LiesOutside, NotFound
from jan_server.events import Cause, Event, Publish
from jan_server.store import model_formats, paths, yml
from jan_server.store.document import Document
from jan_server.store.file_model import FileModel, change_of
from jan_server.store.files import Files
from jan_server.store.locks import Locks
from jan_server.store.paths import Place
from jan_server.store.scanner import Problem
from jan_server.store.signature import Signature, now, signature_at
from jan_server.store.trash import Trash
from jan_server.store.weights import METADATA, ModelFiles, gguf_names, is_gguf, is_yml, model_files

Documents = list[Document]


Before = Mapping[Path, FileModel]
"""What was known at the last look."""


class FileModels:
    """Those of one data folder.

    `is_taken` says which ids a model that is a folder has, and `weights_of` what it weighs: that is
    no model of its own.
    """

    def __init__(
        self,
        place: Place,
        *,
        files: Files,
        locks: Locks,
        trash: Trash,
        publish: Publish,
        is_taken: Callable[[str], bool],
        weights_of: Callable[[str], Path | None],
    ) -> None:
        self._place = place
        self._files = files
        self._locks = locks
        self._trash = trash
        self._publish = publish
        self._is_taken = is_taken
        self._weights_of = weights_of
        self._guard = threading.RLock()
        self._known: dict[str, FileModel] = {}
        self._is_complete = False

    def __repr__(self) -> str:
        return f"<FileModels {len(self._known)}>"

    def look(self, cause: Cause = "file") -> Mapping[str, FileModel]:
        """Look at all of them again, and tell what has changed; by their ids."""
        with self._guard:
            if not self._place.root.is_dir():  # Moved away: that all is gone would not be true.
                return self._known
            before = {model.path: model for model in self._known.values()}
            found = [self._read(path, before.get(path)) for path in self._walk(before)]
            after = self._addressed([model for model in found if model is not None])
            old, self._known = self._known, after
            is_first, self._is_complete = not self._is_complete, True
        if not is_first or cause == "api":
            self._tell(old, after, cause)
        return after

    def wait_until_read(self) -> None:
        """Whatever changes after this is told."""
        if not self._is_complete:
            self.look()

    def list(self) -> Documents:
        """All that can be read, as their files are now."""
        return [model.document for model in self.look().values() if model.document is not None]

    def has(self, id: str) -> bool:
        return self._find(id) is not None

    def get(self, id: str) -> Document:
        """Raises NotFound, and FileUnreadable when no good version is known."""
        model = self._find(id)
        if model is None:
            raise NotFound("model", id)
        if model.document is None:
            raise FileUnreadable(*self._told(model))
        return model.document

    def folder(self, id: str) -> Path:
        """The folder that its file lies in. Raises NotFound."""
        return self.path(id).parent

    def path(self, id: str) -> Path:
        """Its `.yml`, or the weights themselves. Raises NotFound."""
        model = self._find(id)
        if model is None:
            raise NotFound("model", id)
        return model.path

    def at(self, folder: Path, names: frozenset[str]) -> str | None:
        """The id of a model whose file lies there under one of these names."""
        for model in self.look("api").values():
            if model.path.parent == folder and model.path.name in names:
                return model.id
        return None

    def files(self, document: Document) -> ModelFiles:
        return model_files(document.path, self._place.root, document.value)

    def lies_outside(self, id: str) -> bool:
        """Whether a link leads its file out of `models/`. Raises NotFound."""
        return not self._is_ours(self.folder(id))

    def delete(self, id: str, *, condition: Callable[[Document], None]) -> Path:
        """Move its files into the trash, those of them that lie beside it; where they lie now.

        Raises NotFound, FileBroken, LiesOutside, and what `condition` raises.
        """
        with self.hold(id) as folder:
            model = self._deletable(id, condition)
            below = self._place.shown(folder)
            if folder == self._place.path:  # It comes back into a folder of its own.
                below = f"{self._place.kind.folder}/{model.where}"
            trashed = self._trash.take(sorted(self._own_files(model)), below=below)
        self.look("api")
        return trashed

    def check_deletable(self, id: str) -> None:
        """Raises what `delete` would before it moves anything."""
        with self.hold(id):
            self._deletable(id, lambda _document: None)

    @contextmanager
    def hold(self, id: str) -> Iterator[Path]:
        """The folder of its file, with its lock held for the block. Raises NotFound."""
        folder = self.folder(id)
        with self._locks.hold(self._place.shown(folder)):
            yield folder

    def _whole(self, id: str, condition: Callable[[Document], None]) -> FileModel:
        model = self._find(id)
        if model is None:  # Deleted while we waited.
            raise NotFound("model", id)
        if model.problem is not None or model.document is None:
            raise FileBroken(*self._told(model))
        condition(model.document)
        return model

    def _deletable(self, id: str, condition: Callable[[Document], None]) -> FileModel:
        model = self._whole(id, condition)
        if not self._is_ours(model.path.parent):
            raise LiesOutside(self._place.shown(model.path.parent))
        return model

    def _own_files(self, model: FileModel) -> set[Path]:
        """What lies beside its file and is no other's."""
        assert model.document is not None
        found = self.files(model.document)
        named = {model.path, *filter(None, (found.weights, *found.parts, found.mmproj))}
        if model.path.name == "model.yml":
            named.add(model.path.with_name(METADATA))
        return {p for p in named if p.parent == model.path.parent and os.path.lexists(p)}

    def _is_ours(self, folder: Path) -> bool:
        return Path(os.path.realpath(folder)).is_relative_to(self._place.path)

    def _told(self, model: FileModel) -> tuple[str, str]:
        """Place and reason of what is wrong with its file."""
        problem = model.problem or Problem(1, 1, "cannot be read")
        return f"{self._place.shown(model.path)}:{problem.line}:{problem.column}", problem.reason

    def _find(self, id: str) -> FileModel | None:
        known = self._known.get(id)
        if known and known.is_settled and signature_at(known.path) == known.signature:
            return known
        models = self.look()
        if id in models or "@" not in id:
            return models.get(id)
        return next((model for model in models.values() if model.long_id == id), None)

    # Reading

    def _walk(self, before: Before, below: str = "", depth: int = 0) -> Iterator[Path]:
        """All files that are a model, in the order of their paths."""
        folder = self._place.path / below
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
        except OSError:
            return
        listed = [entry for entry in entries if paths.is_listed(entry.name)]
        manifests = [
            folder / entry.name for entry in listed if is_yml(entry.name) and not _is_folder(entry)
        ]
        yield from manifests
        is_others = not manifests and depth > 0
        weights = gguf_names(folder) if any(is_gguf(entry.name) for entry in listed) else []
        if weights and is_others:
            return  # A folder with weights and no manifest is one model, by its folder.
        if weights:
            yield from sorted({*map(folder.joinpath, weights)} - self._claimed(manifests, before))
        if depth < ids.MODEL_PARTS:
            for entry in listed:
                where = f"{below}/{entry.name}" if below else entry.name
                if _is_folder(entry) and not os.path.lexists(f"{entry.path}/model.json"):
                    yield from self._walk(before, where, depth + 1)

    def _claimed(self, manifests: Sequence[Path], before: Before) -> set[Path]:
        """What the manifests of a folder name; by its own name also what a broken one does."""
        claimed = {path.with_suffix(".gguf") for path in manifests}
        for path in manifests:
            model = self._read(path, before.get(path))
            if model is not None and model.document is not None:
                found = self.files(model.document)
                claimed |= {*found.parts, *filter(None, (found.weights, found.mmproj))}
        return claimed

    def _read(self, path: Path, old: FileModel | None) -> FileModel | None:
        """None for what is no model's file, or is gone this moment."""
        moment, signature = now(), signature_at(path)
        if signature is None:
            return None
        where = path.relative_to(self._place.path).with_suffix("").as_posix()
        if old is not None and old.is_settled and old.signature == signature:
            return msgspec.structs.replace(old, weights=self._weights(old.document))
        model = FileModel(
            path=path, where=where, signature=signature, is_settled=signature.is_settled(moment)
        )
        if is_gguf(path.name):
            return self._with(model, b"", {"id": where})
        return self._of_yml(model, old)

    def _of_yml(self, model: FileModel, old: FileModel | None) -> FileModel | None:
        try:
            raw, signature = self._files.read(model.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            problem = Problem(1, 1, f"cannot be read ({error.strerror})")
            return msgspec.structs.replace(model, problem=problem)
        value = yml.decode(raw)
        if not isinstance(value, Problem) and not model_formats.is_model(value):
            return None
        if isinstance(value, Problem):
            return self._broken(model, value, old)
        manifest = {**model_formats.manifest(value), "id": model_formats.said_id(value)}
        return self._with(msgspec.structs.replace(model, signature=signature), raw, manifest)

    def _broken(self, model: FileModel, problem: Problem, old: FileModel | None) -> FileModel:
        broken = msgspec.structs.replace(model, problem=problem)
        if old is None or old.document is None:
            return broken
        good = msgspec.structs.replace(old.document, stale=" ".join(self._told(broken)))
        return msgspec.structs.replace(broken, document=good, weights=old.weights)

    def _with(self, model: FileModel, raw: bytes, value: dict[str, Any]) -> FileModel:
        document = Document(
            id="",
            path=model.path,
            raw=raw,
            value=value,
            signature=model.signature,
            mtime=model.signature.mtime_ns / 1e9,
        )
        return msgspec.structs.replace(model, document=document, weights=self._weights(document))

    def _weights(self, document: Document | None) -> Signature | None:
        found = self.files(document).weights if document else None
        return signature_at(found) if found else None

    def _addressed(self, found: Sequence[FileModel]) -> dict[str, FileModel]:
        models: dict[str, FileModel] = {}
        for model in sorted(found, key=lambda model: os.fsencode(model.where)):
            id = model.said_id
            is_taken = self._is_taken(id)
            if is_taken and is_gguf(model.path.name) and self._weights_of(id) == model.path:
                continue
            if id in models or is_taken:
                id = model.long_id
            document = model.document
            if document is not None and document.id != id:
                document = msgspec.structs.replace(document, id=id)
            if model.id != id or document is not model.document:
                model = msgspec.structs.replace(model, id=id, document=document)
            models[id] = model
        return models

    def _tell(
        self, old: Mapping[str, FileModel], new: Mapping[str, FileModel], cause: Cause
    ) -> None:
        for id in [*old, *(id for id in new if id not in old)]:
            change = change_of(old.get(id), new.get(id))
            if change is None or (change == "deleted" and self._is_taken(id)):
                continue  # Who has the id now tells of it.
            model = new.get(id)
            problem = " ".join(self._told(model)) if model and model.problem else None
            self._publish(Event(kind="model", id=id, change=change, cause=cause, problem=problem))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
