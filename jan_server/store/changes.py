"""Changing a document that others may change at the same moment.

Our own kind waits for a lock. An editor, a sync program and Jan itself do not: what they wrote
between our read and our write is displaced by it, and comes back from the file layer. When it
changed other keys than ours both are merged; else it is kept beside the file. It is put there
first in both cases, so that it is on the disk at every moment.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jan_server.store import scanner
from jan_server.store.conflicts import keep_conflict
from jan_server.store.document import Document, edited
from jan_server.store.files import Files
from jan_server.store.scanner import same

logger = logging.getLogger(__name__)


def write(
    files: Files, document: Document, changes: Mapping[str, Any], *, moved: Mapping[str, Any]
) -> None:
    """Give top-level keys new values; callers hold the resource's lock.

    `moved` are those that come along with every change: that others change them too is no
    conflict. Raises what Files.replace raises.
    """
    changed = {**changes, **moved}
    ours = edited(document.raw, changed)
    if ours == document.raw:
        return
    theirs = files.replace(document.path, ours, expected=document.raw)
    if theirs is None:
        return
    copy = _keep(files, document.path, theirs)
    if not _leaves_alone(theirs, document.raw, keys=changes):
        return
    again = files.replace(document.path, edited(theirs, changed), expected=ours)
    if again is None:
        copy.unlink(missing_ok=True)  # It is merged.
    else:
        _keep(files, document.path, again)


def _keep(files: Files, path: Path, theirs: bytes) -> Path:
    copy = keep_conflict(files, path, theirs)
    logger.warning("%s was changed while we changed it; see %s", path.name, copy)
    return copy


def _leaves_alone(theirs: bytes, base: bytes, *, keys: Iterable[str]) -> bool:
    """Whether what they wrote is a document in which these keys say what they said before."""
    old, new = scanner.decode(base), scanner.decode(theirs)
    if not isinstance(old, dict) or not isinstance(new, dict):
        return False
    missing = object()
    return all(same(old.get(key, missing), new.get(key, missing)) for key in keys)
