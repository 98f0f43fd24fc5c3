"""A client of one real server: requests over one connection, and the stream of its events."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

SECONDS = 60
"""How long an answer or an event is waited for, on a machine that does much else."""

Answer = tuple[int, Any, HTTPResponse]
"""Status, body, and the response for its headers."""


class Api:
    """A client of one server, and one stream of its events."""

    def __init__(self, base: str, root: Path) -> None:
        self.root = root
        self.host = base.removeprefix("http://")
        self._requests = HTTPConnection(self.host, timeout=SECONDS)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.close()

    def answer(self, path: str, method: str = "GET", body: Any = None) -> Answer:
        self.send(path, method, body)
        return self.receive()

    def send(self, path: str, method: str = "GET", body: Any = None) -> None:
        sent = None if body is None else json.dumps(body)
        self._requests.request(method, f"/v1{path}", sent)

    def receive(self) -> Answer:
        response = self._requests.getresponse()
        return response.status, json.loads(response.read()), response

    def get(self, path: str) -> Any:
        status, value, _ = self.answer(path)
        assert status == 200, value
        return value

    def texts(self, id: str) -> list[tuple[str, str]]:
        listed = self.get(f"/threads/{quote(id)}/messages")["data"]
        return [(message["id"], message["content"][0]["text"]["value"]) for message in listed]

    def listed(self) -> dict[str, str | None]:
        return {thread["id"]: thread.get("title") for thread in self.get("/threads")}

    def report(self, file: str) -> list[str]:
        """What is found in a file or folder, without its name."""
        findings = self.get("/diagnostics")["findings"]
        return [
            told.removeprefix(file).removeprefix("/")
            for told in map(finding_text, findings)
            if told.startswith((f"{file}/", f"{file} ", f"{file}:"))
        ]

    @contextmanager
    def events(self) -> Iterator[Events]:
        connection = HTTPConnection(self.host, timeout=SECONDS)
        connection.request("GET", "/v1/events")
        response = connection.getresponse()
        assert response.status == 200
        try:
            yield Events(response)
        finally:
            response.close()
            connection.close()

    def made(self, name: str, files: dict[str, bytes]) -> Path:
        """A folder below the data folder, there all at once, and known to the server."""
        folder = self.root / name
        staged = self.root / "staged"
        staged.mkdir()
        for file, data in files.items():
            (staged / file).write_bytes(data)
        folder.parent.mkdir(exist_ok=True, parents=True)
        staged.rename(folder)
        return folder


class Events:
    """The events of one stream, in their order."""

    def __init__(self, response: HTTPResponse) -> None:
        self._response = response
        self.seen: list[dict[str, Any]] = []

    def until(self, *expected: str) -> list[dict[str, Any]]:
        """Read on until each of these has come, `<kind> <change> <id> <thread's id>`.

        Or until we are told to read again what we need: too much has happened.
        """
        missing = list(expected)
        while missing:
            event = self._next(missing)
            if event["type"] == "resync":
                break
            missing = [one for one in missing if not is_like(_named(event), one)]
        return self.seen

    def _next(self, missing: list[str]) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while not (line := self._response.readline()).startswith(b"data: "):
            assert line, "the stream has ended"
            # Comments keep the connection from timing out.
            if time.monotonic() > end:
                seen = [_named(event) for event in self.seen]
                pytest.fail(f"{missing} did not come; there came {seen}")
        event: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
        self.seen.append(event)
        return event


def _named(event: dict[str, Any]) -> str:
    parts = (event["kind"], event["change"], event["id"], event.get("thread_id"))
    return " ".join(part for part in parts if part)


def finding_text(finding: dict[str, Any]) -> str:
    place = "" if finding["line"] is None else f":{finding['line']}:{finding['column']}"
    return f"{finding['file']}{place} {finding['reason']}"


def is_like(text: str, pattern: str) -> bool:
    """A `*` is anything."""
    return bool(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text))


def assert_like(found: Sequence[str], patterns: Sequence[str]) -> None:
    assert len(found) == len(patterns), (found, patterns)
    assert all(map(is_like, found, patterns)), (found, patterns)
