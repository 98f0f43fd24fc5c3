"""What a change of the title leaves untouched in a file that a person wrote."""

from __future__ import annotations

import re
from contextlib import closing
from difflib import SequenceMatcher

from bench.figure import Figure
from bench.folder import made
from bench.served import serving
from bench.subject import Subject
from bench.wire import Connection, post

# Ten keys in a hand's own spelling: tabs, CRLF, escapes, a number with zeros, an order of its own.
WRITTEN = (
    b'\xef\xbb\xbf{\t"zeta": 1.50,\r\n  "title" : "Before",\r\n\r\n'
    b'  "id":"by_hand", "object": "thread", "note": "caf\\u00e9 \\/ tea",\r\n'
    b'  "created":1705312345678,"updated" :  1705312345678,\r\n'
    b'  "assistants": [ {"assistant_id":"jan" , "model":{}} ],\r\n'
    b'  "metadata":{ "a" : [1e3, -0.0 ], "b":null },\r\n  "empty": { }  }\r\n\r\n'
)
CHANGED = re.compile(rb'("title" : |"updated" :  )("[^"]*"|\d+)')


def measure(_: Subject) -> list[Figure]:
    with made(0) as folder:
        path = folder / "threads" / "by_hand" / "thread.json"
        path.parent.mkdir()
        path.write_bytes(WRITTEN)
        with serving(folder) as server, closing(Connection(server.port)) as connection:
            connection.time(post("/v1/threads/by_hand", b'{"title":"After"}', method="PATCH"))
        after = path.read_bytes()
    if b'"After"' not in after:
        raise RuntimeError("the title was not changed")
    return [
        Figure(
            name="change of a title among 10 keys: bytes changed outside it and `updated`",
            value=_differing(_without_values(WRITTEN), _without_values(after)),
            bound=0,
            detail=f"{len(WRITTEN)} bytes with a BOM, CRLF, tabs, escapes, spelled numbers",
        )
    ]


def _without_values(raw: bytes) -> bytes:
    return CHANGED.sub(rb"\1", raw)


def _differing(before: bytes, after: bytes) -> int:
    same = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    kept = sum(block.size for block in same)
    return max(len(before), len(after)) - kept
