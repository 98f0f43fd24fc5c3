"""Models that another server answers: one that speaks OpenAI's API, such as vLLM or Ray Serve.

A manifest whose engine is `openai`, or has the name of a file `engines/<name>.json`, is such a
model. A request for it is sent on as it came, and so is the answer: nothing is computed here.

    server      engines/<name>.json -> where a model is answered, and with which key
    outgoing    a request as it goes there
    incoming    what comes back: answers, events, errors
    remotes     the connections

Keys are in `engines/*.json` alone. No message, log line or `repr` holds one.
"""

from jan_server.remote.incoming import RemoteAnswer
from jan_server.remote.remotes import Remotes
from jan_server.remote.server import CHAT, EMBEDDINGS, TEXTS, Remote, find

__all__ = ["CHAT", "EMBEDDINGS", "TEXTS", "Remote", "RemoteAnswer", "Remotes", "find"]
