"""Entity tags and conditions of everything that has an address of its own.

A kind of resource is a row of `KINDS`; what a client may do to one is a row of `CHANGES`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from starlette.testclient import TestClient

from tests.conftest import tree


class Kind(Struct, frozen=True):
    """`file` has `before` in it, and a person makes that `after`."""

    url: str
    file: str
    before: str
    after: str


KINDS = {
    "model": Kind(
        "/v1/models/echo",
        "models/echo/model.json",
        '{"engine": "echo", "name": "One", "created": 1}',
        '{"engine": "echo", "name": "Two", "created": 1}',
    ),
    "assistant": Kind(
        "/v1/assistants/jan",
        "assistants/jan/assistant.json",
        '{"name": "Jan"}',
        '{"name": "Eve"}',
    ),
    "thread": Kind(
        "/v1/threads/jan_1",
        "threads/jan_1/thread.json",
        '{"title": "One"}',
        '{"title": "Two"}',
    ),
    "filed thread": Kind(
        "/v1/threads/jan_2",
        "threads/Work/jan_2/thread.json",
        '{"title": "One"}',
        '{"title": "Two"}',
    ),
}
DOCUMENTS = {name: kind for name, kind in KINDS.items() if kind.file.endswith(".json")}
"""Those with a file of their own; a line that is broken is no resource."""


class Change(Struct, frozen=True):
    """A request that changes or deletes one of a kind."""

    kind: str
    method: str
    body: dict[str, Any] | None = None


CHANGES = {
    "modify an assistant": Change("assistant", "PATCH", {"name": "Ann"}),
    "delete an assistant": Change("assistant", "DELETE"),
    "modify a model": Change("model", "PATCH", {"name": "Three"}),
    "delete a model": Change("model", "DELETE"),
    "modify a thread": Change("thread", "PATCH", {"title": "Three"}),
    "update a thread": Change("thread", "POST", {"title": "Three"}),
    "delete a thread": Change("thread", "DELETE"),
    "modify a filed thread": Change("filed thread", "PATCH", {"title": "Three"}),
    "delete a filed thread": Change("filed thread", "DELETE"),
}

each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)

Write = Callable[[str, Any], Path]


def etag(client: TestClient, kind: Kind) -> str:
    answer = client.get(kind.url)
    assert answer.status_code == 200
    return answer.headers["etag"]


def ask(client: TestClient, change: Change, headers: dict[str, str]) -> Any:
    url = KINDS[change.kind].url
    return client.request(change.method, url, json=change.body, headers=headers)


@each_kind
def test_a_read_carries_a_strong_etag_and_says_what_it_depends_on(
    client: TestClient, write: Write, kind: Kind
) -> None:
    write(kind.file, kind.before)
    first, second = client.get(kind.url), client.get(kind.url)
    assert first.headers["etag"] == second.headers["etag"]
    assert first.headers["etag"].startswith('"')
    assert first.headers["vary"] == "OpenAI-Beta, Origin"


@each_kind
def test_who_has_it_already_is_sent_nothing(client: TestClient, write: Write, kind: Kind) -> None:
    write(kind.file, kind.before)
    tag = etag(client, kind)
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = client.get(kind.url, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    for other in ('"other"', f'"{tag[1:-2]}"'):
        answer = client.get(kind.url, headers={"If-None-Match": other})
        assert (answer.status_code, answer.headers["etag"]) == (200, tag)


@each_kind
def test_an_edit_by_hand_makes_another_etag_and_its_undoing_the_same(
    client: TestClient, write: Write, kind: Kind
) -> None:
    path = write(kind.file, kind.before)
    seen = [etag(client, kind)]
    for content in (kind.after, f" {kind.before}", kind.before):
        path.write_text(content, encoding="utf-8")
        seen.append(etag(client, kind))
    assert seen[0] == seen[3]
    assert len(set(seen)) == 3


@pytest.mark.parametrize("kind", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_broken_file_keeps_the_etag_of_its_last_good_version(
    client: TestClient, write: Write, kind: Kind
) -> None:
    write(kind.file, kind.before)
    tag = etag(client, kind)
    write(kind.file, "{")
    shown = client.get(kind.url)
    known = client.get(kind.url, headers={"If-None-Match": tag})
    assert [(a.status_code, a.headers["etag"]) for a in (shown, known)] == [(200, tag), (304, tag)]
    assert shown.headers["x-jan-stale"] == known.headers["x-jan-stale"]
    assert shown.headers["x-jan-stale"].startswith(f"{kind.file}:1:2")


@each_kind
@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
def test_what_is_no_etag_is_a_400(client: TestClient, write: Write, kind: Kind, name: str) -> None:
    write(kind.file, kind.before)
    answer = client.get(kind.url, headers={name: "5d41402a"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


@each_kind
def test_what_is_not_there_is_a_404_whatever_the_conditions_say(
    client: TestClient, kind: Kind
) -> None:
    for name in ("If-Match", "If-None-Match"):
        assert client.get(kind.url, headers={name: "*"}).status_code == 404


@each_change
def test_a_change_of_what_was_seen_is_done(
    client: TestClient, write: Write, change: Change
) -> None:
    kind = KINDS[change.kind]
    write(kind.file, kind.before)
    answer = ask(client, change, {"If-Match": etag(client, kind)})
    assert answer.status_code == 200
    if change.body:
        assert answer.headers["etag"] == etag(client, kind)
        assert client.get(kind.url).json().items() >= change.body.items()
    else:
        assert client.get(kind.url).status_code == 404


@each_change
def test_a_change_of_what_was_edited_since_is_a_412_and_writes_nothing(
    client: TestClient, write: Write, data_folder: Path, change: Change
) -> None:
    kind = KINDS[change.kind]
    write(kind.file, kind.before)
    seen = etag(client, kind)
    write(kind.file, kind.after)
    there = tree(data_folder)
    answer = ask(client, change, {"If-Match": seen})
    assert (answer.status_code, answer.json()["error"]["code"]) == (412, "precondition_failed")
    assert etag(client, kind) in answer.json()["message"]
    assert tree(data_folder) == there


@each_change
@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("If-Match", "*", 200),
        ("If-None-Match", '"other"', 200),
        ("If-None-Match", "*", 412),
        ("If-Match", '"other"', 412),
        ("If-Match", "other", 400),
    ],
)
def test_a_change_obeys_either_condition(
    client: TestClient, write: Write, change: Change, name: str, value: str, status: int
) -> None:
    kind = KINDS[change.kind]
    write(kind.file, kind.before)
    assert ask(client, change, {name: value}).status_code == status


@each_change
def test_a_change_of_what_is_not_there_is_a_404_whatever_the_conditions_say(
    client: TestClient, change: Change
) -> None:
    assert ask(client, change, {"If-Match": "*"}).status_code == 404


def test_the_state_of_a_model_is_a_part_of_its_etag(client: TestClient, write: Write) -> None:
    write("models/m/model.json", {"engine": "ctransformers", "created": 1})
    url = "/v1/models/m"
    first = client.get(url)
    write("models/m/m.gguf", b"GGUF")
    second = client.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (first.json()["state"], second.json()["state"]) == ("not_downloaded", "downloaded")
    assert first.headers["etag"] != second.headers["etag"]


def test_where_a_thread_is_filed_is_a_part_of_its_etag(
    client: TestClient, write: Write, data_folder: Path
) -> None:
    """It is shown, and a move changes no byte of the file."""
    path, url = write("threads/jan_1/thread.json", '{"title": "One"}'), "/v1/threads/jan_1"
    first = client.get(url)
    (data_folder / "threads/Work").mkdir()
    path.parent.rename(data_folder / "threads/Work/jan_1")
    second = client.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (second.status_code, second.json()["folder"]) == (200, "Work")
    changed = client.patch(url, json={"title": "x"}, headers={"If-Match": second.headers["etag"]})
    assert changed.status_code == 200
    assert changed.headers["etag"] == client.get(url).headers["etag"]


def test_a_model_of_the_catalogue_has_an_etag(client: TestClient) -> None:
    kind = Kind("/v1/models/smollm2-135m-instruct", "", "", "")
    known = {"If-None-Match": etag(client, kind)}
    assert client.get(kind.url, headers=known).status_code == 304
