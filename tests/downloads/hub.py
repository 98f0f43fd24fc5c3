"""A hub of our own: a local HTTP server that speaks what huggingface_hub and pip ask.

It answers as it is told, also wrongly: cut, stalled, refused, redirected, from a byte on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from msgspec import Struct

WEIGHTS = bytes(range(256)) * 4096
SUM = hashlib.sha256(WEIGHTS).hexdigest()
OTHER_SUM = hashlib.sha256(b"other").hexdigest()
ADDRESS = "https://huggingface.co/org/repo/resolve/main/m.gguf"
PATH = "/org/repo/resolve/main/m.gguf"
PATIENCE = 30.0

FaultKind = Literal["cut", "stall", "status", "redirect", "wrong"]


class Fault(Struct, kw_only=True):
    """What goes wrong at a byte of the file, as long as it is set, or only `once`.

    Before that byte all is well. `status` and `redirect` are the answer to who asks for it from
    there on; whoever asked for earlier ones is cut off there. `wrong` sends other bytes instead.
    """

    kind: FaultKind
    at: int = 0
    status: int = 500
    location: str = ""
    retry_after: str = ""
    once: bool = False


class Answer(Struct, kw_only=True):
    """What is at a path. HEAD tells of `body`, and of `claim` instead of its size.

    `ranges` is what becomes of a request for a part: `refused` is a 416, `ignored` a 200 with all.
    `half` is called after half of what is sent, `pace` seconds pass after each 64 KiB. With a
    `claim` nobody says how long the body of a GET is.
    """

    body: bytes = WEIGHTS
    status: int = 200
    etag: str = SUM
    location: str = ""
    type: str = "application/octet-stream"
    ranges: Literal["served", "ignored", "refused"] = "served"
    claim: int | None = None
    fault: Fault | None = None
    half: Callable[[], None] | None = None
    pace: float = 0.0


class Hub:
    """Plays the hub and a package index; `asked` is what it was asked, in order."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.released = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Nobody listens any more. Twice is fine."""
        self.released.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def gets(self) -> list[str]:
        """The requests for the bodies of files, as the ranges that they asked for."""
        lines = (line.split(" ") for line in self.asked if re.match("GET .*/resolve/", line))
        return [parts[2] if len(parts) > 2 else "" for parts in lines]

    def offer(self, repo: str, files: dict[str, bytes], *, revision: str = "main") -> None:
        """A repository of the hub, as its API lists it, with its files."""
        siblings = []
        for name, body in files.items():
            sha256 = hashlib.sha256(body).hexdigest()
            for at in {revision, "main"}:
                self.answers[f"/{repo}/resolve/{at}/{name}"] = Answer(body=body, etag=sha256)
            siblings.append(
                {
                    "rfilename": name,
                    "size": len(body),
                    "lfs": {"sha256": sha256, "size": len(body), "pointerSize": 130},
                }
            )
        listed = {"_id": "1", "id": repo, "modelId": repo, "sha": revision, "siblings": siblings}
        body = json.dumps(listed).encode()
        for path in ("", "/revision/main"):
            self.answers[f"/api/models/{repo}{path}"] = Answer(
                body=body, type="application/json", etag=""
            )

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range", "")
        self.asked.append(f"{request.command} {request.path} {asked}".strip())
        path = request.path
        if path not in self.answers:
            path = path.partition("?")[0]
        answer = self.answers.get(path, Answer(status=404))
        found = re.fullmatch(r"bytes=(\d+)-", asked)
        start = int(found[1]) if found else 0
        if request.command == "HEAD":
            self._begin(request, answer, answer.status, length=answer.claim or len(answer.body))
            return
        if start and answer.ranges == "ignored":
            start = 0
        refused = start and (answer.ranges == "refused" or start >= len(answer.body))
        fault = answer.fault
        if fault and fault.once and start >= fault.at > 0:
            fault = answer.fault = None
        if fault and start >= fault.at and fault.kind in ("status", "redirect"):
            self._refuse(request, fault)
        elif refused:
            self._begin(request, answer, 416, length=0)
        elif answer.status != 200:
            self._begin(request, answer, answer.status, length=0)
        else:
            self._serve(request, answer, start)

    def _refuse(self, request: BaseHTTPRequestHandler, fault: Fault) -> None:
        request.send_response(302 if fault.kind == "redirect" else fault.status)
        if fault.location:
            request.send_header("Location", fault.location)
        if fault.retry_after:
            request.send_header("Retry-After", fault.retry_after)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _begin(
        self, request: BaseHTTPRequestHandler, answer: Answer, status: int, *, length: int | None
    ) -> None:
        request.send_response(status)
        request.send_header("ETag", f'"{answer.etag}"')
        if answer.location:
            request.send_header("Location", answer.location)
            request.send_header("X-Linked-Size", str(len(answer.body)))
            request.send_header("X-Linked-ETag", f'"{answer.etag}"')
        request.send_header("Content-Type", answer.type)
        if length is not None:
            request.send_header("Content-Length", str(length if status < 300 else 0))
        request.end_headers()

    def _serve(self, request: BaseHTTPRequestHandler, answer: Answer, start: int) -> None:
        body = answer.body
        length = None if answer.claim is not None else len(body) - start
        self._begin(request, answer, 206 if start else 200, length=length)
        fault = answer.fault
        with contextlib.suppress(OSError):  # The client has gone, as it should.
            for chunk in self._chunks(answer, start):
                request.wfile.write(chunk)
            if fault and fault.kind == "stall" and fault.at < len(body):
                self.released.wait(PATIENCE)

    def _chunks(self, answer: Answer, start: int) -> Iterator[bytes]:
        fault = answer.fault
        body, end = answer.body, len(answer.body)
        if fault and fault.kind == "wrong":
            body = body[: fault.at] + bytes(len(body) - fault.at)
        elif fault:
            end = max(start, min(end, fault.at))
        if answer.half is not None:
            middle = start + (end - start) // 2
            yield body[start:middle]
            answer.half()
            start = middle
        step = 65_536 if answer.pace else len(body)
        while start < end:
            yield body[start : min(end, start + step)]
            start += step
            time.sleep(answer.pace)


def pause(reached: threading.Event, go_on: threading.Event) -> Callable[[], None]:
    """Says that it was reached, and waits."""

    def wait() -> None:
        reached.set()
        go_on.wait(PATIENCE)

    return wait


def manifest(url: str = ADDRESS, **source: Any) -> dict[str, Any]:
    return {"id": "m", "sources": [{"url": url, **source}], "name": "Größe"}


def published(document: dict[str, Any], weights: bytes = WEIGHTS) -> dict[str, bytes]:
    """The files of a data folder in which that model has been got, and nothing else."""
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return {"models/m/model.json": text.encode(), "models/m/m.gguf": weights}


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            hub.answer(self)

        def do_GET(self) -> None:
            hub.answer(self)

        def log_message(self, *args: object) -> None:
            pass

    return Handler
