"""`pull` is killed again and again while it downloads: `python -m tests.downloads.killed 100`.

Each round starts the real command and kills it (SIGKILL) at some moment; the next round finds what
that left. At the end it is let run, and the file must be the whole one. A download that ends before
it is killed is checked, removed and begun again, so that moments from the first byte to the last
rename are hit.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from msgspec import Struct

from tests.downloads.hub import ADDRESS, PATH, PATIENCE, Answer, Hub

SIZE = 6 * 2**20
PACE = 0.02
"""Seconds for each 64 KiB: two for the whole file."""

LONGEST = 1.8
"""Seconds after the first request within which it is killed."""


class Outcome(Struct, kw_only=True):
    """What came of it. `resumed` rounds went on from the middle, `whole` ended before the kill."""

    rounds: int = 0
    killed: int = 0
    resumed: int = 0
    whole: int = 0
    wrong: int = 0


class Killing:
    """A data folder, a hub, and the command that is killed."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.body = self.random.randbytes(SIZE)
        self.sum = hashlib.sha256(self.body).hexdigest()
        self.outcome = Outcome()
        self.hub = Hub()
        self.hub.answers[PATH] = Answer(body=self.body, etag=self.sum, pace=PACE)
        self._write_manifest()

    def run(self, kills: int) -> Outcome:
        """Rounds until it was killed so often, and then the end."""
        try:
            while self.outcome.killed < kills:
                self._round()
            self.hub.answers[PATH].pace = 0.0
            process = self._start()
            process.wait(4 * PATIENCE)
            self._check()
        finally:
            self.hub.close()
        return self.outcome

    def _round(self) -> None:
        outcome = self.outcome
        outcome.rounds += 1
        self.hub.asked.clear()
        process = self._start()
        end = time.monotonic() + PATIENCE
        while not self.hub.gets() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(self.random.uniform(0, LONGEST))
        if process.poll() is None:
            process.kill()
            outcome.killed += 1
        process.wait(PATIENCE)
        outcome.resumed += any(self.hub.gets())
        if self.weights.exists():  # Only when it is whole, at whatever moment it was killed.
            outcome.whole += 1
            self._check()
            shutil.rmtree(self.weights.parent)
            self._write_manifest()

    @property
    def weights(self) -> Path:
        return self.folder / "models" / "m" / "m.gguf"

    def _check(self) -> None:
        is_right = self.weights.exists() and self.weights.read_bytes() == self.body
        self.outcome.wrong += not is_right

    def _write_manifest(self) -> None:
        path = self.weights.with_name("model.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"sources": [{"url": ADDRESS}]}))

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "jan_server", "pull", "m", "--data-folder", str(self.folder)],
            env={**os.environ, "HF_ENDPOINT": self.hub.url, "NO_PROXY": "*"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        outcome = Killing(Path(folder), seed=kills).run(kills)
    print(outcome)
    sys.exit(outcome.wrong != 0)


if __name__ == "__main__":
    main()
