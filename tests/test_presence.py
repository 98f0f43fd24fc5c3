"""A running server is found, and one that was killed is not."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket

import httpx2
import pytest

from jan_server import __version__, presence
from jan_server.presence import Presence, announced
from jan_server.server import bind, local_address
from jan_server.settings import Settings
from jan_server.store import Store
from jan_server.store.read_only import own_folder
from tests.running import Command, served


@pytest.fixture
def folder(data_folder):
    return data_folder / ".jan_server" / "servers"


@pytest.fixture
def store(data_folder):
    return Store(data_folder).open()


def start(data_folder, *more):
    """A server in a process, that has printed where it is; its address."""
    command = Command("serve", "--port", "0", "--data-folder", data_folder, *more)
    lines = [command.read_line() for _ in range(3)]
    return command, lines[0].split()[1]


def wait_until_it_answers(url):
    assert httpx2.get(f"{url}/healthz", timeout=60).json()["status"] == "ok"


def test_a_server_leaves_a_file_that_people_can_read_and_takes_it_away(data_folder, folder):
    with served(Settings(data_folder=data_folder, fsync=False)) as url:
        wait_until_it_answers(url)
        [path] = folder.iterdir()
        said = json.loads(path.read_text())
        started = said.pop("started")
        assert said == {"url": url, "pid": os.getpid(), "version": __version__}
        assert (started[10], started[-1]) == ("T", "Z")
        assert path.stat().st_mode & 0o777 == 0o600
        assert presence.find(data_folder) == Presence(**said, started=started)
    assert list(folder.iterdir()) == []
    assert presence.find(data_folder) is None


def test_a_server_in_another_process_is_found_until_it_stops(data_folder, folder):
    command, url = start(data_folder)
    with command:
        wait_until_it_answers(url)
        found = presence.find(data_folder)
        assert (found.url, found.pid) == (url, command.process.pid)
        command.process.send_signal(signal.SIGTERM)
        command.process.wait(60)
    assert list(folder.iterdir()) == []


def test_what_a_killed_server_left_is_seen_through_and_removed(data_folder, folder):
    command, url = start(data_folder)
    with command:
        wait_until_it_answers(url)
        command.process.kill()
        command.process.wait(60)
    assert len(list(folder.iterdir())) == 1
    assert presence.find(data_folder) is None
    assert list(folder.iterdir()) == []


def test_of_several_the_last_one_is_found_and_then_the_other(data_folder, store):
    with announced(store, "http://127.0.0.1:1"):
        with announced(store, "http://127.0.0.1:2"):
            assert presence.find(data_folder).url == "http://127.0.0.1:2"
        assert presence.find(data_folder).url == "http://127.0.0.1:1"
        assert presence.find(data_folder).url == "http://127.0.0.1:1"  # Looking lets nothing go.


def test_a_read_only_server_is_found_and_writes_nothing_into_the_folder(
    data_folder, monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (data_folder / "threads").mkdir(parents=True)
    command, url = start(data_folder, "--read-only")
    with command:
        wait_until_it_answers(url)
        assert presence.find(data_folder).url == url
    assert [path.name for path in data_folder.rglob("*")] == ["threads"]
    assert own_folder(data_folder).is_relative_to(tmp_path / "cache")


def test_a_cache_inside_the_folder_holds_no_read_only_server(data_folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(data_folder))
    data_folder.mkdir()
    assert presence.find(data_folder) is None


def test_a_server_that_cannot_say_that_it_is_there_serves_all_the_same(
    data_folder, folder, write, caplog
):
    write(".jan_server/servers", "a file in the way")
    with served(Settings(data_folder=data_folder, fsync=False)) as url:
        wait_until_it_answers(url)
        assert presence.find(data_folder) is None
    assert "commands will not find this server" in caplog.text
    assert folder.read_text() == "a file in the way"


def test_a_full_disk_leaves_nothing_behind(data_folder, folder, store, caplog):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # As good as a full disk.
    try:
        with announced(store, "http://127.0.0.1:1"):
            found = presence.find(data_folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (found, list(folder.iterdir())) == (None, [])
    assert "cannot be written" in caplog.text


def test_a_file_that_cannot_be_opened_is_passed_over(data_folder, folder, store):
    with announced(store, "http://127.0.0.1:1"):
        (folder / "Z.json").symlink_to("nowhere")
        assert presence.find(data_folder).url == "http://127.0.0.1:1"


@pytest.mark.parametrize("said", ["", "{", "[]", '{"url": 1}'])
def test_a_file_that_says_nothing_is_passed_over(data_folder, folder, store, monkeypatch, said):
    monkeypatch.setattr(presence.msgspec.json, "format", lambda *_, **__: said.encode())
    with announced(store, "http://127.0.0.1:1"):
        assert presence.find(data_folder) is None
        assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize(
    ("host", "reached"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]")]
)
def test_the_address_is_one_that_this_machine_reaches(host, reached):
    if host == "::" and not socket.has_ipv6:
        pytest.skip("no IPv6")
    with bind(host, 0) as sock:
        assert local_address(sock) == f"http://{reached}:{sock.getsockname()[1]}"
