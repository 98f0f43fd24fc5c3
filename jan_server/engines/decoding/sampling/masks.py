"""The tokens that a constraint allows: llguidance's bit masks.

Bit i % 32 of word i // 32 is set when token i is allowed; tokens beyond the words are not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jan_server.engines.decoding.sampling.ranking import Ids, Logits

Mask = NDArray[np.uint32]

WORD = 32
# Up to this share of words, working on their tokens alone is cheaper than on all.
FEW = 1 / 8


def is_allowed(mask: Mask, token: int) -> bool:
    word, bit = divmod(token, WORD)
    return word < len(mask) and bool(int(mask[word]) >> bit & 1)


def allowed_few(mask: Mask, size: int) -> Ids | None:
    """The ids below `size` that are allowed, rising; None where they are not few."""
    words = mask.nonzero()[0]
    if len(words) > len(mask) * FEW:
        return None
    octets = mask[words].astype("<u4", copy=False).view(np.uint8)
    places, bits = np.unpackbits(octets, bitorder="little").reshape(-1, WORD).nonzero()
    ids: Ids = words[places] * WORD + bits
    return ids[: ids.searchsorted(size)]


def masked(logits: Logits, mask: Mask) -> Logits:
    """A copy in which tokens that are not allowed have -inf."""
    octets = mask.astype("<u4", copy=False).view(np.uint8)
    bits = np.unpackbits(octets, bitorder="little", count=len(logits))
    logits = logits.copy()
    # np.where takes 0.2 ms where allowed and forbidden tokens alternate, this always 0.02.
    logits[(bits == 0).nonzero()[0]] = -np.inf
    return logits
