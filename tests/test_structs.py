"""Two threads that decode a type for the first time may end the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Four threads meet before each type: without `make_ready` this ends with a segmentation fault.
CHECK = """
import sys, threading
from contextlib import suppress
import msgspec
from jan_server import app, structs

types = structs.make_ready()
sys.setswitchinterval(1e-6)
assert len(types) > 200, len(types)
barrier = threading.Barrier(4)

def decode():
    for type in types:
        barrier.wait()
        with suppress(TypeError, msgspec.ValidationError):
            msgspec.convert(dict.fromkeys(type.__struct_encode_fields__, 1), type)

threads = [threading.Thread(target=decode) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("time", range(3))
def test_types_that_are_ready_are_decoded_by_several_threads_at_once(time):
    done = subprocess.run(
        [sys.executable, "-c", CHECK], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
