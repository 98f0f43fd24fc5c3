"""Struct types are made ready before threads use them.

msgspec looks at the fields of a Struct when the first value of it is decoded, and two threads that
do so for the same type at once can end the process with a segmentation fault (0.22, Python
3.11; seen when two runs began in the same moment). So whoever starts threads calls `make_ready`.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

PACKAGE = "jan_server"


def make_ready() -> list[type[msgspec.Struct]]:
    """All Structs of this package that are imported by now. Some ten milliseconds, once.

    Not among them: those that can never be decoded, since their fields cannot be told apart.
    """
    return [struct for struct in _below(msgspec.Struct) if _is_ours(struct) and _is_made(struct)]


def _is_ours(struct: type[msgspec.Struct]) -> bool:
    return struct.__module__.partition(".")[0] == PACKAGE


def _is_made(struct: type[msgspec.Struct]) -> bool:
    try:
        msgspec.json.Decoder(struct)
        return True
    except TypeError:
        return False


def _below(struct: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for own in struct.__subclasses__():
        yield own
        yield from _below(own)
