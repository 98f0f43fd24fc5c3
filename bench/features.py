"""What the rest costs: answers that follow a schema, cancelling, waiting."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

from bench.against import told
from bench.figure import Figure, Ratio
from bench.served import PATIENCE, Server, serving
from bench.streamed import Client
from bench.subject import Answer, Question, Subject

ROUNDS = 11
WAITING = 32

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "people": {
            "type": "array",
            "minItems": 6,
            "maxItems": 8,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 24},
                    "town": {"type": "string", "maxLength": 24},
                    "trade": {"type": "string", "maxLength": 24},
                },
                "required": ["name", "town", "trade"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["people"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "people", "schema": SCHEMA}}
TEXT = "Invent people who live by the sea: their names, towns and trades, as JSON."
FREE = Question(text=TEXT, max_tokens=96, more={"ignore_eos": True})
STRICT = Question(text=TEXT, max_tokens=96, more={"response_format": FORMAT})


def measure(subject: Subject) -> list[Figure]:
    with (
        serving(subject.data_folder, *subject.options, "--n-parallel", "1") as server,
        closing(Client(server.port, subject.model)) as client,
    ):
        client.answer(FREE)
        return [
            _schema(client),
            _cancelled_answer(server, subject.model),
            _cancelled_prompt(server, subject.model),
            _waiting(server, subject.model),
        ]


def _schema(client: Client) -> Figure:
    pairs: list[tuple[Answer, Answer]] = []
    for number in range(ROUNDS + 1):
        first = number % 2
        answers = {side: client.answer((STRICT, FREE)[side]) for side in (first, 1 - first)}
        pairs.append((answers[0], answers[1]))
    del pairs[0]
    ours, free_rate = (median(answer.rate for answer in side) for side in zip(*pairs, strict=True))
    return Figure(
        name="decode rate under a JSON Schema, against free text",
        value=ours,
        bound=0.9 * free_rate,
        unit="/s",
        is_floor=True,
        ratio=Ratio(
            peer=free_rate,
            value=median(strict.rate / free.rate for strict, free in pairs),
            bound=0.90,
            is_floor=True,
        ),
        detail=f"{ROUNDS} rounds of up to {STRICT.max_tokens} tokens",
    )


def _cancelled_answer(server: Server, model: str) -> Figure:
    question = Question(text=told(1, 20), max_tokens=2000, more={"ignore_eos": True})
    times = [_until_idle(server, model, question, _is_answering) for _ in range(ROUNDS)]
    return Figure(
        name="cancel to idle, while it answers",
        value=1000 * median(times),
        bound=25,
        unit=" ms",
        detail=f"one token takes 5 to 10; slowest {1000 * max(times):.0f} ms of {ROUNDS}",
    )


def _cancelled_prompt(server: Server, model: str) -> Figure:
    def question(number: int) -> Question:
        return Question(text=told(900 + number, 1500), max_tokens=2000, more={"ignore_eos": True})

    times = [_until_idle(server, model, question(number), _is_busy) for number in range(ROUNDS)]
    return Figure(
        name="cancel to idle, while it reads the prompt",
        value=1000 * median(times),
        bound=400,
        unit=" ms",
        detail=f"one chunk of 64 tokens takes 180 to 300; slowest {1000 * max(times):.0f} ms",
    )


def _until_idle(
    server: Server, model: str, question: Question, begun: Callable[[Server, Client], None]
) -> float:
    """Seconds from closing the connection to a model that is idle."""
    client = Client(server.port, model)
    client.begin(question)
    begun(server, client)
    closed = time.perf_counter()
    client.close()
    _wait(server, lambda model: model["busy"] == 0)
    return time.perf_counter() - closed


def _is_answering(_: Server, client: Client) -> None:
    client.wait_for(b'"content":"', times=3)


def _is_busy(server: Server, _: Client) -> None:
    _wait(server, lambda model: model["busy"] == 1)
    time.sleep(0.3)  # into the prompt


def _waiting(server: Server, model: str) -> Figure:
    """Prompts of 1,000 tokens; the memory is the server's and its child's together."""
    long = Question(text=told(1, 20), max_tokens=3000, more={"ignore_eos": True})
    with ExitStack() as opened:
        first = opened.enter_context(closing(Client(server.port, model)))
        first.begin(long)
        _is_answering(server, first)
        before = _memory(server)
        for number in range(WAITING):
            client = opened.enter_context(closing(Client(server.port, model)))
            client.begin(Question(text=told(number, 900), max_tokens=8))
        _wait(server, lambda model: model["waiting"] == WAITING)
        grown = _memory(server) - before
    _wait(server, lambda model: model["busy"] == 0 and model["waiting"] == 0)
    return Figure(
        name=f"memory of each of {WAITING} waiting chats",
        value=grown / WAITING / 1000,
        bound=200,
        unit=" KB",
        detail="server and child together, prompts of 1,000 tokens",
    )


def _wait(server: Server, until: Callable[[dict[str, Any]], bool]) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    end = time.monotonic() + PATIENCE
    with closing(connection):
        while time.monotonic() < end:
            connection.request("GET", "/healthz")
            loaded = json.loads(connection.getresponse().read())["loaded"]
            if loaded and until(loaded[0]):
                return
            time.sleep(0.001)
    raise TimeoutError("the model does not come to rest")


def _memory(server: Server) -> int:
    """Bytes of anonymous memory of the server and of those whom it started."""
    return sum(_anonymous(pid) for pid in [server.pid, *_children(server.pid)])


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for place in found for child in place.read_text().split()]


def _anonymous(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024
