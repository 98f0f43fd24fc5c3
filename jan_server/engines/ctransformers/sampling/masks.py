"""The tokens that a constraint allows: llguidance's bit masks.

Bit i % 32 of word i // 32 is set when token i is allowed; tokens beyond the words are not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jan_server.engines.ctransformers.sampling.ranking import Ids

Mask = NDArray[np.uint32]

WORD = 32
# Up to this share of words, taking them out is cheaper than unpacking all.
FEW_WORDS = 1 / 8


def is_allowed(mask: Mask, token: int) -> bool:
    word, bit = divmod(token, WORD)
    return word < len(mask) and bool(int(mask[word]) >> bit & 1)


def allowed(mask: Mask, size: int) -> Ids:
    """The ids below `size` that are allowed, rising."""
    words = mask.nonzero()[0]
    if len(words) > len(mask) * FEW_WORDS:
        return bits_of(mask)[:size].nonzero()[0]
    places, bits = bits_of(mask[words]).reshape(-1, WORD).nonzero()
    ids: Ids = words[places] * WORD + bits
    return ids[: ids.searchsorted(size)]


def bits_of(words: Mask) -> NDArray[np.bool_]:
    octets = words.astype("<u4", copy=False).view(np.uint8)
    return np.unpackbits(octets, bitorder="little").view(np.bool_)
