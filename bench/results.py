"""`bench/results.md`: a section for each part, which a run of that part replaces."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

PATH = Path(__file__).parent / "results.md"
HEAD = """# Benchmark

Written by `make bench`, and by `make torture` its own section; `python -m bench --only PART` makes
one part again. Figures are medians of rounds in which the two sides took turns. The peer of a
request is bare Starlette on Hypercorn, set up as the server's own, which answers with the same
bytes made before; for a POST it reads the body and answers with as many bytes. Where a ratio has a
bound it decides, since machines differ.
"""


def write(sections: Mapping[str, str], *, order: list[str], path: Path = PATH) -> None:
    """Put these in place of those of the same title; the rest of the file stays, sorted."""
    kept = {title: text for title, text in _read(path).items() if title in order}
    now = {**kept, **sections}
    parts = [f"## {title}\n\n{now[title].strip()}\n" for title in order if title in now]
    path.write_text("\n".join([HEAD, *parts]), encoding="utf-8")


def machine() -> str:
    """What the figures were measured on."""
    return f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def file_system(folder: Path) -> str:
    """The kind of file system that a folder is on; "" where the system does not say."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    kinds = {Path(fields[1]): fields[2] for fields in map(str.split, mounts)}
    return next((kinds[place] for place in (folder, *folder.parents) if place in kinds), "")


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    _, *sections = f"\n{path.read_text(encoding='utf-8')}".split("\n## ")
    return {title: text for title, _, text in (part.partition("\n") for part in sections)}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
