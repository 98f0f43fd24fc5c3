"""`--read-only`: not one byte below the data folder is written, and chat works."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from jan_server.app import create_app
from jan_server.cli.pull import pull
from jan_server.errors import ReadOnly, SettingsInvalid
from jan_server.routes import ROUTES
from jan_server.settings import Settings, resolve
from jan_server.store import Store
from jan_server.store.files import Files
from jan_server.store.read_only import own_folder
from tests.conftest import BASE_URL
from tests.running import Command, served
from tests.store.failing import FailingSystem
from tests.tiny_gguf import write_tiny_gguf

NOBODY = 65534
DELETION = "20260101T000000.000000Z"
IDS = {
    "thread_id": "one",
    "message_id": "a",
    "assistant_id": "jan",
    "model_id": "echo",
    "run_id": "run_1",
    "step_id": "step_1",
    "response_id": "resp_one_1",
    "deletion_id": DELETION,
    "engine": "echo",
}
STEP = {
    "id": "step_1",
    "created_at": 6,
    "status": "in_progress",
    "step_details": {"type": "message_creation", "message_creation": {"message_id": "a"}},
}
# That nobody answers: whoever may write would say so in a line of its own.
RUN = {
    "id": "run_1",
    "created_at": 5,
    "thread_id": "one",
    "assistant_id": "jan",
    "status": "in_progress",
    "model": "echo",
    "steps": [STEP],
}
RESPONSE = {"id": "resp_one_1", "status": "in_progress", "created_at": 5, "model": "echo"}
READING_CHANGES = {
    ("POST", "/chat/completions"),
    ("POST", "/chat/count_tokens"),
    ("POST", "/completions"),
    ("POST", "/messages"),
    ("POST", "/responses"),
    ("POST", "/responses/{response_id}/cancel"),
    ("POST", "/messages/count_tokens"),
    ("POST", "/api/chat"),
    ("POST", "/api/generate"),
    ("POST", "/api/embed"),
    ("POST", "/api/embeddings"),
    ("POST", "/api/show"),
    ("POST", "/detokenize"),
    ("POST", "/embeddings"),
    ("POST", "/engines/{engine}/update"),
    ("POST", "/models/start"),
    ("POST", "/models/stop"),
    ("POST", "/tokenize"),
    ("POST", "/models/{model_id:path}/start"),
    ("PUT", "/models/{model_id:path}/start"),
    ("POST", "/models/{model_id:path}/stop"),
    ("PUT", "/models/{model_id:path}/stop"),
    ("PATCH", "/configs"),
    ("DELETE", "/processmanager/destroy"),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(write: Callable[..., Path], echo: str, data_folder: Path) -> Path:
    """With one of everything, whole and broken; no layout is complete here."""
    write("threads/one/thread.json", {"title": "One", "metadata": {"lastMessage": ""}})
    write("threads/one/messages.jsonl", '{"id":"a","role":"user","content":"hi"}\n{"id":"torn')
    write("threads/one/runs.jsonl", json.dumps(RUN) + "\n")
    write("threads/one/responses.jsonl", json.dumps(RESPONSE) + "\n")
    write("threads/Work/two/messages.jsonl", '{"role":"user","content":"x"}')
    write("threads/broken/thread.json", "{")
    write("assistants/jan/assistant.json", {"name": "Jan"})
    write(f".jan_server/trash/{DELETION}/threads/gone/thread.json", {})
    write(".jan_server/settings.toml", "load-patience = 30\n")
    return data_folder


def prints(folder: Path) -> dict[str, tuple[int, int, int, str]]:
    """Name, kind and mode, time and contents of everything below a folder, and of itself."""
    return {str(path): _print(path) for path in (folder, *folder.rglob("*"))}


def _print(path: Path) -> tuple[int, int, int, str]:
    status = path.lstat()
    is_file = stat.S_ISREG(status.st_mode)
    data = path.read_bytes() if is_file else b""
    return status.st_mode, status.st_mtime_ns, status.st_ino, hashlib.sha256(data).hexdigest()


def settings_of(folder: Path, **more: Any) -> Settings:
    return resolve(folder, {}, {"read_only": True, **more})


def ask(base: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and answer; of a stream only its status."""
    connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=60)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        if "json" not in answer.getheader("content-type", ""):
            return answer.status, None
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def chat(model: str, text: str = "Hello", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def test_every_route_is_called_and_not_a_byte_is_written(folder: Path, cache: Path) -> None:
    before = prints(folder)
    refused, answered = set(), {}
    with served(settings_of(folder)) as base:
        assert ask(base, "POST", "/v1/chat/completions", chat("echo"))[0] == 200
        for route in ROUTES:
            path = re.sub(r"\{(\w+)(:path)?\}", lambda found: IDS[found[1]], route.path)
            body = {"name": "x", "role": "user", "content": "x"} if route.writes else None
            status, answer = ask(base, route.method, path if route.at_root else f"/v1{path}", body)
            key = (route.method, route.path)
            if status == 403:
                assert answer["error"]["code"] == "read_only"
                refused.add(key)
            else:
                answered[key] = status
        assert ask(base, "POST", "/v1/threads", {})[1]["error"]["code"] == "read_only"
        assert ask(base, "GET", "/v1/threads/broken")[0] == 500
        assert ask(base, "POST", "/v1/chat/completions", chat("echo", stream=True))[0] == 200

    assert prints(folder) == before
    assert refused == {(route.method, route.path) for route in ROUTES if route.writes}
    assert ("GET", "/models/download/{model_id:path}") in refused
    reading = {key for key in answered if key[0] not in ("GET", "HEAD")}
    assert reading == READING_CHANGES
    # The model was stopped before it was asked for: Jan 0.5 says so by a 404; nothing is got.
    stopped = ("GET", "/models/status/{model_id:path}")
    not_got = ("GET", "/download/getDownloadProgress/{model_id:path}")
    reads = {key: status for key, status in answered.items() if key not in reading}
    assert reads == dict.fromkeys(reads, 200) | {stopped: 404, not_got: 404}


def test_a_head_of_a_download_starts_nothing(folder: Path) -> None:
    before = prints(folder)
    with TestClient(create_app(settings_of(folder)), base_url=BASE_URL) as client:
        assert client.head("/v1/models/download/smollm2-135m-instruct").status_code == 204
        assert client.get("/v1/models/download/nope").status_code == 403
        assert client.delete("/v1/nothing/here").status_code == 404
        assert client.put("/v1/threads").status_code == 405
    assert prints(folder) == before


def test_a_models_fitted_copy_lies_in_the_cache(
    folder: Path, cache: Path, write: Callable[..., Path]
) -> None:
    write("models/tiny/model.json", {"settings": {"cpu_threads": 1, "ngl": 0}})
    write_tiny_gguf(folder / "models/tiny/tiny.gguf")
    before = prints(folder)
    with TestClient(create_app(settings_of(folder)), base_url=BASE_URL) as client:
        answer = client.post("/v1/chat/completions", json=chat("tiny", max_tokens=2))
    assert answer.status_code == 200, answer.text
    assert prints(folder) == before
    [own] = (cache / "jan_server").iterdir()
    assert own == own_folder(folder)
    assert len(list(own.rglob("*.gguf"))) == 1


CHANGES: dict[str, Callable[[Store], Any]] = {
    "create_thread": lambda store: store.create_thread(assistants=[{"assistant_id": "jan"}]),
    "change": lambda store: store.threads.change("one", {"title": "New"}),
    "append": lambda store: store.messages("one").append([{"role": "user", "content": "c"}]),
    "touch": lambda store: store.messages("one").touch(),
    "delete": lambda store: store.threads.delete("one"),
    "delete files": lambda store: store.models.delete_files("echo", lambda name: True),
    "restore": lambda store: store.restore(DELETION),
    "expire": lambda store: store.expire(days=1),
    "free": lambda store: store.trash.free(store.trash.get(DELETION).path),
    "keep": lambda store: store.trash.keep(b"{}", below="messages/one", name="m"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_no_way_through_the_store_writes(name: str, folder: Path) -> None:
    store = Store(folder, read_only=True).open()
    before = prints(folder)
    with pytest.raises(ReadOnly):
        CHANGES[name](store)
    assert prints(folder) == before


def test_what_is_in_the_folder_is_read_as_always(folder: Path) -> None:
    store = Store(folder, read_only=True).open()
    assert sorted(thread.id for thread in store.threads.list()) == ["one", "two"]
    assert [message.id for message in store.messages("one").list()] == ["a"]
    assert [item.id for item in store.trash.list()] == [DELETION]
    assert repr(store) == f"<Store {folder} generation A read-only>"


def test_our_own_folders_lie_in_the_cache_one_for_each_data_folder(
    folder: Path, cache: Path
) -> None:
    work = Store(folder, read_only=True).open().work_folder("fitted")
    other = Store(folder.parent / "other", read_only=True).work_path("fitted")
    assert (work.is_dir(), work.is_relative_to(cache)) == (True, True)
    assert work != other


def test_no_model_is_got(folder: Path) -> None:
    before = prints(folder)
    with pytest.raises(ReadOnly):
        pull("smollm2-135m-instruct", settings_of(folder))
    assert prints(folder) == before


@pytest.mark.parametrize("act", ["find", "start", "stop"])
def test_nobody_is_asked_for_a_model_that_could_not_be_kept(folder: Path, act: str) -> None:
    with TestClient(create_app(settings_of(folder)), base_url=BASE_URL) as client:
        getting = client.app.state.services.getting  # type: ignore[attr-defined]
        with pytest.raises(ReadOnly):
            getattr(getting, act)("nobody/knows")


def test_a_folder_that_is_not_there_is_not_made(data_folder: Path) -> None:
    with pytest.raises(SettingsInvalid, match="is not there, and --read-only makes none"):
        Store(data_folder, read_only=True).open()
    assert not data_folder.exists()


def test_a_folder_that_cannot_be_read_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jan_server.store.read_only.os.access", lambda *_: False)
    with pytest.raises(SettingsInvalid, match="is not readable"):
        Store(folder, read_only=True).open()


def test_a_cache_inside_the_data_folder_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    before = prints(folder)
    with pytest.raises(SettingsInvalid, match="XDG_CACHE_HOME"):
        create_app(settings_of(folder))
    assert prints(folder) == before


# A folder that the system does not let us write


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write anywhere: for the block we are somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def locked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy that nobody may write, where everybody may read it."""
    home = Path(tempfile.mkdtemp())
    copy = home / "data"
    shutil.copytree(folder, copy)
    (home / "cache").mkdir(mode=0o777)
    (home / "cache").chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    for path in (home, copy, *copy.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield copy
    for path in (home, copy, *(path for path in copy.rglob("*") if path.is_dir())):
        path.chmod(0o755)
    shutil.rmtree(home)


def test_a_folder_that_cannot_be_written_is_served_read_only(locked: Path) -> None:
    app = create_app(settings_of(locked, watch="off"))
    with unprivileged(), TestClient(app, base_url=BASE_URL) as client:
        assert client.get("/v1/threads/one").json()["title"] == "One"
        assert {thread["id"] for thread in client.get("/v1/threads").json()} == {"one", "two"}
        assert client.delete("/v1/threads/one").json()["error"]["code"] == "read_only"


def test_else_the_way_out_is_named(locked: Path) -> None:
    (locked / ".jan_server").chmod(0o755)
    shutil.rmtree(locked / ".jan_server") if os.geteuid() == 0 else None
    with unprivileged(), pytest.raises(SettingsInvalid, match="--read-only"):
        Store(locked).open()


def test_a_read_only_disk_is_told_in_the_same_way(data_folder: Path) -> None:
    data_folder.mkdir()
    files = Files(system=FailingSystem(1, for_ever=True, code=errno.EROFS))
    with pytest.raises(SettingsInvalid, match=r"cannot be used: .*[^.]\. Start with --read-only"):
        Store(data_folder, files=files).open()


def test_the_start_line_says_read_only(folder: Path) -> None:
    with Command("serve", "--port", "0", "--data-folder", folder, "--read-only") as command:
        lines = [command.read_line() for _ in range(3)]
    assert lines[1] == f"data folder: {folder} (--data-folder, read-only)"


def test_the_settings_file_can_say_so(folder: Path) -> None:
    (folder / ".jan_server/settings.toml").write_text("read-only = true\ntrash-days = 7\n")
    found = resolve(folder, {})
    assert (found.read_only, found.trash_days) == (True, 7)


def test_a_wrong_number_of_days_on_the_command_line_is_one_line(folder: Path) -> None:
    with Command("serve", "--data-folder", folder, "--trash-days", "-1") as command:
        assert command.process.wait(60) == 2
        assert command.process.stderr is not None
        assert "'trash_days' in the command line" in command.process.stderr.read()


@pytest.mark.parametrize("value", ["-1", '"soon"'])
def test_a_wrong_number_of_days_is_named(folder: Path, value: str) -> None:
    (folder / ".jan_server/settings.toml").write_text(f"trash-days = {value}\n")
    with pytest.raises(SettingsInvalid, match="'trash_days'"):
        resolve(folder, {})
