"""Lines that a crash cut short: which of them are ours, and where their bytes are kept.

A line without an end may be anybody's, and may be on its way: it stays, and the next line is put
behind a newline. But today's Jan shows nothing of a thread with such a line, so one that our own
crashed append left is moved away. What tells ours:

- It begins as every line begins that we write, with this thread's name in it; Jan 0.4 writes so
  too, and what a crash of it left may as well go. A note before each write would tell the two
  apart, but one that is not flushed does not outlive the power cut that tears lines, and one that
  is flushed doubles the cost of every append.
- It is older than any write takes. An editor that writes in place shows a file cut anywhere, for
  a moment.

Our line has at least its opening when it is recognised. What is shorter stays where it is.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from jan_server.store.files import Files

SECONDS = 2.0
"""How long nobody must have written to a file whose end is torn."""

_OPENINGS = (
    # Jan 0.4's shape
    ('{"id":"', '[^"\\\\]*', '","thread_id":NAME,"status":"'),
    # today's, whose keys are sorted
    ('{"completed_at":', "[0-9]*", ',"content":[{"'),
    ('{"assistant_id":"', '[^"\\\\]*', '","completed_at":'),
)


def is_ours(line: bytes, *, thread: str) -> bool:
    """Whether these bytes, no JSON, are how a line of ours for this thread begins."""
    text = line.decode(errors="replace")
    name = json.dumps(thread, ensure_ascii=False)
    return any(
        _begins(text, opening, inner, rest.replace("NAME", name))
        for opening, inner, rest in _OPENINGS
    )


def keep(files: Files, folder: Path, line: bytes, *, thread: str) -> Path:
    """Put the bytes into a new file of the folder; where they are, durably."""
    path = place(files, folder, f"{re.sub('[^A-Za-z0-9._-]', '_', thread)[:100]}.jsonl")
    files.create(path, line)
    return path


def place(files: Files, folder: Path, name: str) -> Path:
    """Where something of that name can be put: the folder is there, the moment tells it apart."""
    files.make_folders(folder)
    return folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{name}"


def _begins(text: str, opening: str, inner: str, rest: str) -> bool:
    if not text.startswith(opening):
        return False
    found = re.match(inner, text[len(opening) :])
    behind = text[len(opening) + (found.end() if found else 0) :]
    return behind.startswith(rest) or rest.startswith(behind)
