"""What a run costs: what it adds to a chat's first piece, and what a long thread adds before that.

The echo engine answers, so that nothing is measured but the server. A run writes the user's words,
itself and its reply, flushed, where a chat writes nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

from bench.figure import Figure
from bench.folder import add_messages, made, thread_id
from bench.served import PATIENCE, serving
from bench.subject import Subject
from jan_server.engines.base import Queued
from jan_server.remote import RemoteAnswer
from jan_server.runs import Runs
from jan_server.runs.asking import Chats
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.types.chat import ChatCompletionChunk, ChatCompletionRequest
from jan_server.types.run import CreateRun

ROUNDS = 60
LONG = 1000
WORDS = "one two three four five"
MANIFEST = {
    "engine": "echo",
    "settings": {"prompt_template": "{prompt}", "ctx_len": 1_000_000},
}
PIECE = re.compile(rb'event: thread\.message\.delta|"delta":{"content":"')
"""A line that tells of one. A chat's first event says its role only."""


def measure(_: Subject) -> list[Figure]:
    with made(2) as folder:
        model = folder / "models/echo/model.json"
        model.parent.mkdir()
        model.write_text(json.dumps(MANIFEST))
        add_messages(folder, thread_id(0), count=1)
        add_messages(folder, thread_id(1), count=LONG)
        return [_first_piece(folder), asyncio.run(_long_thread(folder))]


def _first_piece(folder: Path) -> Figure:
    """The run reads the last message only, as long as the chat's. They take turns."""
    words = {"role": "user", "content": WORDS}
    chat = {"model": "echo", "messages": [words], "stream": True}
    run = {
        "model": "echo",
        "additional_messages": [words],
        "truncation_strategy": {"type": "last_messages", "last_messages": 1},
        "stream": True,
    }
    sides = [("/v1/chat/completions", chat), (f"/v1/threads/{thread_id(0)}/runs", run)]
    pairs = []
    with serving(folder) as server:
        for number in range(ROUNDS + 1):
            seconds = [0.0, 0.0]
            for side in (number % 2, 1 - number % 2):
                seconds[side] = _until_piece(server.port, *sides[side])
            if number:  # The first loads the model, and makes the file.
                pairs.append(seconds)
    of_chat, of_run = (median(side) for side in zip(*pairs, strict=True))
    return Figure(
        name="a run's first piece after a chat's",
        value=1000 * median(run - chat for chat, run in pairs),
        bound=5,
        unit=" ms",
        detail=f"{1000 * of_run:.1f} and {1000 * of_chat:.1f} ms, {ROUNDS} rounds",
    )


def _until_piece(port: int, path: str, body: Mapping[str, Any]) -> float:
    """Seconds from the request to the first piece of the answer; the rest is read away."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.connect()
    begun = time.perf_counter()
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    for line in response:
        if PIECE.search(line):
            break
    else:
        raise RuntimeError(f"{path} answered {response.status} without a piece")
    elapsed = time.perf_counter() - begun
    response.read()
    connection.close()
    return elapsed


async def _long_thread(folder: Path) -> Figure:
    """In this process, to see the moment; each run adds its reply, so that the file is another."""
    services = Services(Settings(data_folder=folder))
    chats = _Noting(services.completions.chats)
    runs = Runs(services.store, chats, default_assistant="jan", changed=lambda _id: None)
    found = []
    try:
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            # Of an answer only a word: the echo engine says all that was said before.
            asked = CreateRun(model="echo", max_completion_tokens=1)
            answer = await runs.create(thread_id(1), asked)
            async for _event in answer.events:
                pass
            found.append(chats.moment - begun)
    finally:
        await runs.close()
        await services.close()
    cold, *others = found
    return Figure(
        name=f"a run in a thread of {LONG:,} messages, until the engine is asked",
        value=1000 * median(others),
        bound=20,
        unit=" ms",
        detail=f"the first, which reads the file, {1000 * cold:.1f} ms; {len(others)} rounds",
    )


class _Noting:
    """Chats that note when they are asked."""

    def __init__(self, chats: Chats) -> None:
        self._chats = chats
        self.moment = 0.0

    def check_here(self, request: ChatCompletionRequest, sent: Mapping[str, Any]) -> str:
        return self._chats.check_here(request, sent)

    def stream(
        self,
        request: ChatCompletionRequest,
        sent: Mapping[str, Any],
        *,
        client: str = "",
        prompt_limit: int | None = None,
    ) -> AsyncGenerator[ChatCompletionChunk | Queued | RemoteAnswer]:
        self.moment = time.perf_counter()
        return self._chats.stream(request, sent, client=client, prompt_limit=prompt_limit)
