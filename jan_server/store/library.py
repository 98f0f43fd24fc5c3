"""All models of a data folder, however the Jan that wrote them laid them out, each by one id.

    models/<id>/model.json            Jan 0.4-0.5.7; `<id>` may have parts; or only a .gguf in it
    llamacpp/models/<id>/model.yml    today's Jan
    models/**/<file>.yml, *.gguf      Jan 0.5.8-0.5.16, and weights without a folder of their own

Of equal ids the first in this order has it. The others are there too: today's Jan's as
`<id>@llamacpp`, the files' as `<id>@<path>` (`file_models.py`); and by these they are found in any
case. A `.yml` is never written: its spelling would not survive.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jan_server.errors import NotEditable
from jan_server.store.collection import Collection, Condition, always
from jan_server.store.deletion import Deletion
from jan_server.store.document import Document
from jan_server.store.file_models import FileModels
from jan_server.store.paths import Place
from jan_server.store.signature import Signature, now, signature_at
from jan_server.store.weights import ModelFiles, model_files

TODAYS = "@llamacpp"

Documents = list[Document]


class _Kept(NamedTuple):
    """What was found of a document, and what its folder and its weights were then."""

    document: Document
    files: ModelFiles
    seen: tuple[Signature, Signature]


class Library:
    """The models of one data folder. `folders` are Jan 0.4's, `todays` today's Jan's."""

    def __init__(self, folders: Collection, todays: Collection, files: FileModels) -> None:
        self.folders = folders
        self.todays = todays
        self.files = files
        self._kept: dict[Path, _Kept] = {}

    def __repr__(self) -> str:
        return f"<Library {self.folders!r} {self.todays!r} {self.files!r}>"

    @property
    def place(self) -> Place:
        """Where new models go."""
        return self.folders.place

    def list(self) -> Documents:
        """All that can be read, as their files are now. Raises DataFolderMissing."""
        todays = (self._addressed(document) for document in self.todays.list())
        return [*self.folders.list(), *todays, *self.files.list()]

    def get(self, id: str) -> Document:
        """Raises InvalidId, NotFound, and FileUnreadable when no good version is known."""
        home, own_id = self._home(id)
        document = home.get(own_id)
        return document if home is self.folders else self._addressed(document)

    def folder(self, id: str) -> Path:
        """The folder that an id leads to, or that its file lies in. Raises as `get`."""
        home, own_id = self._home(id)
        return home.folder(own_id)

    def has(self, id: str) -> bool:
        home, own_id = self._home(id)
        return home.has(own_id)

    def lies_outside(self, id: str) -> bool:
        """Whether a link leads out of the folder of its layout. Raises as `folder`."""
        home, own_id = self._home(id)
        return home.lies_outside(own_id)

    def files_of(self, document: Document) -> ModelFiles:
        """Where its weights are, and what belongs to them: two `stat` when all is as it was."""
        kept = self._kept.get(document.path)
        if kept is not None and kept.document is document and _signatures(kept.files) == kept.seen:
            return kept.files
        moment = now()
        files = model_files(document.path, self.place.root, document.value)
        seen = _signatures(files) if _is_plain(document, files) else None
        if seen and all(signature.is_settled(moment) for signature in seen):
            self._kept[document.path] = _Kept(document, files, seen)
        return files

    def change(
        self, id: str, changes: Mapping[str, Any], *, condition: Condition = always
    ) -> Document:
        """As Collection.change. Raises NotEditable for a `.yml`."""
        home, own_id = self._home(id)
        if home is self.folders:
            return self.folders.change(own_id, changes, condition=condition)
        document = home.get(own_id)
        condition(document)
        raise NotEditable(str(document.path.relative_to(self.place.root)))

    def shown(self, path: Path) -> str:
        """A path as people are told it: from the data folder on, or whole when it lies elsewhere.

        The folders of models may be links: what is behind them counts as in the data folder.
        """
        for place in (self.folders.place, self.todays.place):
            if path.is_relative_to(place.path):
                return place.shown(path)
        return str(path)

    def check_deletable(self, id: str) -> None:
        """Raises what `delete` would before it moves anything."""
        home, own_id = self._home(id)
        home.check_deletable(own_id)

    def delete(self, id: str, *, condition: Condition = always) -> Path:
        """Move a model into the trash; where it lies now. Raises as Collection.delete."""
        home, own_id = self._home(id)
        return home.delete(own_id, condition=condition)

    def delete_files(self, id: str, is_meant: Callable[[str], bool]) -> Path:
        """Move files of a folder into the trash; of a model that is a file, all of it."""
        home, own_id = self._home(id)
        if isinstance(home, FileModels):
            return home.delete(own_id, condition=always)
        return home.delete_files(own_id, is_meant)

    def restore(self, item: Deletion) -> str:
        """Put a deletion back; the id that reaches it now. Raises as Trash.put_back."""
        if item.folder == self.todays.place.kind.folder:
            return self.address(self.todays.restore(item))
        is_folder = item.path.is_dir() and not item.path.is_symlink()
        names = frozenset(path.name for path in item.path.iterdir()) if is_folder else frozenset()
        id = self.folders.restore(item)
        return self.files.at(self.place.path / item.where, names) or id

    def address(self, todays_id: str) -> str:
        """The id by which a model of today's Jan is reached."""
        return f"{todays_id}{TODAYS}" if self.folders.has(todays_id) else todays_id

    def _home(self, id: str) -> tuple[Collection | FileModels, str]:
        """Who has it, and by which id. What nobody has the first looks for in its manifests."""
        if not self.folders.has(id):
            for own_id in dict.fromkeys((id, id.removesuffix(TODAYS))):
                if self.todays.has(own_id):
                    return self.todays, own_id
            if self.files.has(id):
                return self.files, id
        return self.folders, id

    def _addressed(self, document: Document) -> Document:
        """A document of today's Jan's, or of a file, which has its id already."""
        if not document.path.is_relative_to(self.todays.place.path):
            return document
        id = self.address(document.id)
        return document if id == document.id else msgspec.structs.replace(document, id=id)


def _signatures(files: ModelFiles) -> tuple[Signature, Signature] | None:
    """Of the weights and of the folder that they lie in; None when one is not there."""
    if files.weights is None:
        return None
    weights = signature_at(files.weights)
    folder = signature_at(os.path.dirname(files.weights))  # noqa: PTH120  # Asked for each model.
    return (weights, folder) if weights and folder else None


def _is_plain(document: Document, files: ModelFiles) -> bool:
    """Whether its folder and its weights say all that there is to know: nothing lies elsewhere."""
    weights, settings = files.weights, document.value.get("settings")
    if weights is None or files.parts or weights.parent != document.folder:
        return False
    said = settings if isinstance(settings, Mapping) else {}
    named = (said.get(key) for key in ("llama_model_path", "mmproj"))
    return all(not name or name == Path(str(name)).name for name in named)
