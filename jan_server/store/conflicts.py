"""Names of files that stand beside a file and hold what lost a conflict.

    thread.conflict-20261123T051500Z.json             ours: what another program wrote meanwhile
    thread.conflict-20261123T051500Z-2.json           the second of one second
    thread.sync-conflict-20261123-051500-ABCDEFG.json Syncthing
    thread (conflicted copy 2026-11-23 051500).json   Nextcloud; Dropbox puts the machine first
    thread_conflict-20261123-051500.json              ownCloud, older ones
    thread (SFConflict ann@example.org 2026-11-23-05-15-00).json    Seafile
    thread_LOCAL_1234.json thread.json.orig           git mergetool

Whoever resolves a conflict does it by hand: copies are reported and never read as resources.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from jan_server.store.files import Files

_CONFLICTS = (
    r".+\.conflict-\d{8}T\d{6}Z(-\d+)?(\.[^.]+)?",
    r".+\.sync-conflict-\d{8}-\d{6}(-[A-Z0-9]{7})?(\.[^.]+)?",
    r".+ \(([^()]* )?conflicted copy\b[^()]*\)(\.[^.]+)?",
    r".+_conflict-\d{8}-\d{6}(\.[^.]+)?",
    r".+ \(SFConflict [^()]+\)(\.[^.]+)?",
    r".+_(BACKUP|BASE|LOCAL|REMOTE)_\d+(\.[^.]+)?",
    r".+\.orig",
)
_CONFLICT = re.compile("|".join(_CONFLICTS), re.DOTALL | re.IGNORECASE)


def is_conflict(name: str) -> bool:
    """Whether a file of that name holds bytes that lost against another file's."""
    return _CONFLICT.fullmatch(name) is not None


def keep_conflict(files: Files, path: Path, data: bytes) -> Path:
    """Put bytes that lose beside `path`, durably; where. Raises what Files.create raises.

    They are what Files.replace answered: their own file stays until this one is there, also when
    that fails. A symbolic link is followed: the copy lies where the file does.
    """
    copy = put_beside(files, path, data)
    files.let_go(path)
    return copy


def put_beside(files: Files, path: Path, data: bytes) -> Path:
    """As `keep_conflict`, of bytes that Files.replace did not answer."""
    beside = path.resolve()
    first = f"{beside.stem}.conflict-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    number = 1
    while True:
        name = first if number == 1 else f"{first}-{number}"
        copy = beside.with_name(f"{name}{beside.suffix}")
        try:
            files.create(copy, data, like=beside)
            return copy
        except FileExistsError:
            number += 1
