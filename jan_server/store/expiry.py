"""What of the trash is over, and removing it.

Weights are large and can be got again: they go after a day, or at once when the disk is nearly
full, the oldest first. All else, the manifest beside them too, stays as long as the user set.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from functools import partial

from jan_server.errors import JanError
from jan_server.store.deletion import Deletion
from jan_server.store.trash import Trash

logger = logging.getLogger(__name__)

DAY = 86400.0
WEIGHTS_DAYS = 1.0
SPACE_TO_LEAVE = 2 * 2**30
"""Bytes. With less than this free on the trash's disk, weights in it do not wait for their day."""

FreeSpace = Callable[[], int]


def expires_at(item: Deletion, *, days: float) -> float | None:
    """When the first part of a deletion is removed, in seconds; None for never (`days` is 0)."""
    ends = [item.deleted_at + days * DAY] if days else []
    if item.weights:
        ends.append(item.deleted_at + WEIGHTS_DAYS * DAY)
    return min(ends, default=None)


def expire(trash: Trash, *, days: float, now: float, free_space: FreeSpace | None = None) -> None:
    """Remove what is over. What cannot be removed is logged, and hinders nothing else."""
    trash.sweep(now)
    for item in reversed(trash.list()):
        if days and now >= item.deleted_at + days * DAY:
            _remove(item.id, partial(trash.free, item.path))
        elif now >= item.deleted_at + WEIGHTS_DAYS * DAY:
            _remove_weights(trash, item)
    for moment, path in list(trash.put_aside()):
        if days and now >= moment + days * DAY:
            _remove(path.name, partial(trash.free, path))
    make_room(trash, 0, free_space=free_space)


def make_room(trash: Trash, needed: int, *, free_space: FreeSpace | None = None) -> None:
    """Remove weights, the oldest first, until so many bytes and some to leave are free."""
    space = free_space or (lambda: shutil.disk_usage(trash.path).free)
    for item in reversed(trash.list()):
        if item.weights and space() < needed + SPACE_TO_LEAVE:
            _remove_weights(trash, item)


def _remove_weights(trash: Trash, item: Deletion) -> None:
    names = {path.name for path in item.weights}
    if names:
        _remove(item.id, partial(trash.free_files, item.path, names.__contains__))


def _remove(name: str, remove: Callable[[], None]) -> None:
    try:
        remove()
    except (JanError, OSError) as error:
        logger.warning("The trash keeps %s: %s", name, error)
