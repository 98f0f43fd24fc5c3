"""What of a file this process has mapped."""

from __future__ import annotations

from pathlib import Path


def mapped(path: Path) -> list[str]:
    """How each of its parts is, on Linux: `r--s` is read from the pages that all share."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return [line.split()[1] for line in maps if line.endswith(f" {path}")]
