"""The parts of a prompt that were tokenised before.

A conversation comes again with each turn, whole. Between two control tokens it is tokenised by
itself, so all but the newest part is known: of a long chat some milliseconds before its first
token (0.8 for 650 tokens).
"""

from __future__ import annotations

import re
import threading
from array import array
from collections import OrderedDict
from collections.abc import Mapping

from jan_server.engines.decoding.tokenizer import TextEncoder

MOST_CHARACTERS = 1 << 20


class RememberingEncoder:
    """As `encoder`, whose control tokens are `special`. Several threads may use it at once."""

    def __init__(
        self,
        encoder: TextEncoder,
        special: Mapping[bytes, int],
        *,
        most_characters: int = MOST_CHARACTERS,
    ) -> None:
        self._encoder = encoder
        self._special = {text.decode(): id for text, id in special.items() if _is_text(text)}
        # The longest first, as one may begin with another.
        texts = sorted(self._special, key=len, reverse=True)
        self._split = re.compile(f"({'|'.join(map(re.escape, texts))})") if texts else None
        self._most = most_characters
        self._guard = threading.Lock()
        self._known: OrderedDict[str, array[int]] = OrderedDict()
        self._characters = 0

    def __repr__(self) -> str:
        return f"<RememberingEncoder {len(self._known)} parts, {self._characters} characters>"

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in self._split.split(text) if self._split else [text]:
            if part in self._special:
                ids.append(self._special[part])
            elif part:
                ids += self._encode_part(part)
        return ids

    def _encode_part(self, part: str) -> array[int]:
        with self._guard:
            if (known := self._known.get(part)) is not None:
                self._known.move_to_end(part)
                return known
        ids = array("i", self._encoder.encode(part))
        with self._guard:
            if part not in self._known:
                self._known[part] = ids
                self._characters += len(part)
            while self._characters > self._most:
                self._characters -= len(self._known.popitem(last=False)[0])
        return ids


def _is_text(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
