"""An engine of your own, whole in thirty lines, and a server that runs it.

python examples/custom_engine.py        (starts a server for itself, on a free port)

A package names its engine as an entry point, and is found wherever it is installed:

    [project.entry-points."jan_server.engines"]
    shout = "custom_engine:Shout"
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from jan_server.engines.base import (
    Choice,
    Engine,
    Finished,
    Likelihood,
    LoadedModel,
    ModelInfo,
    Piece,
    Progress,
    Started,
)
from jan_server.engines.text import first_stop
from jan_server.errors import InvalidRequest


class Shout(Engine):
    needs_weights = False  # A model of it is a manifest: {"engine": "shout"}.

    def load(self, spec):
        return ShoutingModel(spec.ctx_len or 4096, spec.slots or 1)


class ShoutingModel(LoadedModel):
    """Says what it is told, in capitals. A token is a character; an answer cannot fail."""

    def __init__(self, context_length, slots):
        self.info = ModelInfo(context_length=context_length, slots=slots, device="lungs")
        self._held = [[] for _ in range(slots)]

    def tokenize(self, text, *, bos=True):  # noqa: ARG002 - no token begins a text
        return [ord(character) for character in text]

    def detokenize(self, tokens):
        try:
            return "".join(map(chr, tokens)).encode().decode()
        except (ValueError, OverflowError):
            raise InvalidRequest("There is no such token.") from None  # Or half a character.

    def held(self, slot):
        return self._held[slot]

    def generate(self, prompt, request, *, slot=0):
        yield Started()
        self._held[slot] = list(prompt)
        yield Progress(len(prompt))
        text = self.detokenize(prompt).upper()
        stop = first_stop(text, request.stop)
        text = text[: stop.start] if stop else text
        answer = text[: min(request.max_tokens, self.info.context_length - len(prompt))]
        for character in answer:
            sure = Likelihood(ord(character), character.encode(), logprob=0.0)
            told = () if request.logprobs is None else (Choice(sure, (sure,)[: request.logprobs]),)
            yield Piece(character, choices=told)  # Whoever leaves ends it here.
        if answer == text:
            yield Finished("stop", len(answer), stop_string=stop.word if stop else None)
        else:
            yield Finished("length", len(answer))


# --- the rest only tries it -------------------------------------------------------------------


def write(path, text):
    path.parent.mkdir(parents=True)
    path.write_text(text)


def install(folder):
    """What `pip install` would leave of a package, without one; the PYTHONPATH to find it by."""
    info = folder / "custom_engine-1.dist-info"
    write(info / "entry_points.txt", "[jan_server.engines]\nshout = custom_engine:Shout\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: custom-engine\nVersion: 1\n")
    paths = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH")]
    return os.pathsep.join(filter(None, paths))


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = {"engine": "shout", "settings": {"prompt_template": "{prompt}"}}
        write(folder / "data" / "models" / "loud" / "model.json", json.dumps(manifest))
        server = subprocess.Popen(
            [sys.executable, "-m", "jan_server", "--port", "0", "--data-folder", folder / "data"],
            env={**os.environ, "PYTHONPATH": install(folder)},
            stdout=subprocess.PIPE,
            text=True,
        )
        with server:
            try:
                base = server.stdout.readline().split()[1]
                chat = {"model": "loud", "messages": [{"role": "user", "content": "Is it on?"}]}
                body = json.dumps(chat).encode()
                with urllib.request.urlopen(f"{base}/v1/chat/completions", body) as answer:
                    print(json.load(answer)["choices"][0]["message"]["content"])
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
