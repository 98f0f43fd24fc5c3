"""What Jan 0.5.16's UI does over HTTP, as observed: calls, bodies, a browser's preflights.

It keeps what it was told and nothing else; what it cannot use makes it fail, as it makes the UI.
"""

from __future__ import annotations

import json
import socket
import time
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import ulid
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request

ORIGIN = "http://localhost:3000"
HEADERS = {
    "Origin": ORIGIN,
    "Authorization": "Bearer token-of-the-app",
    "Content-Type": "application/json",
    "Access-Control-Allow-Origin": "*",
}
SECONDS = 20


class Ui:
    """One window. `base` is the server's address."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.threads: dict[str, dict[str, Any]] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.engines: dict[str, list[dict[str, Any]]] = {}
        self.messages: dict[str, list[dict[str, Any]]] = {}
        self._connection = HTTPConnection(urlsplit(base).netloc, timeout=SECONDS)

    def __enter__(self) -> Ui:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    # --- what a browser does -----------------------------------------------------------------

    def open(self, method: str, path: str, body: Any = None) -> HTTPResponse:
        """The response, its body still to be read; after the preflight that the headers cause."""
        self._preflight(method, path)
        sent = None if body is None else json.dumps(body)
        self._connection.request(method, path, sent, HEADERS)
        response = self._connection.getresponse()
        assert response.headers["access-control-allow-origin"] == ORIGIN
        return response

    def call(self, method: str, path: str, body: Any = None) -> Any:
        with self.open(method, path, body) as response:
            text = response.read()
        assert response.status == 200, (method, path, response.status, text)
        return json.loads(text)

    def _preflight(self, method: str, path: str) -> None:
        asked = ",".join(sorted(name.lower() for name in HEADERS if name != "Origin"))
        self._connection.request(
            "OPTIONS",
            path,
            headers={
                "Origin": ORIGIN,
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": asked,
            },
        )
        response = self._connection.getresponse()
        response.read()
        allowed = response.headers["access-control-allow-headers"].lower().replace(" ", "")
        assert response.status == 204
        assert set(asked.split(",")) <= set(allowed.split(","))
        assert method in response.headers["access-control-allow-methods"]

    # --- what the UI does --------------------------------------------------------------------

    def start(self) -> None:
        for _ in range(5):
            self.call("GET", "/healthz")
        self.threads = {t["id"]: t for t in self.call("GET", "/v1/threads?limit=-1")["data"]}
        self.models = {m["id"]: m for m in self.call("GET", "/v1/models?limit=-1")["data"]}
        self.engines = self.call("GET", "/v1/engines")
        for model in self.models.values():
            assert model["engine"] in self.engines, model
        for name, variants in self.engines.items():
            assert all(v["engine"] == name and v["type"] == "local" for v in variants)
            assert self.call("GET", f"/v1/engines/{name}")[0]["version"]
            assert self.call("GET", f"/v1/engines/{name}/default")["variant"]
        machine = self.call("GET", "/v1/hardware")
        assert machine["cpu"].keys() >= {"arch", "usage"}
        assert 0 < machine["ram"]["available"] <= machine["ram"]["total"]
        assert isinstance(machine["gpus"], list)
        assert self.call("GET", "/v1/models/sources")["data"] == []
        assert self.call("GET", "/v1/models/hub?author=cortexso&tag=cortex.cpp")["data"] == []
        self.call("PATCH", "/v1/configs", {"cors": True, "allowed_origins": ["*"]})

    def open_thread(self, id: str) -> dict[str, Any]:
        """Its assistant. The messages are only fetched when that can be used."""
        assistant: dict[str, Any] = self.call("GET", f"/v1/assistants/{id}?limit=-1")
        assert assistant["model"]["id"] in self.models
        listed = self.call("GET", f"/v1/threads/{id}/messages?order=asc&limit=-1")["data"]
        self.messages[id] = listed
        return assistant

    def new_thread(self, model: str) -> str:
        thread = self.call(
            "POST",
            "/v1/threads",
            {
                "object": "thread",
                "title": "New Thread",
                "created": int(time.time() * 1000),
                "updated": int(time.time() * 1000),
                "assistants": [],
                "metadata": {"title": "New Thread", "updated_at": int(time.time() * 1000)},
            },
        )
        id: str = thread["id"]
        self.threads[id] = thread
        self.call(
            "POST",
            f"/v1/assistants/{id}",
            {
                "id": "jan",
                "assistant_id": "jan",
                "assistant_name": "Jan",
                "instructions": "",
                "model": {
                    "id": model,
                    "engine": self.models[model]["engine"],
                    "settings": {"ctx_len": 2048},
                    "parameters": {"temperature": 0.7, "stream": True},
                },
                "tools": [{"type": "retrieval", "enabled": False}],
            },
        )
        self.messages[id] = []
        return id

    def send(self, id: str, text: str, *, stop_after: int | None = None) -> dict[str, Any]:
        """Post what the user says, ask the model, and post its reply; that message.

        `stop_after`: the user presses stop when so many pieces have come.
        """
        self._post(id, "user", text, status="ready")
        reply, status = self._answer(id, stop_after)
        thread = self.threads[id]
        thread["metadata"] = {
            **thread["metadata"],
            "lastMessage": reply,
            "updated_at": int(time.time() * 1000),
        }
        # The whole thread as it was once read: its assistants are stale by now.
        self.threads[id] = {**self.call("PATCH", f"/v1/threads/{id}", {**thread, "id": id})}
        return self._post(
            id,
            "assistant",
            reply,
            status=status,
            type="Thread",
            metadata={"token_speed": 12.5, "model": "echo"},
        )

    def _post(self, id: str, role: str, text: str, **more: Any) -> dict[str, Any]:
        now = time.time()
        sent = {
            "id": str(ulid.ULID()),
            "thread_id": id,
            "attachments": [],
            "role": role,
            "created_at": now,
            "completed_at": now,
            "object": "thread.message",
            "content": [{"type": "text", "text": {"value": text, "annotations": []}}],
            **more,
        }
        message: dict[str, Any] = self.call("POST", f"/v1/threads/{id}/messages", sent)
        assert message["id"] == sent["id"]
        self.messages[id].append(message)
        return message

    def _answer(self, id: str, stop_after: int | None) -> tuple[str, str]:
        """The text of the reply and its status; each event must come in one chunk."""
        assistant = self.call("GET", f"/v1/assistants/{id}?limit=-1")
        model = assistant["model"]["id"]
        engine = self.models[model]["engine"]
        self.call("POST", "/v1/models/start", {"model": model, "engine": engine, "n_parallel": 1})
        said = [
            {"role": m["role"], "content": m["content"][0]["text"]["value"]}
            for m in self.messages[id]
        ]
        asked = {"model": model, "engine": engine, "messages": said, "stream": True, "stop": []}
        pieces: list[str] = []
        with self.open("POST", "/v1/chat/completions", asked) as response:
            assert response.status == 200
            for line in response:
                if not line.startswith(b"data: {"):
                    continue
                for choice in json.loads(line.removeprefix(b"data: "))["choices"]:
                    pieces.append(choice["delta"].get("content") or "")
                if stop_after is not None and len(pieces) >= stop_after:
                    self._connection.close()
                    return "".join(pieces), "stopped"
        return "".join(pieces), "ready"

    def regenerate(self, id: str) -> dict[str, Any]:
        self._take_back(id, 1)
        last = self.messages[id].pop()
        self.call("DELETE", f"/v1/threads/{id}/messages/{last['id']}")
        return self.send(id, last["content"][0]["text"]["value"])

    def edit(self, id: str, position: int, text: str) -> dict[str, Any]:
        """The user says something else at that place: it and all that came later goes."""
        self._take_back(id, len(self.messages[id]) - position)
        return self.send(id, text)

    def _take_back(self, id: str, count: int) -> None:
        for _ in range(count):
            last = self.messages[id].pop()
            told = self.call("DELETE", f"/v1/threads/{id}/messages/{last['id']}")
            assert told["deleted"]

    def rename(self, id: str, title: str) -> None:
        thread = self.threads[id]
        sent = {**thread, "title": title, "metadata": {**thread["metadata"], "title": title}}
        self.threads[id] = self.call("PATCH", f"/v1/threads/{id}", sent)

    def title_of(self, id: str) -> str:
        """The model is asked for one after the first reply, not streamed."""
        first = self.messages[id][0]["content"][0]["text"]["value"]
        answer = self.call(
            "POST",
            "/v1/chat/completions",
            {
                "model": "echo",
                "engine": "echo",
                "messages": [{"role": "user", "content": first}],
                "stream": False,
            },
        )
        title: str = answer["choices"][0]["message"]["content"]
        return title

    def instruct(self, id: str, instructions: str) -> None:
        assistant = self.call("GET", f"/v1/assistants/{id}?limit=-1")
        sent = {**assistant, "instructions": instructions}
        self.call("PATCH", f"/v1/assistants/{id}", sent)

    def delete(self, id: str) -> None:
        assert self.call("DELETE", f"/v1/threads/{id}")["deleted"]
        del self.threads[id], self.messages[id]


class Socket:
    """The UI's WebSocket `/events`: open and silent is all that it must be."""

    def __init__(self, base: str, *, origin: str = ORIGIN) -> None:
        parts = urlsplit(base)
        self._wire = WSConnection(ConnectionType.CLIENT)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=SECONDS)
        asked = Request(
            host=parts.netloc, target="/events", extra_headers=[(b"origin", origin.encode())]
        )
        self._socket.sendall(self._wire.send(asked))
        self.first = self._next()

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def is_open(self) -> bool:
        return isinstance(self.first, AcceptConnection)

    def is_silent(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(1) != b"" and False
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(SECONDS)

    def end(self) -> Any:
        """What the server closes it with."""
        return self._next()

    def _next(self) -> Any:
        while True:
            for event in self._wire.events():
                return event
            received = self._socket.recv(4096)
            self._wire.receive_data(received or None)
