"""A full disk, a folder that may not be changed, too many open files, a watch that is gone.

Each on a real server: a clear error, nothing lost, nothing shown that is not so, and afterwards the
server goes on. The limits are the system's own, set on the running process: a file size that may
not be passed (what is beyond fails as on a full disk, a part of the write is done first), and a
number of open files. For root, permissions hold only without the capability to override them.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.api import Api
from tests.conftest import tree

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux changes the limits of a process that runs"
)

# CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER of <linux/capability.h>; 24 is PR_CAPBSET_DROP.
SERVE_UNPRIVILEGED = """
import ctypes, os, sys
if os.geteuid() == 0:
    for capability in (1, 2, 3):
        assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0
os.execv(sys.executable, [sys.executable, "-m", "jan_server", *sys.argv[1:]])
"""
SAY = {"role": "user", "content": "new"}
LINE = b'{"id":"%s","role":"user","content":"%s"}\n'


class Server:
    """`jan_server` in a process of its own, and a client of it."""

    def __init__(self, process: subprocess.Popen[str], root: Path) -> None:
        assert process.stdout
        address = process.stdout.readline().split()[1]
        self.pid = process.pid
        self.root = root
        self.api = Api(address, root)

    @contextmanager
    def limit(self, kind: int, value: int) -> Iterator[None]:
        """The soft limit is lowered for the block."""
        soft, hard = resource.prlimit(self.pid, kind)
        resource.prlimit(self.pid, kind, (value, hard))
        try:
            yield
        finally:
            resource.prlimit(self.pid, kind, (soft, hard))

    def no_more_files(self) -> Any:
        """The lowest number that a new file could get is one too many."""
        end = time.monotonic() + 60
        while self.watching_child() is None:  # Its start has files open for as long as it takes.
            assert time.monotonic() < end, "nobody watches"
        # What is open only for a moment, for the first scan, leaves its number free again.
        used = set.intersection(*(self._open_files() for _ in range(10)))
        free = next(number for number in range(len(used) + 1) if number not in used)
        return self.limit(resource.RLIMIT_NOFILE, free)

    def _open_files(self) -> set[int]:
        time.sleep(0.01)
        return {int(path.name) for path in Path(f"/proc/{self.pid}/fd").iterdir()}

    def watching_child(self) -> int | None:
        """The process that watches, when there is one."""
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            for pid in (task / "children").read_text().split():
                if b"watch_child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        return None


@contextmanager
def serve(root: Path, *flags: str) -> Iterator[Server]:
    command = [sys.executable, "-c", SERVE_UNPRIVILEGED, "--port", "0", "--data-folder", str(root)]
    with subprocess.Popen(
        [*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        server = Server(process, root)
        try:
            with server.api:
                yield server
        finally:
            process.send_signal(signal.SIGINT)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "jan"
    for name in ("one", "two"):
        folder = root / "threads" / name
        folder.mkdir(parents=True)
        (folder / "thread.json").write_text(json.dumps({"title": name, "notes": "x" * 1000}))
        (folder / "messages.jsonl").write_bytes(LINE % (b"a", b"y" * 3000))
    return root


@pytest.fixture
def server(root: Path) -> Iterator[Server]:
    with serve(root) as server:
        yield server


def error(answer: tuple[int, Any, Any]) -> tuple[int, str]:
    status, value, _ = answer
    return status, value["error"]["code"]


BIG = "z" * 8000
WRITES = {
    "a message, of which a part fits": ("/threads/one/messages", "POST", {**SAY, "content": BIG}),
    "a title": ("/threads/one", "PATCH", {"title": BIG}),
    "a thread": ("/threads", "POST", {"title": BIG}),
    "a thread with messages": ("/threads", "POST", {"messages": [{**SAY, "content": BIG}]}),
    "an assistant": ("/assistants", "POST", {"name": "Ada", "instructions": BIG}),
}


@pytest.mark.parametrize("name", WRITES)
def test_on_a_full_disk_nothing_is_changed_and_it_is_said(name: str, server: Server) -> None:
    path, method, body = WRITES[name]
    before = tree(server.root)
    with server.limit(resource.RLIMIT_FSIZE, 4096):
        for _ in range(2):
            assert error(server.api.answer(path, method, body)) == (507, "disk_full")
        assert tree(server.root) == before
        assert server.api.listed() == {"one": "one", "two": "two"}
        assert server.api.texts("one") == [("a", "y" * 3000)]
    assert list((server.root / "threads").glob("**/.jan_server-*")) == []
    status, _, _ = server.api.answer(path, method, body)
    assert status in (200, 201)
    assert tree(server.root) != before


def test_a_line_that_fits_is_still_taken_on_an_almost_full_disk(server: Server) -> None:
    with server.limit(resource.RLIMIT_FSIZE, 4096):
        [a] = server.api.texts("one")
        status, added, _ = server.api.answer("/threads/one/messages", "POST", SAY)
        assert status == 200
        assert error(
            server.api.answer("/threads/one/messages", "POST", {**SAY, "content": BIG})
        ) == (507, "disk_full")
        assert server.api.texts("one") == [a, (added["id"], "new")]


@contextmanager
def closed(*paths: Path) -> Iterator[None]:
    """Nobody may write there."""
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        yield
    finally:
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


CHANGES = {
    "a message": ("/threads/one/messages", "POST", SAY),
    "a title": ("/threads/one", "PATCH", {"title": "new"}),
    "a deletion": ("/threads/one", "DELETE", None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_thread_that_may_not_be_changed_is_only_read(name: str, server: Server) -> None:
    path, method, body = CHANGES[name]
    folder = server.root / "threads/one"
    before = tree(server.root)
    with closed(*folder.iterdir(), folder):
        assert error(server.api.answer(path, method, body)) == (500, "not_writable")
        assert tree(server.root) == before
        assert server.api.listed() == {"one": "one", "two": "two"}
        assert server.api.texts("one") == [("a", "y" * 3000)]
        assert server.api.answer("/threads/two", "PATCH", {"title": "2"})[0] == 200
    assert server.api.answer(path, method, body)[0] == 200


def test_where_no_thread_can_be_made_those_that_are_there_go_on(server: Server) -> None:
    with closed(server.root / "threads"):
        assert error(server.api.answer("/threads", "POST", {})) == (500, "not_writable")
        assert error(server.api.answer("/threads/one", "DELETE")) == (500, "not_writable")
        assert server.api.answer("/threads/one", "PATCH", {"title": "new"})[0] == 200
        assert server.api.answer("/threads/one/messages", "POST", SAY)[0] == 200
    assert server.api.answer("/threads", "POST", {})[0] == 200


UNREADABLE = {
    "thread.json": {"/threads/one": 500, "/threads/one/messages": 200},
    "messages.jsonl": {"/threads/one": 200, "/threads/one/messages": 500},
    "": {"/threads/one": 500, "/threads/one/messages": 500},
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_may_not_be_read_is_named_and_hides_nothing_else(name: str, root: Path) -> None:
    path = root / "threads/one" / name
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        with serve(root) as server:
            for address, status in UNREADABLE[name].items():
                found, value, _ = server.api.answer(address)
                assert (found, address) == (status, address)
                if found == 500:
                    assert value["error"]["code"] == "file_unreadable"
                    assert f"threads/one/{name}".rstrip("/") in value["message"]
                    assert "Permission denied" in value["message"]
            assert server.api.listed()["two"] == "two"
            assert server.api.report("threads/one") != []
            path.chmod(mode)
            assert server.api.get("/threads/one")["title"] == "one"
            assert server.api.texts("one") == [("a", "y" * 3000)]
    finally:
        path.chmod(mode)


def test_a_data_folder_that_may_not_be_changed_is_one_line_and_exit_code_2(root: Path) -> None:
    command = [sys.executable, "-c", SERVE_UNPRIVILEGED, "--port", "0", "--data-folder", str(root)]
    with closed(root):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
        assert f"The data folder {root}" in done.stderr
        with serve(root, "--read-only") as server:
            assert server.api.listed() == {"one": "one", "two": "two"}
            assert error(server.api.answer("/threads/one", "PATCH", {"title": "2"})) == (
                403,
                "read_only",
            )


NO_FILES_LEFT = {
    "a thread that was not read before": ("/threads/one", "GET", None),
    "its messages": ("/threads/one/messages", "GET", None),
    "a message": ("/threads/one/messages", "POST", SAY),
    "a title": ("/threads/one", "PATCH", {"title": "new"}),
    "a thread": ("/threads", "POST", {}),
    "a deletion": ("/threads/one", "DELETE", None),
}


@pytest.mark.parametrize("name", NO_FILES_LEFT)
def test_with_too_many_open_files_nothing_is_said_not_to_be_there(
    name: str, server: Server
) -> None:
    path, method, body = NO_FILES_LEFT[name]
    server.api.answer("/threads/nowhere")  # The connection is one of the files.
    before = tree(server.root)
    with server.no_more_files():
        status, value, _ = server.api.answer(path, method, body)
        # What is known already may be answered.
        assert status >= 500 or (status, method) == (200, "GET"), value
        assert status == 200 or "Too many open files" in value["message"]
        assert tree(server.root) == before
    assert server.api.answer(path, method, body)[0] == 200
    assert server.api.listed().keys() >= {"two"}


def test_a_list_is_whole_or_an_error_when_too_many_files_are_open(server: Server) -> None:
    expected = {"one": "one", "two": "two"}
    server.api.answer("/threads/nowhere")
    with server.no_more_files():
        status, value, _ = server.api.answer("/threads")
        assert status >= 500 or {thread["id"] for thread in value} == expected.keys()
    assert server.api.listed() == expected
    with server.no_more_files():
        assert server.api.listed() == expected


def test_what_changed_while_no_file_could_be_opened_is_seen_afterwards(server: Server) -> None:
    api = server.api
    with api.events() as events:
        assert api.listed() == {"one": "one", "two": "two"}
        with server.no_more_files():
            (server.root / "threads/one/thread.json").write_text('{"title": "new"}')
            api.made("threads/three", {"thread.json": b'{"title": "three"}'})
            status, _, response = api.answer("/threads/one")
            # The version that was seen last may be shown when it is said to be old.
            assert status == 200
            stale = response.getheader("X-Jan-Stale") or ""
            assert stale.startswith("threads/one/thread.json cannot be read (Too many open files)")
        assert api.get("/threads/one")["title"] == "new"
        assert api.get("/threads/three")["title"] == "three"
        # Whoever looked at the third while it could not be read has told of it as broken first.
        events.until("thread updated one", "thread *ed three")
    assert api.listed() == {"one": "new", "two": "two", "three": "three"}


def test_without_a_watch_answers_are_right_and_a_new_one_is_begun(server: Server) -> None:
    api = server.api
    with api.events() as events:
        api.made("threads/three", {"thread.json": b'{"title": "three"}'})
        events.until("thread created three")
        child = server.watching_child()
        assert child is not None
        os.kill(child, signal.SIGKILL)
        (server.root / "threads/one/thread.json").write_text('{"title": "new"}')
        assert api.get("/threads/one")["title"] == "new"
        events.until("thread updated one")
        assert api.listed() == {"one": "new", "two": "two", "three": "three"}
        api.made("threads/four", {"thread.json": b'{"title": "four"}'})
        events.until("thread created four")


def test_a_connection_that_cannot_be_taken_waits_until_it_can(server: Server) -> None:
    server.api.get("/threads/one")
    with server.no_more_files():
        api = Api(f"http://{server.api.host}", server.root)
        api.send("/threads/one")
    with api:
        assert api.receive()[0] == 200


def test_a_watch_that_cannot_begin_is_tried_again(server: Server) -> None:
    api = server.api
    with api.events() as events:
        api.made("threads/three", {"thread.json": b'{"title": "three"}'})
        events.until("thread created three")
        assert api.listed().keys() == {"one", "two", "three"}
        child = server.watching_child()
        assert child is not None
        with server.no_more_files():
            os.kill(child, signal.SIGKILL)
            assert api.listed().keys() == {"one", "two", "three"}
        (server.root / "threads/one/thread.json").write_text('{"title": "new"}')
        assert api.get("/threads/one")["title"] == "new"
        events.until("thread updated one")
