"""`GET /events`: what is told, to whom, and how a stream begins, goes on and ends."""

from __future__ import annotations

import http.client
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.testclient import TestClient

from jan_server.app import create_app
from jan_server.events import CAPACITY, Event
from jan_server.routes import events as route
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.store import index
from tests import running
from tests.web.serving import served


class Got(NamedTuple):
    """One server-sent event; a comment has only that."""

    id: str = ""
    type: str = ""
    data: Any = None
    comment: str = ""


class Stream:
    """A real client's stream of one server's events."""

    def __init__(self, base: str, path: str = "", headers: dict[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=60)
        self._connection.request("GET", f"/v1/events{path}", headers=headers or {})
        self.response = self._connection.getresponse()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self._connection.close()

    def block(self) -> Got | None:
        """What comes next, a comment too; None at the end."""
        lines = list(iter(lambda: self.response.readline().decode().rstrip("\n"), ""))
        if not lines:
            return None
        fields = dict(line.split(": ", 1) for line in lines if line != ":")
        data = json.loads(fields["data"]) if "data" in fields else None
        return Got(fields.get("id", ""), fields.get("event", ""), data, fields.get("", ""))

    def next(self) -> Got:
        """The next event; comments would come for ever where there is none."""
        end = time.monotonic() + 60
        while (got := self.block()) is not None and got.data is None:
            assert time.monotonic() < end, "no event comes"
        assert got is not None, "the stream has ended"
        return got


def event(number: int = 0, **fields: Any) -> Event:
    given = {"kind": "thread", "id": str(number), "change": "deleted", "cause": "api"}
    return Event(**{**given, **fields})


class Server(NamedTuple):
    base: str
    services: Services

    def stream(self, path: str = "", headers: dict[str, str] | None = None) -> Stream:
        """One that is known to listen."""
        stream = Stream(self.base, path, headers)
        assert stream.block() == Got(comment="connected")
        return stream

    def publish(self, *events: Event) -> None:
        for one in events:
            self.services.events.publish(one)


@pytest.fixture
def server(settings: Settings) -> Iterator[Server]:
    """A real one. Nobody watches: what is told is what the tests publish, and what the API does."""
    app = create_app(settings)
    with served(app) as (host, port):
        yield Server(f"http://{host}:{port}", app.state.services)


MESSAGE = {"role": "user", "content": "hi"}


def shown(base: str, path: str) -> Any:
    with urllib.request.urlopen(f"{base}/v1{path}") as answer:
        return json.load(answer)


def asked(base: str, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        f"{base}/v1{path}", method=method, data=json.dumps(body).encode()
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_the_answer_begins_at_once_so_that_clients_know_they_are_connected(server: Server) -> None:
    with server.stream() as stream:
        assert stream.response.status == 200
        assert stream.response.getheader("content-type") == "text/event-stream; charset=utf-8"
        assert stream.response.getheader("cache-control") == "no-cache"


@pytest.mark.parametrize("kind", ["threads", "assistants", "models"])
def test_nobody_listens_while_what_is_found_is_no_news_yet(
    server: Server, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "PATIENCE", 0.01)
    store = server.services.store
    known = store.models.folders if kind == "models" else getattr(store, kind)
    with known.index._scanning, Stream(server.base) as refused:
        assert refused.response.status == 503
        assert refused.response.headers["retry-after"] == "5"
        assert json.load(refused.response)["error"]["code"] == "not_ready"
    with server.stream() as stream:
        folder = server.services.settings.data_folder / kind / "by-hand"
        folder.mkdir(parents=True)
        (folder / f"{kind.removesuffix('s')}.json").write_text("{}")
        server.services.store.look_everywhere()
        assert stream.next().data["id"] == "by-hand"


def test_what_the_api_does_is_told_with_the_resource_as_get_shows_it(server: Server) -> None:
    with server.stream() as stream:
        thread = asked(server.base, "POST", "/threads", {"title": "T"})
        path = f"/threads/{thread['id']}"
        created = stream.next()
        assert created.type == "thread.created"
        assert created.data == {
            "type": "thread.created",
            "kind": "thread",
            "id": thread["id"],
            "change": "created",
            "cause": "api",
            "etag": created.data["etag"],
            "thread": shown(server.base, path),
        }
        message = asked(server.base, "POST", f"{path}/messages", MESSAGE)
        while (told := stream.next()).type != "thread.message.created":
            pass
        assert told.data == {
            "type": "thread.message.created",
            "kind": "message",
            "id": message["id"],
            "thread_id": thread["id"],
            "change": "created",
            "cause": "api",
            "etag": told.data["etag"],
            "message": message,
        }
        asked(server.base, "DELETE", path)
        while (told := stream.next()).type != "thread.deleted":
            pass
        assert told.data == {
            "type": "thread.deleted",
            "kind": "thread",
            "id": thread["id"],
            "change": "deleted",
            "cause": "api",
            "etag": None,
        }


def test_assistants_and_models_are_shown_too(server: Server, write: Callable[..., Path]) -> None:
    write("assistants/a/assistant.json", {"name": "A"})
    write("models/m/model.json", {"engine": "echo"})
    with server.stream() as stream:
        for kind in ("assistant", "model"):
            id = kind[0]
            given = {"kind": kind, "id": id, "cause": "file", "etag": '"1"'}
            server.publish(event(change="created", resource=object(), **given))
            # A model's is of its state too, which only we know.
            etag = urllib.request.urlopen(f"{server.base}/v1/{kind}s/{id}").headers["etag"]
            assert stream.next().data == {
                "type": f"{kind}.created",
                "change": "created",
                **given,
                "etag": etag if kind == "model" else given["etag"],
                kind: shown(server.base, f"/{kind}s/{id}"),
            }


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"change": "broken", "problem": "threads/0/thread.json:1:1 expected an object"},
            {"etag": None, "problem": "threads/0/thread.json:1:1 expected an object"},
        ),
        ({"change": "updated", "etag": '"1"', "resource": None}, {"etag": '"1"'}),
        ({"change": "updated", "etag": '"1"', "resource": "gone since"}, {"etag": '"1"'}),
    ],
)
def test_what_cannot_be_shown_is_told_without(
    server: Server, fields: dict[str, Any], told: dict[str, Any]
) -> None:
    with server.stream() as stream:
        server.publish(event(**fields))
        got = stream.next()
    change = fields["change"]
    head = {"type": f"thread.{change}", "kind": "thread", "id": "0"}
    assert got.data == {**head, "change": change, "cause": "api", **told}


PUBLISHED = [
    event(kind="thread", id="a"),
    event(kind="message", id="m", thread_id="a"),
    event(kind="message", id="m", thread_id="b"),
    event(kind="assistant", id="a"),
    event(kind="model", id="a"),
    event(kind="thread", id="end"),
    event(kind="model", id="end"),
    event(kind="message", id="end", thread_id="a"),
]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("?kinds=", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("?kinds=thread,model", [0, 4, 5, 6]),
        ("?kinds=message", [1, 2, 7]),
        ("?thread_id=a", [0, 1, 7]),
        ("?thread_id=a&kinds=message", [1, 7]),
    ],
)
def test_only_what_was_asked_for_is_told(server: Server, query: str, numbers: list[int]) -> None:
    with server.stream(query) as stream:
        server.publish(*PUBLISHED)
        got = [stream.next().data for _ in numbers]
    expected = [PUBLISHED[number] for number in numbers]
    assert [(e["kind"], e["id"], e.get("thread_id")) for e in got] == [
        (e.kind, e.id, e.thread_id) for e in expected
    ]


@pytest.mark.parametrize(
    ("query", "param", "code", "names"),
    [
        ("kinds=thread,thraed", "kinds", "invalid_request", "'thraed'; there are thread, message,"),
        ("kinds=thread,", "kinds", "invalid_request", "''; there are thread, message, assistant"),
        ("thread_id=a%2Fb", "thread_id", "invalid_id", "'a/b'"),
    ],
)
def test_what_cannot_be_asked_for_is_a_400(
    client: TestClient, query: str, param: str, code: str, names: str
) -> None:
    answer = client.get(f"/v1/events?{query}")
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)
    assert names in error["message"]


@pytest.mark.parametrize("how", ["header", "query", "both"])
def test_after_an_id_the_stream_goes_on_with_what_followed(server: Server, how: str) -> None:
    """Browsers that come again add the header to the address that they were given."""
    with server.stream() as stream:
        server.publish(*map(event, range(3)))
        known = [stream.next().id for _ in range(3)]
    server.publish(event(3))
    after = known[1]
    query = {"header": "", "query": f"?last_event_id={after}", "both": f"?last_event_id={known[0]}"}
    headers = {} if how == "query" else {"Last-Event-ID": after}
    with server.stream(query[how], headers) as stream:
        got = [stream.next() for _ in range(2)]
        assert [each.data["id"] for each in got] == ["2", "3"]
        assert got[0].id == known[2]


def test_where_that_is_not_possible_the_first_event_says_so(server: Server) -> None:
    with server.stream("?kinds=model", {"Last-Event-ID": "another-1"}) as stream:
        first = stream.next()
        assert (first.type, first.data) == (
            "resync",
            {
                "type": "resync",
                "reason": "the id is of another run of the server: read again what you need",
            },
        )
        server.publish(event(kind="model", id="m"))
        with server.stream(headers={"Last-Event-ID": first.id}) as other:
            assert other.next() == stream.next()


def test_a_reader_that_is_too_slow_is_told_to_read_again(server: Server) -> None:
    with server.stream() as stream:
        # More than the sockets between us hold, and more events than are kept.
        text = "x" * 2000
        server.publish(*(event(n, problem=text) for n in range(CAPACITY + 2000)))
        reasons = set()
        while (got := stream.next()).data.get("id") != "new":
            if got.type == "resync":  # One more may follow, and stand for what comes before it.
                reasons.add(got.data["reason"])
                server.publish(event(kind="model", id="new"))
        assert reasons == {"the listener was too slow: read again what you need"}


def test_silence_is_filled_with_comments(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "HEARTBEAT_SECONDS", 0.01)
    with server.stream() as stream:
        assert [stream.block() for _ in "ab"] == [Got(), Got()]
        server.publish(event(7))
        assert stream.next().data["id"] == "7"


def test_head_is_answered_without_a_stream(client: TestClient) -> None:
    answer = client.head("/v1/events")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert client.head("/v1/events?kinds=x").status_code == 400


def test_many_may_listen(server: Server) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(server.stream()) for _ in range(50)]
        server.publish(*map(event, range(20)))
        heard = [[stream.next() for _ in range(20)] for stream in streams]
    assert [each.data["id"] for each in heard[0]] == [str(n) for n in range(20)]
    assert heard == [heard[0]] * 50


def test_open_streams_end_when_the_server_does(settings: Settings) -> None:
    with ExitStack() as stack:
        with running.served(settings) as base:
            streams = [stack.enter_context(Stream(base)) for _ in range(3)]
            assert {stream.block() for stream in streams} == {Got(comment="connected")}
            began = time.monotonic()
        assert time.monotonic() - began < 5
        for stream in streams:
            last = stream.next()
            assert last.data["error"]["code"] == "shutting_down"
            assert stream.block() is None


def test_closing_the_hub_ends_the_stream_without_done(server: Server) -> None:
    with server.stream() as stream:
        server.publish(event())
        stream.next()
        server.services.events.close()
        assert stream.block() is None


def test_a_line_added_by_hand_is_told_with_the_message(data_folder: Path) -> None:
    thread = data_folder / "threads" / "by-hand"
    thread.mkdir(parents=True)
    (thread / "thread.json").write_text("{}")
    (thread / "messages.jsonl").write_text("")
    with running.served(Settings(data_folder=data_folder, fsync=False)) as base:
        with Stream(base, "?kinds=message") as stream:
            assert stream.block() == Got(comment="connected")
            with (thread / "messages.jsonl").open("a") as lines:
                lines.write('{"role": "user", "content": "hi"}\n')
            told = stream.next()
        [message] = shown(base, "/threads/by-hand/messages")["data"]
    assert told.type == "thread.message.created"
    assert told.data == {
        "type": "thread.message.created",
        "kind": "message",
        "id": message["id"],
        "thread_id": "by-hand",
        "change": "created",
        "cause": "file",
        "etag": told.data["etag"],
        "message": message,
    }


def test_the_document_describes_the_events(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/events"]["get"]
    assert operation["operationId"] == "watchEvents"
    assert [parameter["name"] for parameter in operation["parameters"]] == [
        "kinds",
        "thread_id",
        "last_event_id",
    ]
    assert operation["responses"]["200"]["content"]["text/event-stream"]["schema"] == {
        "$ref": "#/components/schemas/ServerEvent"
    }
