"""What the system counts of a process, and what that says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from jan_server.engines.pulse import Counts, Pulse, count, is_work

Start = Callable[[str], int]


@pytest.fixture
def start() -> Iterator[Start]:
    """A process that does as the code says, once it said so; its id."""
    started: list[subprocess.Popen[bytes]] = []

    def process(code: str) -> int:
        script = f"import os, sys, time\nprint(flush=True)\n{code}"
        one = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        started.append(one)
        assert one.stdout is not None
        one.stdout.readline()
        return one.pid

    yield process
    for one in started:
        one.kill()
        one.communicate()


@pytest.mark.parametrize(
    ("before", "now", "worked"),
    [
        (Counts(1.0, 10), Counts(1.0, 10), False),
        (Counts(1.0, 10), Counts(1.0, 11), True),
        (Counts(1.0, 10), Counts(1.02, 10), True),
        # As one that looks ten times a second whether it may go on.
        (Counts(1.0, 10), Counts(1.005, 10), False),
    ],
)
def test_to_compute_or_to_read_is_work(before: Counts, now: Counts, worked: bool) -> None:
    assert is_work(before, now, elapsed=10.0) is worked


COMPUTES = "while True: pass"
READS = """
file = os.open(sys.executable, os.O_RDONLY)
while os.lseek(file, 0, 0) == 0:
    os.read(file, 100)
    time.sleep(0.01)
"""


@pytest.mark.parametrize("code", [COMPUTES, READS])
def test_one_that_works_has_a_pulse(start: Start, code: str) -> None:
    pulse = Pulse(start(code))
    assert pulse.beats()
    for _ in range(3):
        until(pulse.beats)


def test_one_that_sleeps_has_none(start: Start) -> None:
    pulse = Pulse(start("time.sleep(60)"))
    # What it did before it fell asleep is still counted for a moment.
    until(lambda: not any(pulse.beats() or time.sleep(0.1) for _ in range(5)))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what is read")
def test_what_is_read_is_counted_apart(start: Start) -> None:
    before = count(os.getpid())
    with open(os.devnull, "rb"), open(__file__, "rb", buffering=0) as file:  # noqa: PTH123
        size = len(file.read())
    after = count(os.getpid())
    assert before
    assert after
    assert after.read >= before.read + size


def test_one_that_is_gone_is_for_others_to_judge(start: Start) -> None:
    pulse = Pulse(start("time.sleep(60)"))
    pulse.beats()
    process = psutil.Process(pulse._pid)
    process.kill()
    process.wait()
    assert [pulse.beats(), pulse.beats()] == [True, True]


def test_where_nothing_tells_what_was_read_the_time_does(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(psutil.Process, "io_counters", raising=False)
    pid = start(COMPUTES)
    counts = count(pid)
    assert counts
    assert counts.read == 0
    pulse = Pulse(pid)
    pulse.beats()
    until(pulse.beats)
    assert repr(pulse) == f"<Pulse of {pid}>"


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)
