"""From the name in a request to a loaded model: every kind of request begins so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import NamedTuple

from msgspec import UNSET, UnsetType

from jan_server import ids
from jan_server.engines.base import Event, Request
from jan_server.engines.lease import Lease
from jan_server.engines.pool import Pool
from jan_server.errors import InvalidRequest, ModelCannotRun
from jan_server.models import KnownModel, Models


class Opened(NamedTuple):
    """A model that can answer now."""

    model: KnownModel
    lease: Lease


class Opening:
    """Finds models and has them loaded."""

    def __init__(self, models: Models, pool: Pool) -> None:
        self._models = models
        self._pool = pool

    async def find(self, name: str | UnsetType | None) -> KnownModel:
        """The model of that id, the default one for none; it can be loaded, as far as is known.

        Raises InvalidId, NotFound, ModelNotDownloaded and ModelCannotRun.
        """
        return await asyncio.to_thread(self.look_for, name)

    def look_for(self, name: str | UnsetType | None) -> KnownModel:
        """As `find`, for those who are in a worker already."""
        if name:
            ids.check_lookup_id("model", name, param="$.model")
        return self._ready(name or None)

    @asynccontextmanager
    async def load(
        self, model: KnownModel, *, keep_alive: float | str | UnsetType | None = None
    ) -> AsyncIterator[Opened]:
        """The model, loaded. What a request has wrong by itself is to be found before.

        Raises InvalidRequest, ModelCannotRun, QueueFull and ModelLoading.
        """
        if model.remote:
            raise ModelCannotRun(
                f"The model {model.id!r} runs at {model.remote.origin}: what needs its tokens "
                "is not possible here."
            )
        asked = None if keep_alive is UNSET else keep_alive
        seconds = self._models.keep_alive(model, asked)
        async with self._pool.model(self._models.spec(model), keep_alive=seconds) as lease:
            yield Opened(model, lease)

    def _ready(self, name: str | None) -> KnownModel:
        model = self._models.ready(name)
        if not model.remote:
            self._models.spec(model)  # May read the header: here, so that `load` need not.
        return model


# What an engine calls the prompt in its errors; it does not know where that came from.
_PROMPT = ("$.messages", "$.prompt", "$.tokens")


def places(*, prompt: str, constraint: str | None = None) -> dict[str | None, str | None]:
    """What an engine's errors name -> the fields of the request that it was made from."""
    return {**dict.fromkeys(_PROMPT, prompt), "$.constraint": constraint}


async def answers(
    lease: Lease,
    requests: Iterable[Request],
    *,
    client: str,
    places: Mapping[str | None, str | None],
) -> AsyncGenerator[tuple[int, Event]]:
    """The events of several requests, each with its number, one request after the other.

    Not side by side: the prompt is computed once and then cached for the next, and one client
    does not take all slots. Closing it ends the work. Errors name the fields of `places`.
    """
    for index, request in enumerate(requests):
        async with aclosing(lease.answer(request, client=client)) as events:
            try:
                async for event in events:
                    yield index, event
            except InvalidRequest as error:
                error.param = places.get(error.param, error.param)
                raise
