"""Models that another server answers, over the wire: what is passed on, and every fault of it."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from jan_server.app import create_app
from jan_server.cli.pull import pull
from jan_server.errors import ModelCannotRun, ShuttingDown
from jan_server.remote import CHAT as CHAT_PATH
from jan_server.remote import Remote, Remotes
from jan_server.remote.remotes import _new_client
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.types.chat import ChatCompletionRequest
from tests.conftest import BASE_URL
from tests.remote.upstream import (
    SECONDS,
    Script,
    Seen,
    Step,
    Upstream,
    answering,
    running,
    streaming,
)
from tests.running import Command, served

KEY = "sk-secret"
CHAT = {"model": "far", "messages": [{"role": "user", "content": "hi"}]}
PATHS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "far", "prompt": "hi"},
    "/v1/embeddings": {"model": "far", "input": "hi"},
}
EVENT = b'data: {"choices": [], "model": "theirs"}\n\n'
TOLD = {"choices": [], "model": "far"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Upstream]:
    with running() as upstream:
        yield upstream


@pytest.fixture
def upstream(shared: Upstream, write: Callable[..., Path]) -> Upstream:
    write("engines/openai.json", {"full_url": shared.url, "api_key": KEY})
    settings = {"remote_model": "theirs"}
    write("models/far/model.json", {"engine": "openai", "settings": settings})
    assert shared.seen.empty()
    shared.go.clear()
    return shared


@pytest.fixture
def ask(client: TestClient, upstream: Upstream) -> Callable[..., Any]:
    """Post a chat to the remote model while the other server answers as scripted."""

    def post(script: Script, *, to: TestClient = client, **more: Any) -> Any:
        upstream.script = script
        answer = to.post("/v1/chat/completions", json={**CHAT, **more})
        upstream.seen.get(timeout=SECONDS)
        return answer

    return post


def events(answer: Any) -> list[Any]:
    """The JSON of every event, with `[DONE]` as it is."""
    assert answer.status_code == 200
    *parts, end = answer.text.split("\n\n")
    assert end == ""
    data = [part.removeprefix("data: ") for part in parts]
    return [part if part == "[DONE]" else json.loads(part) for part in data]


def error(answer: Any) -> tuple[int, str, str]:
    body = answer.json()["error"]
    assert KEY not in answer.text
    return answer.status_code, body["code"], body["message"]


# --- what is passed on ----------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_each_kind_of_request_is_passed_on_with_the_key(client, upstream: Upstream, path):
    upstream.script = answering({"id": "x", "model": "theirs", "own": 1.5})
    answer = client.post(path, json={**PATHS[path], "keep_alive": 1, "made_up": 2})
    assert (answer.status_code, answer.text) == (200, '{"id":"x","model":"far","own":1.5}')
    seen = upstream.seen.get(timeout=SECONDS)
    assert (seen.path, seen.body) == (path, {**PATHS[path], "model": "theirs", "made_up": 2})
    assert (seen.headers["authorization"], seen.headers["api-key"]) == (f"Bearer {KEY}", KEY)
    assert seen.headers["content-type"] == "application/json"


def test_what_only_the_other_server_may_honour_is_for_it_to_say(ask):
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    assert ask(answering({}), messages=image, best_of=2).status_code == 200


def test_a_stream_is_passed_on_event_by_event(ask, upstream: Upstream):
    parts = [
        b": a comment\n\n",
        b'event: x\r\nid: 4\r\ndata: {"choices": [{"delta": {"cont',
        b'ent": "gr\xc3',
        b'\xbc\xc3\x9f"}}],\r\ndata: "model": "theirs", "own": [1]}\r\n\r\n:\n\n',
        b'data:{"usage": null}\n\ndata: [DONE]\n\n',
    ]
    answer = ask(streaming(*parts), stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert events(answer) == [
        {"choices": [{"delta": {"content": "grüß"}}], "model": "far", "own": [1]},
        {"usage": None, "model": "far"},
        "[DONE]",
    ]


def test_completions_are_streamed_too(client, upstream: Upstream):
    upstream.script = streaming(EVENT, b"data: [DONE]\n\n")
    answer = client.post("/v1/completions", json={"model": "far", "prompt": "x", "stream": True})
    assert events(answer) == [TOLD, "[DONE]"]
    seen = upstream.seen.get(timeout=SECONDS)
    assert (seen.path, seen.body["stream"]) == ("/v1/completions", True)
    assert seen.headers["accept-encoding"] == "identity"


def test_what_follows_the_end_of_a_stream_is_not_waited_for(ask, upstream: Upstream):
    assert (
        events(ask(streaming(EVENT, b"data: [DONE]\n\n", Step.HANG), stream=True))[-1] == "[DONE]"
    )
    assert upstream.left.get(timeout=SECONDS) == "/v1/chat/completions"
    assert events(ask(streaming(EVENT, b"data: [DONE]\n\n", Step.CUT), stream=True))[-1] == "[DONE]"


def test_what_a_server_says_after_the_end_is_passed_over(ask):
    late = [EVENT, b"data: [DONE]\n\n", b": bye\n\n", EVENT]
    assert events(ask(streaming(*late), stream=True)) == [TOLD, "[DONE]"]


def test_a_compressed_answer_is_read(ask):
    packed = gzip.compress(b'{"id": 1}')
    assert ask(answering(packed, content_encoding="gzip")).json() == {"id": 1, "model": "far"}


def test_requests_share_a_connection_streams_too(ask, client, upstream: Upstream):
    ports = set()
    for stream in (False, True, True, False):
        upstream.script = streaming(EVENT, b"data: [DONE]\n\n") if stream else answering({})
        answer = client.post("/v1/chat/completions", json={**CHAT, "stream": stream})
        assert answer.status_code == 200
        ports.add(upstream.seen.get(timeout=SECONDS).port)
    assert len(ports) == 1


# --- the file -------------------------------------------------------------------------------


def test_the_file_counts_from_the_next_request_on(ask, client, upstream: Upstream, write):
    assert ask(answering({})).status_code == 200
    write("engines/openai.json", "{")
    broken = client.post("/v1/chat/completions", json=CHAT)
    assert error(broken) == (
        422,
        "model_cannot_run",
        "The model 'far' is answered by another server: engines/openai.json:1:2 ends too early.",
    )
    write("engines/openai.json", {"full_url": upstream.url, "api_key": "another"})
    upstream.script = answering({})
    assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
    seen: Seen = upstream.seen.get(timeout=SECONDS)
    assert seen.headers["authorization"] == "Bearer another"


def test_without_a_key_none_is_sent(client, upstream: Upstream, write):
    write("engines/openai.json", {"full_url": upstream.url})
    upstream.script = answering({})
    assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
    seen = upstream.seen.get(timeout=SECONDS)
    assert not {"authorization", "api-key"} & seen.headers.keys()


@pytest.mark.parametrize(
    ("content", "listed"),
    [
        ({"full_url": "https://there.example/v1/chat/completions", "api_key": KEY}, True),
        ({"full_url": "https://there.example/v1/chat/completions"}, True),
        (
            {
                "full_url": "https://there.example/v1/chat/completions",
                "api_key": "sk-<your key here>",
            },
            False,
        ),
        ("{", False),
    ],
)
def test_those_that_could_answer_are_listed(client, write, content, listed):
    write("engines/openai.json", content)
    manifest = {
        "engine": "openai",
        "metadata": {"author": "OpenAI"},
        "sources": [{"url": "https://openai.com"}],
    }
    write("models/gpt-4/model.json", manifest)
    found = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
    assert ("gpt-4" in found) == listed
    shown = client.get("/v1/models/gpt-4")
    assert KEY not in shown.text
    state = "downloaded" if listed else "not_downloaded"
    assert (shown.json()["state"], shown.json()["owned_by"]) == (state, "OpenAI")
    download = client.get("/v1/models/download/gpt-4")
    assert download.status_code == (200 if listed else 422)
    for path in ("/v1/models/gpt-4/start", "/v1/models/gpt-4/stop"):
        expected = 200 if listed or path.endswith("stop") else 422
        assert client.put(path).status_code == expected
    assert client.get("/v1/models/gpt-4").json()["state"] == state


def test_there_is_nothing_to_pull(settings, upstream: Upstream, write, capsys):
    pull("far", settings)
    assert capsys.readouterr().err == (
        f"far needs no file: openai at http://127.0.0.1:{_port(upstream)} answers it.\n"
    )
    write("engines/openai.json", {})
    with pytest.raises(ModelCannotRun, match=r"engines/openai\.json: full_url"):
        pull("far", settings)


def test_an_engine_that_nobody_knows_says_how_a_server_is_named(client, write):
    write("models/gpt-4/model.json", {"engine": "groq"})
    answer = client.post("/v1/chat/completions", json={**CHAT, "model": "gpt-4"})
    assert answer.status_code == 422
    assert "An engines/<name>.json in the data folder" in answer.json()["message"]


def test_only_the_other_server_knows_its_tokens(client, upstream: Upstream):
    for path, body in {
        "/v1/tokenize": {"model": "far", "prompt": "x"},
        "/v1/detokenize": {"model": "far", "tokens": [1]},
        "/v1/chat/count_tokens": CHAT,
    }.items():
        status, code, message = error(client.post(path, json=body))
        assert (status, code) == (422, "model_cannot_run")
        assert message.startswith(f"The model 'far' runs at http://127.0.0.1:{_port(upstream)}: ")


def test_the_start_line_says_where_it_is_answered(settings, upstream: Upstream):
    chosen = _with(settings, default_model="far")
    with TestClient(create_app(chosen), base_url=BASE_URL) as client:
        described = client.app.state.services.describe_model()
    assert described == f"far, openai at http://127.0.0.1:{_port(upstream)}"


def test_a_read_only_server_asks_other_servers_too(settings, upstream: Upstream, ask, tmp_path):
    chosen = _with(settings, read_only=True)
    with TestClient(create_app(chosen), base_url=BASE_URL) as client:
        assert ask(answering({}), to=client).status_code == 200


# --- faults ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            answering({"error": {"message": "No.", "code": "c"}}, status=400),
            (400, "c", "No."),
        ),
        (
            answering({"error": {"message": "Key sk-secret?"}}, status=401),
            (502, "remote_failed", "HERE refused our key: see engines/openai.json."),
        ),
        (answering({"detail": "Not Found"}, status=404), (404, "remote_refused", "Not Found")),
        (
            answering(b"<h1>oops</h1>", status=500),
            (502, "remote_failed", "HERE failed with status 500."),
        ),
        (
            answering(b"", status=302, location="https://elsewhere.example"),
            (
                502,
                "remote_failed",
                "HERE says that it is elsewhere: mend full_url in engines/openai.json.",
            ),
        ),
        (
            Script([Step.CUT]),
            (502, "remote_failed", "HERE failed with status 500."),
        ),
        (
            answering(b"x" * 70_000, status=400),
            (400, "remote_refused", "HERE answered 400."),
        ),
    ],
)
def test_what_fails_before_the_first_byte_is_a_status(ask, upstream, script, expected, stream):
    answer = ask(script, stream=stream)
    status, code, message = error(answer)
    assert (status, code, _here(message, upstream)) == expected


def test_when_to_come_again_is_passed_on(ask):
    answer = ask(answering({"error": {"message": "Slower."}}, status=429, retry_after="17"))
    assert error(answer) == (429, "remote_refused", "Slower.")
    assert answer.headers["retry-after"] == "17"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (answering(b"<html>"), "HERE answered no JSON object."),
        (answering(b"["), "HERE answered no JSON object."),
        (
            answering(b"no gzip", content_encoding="gzip"),
            "The answer of HERE broke off: DecodingError.",
        ),
        (
            Script([b'{"id": ', Step.CUT], 200, {"content-length": "100"}),
            "The answer of HERE broke off: RemoteProtocolError.",
        ),
    ],
)
def test_what_is_no_answer_is_a_502(ask, upstream, script, message):
    status, code, said = error(ask(script))
    assert (status, code, _here(said, upstream)) == (502, "remote_failed", message)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (answering({"id": 1}), "HERE did not answer with events."),
        (streaming(b"data: x\n\n"), "HERE answered no JSON object."),
        (
            streaming(b'data: {"error": {"message": "x", "code": "engine_died"}}\n\n'),
            "HERE failed (engine_died).",
        ),
        (streaming(b""), "The answer of HERE broke off before its end."),
        (
            streaming(b"data: " + b"x" * (1 << 20), *[b"x" * (1 << 20)] * 15),
            "HERE did not answer with events.",
        ),
    ],
)
def test_a_stream_that_fails_before_its_first_event_is_a_status(ask, upstream, script, message):
    status, code, said = error(ask(script, stream=True))
    assert (status, code, _here(said, upstream)) == (502, "remote_failed", message)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Step.CUT, "The answer of HERE broke off: RemoteProtocolError."),
        (b"", "The answer of HERE broke off before its end."),
        (b"data: nonsense\n\n", "HERE answered no JSON object."),
        (b'data: {"error": {"type": "server_error"}}\n\n', "HERE failed (server_error)."),
    ],
)
def test_a_stream_that_breaks_off_ends_with_an_error_event(ask, upstream, step, message):
    first, last = events(ask(streaming(EVENT, step), stream=True))
    assert first == TOLD
    assert (last["error"]["code"], _here(last["error"]["message"], upstream)) == (
        "remote_failed",
        message,
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_says_nothing_is_left(settings, ask, upstream: Upstream, stream):
    impatient = _with(settings, remote_patience=0.2)
    with TestClient(create_app(impatient), base_url=BASE_URL) as client:
        answer = ask(Script([Step.HANG]), to=client, stream=stream)
        status, code, message = error(answer)
        assert (status, code, _here(message, upstream)) == (
            504,
            "remote_timeout",
            "HERE did not answer in time.",
        )
        assert upstream.left.get(timeout=SECONDS) == "/v1/chat/completions"


def test_a_server_that_falls_silent_midway_is_left(settings, ask, upstream: Upstream):
    with TestClient(create_app(_with(settings, remote_patience=2)), base_url=BASE_URL) as client:
        first, last = events(ask(streaming(EVENT, Step.HANG), to=client, stream=True))
    assert (first, last["error"]["code"]) == (TOLD, "remote_timeout")
    assert upstream.left.get(timeout=SECONDS) == "/v1/chat/completions"


def test_connecting_has_a_time_of_its_own():
    assert _new_client(5).timeout == httpx2.Timeout(5, connect=10, pool=None)


def test_a_server_that_is_not_there_is_a_502(client, upstream: Upstream, write):
    url = "http://127.0.0.1:9/v1/chat/completions?key=hidden"
    write("engines/openai.json", {"full_url": url})
    for stream in (False, True):
        status, code, message = error(
            client.post("/v1/chat/completions", json={**CHAT, "stream": stream})
        )
        assert (status, code) == (502, "remote_failed")
        assert re.fullmatch(
            r"The remote server at http://127\.0\.0\.1:9 cannot be reached: .+\.", message
        )
        assert "hidden" not in message


def test_an_answer_beyond_all_measure_is_not_kept(ask, upstream: Upstream, monkeypatch):
    monkeypatch.setattr("jan_server.remote.remotes.MOST_BYTES", 1000)
    status, _, message = error(ask(answering({"x": "y" * 2000})))
    assert (status, _here(message, upstream)) == (502, "The answer of HERE is too long.")
    assert ask(answering({"x": "y" * 900})).status_code == 200


def test_no_log_line_holds_the_key_or_the_prompt(ask, caplog):
    caplog.set_level("DEBUG")
    body = {"error": {"message": "sk-secret cannot do: my own prompt"}}
    for status in (400, 401, 500):
        ask(answering(body, status=status), messages=[{"role": "user", "content": "my own prompt"}])
    assert "remote_failed" in caplog.text
    assert KEY not in caplog.text
    assert "my own prompt" not in caplog.text


def test_a_server_that_runs_does_not_log_the_addresses_it_asks(data_folder, upstream, write):
    write("engines/openai.json", {"full_url": f"{upstream.url}?key=hidden"})
    upstream.script = answering({"id": 1})
    with Command("serve", "--port", "0", "--data-folder", data_folder) as server:
        base = server.read_line().split()[1]
        with leaving(base, CHAT) as connection:
            assert json.load(connection.getresponse()) == {"id": 1, "model": "far"}
        assert upstream.seen.get(timeout=SECONDS).path == "/v1/chat/completions?key=hidden"
        server.process.terminate()
        _, logged = server.process.communicate(timeout=SECONDS)
    assert "hidden" not in logged


# --- proxies --------------------------------------------------------------------------------


def test_proxies_are_not_for_this_machine(monkeypatch, ask):
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert ask(answering({})).status_code == 200


def test_other_machines_are_asked_through_the_proxy_of_the_environment(
    monkeypatch, client, upstream: Upstream, write
):
    monkeypatch.setenv("HTTP_PROXY", upstream.url.removesuffix("/v1/chat/completions"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    write("engines/openai.json", {"full_url": "http://there.invalid/v1/chat/completions"})
    upstream.script = answering({"id": "by proxy"})
    answer = client.post("/v1/chat/completions", json=CHAT)
    assert answer.json() == {"id": "by proxy", "model": "far"}
    assert upstream.seen.get(timeout=SECONDS).headers["host"] == "there.invalid"


def test_a_proxy_that_cannot_be_used_is_said(monkeypatch, settings, upstream: Upstream):
    monkeypatch.setenv("ALL_PROXY", "nonsense://127.0.0.1:9")
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        for _ in range(2):
            status, _, message = error(client.post("/v1/chat/completions", json=CHAT))
            assert (status, message[:42]) == (502, "The proxy that the environment names (HTTP")


# --- leaving and ending ---------------------------------------------------------------------


@contextmanager
def leaving(base: str, body: dict[str, Any]) -> Iterator[HTTPConnection]:
    """A request that is sent; its client leaves at the end, whatever was answered."""
    with closing(HTTPConnection(base.removeprefix("http://"), timeout=SECONDS)) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        yield connection


@pytest.mark.parametrize("stream", [False, True])
def test_when_the_client_leaves_the_other_server_is_left(settings, upstream, stream):
    upstream.script = Script([Step.HANG])
    with served(settings) as base:  # Whose end would leave the other server, too.
        with leaving(base, {**CHAT, "stream": stream}):
            upstream.seen.get(timeout=SECONDS)
            assert upstream.left.empty()
        assert upstream.left.get(timeout=SECONDS) == "/v1/chat/completions"


def test_when_the_client_leaves_midway_the_other_server_is_left(settings, upstream):
    upstream.script = streaming(EVENT, Step.HANG)
    with served(settings) as base:
        with leaving(base, {**CHAT, "stream": True}) as connection:
            assert connection.getresponse().readline().startswith(b"data: ")
            upstream.seen.get(timeout=SECONDS)
            assert upstream.left.empty()
        assert upstream.left.get(timeout=SECONDS) == "/v1/chat/completions"


def test_answers_that_run_end_first_when_the_server_stops(settings, upstream):
    async def scenario():
        upstream.script = streaming(EVENT, Step.WAIT, EVENT, b"data: [DONE]\n\n")
        services = Services(settings)
        request = ChatCompletionRequest(messages=[], model="far")
        stream = services.completions.chats.stream(request, {"stream": True})
        assert await anext(stream) == TOLD
        draining = asyncio.create_task(services.drain(SECONDS))
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDown):
            await services.completions.chats.complete(request, {})
        assert repr(services.remotes) == "<Remotes: 1 running, closed>"
        assert not services.closing.is_set()
        upstream.go.set()
        assert [event async for event in stream] == [TOLD]
        await draining
        assert repr(services.remotes) == "<Remotes: 0 running, closed>"
        await services.close()
        upstream.seen.get(timeout=SECONDS)

    asyncio.run(scenario())


def test_answers_that_run_too_long_are_ended_with_the_server(settings, upstream):
    async def scenario():
        upstream.script = streaming(EVENT, Step.HANG)
        remote = Remote(id="far", engine="openai", name="theirs", url=upstream.url)
        remotes = Remotes(patience=SECONDS)
        stream = remotes.stream(remote, CHAT_PATH, {})
        assert await anext(stream) == TOLD
        upstream.script = Script([Step.HANG])
        plain = asyncio.create_task(remotes.ask(remote, CHAT_PATH, {}))
        for _ in range(2):
            await asyncio.to_thread(upstream.seen.get, timeout=SECONDS)
        await remotes.drain(0)
        for answer in (anext(stream), plain):
            with pytest.raises(ShuttingDown):
                await answer
        for _ in range(2):
            assert upstream.left.get(timeout=SECONDS) == "/v1/chat/completions"

    asyncio.run(scenario())


# --- cost -----------------------------------------------------------------------------------


def test_a_server_without_remote_models_does_not_import_the_client():
    code = (
        "import sys; from jan_server import app, remote\n"
        "assert 'httpx2' not in sys.modules, 'imported at start'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _port(upstream: Upstream) -> str:
    return re.findall(r":(\d+)/", upstream.url)[0]


def _here(message: str, upstream: Upstream) -> str:
    """With HERE for the other server, however it is called."""
    origin = f"http://127.0.0.1:{_port(upstream)}"
    return message.replace(f"The remote server at {origin}", "HERE").replace(origin, "HERE")


def _with(settings: Settings, **more: Any) -> Settings:
    return Settings(
        data_folder=settings.data_folder, fsync=settings.fsync, watch=settings.watch, **more
    )
