"""Fuzzing of the GGUF header reader: `python -m tests.fuzz_gguf --seconds 600`.

With Atheris (`pip install atheris`), which follows the branches that bytes take, when it is there;
else by changing and joining known bad files at random. What is found is printed, with the bytes:
an exception that is not ours, a header that takes more than a second, or more than 64 MiB.
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import struct
import sys
import time
import tracemalloc

from jan_server.errors import ModelCannotRun
from jan_server.gguf import parse_header

MOST_MEMORY = 64 << 20
MOST_SECONDS = 1.0
MEASURED = 97
"""Of so many headers one is measured: tracing what is allocated makes a parse slower."""


class Wrong(AssertionError):
    """What the reader must not do."""


def check(data: bytes, *, measures: bool) -> None:
    """Raises Wrong, and whatever the reader must not raise."""
    if measures:
        tracemalloc.start()
    started = time.process_time()
    try:
        header = parse_header(io.BytesIO(data), name="fuzz.gguf")
    except ModelCannotRun:
        pass
    else:
        ends = [header.data_offset + row.offset + row.size for row in header.tensors.values()]
        if max(ends, default=0) > len(data):
            raise Wrong("a tensor goes on beyond the end of the file")
        for value in header.metadata.values():
            if hasattr(value, "__len__"):
                assert len(list(value)) == len(value)
    finally:
        peak = tracemalloc.get_traced_memory()[1] if measures else 0
        if measures:
            tracemalloc.stop()
    # With a traced parse comes the time of the tracing.
    if not measures and time.process_time() - started > MOST_SECONDS:
        raise Wrong(f"it took {time.process_time() - started:.1f} s")
    if peak > MOST_MEMORY:
        raise Wrong(f"it took {peak >> 20} MiB")


def corpus() -> list[bytes]:
    from tests.test_gguf import DAMAGED, LARGE, OTHER_THINGS, SAMPLE

    known = [data for data, _ in DAMAGED.values()]
    large = [make() for name, make in LARGE.items() if name.startswith("small")]
    return [SAMPLE, *known, *OTHER_THINGS, *large]


def changed(seeds: list[bytes], chance: random.Random) -> bytes:
    """A file of the corpus with some bytes changed, moved, doubled or taken away."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        place = chance.randint(0, len(data))
        chance.choice(CHANGES)(data, place, chance, seeds)
    return bytes(data)


NUMBERS = [0, 1, 7, 255, 1 << 16, (1 << 20) - 1, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 64) - 1]


def _number(data: bytearray, place: int, chance: random.Random, _seeds: list[bytes]) -> None:
    code = chance.choice("BHIQ")
    value = chance.choice(NUMBERS) % (1 << 8 * struct.calcsize(f"<{code}"))
    data[place : place + struct.calcsize(f"<{code}")] = struct.pack(f"<{code}", value)


def _bytes(data: bytearray, place: int, chance: random.Random, _seeds: list[bytes]) -> None:
    data[place : place + chance.randint(0, 8)] = chance.randbytes(chance.randint(0, 8))


def _doubled(data: bytearray, place: int, chance: random.Random, _seeds: list[bytes]) -> None:
    data[place:place] = data[place : place + chance.randint(1, 64)]


def _joined(data: bytearray, place: int, chance: random.Random, seeds: list[bytes]) -> None:
    other = chance.choice(seeds)
    data[place:] = other[chance.randint(0, len(other)) :]


def _cut(data: bytearray, place: int, _chance: random.Random, _seeds: list[bytes]) -> None:
    del data[place:]


CHANGES = [_number, _number, _bytes, _doubled, _joined, _cut]


def by_chance(seconds: float) -> None:
    seeds, chance = corpus(), random.Random(0)
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = changed(seeds, chance)
        try:
            check(data, measures=count % MEASURED == 0)
        except BaseException:
            sys.stderr.write(f"after {count:,} headers, of these bytes: {data!r}\n")
            raise
        count += 1
    _tell(count)


def with_atheris(seconds: float) -> None:
    import atheris  # type: ignore[import-not-found]

    # To be followed into, it must be loaded by Atheris.
    del sys.modules["jan_server.gguf"]
    with atheris.instrument_imports(include=["jan_server.gguf"]):
        import jan_server.gguf

    globals()["parse_header"] = jan_server.gguf.parse_header
    seeds, chance = corpus(), random.Random(0)
    count = 0

    def one(data: bytes) -> None:
        nonlocal count
        check(data, measures=count % MEASURED == 0)
        count += 1

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        if seed % 2:
            return bytes(atheris.Mutate(data, most))
        return changed([*seeds, data], chance)[:most]

    atheris.Setup(
        [sys.argv[0], f"-max_total_time={int(seconds)}", "-max_len=65536", "-print_final_stats=1"],
        one,
        custom_mutator=lambda data, most, seed: mutate(data, most, seed),
    )
    atheris.Fuzz()  # It tells of itself, and ends the process.


def _tell(count: int) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stderr.write(f"{count:,} headers, none of them wrong; the process took {peak >> 10} MiB\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--by-chance", action="store_true")
    options = parser.parse_args()
    if options.by_chance:
        by_chance(options.seconds)
    else:
        with_atheris(options.seconds)
