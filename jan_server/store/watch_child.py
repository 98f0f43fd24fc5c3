"""The program that watches folders for the server: `python -P watch_child.py CONFIG`.

CONFIG is JSON: `roots` (folders that are there), `skip` (beginnings of names), `polling`, and
`step` and `debounce` in milliseconds. Each line of its output is a JSON list: `["ready"]` once the
watch is on, then `["paths", ...]` for every batch of changes, and last `["failed", reason]`.

A process, since watchfiles holds Python's lock while it begins: 0.14 s with 10,000 folders, 1.5 s
with 100,000. It imports nothing of this package, and so listens 0.1 s after it was started. It ends
when its stdin does: with the server, however that ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import Any

from watchfiles import Change, watch

QUIET_MS = 100
"""How long watchfiles waits for changes before it says that there are none: so late is `ready`."""


def run(
    roots: Sequence[str], skip: Sequence[str], *, polling: bool, step: int, debounce: int
) -> None:
    """Does not return. Raises what watchfiles does."""
    batches = watch(
        *roots,
        watch_filter=lambda _change, path: is_told(path, roots, skip),
        debounce=debounce,
        step=step,
        rust_timeout=QUIET_MS,
        yield_on_timeout=True,
        # None: as watchfiles' own environment variables say, and always on WSL.
        force_polling=polling or None,
    )
    is_ready = False
    for changes in batches:
        if not is_ready:
            is_ready = True
            say("ready")
        if changes:
            say("paths", *{path for _, path in changes})
            check_roots({path for change, path in changes if change == Change.deleted}, roots)
            if not polling:
                check_limit(path for change, path in changes if change == Change.added)


def is_told(path: str, roots: Sequence[str], skip: Sequence[str]) -> bool:
    """Whether no part of the path below its root begins with one of `skip`."""
    root = next((root for root in roots if path.startswith(root)), "")
    return not any(part.startswith(tuple(skip)) for part in Path(path[len(root) :]).parts)


def check_roots(deleted: Set[str], roots: Sequence[str]) -> None:
    """Raises FileNotFoundError for a root that is gone: its inode's number may be used again."""
    for root in roots:
        if root in deleted:
            raise FileNotFoundError(f"{root} was moved or deleted")


def check_limit(added: Iterable[str]) -> None:
    """Raises OSError when the system allows no more watches.

    watchfiles says so only when it begins: of a folder that is added later and cannot be watched
    any more it says nothing, and neither of what happens in it.
    """
    folder = next(filter(os.path.isdir, added), None)
    if folder is not None:
        try:
            next(watch(folder, recursive=False, step=1, rust_timeout=1, yield_on_timeout=True))
        except (FileNotFoundError, PermissionError, RuntimeError):
            pass  # Gone again, not ours to read, or no second watcher to try it with.


def say(*message: Any) -> None:
    print(json.dumps(message), flush=True)


def end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)


def main() -> None:
    threading.Thread(target=end_with_stdin, daemon=True).start()
    try:
        run(**json.loads(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 - whatever it is, the server is told and goes on
        say("failed", f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
