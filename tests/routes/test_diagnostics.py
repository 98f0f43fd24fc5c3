from __future__ import annotations

import hashlib
import shutil

import pytest
from starlette.testclient import TestClient

from jan_server import catalogue
from jan_server.app import create_app
from jan_server.settings import Settings
from tests.conftest import BASE_URL, tree
from tests.store.failing import FailingSystem
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


def test_weights_under_a_name_of_the_catalogue_must_be_what_it_says(client, data_folder):
    [source] = catalogue.get("smollm2-360m-instruct")["sources"]
    path = data_folder / "models/smollm2-360m-instruct" / source["filename"]
    path.parent.mkdir(parents=True)
    write_tiny_gguf(path)
    [finding] = client.get("/v1/diagnostics?models=true").json()["findings"]
    assert finding["file"] == str(path.relative_to(data_folder))
    assert (finding["code"], finding["reason"].split()[-1]) == ("wrong_size", str(source["size"]))


def test_a_model_says_that_its_file_changed_since_its_sum_was_verified(client, data_folder):
    path = data_folder / "models/m/m.gguf"
    path.parent.mkdir(parents=True)
    write_tiny_gguf(path)
    assert client.get("/v1/diagnostics?models=true").json()["findings"] == []
    before = client.get("/v1/models/m")
    assert "weights_changed" not in before.json()
    write_tiny_gguf(path, seed=1)
    after = client.get("/v1/models/m")
    assert after.json()["weights_changed"].startswith("m.gguf changed after its sum was verified")
    assert after.headers["etag"] != before.headers["etag"]
    [listed] = client.get("/v1/models").json()["data"]
    assert listed == after.json()
    [finding] = client.get("/v1/diagnostics").json()["findings"]
    assert (finding["code"], finding["file"]) == ("changed_weights", "models/m/m.gguf")


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


class Neighbour(FailingSystem):
    """At the moment of the replacement another program saves the file."""

    def __init__(self, theirs):
        super().__init__()
        self.theirs = theirs

    def exchange(self, one, other):
        if self.theirs:
            other.write_text(self.theirs)
            self.theirs = ""
        super().exchange(one, other)


OLD = '{"title": "Old", "mood": "calm"}'


@pytest.mark.parametrize(
    ("theirs", "mood", "kept"),
    [
        ('{"title": "Old", "mood": "sunny"}', "sunny", []),
        ('{"title": "Theirs", "mood": "sunny"}', "calm", ['{"title": "Theirs", "mood": "sunny"}']),
        ('{"title": "Th', "calm", ['{"title": "Th']),
    ],
)
def test_what_another_wrote_while_we_did_is_merged_or_kept_and_told(
    theirs, mood, kept, client, write, data_folder, monkeypatch
):
    write("threads/x/thread.json", OLD)
    monkeypatch.setattr(client.app.state.services.store.files.disk, "system", Neighbour(theirs))
    changed = client.patch("/v1/threads/x", json={"title": "Ours"}).json()
    assert (changed["title"], changed["mood"]) == ("Ours", mood)
    assert client.get("/v1/threads/x").json() == changed
    copies = sorted((data_folder / "threads/x").glob("thread.conflict-*.json"))
    assert [copy.read_text() for copy in copies] == kept
    assert [
        (finding["code"], finding["file"])
        for finding in client.get("/v1/diagnostics").json()["findings"]
    ] == [("conflict_copy", f"threads/x/{copy.name}") for copy in copies]
    assert len(client.get("/v1/threads").json()) == 1


def test_a_folder_that_was_moved_away_is_a_503(client, data_folder):
    shutil.move(data_folder, data_folder.with_name("away"))
    answer = client.get("/v1/diagnostics")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "data_folder_missing")
