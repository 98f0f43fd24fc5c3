"""Clients that leave while an answer waits, loads, reads its prompt or is written.

An engine of its own tells what it is doing, into a file: so each leaves just then, and it is the
engine that tells that it was stopped.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from jan_server.engines.pool import LOAD_PATIENCE
from jan_server.settings import Settings
from tests.running import served

PATIENCE = 60

ENGINE = """
import time
from pathlib import Path
from jan_server.engines.base import Finished, ModelInfo, Piece, Progress, Started

FOLDER = Path(__file__).parent

def tell(what):
    with (FOLDER / "told").open("a") as told:
        told.write(what + "\\n")

class Endless:
    needs_weights = False
    def prepare(self, spec):
        pass
    def load(self, spec):
        tell("loading")
        while (FOLDER / "load slowly").exists():
            time.sleep(0.01)
        return Model()

class Model:
    info = ModelInfo(context_length=64, device="endless")
    def tokenize(self, text, *, bos=True):
        return [0] if "reads" in text else [1] if "writes" in text else [2]
    def detokenize(self, tokens):
        return ""
    def check(self, request):
        pass
    def held(self, slot):
        return ()
    def generate(self, prompt, request, *, slot=0):
        what = ["reads", "writes", "done"][prompt[0]]
        tell(what)
        try:
            yield Started()
            while what == "reads":
                time.sleep(0.01)
                yield Progress(0)
            yield Progress(1)
            while what == "writes":
                time.sleep(0.01)
                yield Piece("on and on ")
            yield Piece("done")
            yield Finished("stop", 1)
        finally:
            tell("over")
    def close(self):
        pass
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the engine, where it tells what it does."""
    (tmp_path / "endless_engine.py").write_text(ENGINE)
    info = tmp_path / "endless_engine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: endless-engine\nVersion: 1\n")
    points = "[jan_server.engines]\nendless = endless_engine:Endless\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def host(engine: Path, write: Callable[..., Path], data_folder: Path) -> Iterator[str]:
    settings = {"prompt_template": "{prompt}"}
    write("models/m/model.json", {"engine": "endless", "settings": settings})
    with served(Settings(data_folder=data_folder, fsync=False, watch="off")) as base:
        yield base.removeprefix("http://")


def asking(host: str, content: str, *, stream: bool) -> AbstractContextManager[HTTPConnection]:
    """A chat that is asked for; leaving is closing."""
    messages = [{"role": "user", "content": content}]
    return sending(host, "/v1/chat/completions", {"messages": messages, "stream": stream})


@contextmanager
def sending(host: str, path: str, body: dict[str, Any]) -> Iterator[HTTPConnection]:
    with closing(HTTPConnection(host, timeout=PATIENCE)) as connection:
        connection.request("POST", path, json.dumps({"model": "m", **body}))
        yield connection


def until(happens: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.01)


def told(engine: Path) -> list[str]:
    file = engine / "told"
    return file.read_text().splitlines() if file.exists() else []


def get(host: str, path: str) -> dict[str, Any]:
    with closing(HTTPConnection(host, timeout=PATIENCE)) as connection:
        connection.request("GET", path)
        return dict(json.load(connection.getresponse()))


def loaded(host: str) -> dict[str, Any]:
    """How the model is, in memory or on its way."""
    [model] = get(host, "/healthz")["loaded"]
    return dict(model)


def until_nobody_waits(host: str) -> None:
    """Sooner than who waits for a load gives up by itself."""
    until(lambda: loaded(host)["waiting"] == 0, seconds=LOAD_PATIENCE / 2)


def answer(host: str) -> str:
    with asking(host, "x", stream=False) as connection:
        said: str = json.load(connection.getresponse())["choices"][0]["message"]["content"]
        return said


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("work", ["reads", "writes"])
def test_who_leaves_while_it_reads_or_writes_stops_that(
    host: str, engine: Path, work: str, stream: bool
) -> None:
    with asking(host, work, stream=stream):
        until(lambda: told(engine) == ["loading", work])
    until(lambda: told(engine) == ["loading", work, "over"])
    assert answer(host) == "done"


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_the_queue_never_has_a_slot(host: str, engine: Path, stream: bool) -> None:
    with asking(host, "writes", stream=True):
        until(lambda: told(engine) == ["loading", "writes"])
        with asking(host, "reads", stream=stream):
            until(lambda: loaded(host)["waiting"] == 1)
        until(lambda: loaded(host)["waiting"] == 0)
    assert answer(host) == "done"
    until(lambda: told(engine) == ["loading", "writes", "over", "done", "over"])


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_while_it_loads_is_not_answered_and_the_next_finds_it_loaded(
    host: str, engine: Path, stream: bool
) -> None:
    (engine / "load slowly").touch()
    with asking(host, "writes", stream=stream):
        until(lambda: told(engine) == ["loading"])
        assert (loaded(host)["state"], loaded(host)["waiting"]) == ("starting", 1)
        assert get(host, "/v1/models/m")["state"] == "starting"
    until_nobody_waits(host)
    (engine / "load slowly").unlink()
    assert answer(host) == "done"
    assert get(host, "/v1/models/m")["state"] == "running"
    until(lambda: told(engine) == ["loading", "done", "over"])


SAID = {"messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/completions", {"prompt": "x", "stream": True}),
        ("/v1/embeddings", {"input": "x"}),
        ("/v1/tokenize", {"content": "x"}),
        ("/v1/detokenize", {"tokens": [0]}),
        ("/v1/chat/count_tokens", SAID),
        ("/v1/responses", {"input": "x"}),
        ("/v1/responses", {"input": "x", "stream": True}),
        ("/v1/messages", {"max_tokens": 9, **SAID}),
        ("/v1/messages", {"max_tokens": 9, "stream": True, **SAID}),
        ("/v1/messages/count_tokens", SAID),
        ("/api/chat", SAID),
        ("/api/chat", {"stream": False, **SAID}),
        ("/api/chat", {"options": {"num_ctx": 8}, **SAID}),
        ("/api/generate", {}),
        ("/api/embed", {"input": "x"}),
        ("/api/embeddings", {"prompt": "x"}),
    ],
)
def test_nobody_waits_for_a_load_who_has_left(
    host: str, engine: Path, path: str, body: dict[str, Any]
) -> None:
    (engine / "load slowly").touch()
    with sending(host, path, body):
        until(lambda: told(engine) == ["loading"])
        assert loaded(host)["waiting"] == 1
    until_nobody_waits(host)
    (engine / "load slowly").unlink()
