"""What finding models costs: the list of two hundred, and the header of a large vocabulary."""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.figure import Figure
from bench.folder import made, place
from bench.lists import answer
from bench.served import serving, serving_bare
from bench.subject import Subject
from bench.turns import take_turns
from bench.wire import get
from jan_server import catalogue
from jan_server.gguf import read_header

MODELS = 200
ALL = get("/v1/models")
TOKENS, MERGES = 128_256, 280_147
"""Of Llama 3."""

ROUNDS = 15


def measure(_: Subject) -> list[Figure]:
    return [_listed(), _header()]


def _listed() -> Figure:
    with made(0) as folder:
        _add_models(folder)
        with serving(folder) as server:
            body = answer(server, ALL)
            with serving_bare(body) as bare:
                taken = take_turns(server, bare, [[ALL]])
    name = f"list of {MODELS} models ({len(body) / 1e6:.2f} MB), p50"
    return taken.time(name, bound=20, ratio=None)


def _add_models(folder: Path) -> None:
    """Each with a manifest of the catalogue and a file of weights, a few bytes of them."""
    manifest = catalogue.load()["tinyllama-1.1b"]
    for number in range(MODELS):
        model = folder / "models" / f"model-{number:03}"
        model.mkdir()
        written = json.dumps({**manifest, "id": model.name}, indent=2)
        (model / "model.json").write_text(written)
        (model / manifest["settings"]["llama_model_path"]).write_bytes(b"GGUF")


def _header() -> Figure:
    with _large_header() as path:
        times = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            header = read_header(path)
            times.append(time.perf_counter() - begun)
        size = path.stat().st_size
    assert len(header.strings("tokenizer.ggml.tokens") or ()) == TOKENS
    return Figure(
        name=f"header with {TOKENS:,} tokens and {MERGES:,} merges ({size / 1e6:.1f} MB)",
        value=1000 * median(times),
        bound=150,
        unit=" ms",
        detail=f"{1000 * min(times):.0f} to {1000 * max(times):.0f} ms, {ROUNDS} rounds",
    )


@contextmanager
def _large_header() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bench-jan-", dir=place()))
    path = folder / "large.gguf"
    keys = [
        _string(b"general.architecture") + struct.pack("<I", 8) + _string(b"llama"),
        _array(b"tokenizer.ggml.tokens", [b"%06x" % number for number in range(TOKENS)]),
        _string(b"tokenizer.ggml.token_type")
        + struct.pack("<IIQ", 9, 5, TOKENS)
        + struct.pack("<i", 1) * TOKENS,
        _array(b"tokenizer.ggml.merges", [b"%05x %04x" % (n, n >> 2) for n in range(MERGES)]),
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + b"".join(keys)
    path.write_bytes(head + bytes(-len(head) % 32))
    try:
        yield path
    finally:
        shutil.rmtree(folder)


def _array(key: bytes, items: list[bytes]) -> bytes:
    head = _string(key) + struct.pack("<IIQ", 9, 8, len(items))
    return head + b"".join(map(_string, items))


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text
