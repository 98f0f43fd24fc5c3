"""Replacing a `messages.jsonl` whole, while others may write to it at the same moment."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from jan_server.store import jsonl
from jan_server.store.conflicts import keep_conflict
from jan_server.store.files import Files
from jan_server.store.history import History

logger = logging.getLogger(__name__)

Edit = Callable[[History], bytes | None]
"""The bytes that a file becomes; None when these are not bytes that it can be done to."""


def rewrite(files: Files, path: Path, history: History, edit: Edit) -> int:
    """Let `edit` change a file that was just read; by how many bytes it is longer through that.

    Callers hold the thread's lock. What others wrote between that read and our write is displaced
    by it. It is put beside the file first, so that it is on the disk at every moment; then the
    edit is done to it, and what comes of that takes the file's place. Where it cannot be done, the
    bytes stay beside the file. Raises what Files.replace and Files.create raise.
    """
    ours = edit(history)
    if ours is None or ours == history.raw:
        return 0
    longer = len(ours) - len(history.raw)
    theirs = files.replace(path, ours, expected=history.raw)
    if theirs is None:
        return longer
    copy = _keep(files, path, theirs)
    merged = edit(History(theirs, tuple(jsonl.records(theirs))))
    if merged is None:
        return longer
    again = files.replace(path, merged, expected=ours)
    if again is None:
        files.remove(copy)  # It is merged.
    else:
        _keep(files, path, again)
    return longer


def _keep(files: Files, path: Path, theirs: bytes) -> Path:
    copy = keep_conflict(files, path, theirs)
    logger.warning("%s was changed while we changed it; see %s", path.name, copy)
    return copy
