"""Log lines to stderr. They hold no prompts and no keys."""

from __future__ import annotations

import logging
import sys


def configure(level: int = logging.INFO) -> None:
    """One line each: time, level, logger, message. Replaces what an earlier call set up."""
    logging.basicConfig(
        level=level,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
