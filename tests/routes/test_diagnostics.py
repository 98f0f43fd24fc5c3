from __future__ import annotations

import hashlib
import shutil

from starlette.testclient import TestClient

from jan_server.app import create_app
from jan_server.settings import Settings
from tests.conftest import BASE_URL, tree
from tests.tiny_gguf import write_tiny_gguf

BROKEN = {
    "file": "threads/x/thread.json",
    "line": 2,
    "column": 3,
    "code": "broken_document",
    "reason": "expected a key in double quotes",
    "fix": None,
    "hint": "Mend it in an editor; JSON has no comments and no trailing commas.",
}
CHECKED = {"threads": 1, "messages": 0, "replies": 0, "assistants": 0, "models": 0}


def test_what_is_wrong_is_told_with_its_place(client, write):
    write("threads/x/thread.json", '{\n  // mine\n  "id": "x"}')
    answer = client.get("/v1/diagnostics")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "object": "diagnostics",
            "findings": [BROKEN],
            "trash": {"deletions": 0, "bytes": 0, "oldest": None},
            "checked": CHECKED,
        },
    )


def test_sums_are_only_computed_when_asked_for(client, write, data_folder):
    write("models/m/model.json", {"sources": [{"url": "https://x.org/m.gguf", "sha256": "0" * 64}]})
    path = write_tiny_gguf(data_folder / "models/m/m.gguf")
    assert client.get("/v1/diagnostics").json()["findings"] == []
    [finding] = client.get("/v1/diagnostics?models=true").json()["findings"]
    sum = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (finding["code"], finding["file"]) == ("wrong_sum", "models/m/m.gguf")
    assert sum in finding["reason"]
    assert client.get("/v1/diagnostics?models=perhaps").status_code == 400


def test_a_deleted_thread_is_counted_in_the_trash(client, write):
    write("threads/x/thread.json", "{}")
    client.delete("/v1/threads/x")
    answer = client.get("/v1/diagnostics").json()
    assert (answer["findings"], answer["trash"]["deletions"], answer["trash"]["bytes"]) == (
        [],
        1,
        2,
    )


def test_a_read_only_server_tells_it_too_and_writes_nothing(write, data_folder):
    write("threads/x/thread.json", '{\n  // mine\n  "id": "x"}')
    before = tree(data_folder)
    settings = Settings(data_folder=data_folder, read_only=True)
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        assert client.get("/v1/diagnostics").json()["findings"] == [BROKEN]
    assert tree(data_folder) == before
    assert not (data_folder / ".jan_server").exists()


def test_a_folder_that_was_moved_away_is_a_503(client, data_folder):
    shutil.move(data_folder, data_folder.with_name("away"))
    answer = client.get("/v1/diagnostics")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "data_folder_missing")
