"""Data folders with many threads, as Jan 0.4 wrote them, made for one measurement.

On a disk, never in memory: what is measured opens, scans and flushes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.results import file_system
from jan_server.store import formats
from jan_server.store.document import written, written_line

BEGUN = 1_700_000_000
ASSISTANT: dict[str, Any] = {
    "assistant_id": "jan",
    "assistant_name": "Jan",
    "instructions": "",
    "model": {"id": "smollm2-135m-instruct", "settings": {}, "parameters": {}},
}
IN_MEMORY = ("tmpfs", "ramfs")


def thread_id(number: int) -> str:
    return f"jan_{BEGUN + number}"


@contextmanager
def made(threads: int) -> Iterator[Path]:
    """A folder with so many threads, each of about 400 bytes; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-jan-", dir=place()) as name:
        folder = Path(name)
        for part in ("assistants", "models", "threads"):
            (folder / part).mkdir()
        for number in range(threads):
            add_thread(folder, thread_id(number), number=number)
        yield folder


def add_thread(folder: Path, id: str, *, number: int = 0) -> Path:
    """One more thread; its folder."""
    thread = folder / "threads" / id
    thread.mkdir()
    value = formats.new_thread(
        "A", id=id, now=BEGUN + number, title=f"Thread {number:07}", assistants=[ASSISTANT]
    )
    (thread / "thread.json").write_bytes(written(value))
    return thread


def add_messages(folder: Path, id: str, *, count: int, size: int = 500) -> None:
    """Fill a thread's file with lines of `size` bytes, in turns the user's and the assistant's."""
    with (folder / "threads" / id / "messages.jsonl").open("wb") as file:
        file.writelines(_lines(id, count, size))


def place() -> Path:
    """Where the folders are made: the usual temporary folder, unless that one is in memory."""
    choices = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path(__file__).parent]  # noqa: S108
    return next(path for path in choices if path.is_dir() and not _is_in_memory(path))


def _is_in_memory(path: Path) -> bool:
    return file_system(path) in IN_MEMORY


def _lines(id: str, count: int, size: int) -> Iterable[bytes]:
    for number in range(count):
        given = {"role": ("user", "assistant")[number % 2], "content": ""}
        value = formats.new_message(
            "A", id=f"message-{number:07}", thread_id=id, now=BEGUN + number, given=given
        )
        missing = size - len(written_line(value))
        value["content"] = formats.message_content("x" * missing)
        # The parts around the text: taken off again, so that the line has its size.
        excess = len(written_line(value)) - size
        value["content"] = formats.message_content("x" * (missing - excess))
        yield written_line(value)
