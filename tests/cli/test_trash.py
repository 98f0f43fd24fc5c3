"""What was deleted, listed and put back, beside a running server and without one."""

from __future__ import annotations

import json
import re

import pytest

from jan_server.settings import Settings
from jan_server.store import Store
from tests.running import served


@pytest.fixture
def run(run, data_folder):
    def trash(*arguments):
        return run("trash", *arguments, "--data-folder", str(data_folder))

    return trash


@pytest.fixture(params=["folder", "server"])
def backend(request, data_folder):
    """Once a server runs on the folder, once none does."""
    if request.param == "folder":
        yield
    else:
        with served(Settings(data_folder=data_folder, fsync=False)):
            yield


@pytest.fixture
def deleted(write, data_folder):
    """The id of the deletion of a thread."""
    write("threads/Home/trip/thread.json", {"title": "Trip"})
    store = Store(data_folder).open()
    store.threads.delete("trip")
    [item] = store.trash.list()
    return item.id


def test_what_was_deleted_is_listed(run, deleted):
    names, row = run("list").stdout.splitlines()
    assert names.split() == ["ID", "DELETED", "SIZE", "WHAT", "FROM"]
    assert re.fullmatch(
        rf"{deleted}  \d{{4}}-\d\d-\d\d \d\d:\d\d  17 B  thread trip  threads/Home/trip", row
    )
    [item] = json.loads(run("--json").stdout)
    assert (item["id"], item["path"], item["files"]) == (deleted, "threads/Home/trip", 1)


def test_it_comes_back_to_where_it_was(run, deleted, backend, data_folder):
    done = run("restore", deleted)
    assert (done.exit_code, done.stdout) == (0, "The thread trip is back.\n")
    assert (data_folder / "threads/Home/trip/thread.json").read_text() == '{"title": "Trip"}'
    assert run().stdout == "The trash is empty.\n"


def test_json_is_what_the_api_answers(run, deleted, backend):
    assert json.loads(run("restore", deleted, "--json").stdout) == {
        "id": deleted,
        "object": "trash.deletion.restored",
        "kind": "thread",
        "resource_id": "trip",
        "url": "/v1/threads/trip",
        "restored": True,
    }


def test_what_cannot_come_back_is_one_line(run, deleted, backend, write):
    gone = run("restore", "nope")
    assert (gone.exit_code, gone.stderr) == (1, "jan_server: No deletion has the id 'nope'.\n")
    write("threads/Home/trip/thread.json", {})
    taken = run("restore", deleted)
    assert (taken.exit_code, taken.stderr.count("\n")) == (1, 1)
    assert "There is already a thread with the id 'trip'" in taken.stderr
