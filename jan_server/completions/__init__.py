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


class Completions:
    """What the models that are there can be asked for."""

    def __init__(self, models: Models, pool: Pool) -> None:
        opening = Opening(models, pool)
        self.chats = Chats(opening)
        self.texts = Texts(opening)
        self.embeddings = Embeddings(opening)
        self.tokens = Tokens(opening)
