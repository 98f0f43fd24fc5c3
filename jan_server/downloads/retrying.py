"""What is worth trying again, and when: a fault of the moment, after a while, some times."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Event

from jan_server.errors import DownloadFailed

log = logging.getLogger(__name__)

WAITS = (1.0, 3.0, 10.0, 30.0)
"""Seconds before each further try. Who got further meanwhile begins with the first again."""

LONGEST = 120.0
"""Seconds. A server that wants us to wait for longer has refused."""

STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""What servers say when the same request may be answered later."""


class TryAgain(DownloadFailed):
    """A fault that may be over soon; `retry_after` is what the server asked for."""


def retry(
    work: Callable[[], None],
    *,
    progress: Callable[[], int],
    stopped: Event,
    waits: Sequence[float] = WAITS,
) -> None:
    """Do it, again after each TryAgain, as often as there are `waits`; then that is raised.

    `progress` grows when a try got further. While it waits it returns early when stopped: the next
    try finds that out.
    """
    left, done = list(waits), progress()
    while True:
        try:
            return work()
        except TryAgain as error:
            if progress() > done:
                left, done = list(waits), progress()
            asked = error.retry_after or 0
            if not left or asked > LONGEST:
                raise
            seconds = max(left.pop(0), asked)
            log.info("%s Again in %g seconds.", error.message, seconds)
            stopped.wait(seconds)
