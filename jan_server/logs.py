"""Log lines to stderr. They hold no prompts and no keys.

An exception's text can quote a prompt: `frames` is how one is logged.
"""

from __future__ import annotations

import logging
import sys
import traceback

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
TIME = "%H:%M:%S"


def configure_errors() -> None:
    """Nothing but errors, for commands that say themselves what there is to say."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.ERROR)
    logging.basicConfig(handlers=[handler], format=FORMAT, datefmt=TIME, force=True)


def configure(level: int = logging.INFO) -> None:
    """One line each: time, level, logger, message. Replaces what an earlier call set up."""
    logging.basicConfig(level=level, stream=sys.stderr, format=FORMAT, datefmt=TIME, force=True)
    # It logs every address it asks, whole, and a query can hold a key or a signature.
    logging.getLogger("httpx2").setLevel(max(level, logging.WARNING))


def frames(error: BaseException) -> str:
    """The traceback with the names of the exceptions, without their texts."""
    cause = error.__cause__ or error.__context__
    earlier = f"{frames(cause)}\nwhich led to:\n" if cause else ""
    here = "".join(traceback.format_tb(error.__traceback__))
    return f"{earlier}{here}{type(error).__module__}.{type(error).__qualname__}"
