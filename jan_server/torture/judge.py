"""What is on the disk, and what a server says of it, against what the clients were told.

Read with nothing but Python's own means: what today's Jan or a person would see.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from jan_server.torture.record import GONE, Fact, Finding, Record, Thread
from jan_server.torture.victim import PATIENCE

TRASH = Path(".jan_server") / "trash"
ASKED = 4
"""Threads whose messages are asked for after a restart."""


class Lines(Struct, frozen=True):
    """A `messages.jsonl`: its messages by id, what is no whole line, and what is wrong."""

    texts: dict[str, str]
    torn: bytes
    problems: list[str]


def check_disk(data: Path, record: Record) -> list[Finding]:
    """What must not be in the folder of a server that is dead.

    What could have been either way is taken from here on as it is found.
    """
    findings = list(_check_unknown(data, record))
    deleted = _deleted(data)  # Once: after a thousand rounds there are thousands.
    for id in sorted(record.touched):
        findings.extend(_check_thread(data, record.threads[id], trashed=deleted.get(id, [])))
    return findings


def check_api(data: Path, record: Record, port: int) -> list[Finding]:
    """What a new server must not say of the folder that the one before left."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        try:
            return list(_check_listed(connection, data, record))
        except ValueError as error:
            return [Finding("unexpected", str(error))]


def _check_listed(connection: HTTPConnection, data: Path, record: Record) -> Iterator[Finding]:
    listed = sorted(thread["id"] for thread in _get(connection, "/v1/threads"))
    there = sorted(path.name for path in (data / "threads").glob("*") if path.is_dir())
    if listed != there:
        yield Finding("half-made", f"listed are {listed}, there are {there}")
    for id in islice((id for id in there if id in record.touched), ASKED):
        yield from _check_shown(connection, data, id)


def _check_unknown(data: Path, record: Record) -> Iterator[Finding]:
    """Folders that no answer named: creations that nobody heard the end of, whole ones."""
    for folder in sorted((data / "threads").glob("*")):
        if folder.name in record.threads:
            continue
        title = _title(folder)
        if title in record.creating:
            record.created(title, folder.name)
        else:
            yield Finding("half-made", f"{folder} was never asked for (title {title!r})")
    # No client is there any more: what is not on the disk now never will be.
    record.creating.clear()


def _check_thread(data: Path, thread: Thread, *, trashed: list[Path]) -> Iterator[Finding]:
    folder = data / "threads" / thread.id
    living = [folder] if folder.is_dir() else []
    if len(living) + len(trashed) != 1:
        yield Finding("lost", f"{thread.id} is at {[*living, *trashed] or 'no place'}")
        return
    [folder] = [*living, *trashed]
    title = _title(folder)
    if title is None:
        yield Finding("unreadable", f"{folder}/thread.json")
    yield from _check_fact(f"the title of {folder}", thread.title, title if living else GONE)
    yield from _check_messages(folder, thread)


def _check_messages(folder: Path, thread: Thread) -> Iterator[Finding]:
    path = folder / "messages.jsonl"
    lines = _read_lines(path)
    yield from (Finding("unreadable", f"{path}: {problem}") for problem in lines.problems)
    is_settled = all(fact.is_settled for fact in thread.messages.values())
    if is_settled and lines.torn != thread.torn:
        # Only an append that was never answered may be cut off.
        yield Finding("unreadable", f"{path} ends with {lines.torn[:80]!r}")
    thread.torn = lines.torn
    for unknown in lines.texts.keys() - thread.messages.keys():
        yield Finding("half-made", f"{path}: nobody sent the message {unknown}")
    for name, fact in thread.messages.items():
        yield from _check_fact(f"message {name} of {folder}", fact, lines.texts.get(name))


def _check_fact(what: str, fact: Fact, found: str | None) -> Iterator[Finding]:
    if found not in fact.possible:
        wanted = " or ".join(sorted(_short(value) for value in fact.possible))
        yield Finding("lost", f"{what} is {_short(found)}, and must be {wanted}")
    fact.settle(found)


def _check_shown(connection: HTTPConnection, data: Path, id: str) -> Iterator[Finding]:
    path = f"/v1/threads/{quote(id, safe='')}"
    shown = [message["id"] for message in _get(connection, f"{path}/messages")["data"]]
    on_disk = list(_read_lines(data / "threads" / id / "messages.jsonl").texts)
    if shown != on_disk:
        yield Finding("half-made", f"{id} is shown with {len(shown)} messages of {len(on_disk)}")
    if _get(connection, path)["id"] != id:
        yield Finding("half-made", f"{id} is shown under another id")


def _deleted(data: Path) -> dict[str, list[Path]]:
    """Where the threads in the trash are, by their ids."""
    found: dict[str, list[Path]] = {}
    for folder in (data / TRASH).glob("*/threads/*"):
        found.setdefault(folder.name, []).append(folder)
    return found


def _title(folder: Path) -> str | None:
    """None when `thread.json` is not there or cannot be read."""
    try:
        value = json.loads((folder / "thread.json").read_bytes())
        return str(value["title"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _read_lines(path: Path) -> Lines:
    """A file that is not there has no lines: a thread whose first message was never appended."""
    raw = path.read_bytes() if path.exists() else b""
    *whole, torn = raw.split(b"\n")
    texts: dict[str, str] = {}
    problems = []
    for number, line in enumerate(whole, start=1):
        try:
            id, text = _message(json.loads(line))
        except (ValueError, LookupError, TypeError) as error:
            problems.append(f"line {number} cannot be read ({error}): {line[:80]!r}")
            continue
        if id in texts:
            problems.append(f"line {number} has the id {id} again")
        texts[id] = text
    return Lines(texts, torn, problems)


def _message(value: Any) -> tuple[str, str]:
    return value["id"], value["content"][0]["text"]["value"]


def _get(connection: HTTPConnection, path: str) -> Any:
    connection.request("GET", path)
    with connection.getresponse() as response:
        body = response.read()
        if response.status != 200:
            raise ValueError(f"GET {path} was answered {response.status}: {body[:300]!r}")
        return json.loads(body)


def _short(value: str | None) -> str:
    return "not there" if value is None else repr(value[:40])
