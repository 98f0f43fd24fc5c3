"""What only shows at one moment; `test_child.py` has the rest, in real children."""

from __future__ import annotations

import threading

from jan_server.engines import wire
from jan_server.engines.base import GenerationRequest, Queued
from jan_server.engines.echo import EchoModel
from jan_server.engines.serving import Serving

PATIENCE = 30


def test_who_asks_again_after_the_last_reply_finds_the_slot_free() -> None:
    heard: list[wire.Reply] = []
    arrived, ended = threading.Event(), threading.Event()

    def send(reply: wire.Reply) -> None:
        heard.append(reply)
        match reply:
            case wire.Done(1):
                serving.put(wire.Answer(2, GenerationRequest(prompt="again"), ""))
                serving.put(wire.Tokenize(3, "x", True))
                # What came before it has a slot then, or was told to wait.
                arrived.wait(PATIENCE)
            case wire.Tokenized(3):
                arrived.set()
            case wire.Done(2):
                ended.set()

    serving = Serving(EchoModel(64, 1), send)
    serving.put(wire.Answer(1, GenerationRequest(prompt="once"), ""))
    assert ended.wait(PATIENCE)
    serving.close()
    events = [reply.event for reply in heard if isinstance(reply, wire.Emitted)]
    assert not [event for event in events if isinstance(event, Queued)]
