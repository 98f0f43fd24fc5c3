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

from jan_server.completions.chats import Chats
from jan_server.completions.embeddings import Embeddings
from jan_server.completions.opening import Opening
from jan_server.completions.texts import Texts
from jan_server.completions.tokens import Tokens
from jan_server.engines.pool import Pool
from jan_server.models import Models
from jan_server.remote import Remotes

__all__ = ["Chats", "Completions"]


class Completions:
    """What the models that are there can be asked for."""

    def __init__(self, models: Models, pool: Pool, remotes: Remotes) -> None:
        opening = Opening(models, pool)
        self.chats = Chats(opening, remotes)
        self.texts = Texts(opening, remotes)
        self.embeddings = Embeddings(opening, remotes)
        self.tokens = Tokens(opening)
