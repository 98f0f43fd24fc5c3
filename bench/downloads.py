"""How fast a model comes: ours, hashed, flushed and published, and huggingface_hub's own.

Both get the same file from the same local hub, onto the same disk. The peer is `http_get` into a
plain file, as huggingface_hub calls it: nothing is hashed and nothing flushed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.figure import Figure, Ratio
from bench.folder import place
from bench.subject import Subject

SIZE = 512 * 2**20
ROUNDS = 5
BOUND = 0.9


def measure(_: Subject) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-jan-", dir=place()) as name, _hub(name) as url:
        _warm_up(url, Path(name))
        rounds = [(_rate(_ours, url, Path(name)), _rate(_peers, url, Path(name))) for _ in _turns()]
    ours, peers = zip(*rounds, strict=True)
    share = median(our / peer for our, peer in rounds)
    return [
        Figure(
            name="a download, hashed and flushed",
            value=median(ours),
            bound=0,
            unit=" MB/s",
            is_floor=True,
            ratio=Ratio(peer=median(peers), value=share, bound=BOUND, is_floor=True),
            detail=f"{SIZE / 2**20:.0f} MiB from the local hub; {ROUNDS} rounds in turns",
        )
    ]


def _turns() -> range:
    return range(ROUNDS)


@contextmanager
def _hub(folder: str) -> Iterator[str]:
    """The address of a hub that holds a file of random bytes."""
    path = Path(folder) / "served.gguf"
    with path.open("wb") as file:
        for _ in range(SIZE >> 20):
            file.write(os.urandom(1 << 20))
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.file_hub", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        assert process.stdin
        yield process.stdout.readline().strip()
        process.stdin.close()


def _warm_up(url: str, folder: Path) -> None:
    """What is imported, and what the file's first reading costs, is of neither."""
    os.environ["HF_ENDPOINT"] = url
    os.environ["NO_PROXY"] = "*"
    _rate(_ours, url, folder)
    _rate(_peers, url, folder)


def _rate(get: Callable[[str, Path], None], url: str, folder: Path) -> float:
    """Megabytes a second. What was got is removed; the disk has had its rest before."""
    os.sync()
    with tempfile.TemporaryDirectory(dir=folder) as target:
        began = time.perf_counter()
        get(url, Path(target))
        return SIZE / (time.perf_counter() - began) / 1e6


def _ours(_url: str, folder: Path) -> None:
    from jan_server.downloads import Order, Session, Workshop, asking, download
    from jan_server.store.files import Files
    from jan_server.store.locks import Locks

    asking.use_own_steps()
    workshop = Workshop(
        folder / ".jan_server" / "downloads", files=Files(), locks=Locks(folder / "locks")
    )
    source = {"url": "https://huggingface.co/org/repo/resolve/main/m.gguf"}
    models = folder / "models"
    models.mkdir()
    order = Order(id="m", document={"sources": [source]}, folder=models / "m")
    download(order, workshop, Session(), stopped=threading.Event())


def _peers(url: str, folder: Path) -> None:
    from huggingface_hub import constants
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils.tqdm import silent_tqdm

    from jan_server.downloads.asking import requests

    address = f"{url}/org/repo/resolve/main/m.gguf"
    constants.DOWNLOAD_CHUNK_SIZE = 10 * 1024 * 1024  # As it comes.
    with requests(address), (folder / "m.gguf").open("wb") as file:
        http_get(address, file, expected_size=SIZE, tqdm_class=silent_tqdm)
