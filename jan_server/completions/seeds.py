"""Several answers to one prompt: each has a seed of its own."""

from __future__ import annotations

import msgspec

from jan_server.engines.base import GenerationRequest


def seeded(request: GenerationRequest, n: int) -> list[GenerationRequest]:
    """The request `n` times; a seed that was said rises by one, else each draws its own."""
    if request.seed is None:
        return [request] * n
    return [
        msgspec.structs.replace(request, seed=(request.seed + index) % 2**64) for index in range(n)
    ]
