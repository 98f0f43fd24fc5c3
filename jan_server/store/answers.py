"""Answers that show the end of a long file, kept for as long as the file is as it was."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path

from jan_server.store.signature import Signature, now, signature_at

MAX_BODY = 2**18
"""Bytes. A longer one is made again: with CAPACITY of them, 16 MiB are kept at most."""

CAPACITY = 64


class Answers:
    """The last that were made, by the file and whatever tells the answers about it apart."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._kept: OrderedDict[tuple[Path, Hashable], tuple[Signature, bytes]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Answers {len(self._kept)} of {CAPACITY}>"

    def current(self, path: Path, key: Hashable) -> bytes | None:
        """What was made, when the file is as it was then: one `stat`."""
        signature, body = self._kept.get((path, key), (None, None))
        return body if body is not None and signature_at(path) == signature else None

    def made(self, path: Path, key: Hashable, make: Callable[[], tuple[bytes, bool]]) -> bytes:
        """What `make` makes of the file. It also says whether that is of the file alone."""
        moment, before = now(), signature_at(path)
        body, is_of_file = make()
        is_lasting = before is not None and before.is_settled(moment)
        if before and is_lasting and is_of_file and len(body) <= MAX_BODY:
            self._keep((path, key), before, body)
        return body

    def _keep(self, key: tuple[Path, Hashable], signature: Signature, body: bytes) -> None:
        with self._guard:
            self._kept[key] = signature, body
            self._kept.move_to_end(key)
            while len(self._kept) > CAPACITY:
                self._kept.popitem(last=False)
