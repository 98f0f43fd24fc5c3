from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jan_server.engines.base import ModelSpec

# An engine of another package, found by its entry point. What it does is asked for by the model's
# id (while it loads), by the text (while it tokenises) and by the prompt (while it generates).
PROBE = """
import os, signal, stat, sys, time
from jan_server.engines import wire
from jan_server.engines.base import Finished, ModelInfo, Piece, Progress, Started
from jan_server.errors import ModelCannotRun

def onto_the_wire(data):
    for fd in range(3, 20):
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.write(fd, data)
        except OSError:
            pass

def read_slowly(path):
    with open(path, "rb", buffering=0) as file:
        file.read()
    time.sleep(0.05)

def at_work(step, value):
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        step(value)

class Probe:
    needs_weights = False
    def prepare(self, spec):
        raise ModelCannotRun("prepared and found wanting")
    def load(self, spec):
        LOADING.get(spec.id, lambda: None)()
        return Model(spec)

class Model:
    def __init__(self, spec):
        self.spec = spec
        self.texts = []
        self.info = ModelInfo(
            context_length=64, chat_template="{{ x }}", device="probe", slots=spec.slots or 1
        )
    def tokenize(self, text, *, bos=True):
        TOKENISING.get(text, lambda: None)()
        self.texts.append(text)
        return [len(self.texts) - 1 if bos else -len(self.texts)]
    def detokenize(self, tokens):
        return ""
    def held(self, slot):
        return ()
    def check(self, request):
        pass
    def generate(self, prompt, request, *, slot=0):
        yield Started()
        what, _, id = self.texts[prompt[0]].partition(" as ")
        if id:
            # At its next yield it could be cancelled; who hears this knows that there is none.
            onto_the_wire(wire.encode(wire.Emitted(int(id), Piece("from within"))))
        ANSWERING.get(what, lambda: None)()
        yield from GOING_ON.get(what, lambda model: ())(self)
        yield Piece("done")
        try:
            yield Finished("stop", 1)
        finally:
            LEAVING_BEHIND.get(what, lambda: None)()
    def close(self):
        if self.spec.path:
            open(self.spec.path, "a").write("closed ")

LOADING = {
    "raises": lambda: 1 / 0,
    "exits": lambda: os._exit(3),
    "stuck": lambda: time.sleep(60),
    "sleeps for long": lambda: time.sleep(0.6),
    "computes for long": lambda: at_work(sum, range(10**5)),
    "reads for long": lambda: at_work(read_slowly, __file__),
    "prints": lambda: (os.write(1, b"native noise\\n"), print("python noise", flush=True)),
    "answers something else": lambda: onto_the_wire(wire.encode(wire.Prepared())),
}
TOKENISING = {
    "answered wrongly": lambda: onto_the_wire(wire.encode(wire.Detokenized(1, "x"))),
    "never tokenised": lambda: time.sleep(60),
    "tokenised for a while": lambda: time.sleep(0.1),
}
ANSWERING = {
    "abort": lambda: os.abort(),
    "crash": lambda: signal.raise_signal(signal.SIGSEGV),
    "stuck": lambda: time.sleep(60),
    "stuck for a while": lambda: time.sleep(1),
    "stuck for longer": lambda: time.sleep(2.5),
    "read": lambda: sys.stdin.read(),
    "nonsense": lambda: onto_the_wire(b"\\xff" * 8),
    "silence": lambda: (os.closerange(3, 20), time.sleep(60)),
    "cancelled by itself": lambda: onto_the_wire(wire.encode(wire.Cancelled(1))),
}

def again_and_again(event, is_over):
    while not is_over():
        time.sleep(0.01)
        yield event

def after(seconds):
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end

GOING_ON = {
    "talks on": lambda model: again_and_again(Piece("and "), after(60)),
    "shows nothing for a while": lambda model: again_and_again(Progress(1), after(2)),
    "stuck when told": lambda model: again_and_again(
        Piece("and "), lambda: os.path.exists(model.spec.path)
    ),
}
LEAVING_BEHIND = {
    "stuck afterwards": lambda: time.sleep(60),
    "stuck when told": lambda: time.sleep(60),
}
"""


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModelSpec]:
    """Specs of models of the probe engine."""
    (tmp_path / "probe_engine.py").write_text(PROBE)
    info = tmp_path / "probe_engine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: probe-engine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[jan_server.engines]\nprobe = probe_engine:Probe\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return lambda id, path="", slots=None: ModelSpec(id=id, engine="probe", path=path, slots=slots)
