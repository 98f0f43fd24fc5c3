"""What models are asked for over HTTP, without HTTP: answers, embeddings, tokens.

    opening        a name -> a loaded model; several answers of it, one after the other
    chats          one chat request: everything below, put together
    turns          messages as chat templates want them
    tools          what the model is told of tools, and what it calls, with reasoning
    constraining   what the answer must match, with response_format
    prompts        turns -> prompt; truncation: what is left out of one that is too long
    replies        an engine's events -> chunks; likelihoods and usage are parts of them
    texts          completions of plain text
    embeddings, tokens

Requests for models that another server answers go there as they came (`jan_server.remote`).
Nothing is written here. Closing an answer's iterator stops the work.
"""

from __future__ import annotations

from msgspec import UnsetType

from jan_server.completions.chats import Chats
from jan_server.completions.embeddings import Embeddings
from jan_server.completions.opening import Opening
from jan_server.completions.texts import Texts
from jan_server.completions.tokens import Tokens
from jan_server.engines.base import ModelInfo
from jan_server.engines.pool import Pool
from jan_server.models import Models
from jan_server.remote import Remotes

__all__ = ["Chats", "Completions", "Texts"]


class Completions:
    """What the models that are there can be asked for."""

    def __init__(self, models: Models, pool: Pool, remotes: Remotes) -> None:
        self._opening = opening = Opening(models, pool)
        self.chats = Chats(opening, remotes)
        self.texts = Texts(opening, remotes)
        self.embeddings = Embeddings(opening, remotes)
        self.tokens = Tokens(opening)

    async def load(
        self, name: str, *, keep_alive: float | str | UnsetType | None = None
    ) -> ModelInfo | None:
        """Have a model in memory; what it says of itself. None for one of another server.

        Raises as Opening.find and Opening.load.
        """
        model = await self._opening.find(name)
        if model.remote:
            return None
        async with self._opening.load(model, keep_alive=keep_alive) as opened:
            return opened.lease.info
