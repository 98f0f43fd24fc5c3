"""The user's own files, which are read and never written to: are they still what they were?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from jan_server.errors import ImportFailed, NotImportable
from jan_server.importing.selection import ModelFile, Selection
from jan_server.store.signature import signature_of

CHUNK = 1 << 20


def written_path(path: Path) -> str:
    """A path as model.json can hold it. Raises NotImportable."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise NotImportable(
            f"The path of {path.name!r} is not UTF-8, so model.json cannot name it: copy the file."
        ) from error
    return str(path)


def check_movable(files: Selection) -> None:
    """Raises NotImportable."""
    for file in files.files:
        if file.path.is_symlink():
            raise NotImportable(
                f"{file.path} is a link: to move it would not move the file. Name the file itself, "
                "or copy it."
            )


def chunks(file: ModelFile) -> Iterator[bytes]:
    """The bytes of a file that is, and stays, what its header was read of. Raises ImportFailed."""
    try:
        with file.path.open("rb", buffering=0) as source:
            _check_unchanged(file, source.fileno())
            while chunk := source.read(CHUNK):
                yield chunk
            _check_unchanged(file, source.fileno())
    except OSError as error:
        raise ImportFailed(f"{file.path.name} cannot be read: {error.strerror}.") from error


def _check_unchanged(file: ModelFile, fd: int) -> None:
    if signature_of(os.fstat(fd)) != file.signature:
        raise changed(file)


def changed(file: ModelFile) -> ImportFailed:
    return ImportFailed(
        f"{file.path.name} was changed while it was imported. Try again when it is finished."
    )


def disk_of(path: Path) -> int | None:
    """Which disk it lies on, as the system numbers them."""
    try:
        return path.stat().st_dev
    except OSError:  # It is gone: whoever reads it says so.
        return None


def check_is_the_same(file: ModelFile, placed: Path) -> None:
    """Before an original is removed: it is still what was copied, or the very same file.

    Raises ImportFailed. Race: what another program puts there after this would be removed.
    """
    status = file.path.lstat()
    is_same = os.path.samestat(status, placed.lstat()) or signature_of(status) == file.signature
    if not is_same:
        raise ImportFailed(f"{file.path.name} is another file than the one that was imported.")
