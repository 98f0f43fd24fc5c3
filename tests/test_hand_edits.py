"""What people and programs do to the folder while the server runs, one row each.

Every row is made with the tool itself where that can be driven; nano and VS Code cannot, so what
they do to the file is done here: nano and VS Code write it in place. After each edit, before any
news of it can have come: one thread, one message and all messages; then the event, the list and
the report. Nothing that the row does not name has changed, and an answer wrote nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from jan_server.settings import Settings
from jan_server.store import Store
from jan_server.store.locks import Locks
from jan_server.store.replies import Replies
from tests.api import SECONDS, Api, assert_like
from tests.running import served

A, B, C = (
    b'{"id":"%c","role":"user","content":"%s","created":1700000000000}\n' % (id, text)
    for id, text in zip(b"abc", (b"first", b"second", b"third"), strict=True)
)
LINES = A + B + C
THREAD = b'{"title": "Before", "updated": 1700000000000}\n'
D = b'{"role":"user","content":"by hand"}\n'
ALL = (("a", "first"), ("b", "second"), ("c", "third"))
WITH_D = (*ALL, ("", "by hand"))

Act = Callable[[Path], object]


class Edit(NamedTuple):
    """What is done in a thread's folder, and what each way of looking then shows.

    `title` is what GET and the list show; `status` what GET answers; `stale` the place that it
    names; `texts` the messages, an id that is "" being any. `events` are `<kind> <change> <id>`,
    the thread's own id left out. `report` is what `/diagnostics` says of this folder.
    """

    act: Act
    title: str | None = "Before"
    texts: Sequence[tuple[str, str]] = ALL
    events: Sequence[str] = ()
    report: Sequence[str] = ()
    stale: str = ""


def run(*command: str | Path, cwd: Path | None = None, stdin: bytes = b"") -> None:
    """A tool that is not there is a failure of the test: install it."""
    done = subprocess.run(
        command,
        cwd=cwd,
        input=stdin,
        capture_output=True,
        timeout=60,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
    )
    assert done.returncode == 0, done.stderr


def vim(name: str, *commands: str) -> Act:
    """Without a user's settings. `backupcopy=no` is the way that gives the file a new inode."""

    def act(folder: Path) -> None:
        asked = [part for command in (*commands, "wq") for part in ("-c", command)]
        run("vim", "-es", "-u", "NONE", "-i", "NONE", *asked, folder / name)

    return act


def sed(name: str, script: str) -> Act:
    in_place = ("-i", "") if sys.platform == "darwin" else ("-i",)
    return lambda folder: run("sed", *in_place, script, folder / name)


def shell(command: str, stdin: bytes = b"") -> Act:
    return lambda folder: run("sh", "-c", command, cwd=folder, stdin=stdin)


def in_place(name: str, data: bytes) -> Act:
    """As nano and VS Code write: the file is emptied and filled, its inode stays."""

    def act(folder: Path) -> None:
        fd = os.open(folder / name, os.O_WRONLY | os.O_TRUNC)
        with os.fdopen(fd, "wb", buffering=0) as file:
            for start in range(0, len(data), 16):
                file.write(data[start : start + 16])

    return act


def put(name: str, data: bytes) -> Act:
    return lambda folder: (folder / name).write_bytes(data)


def add(data: bytes) -> Act:
    def act(folder: Path) -> None:
        with (folder / "messages.jsonl").open("ab") as file:
            file.write(data)

    return act


def instead(name: str, make: Callable[[Path], object]) -> Act:
    """Something else than a file in the place of one."""

    def act(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return act


UPDATED = re.compile(rb'(,\s*)?"updated":\s*\d+')
TITLE = THREAD.replace(b"Before", b"After")
NEW_LINE = D.decode().strip()
RENAMED = ("thread updated",)
ADDED = ("message created *",)

TOOLS = {
    "vim saves thread.json by renaming": Edit(
        vim("thread.json", "set backupcopy=no", "%s/Before/After/"), "After", events=RENAMED
    ),
    "vim saves thread.json in place": Edit(
        vim("thread.json", "set backupcopy=yes", "%s/Before/After/"), "After", events=RENAMED
    ),
    "vim with a swap file open": Edit(
        vim("thread.json", "set swapfile updatecount=1", "%s/Before/After/", "preserve"),
        "After",
        events=RENAMED,
    ),
    "vim adds a line": Edit(
        vim("messages.jsonl", "set backupcopy=no", f"call append('$', '{NEW_LINE}')"),
        texts=WITH_D,
        events=ADDED,
    ),
    "VS Code or nano saves thread.json": Edit(
        in_place("thread.json", TITLE), "After", events=RENAMED
    ),
    "VS Code or nano adds a line": Edit(
        in_place("messages.jsonl", LINES + D), texts=WITH_D, events=ADDED
    ),
    "sed -i a title": Edit(sed("thread.json", "s/Before/After/"), "After", events=RENAMED),
    "sed -i a message": Edit(
        sed("messages.jsonl", "s/second/2nd/"),
        texts=(ALL[0], ("b", "2nd"), ALL[2]),
        events=("message updated b",),
    ),
    "echo >>": Edit(shell(f"echo '{NEW_LINE}' >> messages.jsonl"), texts=WITH_D, events=ADDED),
    "printf >>, no final newline": Edit(
        shell(f"printf %s '{NEW_LINE}' >> messages.jsonl"), texts=WITH_D, events=ADDED
    ),
    "cp over thread.json": Edit(
        shell("cat > ../../new.json; cp ../../new.json thread.json; rm ../../new.json", TITLE),
        "After",
        events=RENAMED,
    ),
    "mv over thread.json": Edit(
        shell("cat > ../../new.json; mv ../../new.json thread.json", TITLE),
        "After",
        events=RENAMED,
    ),
}

SPELLING = {
    "no final newline": Edit(
        put("messages.jsonl", LINES.rstrip() + b"\n" + D.rstrip()), texts=WITH_D, events=ADDED
    ),
    "CRLF in messages": Edit(
        put("messages.jsonl", (LINES + D).replace(b"\n", b"\r\n")), texts=WITH_D, events=ADDED
    ),
    "CRLF in thread.json": Edit(
        put("thread.json", b'{\r\n\t"title": "After"\r\n}\r\n'), "After", events=RENAMED
    ),
    "a byte order mark before messages": Edit(
        put("messages.jsonl", b"\xef\xbb\xbf" + LINES + D), texts=WITH_D, events=ADDED
    ),
    "a byte order mark before thread.json": Edit(
        put("thread.json", b"\xef\xbb\xbf" + TITLE), "After", events=RENAMED
    ),
    "tabs": Edit(put("thread.json", TITLE.replace(b" ", b"\t")), "After", events=RENAMED),
    "a line with tabs": Edit(
        add(b'{\t"role":\t"user",\t"content":\t"by hand"}\n'), texts=WITH_D, events=ADDED
    ),
    "blank lines": Edit(add(b"\n\n \n" + D + b"\n"), texts=WITH_D, events=ADDED),
    "a minimal line": Edit(add(D), texts=WITH_D, events=ADDED),
    "a minimal thread.json": Edit(put("thread.json", b"{}"), None, events=RENAMED),
    "a comment in thread.json": Edit(
        put("thread.json", b'{"title": "After" // mine\n}'),
        report=["thread.json:1:19 expected ','"],
        stale="thread.json:1:19",
        events=("thread broken",),
    ),
    "a trailing comma in thread.json": Edit(
        put("thread.json", b'{"title": "After",}'),
        report=["thread.json:1:1* expected a key in double quotes"],
        stale="thread.json:1:1",
        events=("thread broken",),
    ),
    "half a surrogate pair in a message": Edit(
        add(D.replace(b"by hand", rb"by \ud83d")),
        texts=(*ALL, ("", "by \N{REPLACEMENT CHARACTER}")),
        events=ADDED,
    ),
    "half a surrogate pair in a title": Edit(
        put("thread.json", rb'{"title": "\udc00 After"}'),
        "\N{REPLACEMENT CHARACTER} After",
        events=RENAMED,
    ),
}

IN_LINES = {
    "an id twice": Edit(
        add(B),
        texts=(*ALL, ("b.2", "second")),
        events=("message created b.2",),
        report=["messages.jsonl:4:1 *"],
    ),
    "a line deleted in the middle": Edit(
        sed("messages.jsonl", "2d"), texts=(ALL[0], ALL[2]), events=("message deleted b",)
    ),
    "reordered": Edit(
        put("messages.jsonl", C + A + B), texts=(ALL[2], ALL[0], ALL[1]), events=RENAMED
    ),
    "an edited role": Edit(
        put("messages.jsonl", A + B.replace(b"user", b"assistant") + C),
        events=("message updated b",),
    ),
    "two records glued": Edit(
        put("messages.jsonl", A + B.rstrip() + C),
        report=["messages.jsonl:2:68 expected a newline before this record"],
    ),
    "invalid UTF-8": Edit(
        put("messages.jsonl", A + b'{"content":"\xff"}\n' + B + C + D),
        texts=WITH_D,
        events=ADDED,
        report=["messages.jsonl:2:13 is not UTF-8"],
    ),
    "NULs": Edit(
        put("messages.jsonl", A + b"\0" * 100 + b"\n" + B + C + D),
        texts=WITH_D,
        events=ADDED,
        report=["messages.jsonl:2:1 holds nothing but zeros"],
    ),
    "a line that is no JSON": Edit(
        put("messages.jsonl", A + b"hello\n" + B + C + D),
        texts=WITH_D,
        events=ADDED,
        report=["messages.jsonl:2:1 expected a value"],
    ),
    "a torn last line": Edit(
        add(D + b'{"role":"us'),
        texts=WITH_D,
        events=ADDED,
        report=["messages.jsonl:5:9 a string that begins here does not end"],
    ),
}

FILES = {
    "an empty thread.json": Edit(
        put("thread.json", b""),
        report=["thread.json:1:1 is empty"],
        stale="thread.json:1:1",
        events=("thread broken",),
    ),
    "a thread.json full of zeros": Edit(
        put("thread.json", b"\0" * 50),
        report=["thread.json:1:1 holds nothing but zeros"],
        stale="thread.json:1:1",
        events=("thread broken",),
    ),
    "a thread.json that cannot be read": Edit(
        instead("thread.json", Path.mkdir),
        report=["thread.json *"],
        stale="thread.json",
        events=("thread broken",),
    ),
    "a thread.json that is a FIFO": Edit(
        instead("thread.json", os.mkfifo),
        report=["thread.json *"],
        stale="thread.json",
        events=("thread broken",),
    ),
    "no messages.jsonl": Edit(
        shell("rm messages.jsonl"),
        texts=(),
        events=("message deleted a", "message deleted b", "message deleted c"),
    ),
    "no thread.json": Edit(
        shell("rm thread.json"),
        None,
        events=RENAMED,
        report=[" has messages and no thread.json"],
    ),
    ".DS_Store": Edit(put(".DS_Store", b"\0\0\0\1Bud1")),
    "Syncthing's temporary file": Edit(put(".syncthing.messages.jsonl.tmp", A)),
    "Syncthing's conflict copy": Edit(
        put("thread.sync-conflict-20260101-120000-ABCDEFG.json", TITLE),
        report=["thread.sync-conflict-20260101-120000-ABCDEFG.json *"],
    ),
    "an editor's backup": Edit(put("messages.jsonl~", A)),
}

EDITS = {**TOOLS, **SPELLING, **IN_LINES, **FILES}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for all rows: each has folders of its own."""
    root = tmp_path_factory.mktemp("jan")
    with served(Settings(data_folder=root, fsync=False)) as base, Api(base, root) as api:
        yield api


_numbers = count()


@pytest.fixture
def folder(api: Api) -> Path:
    """A thread with three messages that the server has shown before."""
    with api.events() as events:
        made = api.made(
            f"threads/row{next(_numbers)}", {"thread.json": THREAD, "messages.jsonl": LINES}
        )
        events.until(f"thread created {made.name}")
    assert api.get(f"/threads/{made.name}")["title"] == "Before"
    assert api.texts(made.name) == list(ALL)
    return made


def others(api: Api, folder: Path) -> dict[str, bytes]:
    """Every file but those of this folder, and our own.

    A thread that got a message of ours is touched within a second of that: while a later row runs.
    """
    return {
        str(path): UPDATED.sub(b"", path.read_bytes())
        for path in api.root.rglob("*")
        if not any(part.startswith(".jan_server") for part in path.parts)
        and not path.is_relative_to(folder)
        and path.is_file()
    }


def read_regular(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_by_hand_is_served_told_listed_and_reported(
    name: str, api: Api, folder: Path
) -> None:
    edit, id = EDITS[name], folder.name
    before = others(api, folder)
    api.texts(id)  # Somebody looks at the thread: what is edited then can be told line by line.
    with api.events() as events:
        edit.act(folder)
        edited = read_regular(folder)
        _assert_is_served(api, id, edit)
        # A marker after it: what came before it is all that is told.
        api.made(f"threads/{id}-marker", {"thread.json": b"{}"})
        shown = [_address(event, id) for event in edit.events]
        events.until(*shown, f"thread created {id}-marker")
        _assert_only_ours(events.seen, id)
    shutil.rmtree(api.root / f"threads/{id}-marker")
    assert api.listed()[id] == edit.title
    assert_like(api.report(f"threads/{id}"), edit.report)
    assert read_regular(folder) == edited, "an answer wrote something"
    assert others(api, folder) == before


def _address(event: str, id: str) -> str:
    """A row's event with the thread's id."""
    return f"{event} {id}"


def _assert_only_ours(seen: list[dict[str, Any]], id: str) -> None:
    """No other thread is told about, and what is told is told as what it is: an edit of a file."""
    assert {event.get("thread_id") or event["id"] for event in seen} <= {id, f"{id}-marker"}
    assert {event["cause"] for event in seen} == {"file"}


def _assert_is_served(api: Api, id: str, edit: Edit) -> None:
    status, thread, response = api.answer(f"/threads/{id}")
    assert (status, thread.get("title")) == (200, edit.title)
    stale = response.getheader("X-Jan-Stale") or ""
    assert stale.startswith(f"threads/{id}/{edit.stale}" if edit.stale else ""), stale
    assert bool(stale) == bool(edit.stale)
    assert response.getheader("ETag")
    texts = api.texts(id)
    assert_like(
        [f"{id} {text}" for id, text in texts], [f"{id or '*'} {t}" for id, t in edit.texts]
    )
    for message_id, text in texts:
        message = api.get(f"/threads/{id}/messages/{quote(message_id)}")
        assert (message["id"], message["content"][0]["text"]["value"]) == (message_id, text)


@pytest.mark.parametrize("name", EDITS)
def test_what_an_edit_left_survives_a_message_and_a_change_of_ours(
    name: str, api: Api, folder: Path
) -> None:
    edit, id = EDITS[name], folder.name
    before = others(api, folder)
    edit.act(folder)
    edited = read_regular(folder)
    status, added, _ = api.answer(
        f"/threads/{id}/messages", "POST", {"role": "user", "content": "ours"}
    )
    assert status == 200
    changed_status, _, _ = api.answer(f"/threads/{id}", "PATCH", {"mood": "fine"})
    assert changed_status == (409 if edit.stale else 200)
    after = read_regular(folder)
    assert [text for _, text in api.texts(id)] == [text for _, text in edit.texts] + ["ours"]
    lines = edited.pop("messages.jsonl", b"")
    separator = b"" if not lines or lines.endswith(b"\n") else b"\n"
    assert after.pop("messages.jsonl").startswith(
        lines + separator + b'{"id":"' + added["id"].encode()
    )
    thread, changed = edited.pop("thread.json", b""), after.pop("thread.json", b"")
    assert _without_ours(changed) == _without_ours(thread) or not thread
    assert after == edited
    assert others(api, folder) == before


def _without_ours(raw: bytes) -> bytes:
    """A `thread.json` without the time that moves and the key that was added."""
    raw = UPDATED.sub(b"", re.sub(rb'(,\s*)?"mood":\s*"fine"', b"", raw))
    return re.sub(rb"\{\s*\}", b"{}", raw)


@pytest.mark.parametrize("name", [name for name, edit in EDITS.items() if edit.stale])
def test_what_was_never_seen_whole_is_an_error_with_its_place(
    name: str, api: Api, folder: Path
) -> None:
    edit, id = EDITS[name], f"{folder.name}-new"
    staged = api.root / id
    shutil.copytree(folder, staged)
    edit.act(staged)
    with api.events() as events:
        staged.rename(api.root / "threads" / id)
        status, value, _ = api.answer(f"/threads/{id}")
        assert (status, value["error"]["code"]) == (500, "file_unreadable")
        assert value["message"].startswith(f"threads/{id}/{edit.stale}")
        assert api.answer(f"/threads/{id}", "PATCH", {"title": "x"})[0] == 409
        assert api.texts(id) == list(edit.texts)
        *_, event = events.until(f"thread broken {id}")
    assert (event["etag"], event["problem"].startswith(f"threads/{id}/")) == (None, True)
    assert id not in api.listed()
    assert folder.name in api.listed()
    assert_like(api.report(f"threads/{id}"), edit.report)
    with api.events() as events:
        shutil.rmtree(api.root / "threads" / id)
        events.until(f"thread deleted {id}")


def test_a_line_of_fifty_megabytes_is_served_whole(api: Api, folder: Path) -> None:
    text = "long " * 10_000_000
    with api.events() as events:
        add(json.dumps({"role": "user", "content": text}).encode() + b"\n" + D)(folder)
        *_, (_, long), last = api.texts(folder.name)
        assert (long == text, last[1]) == (True, "by hand")
        events.until(f"message created * {folder.name}")
    assert_like(api.report(f"threads/{folder.name}"), ["messages.jsonl:4:1 *"])
    shutil.rmtree(folder)


def test_an_appended_line_is_told_with_the_message(api: Api, folder: Path) -> None:
    with api.events() as events:
        run("sh", "-c", "cat >> messages.jsonl", cwd=folder, stdin=D)
        *_, event = events.until(f"message created * {folder.name}")
    [*_, listed] = api.get(f"/threads/{folder.name}/messages")["data"]
    one = f"/threads/{folder.name}/messages/{listed['id']}"
    _, message, response = api.answer(one)
    assert event["id"] == listed["id"]
    assert event["etag"] == response.getheader("ETag")
    assert listed in event.values()
    assert message == listed


def test_an_edited_title_is_told_with_its_new_etag(api: Api, folder: Path) -> None:
    _, _, old = api.answer(f"/threads/{folder.name}")
    with api.events() as events:
        sed("thread.json", "s/Before/After/")(folder)
        *_, event = events.until(f"thread updated {folder.name}")
    _, _, new = api.answer(f"/threads/{folder.name}")
    assert event["etag"] == new.getheader("ETag") != old.getheader("ETag")


def test_a_line_that_is_written_in_two_parts_is_told_when_it_is_whole(
    api: Api, folder: Path
) -> None:
    half = len(D) // 2
    with api.events() as events:
        add(D[:half])(folder)
        assert api.texts(folder.name) == list(ALL)
        assert_like(api.report(f"threads/{folder.name}"), ["messages.jsonl:4:*"])
        add(D[half:])(folder)
        [*known, (id, text)] = api.texts(folder.name)
        assert (known, text) == (list(ALL), "by hand")
        seen = events.until(f"message created {id} {folder.name}")
    assert [event["id"] for event in seen if event["kind"] == "message"] == [id]
    assert api.report(f"threads/{folder.name}") == []


def test_a_file_that_was_emptied_and_filled_again_is_told_twice(api: Api, folder: Path) -> None:
    with api.events() as events:
        put("thread.json", b"")(folder)
        _, thread, response = api.answer(f"/threads/{folder.name}")
        assert (thread["title"], bool(response.getheader("X-Jan-Stale"))) == ("Before", True)
        events.until(f"thread broken {folder.name}")
        put("thread.json", THREAD)(folder)
        _, thread, response = api.answer(f"/threads/{folder.name}")
        assert (thread["title"], response.getheader("X-Jan-Stale")) == ("Before", None)
        events.until(f"thread updated {folder.name}")
    assert api.report(f"threads/{folder.name}") == []


def test_a_clock_that_was_set_back_hides_no_edit(api: Api, folder: Path) -> None:
    tomorrow = time.time() + 86_400

    def edit(word: str) -> None:
        """All that a signature has stays as it was, but for what the file says."""
        in_place("thread.json", THREAD.replace(b"Before", word.encode()))(folder)
        in_place("messages.jsonl", LINES.replace(b"second", word.encode()))(folder)
        for path in folder.iterdir():
            os.utime(path, (tomorrow, tomorrow))

    for word in ("Middle", "Behind"):
        edit(word)
        assert api.get(f"/threads/{folder.name}")["title"] == word
        assert api.texts(folder.name) == [ALL[0], ("b", word), ALL[2]]
        assert api.get(f"/threads/{folder.name}/messages/b")["content"][0]["text"]["value"] == word


def test_a_folder_in_the_place_of_the_messages_hides_only_them(api: Api, folder: Path) -> None:
    path = folder / "messages.jsonl"
    path.unlink()
    path.mkdir()
    for method in ("GET", "POST"):
        status, value, _ = api.answer(
            f"/threads/{folder.name}/messages", method, {"role": "user", "content": "x"}
        )
        assert (status, value["error"]["code"]) == (500, "file_unreadable")
    assert api.get(f"/threads/{folder.name}")["title"] == "Before"
    assert_like(api.report(f"threads/{folder.name}"), ["messages.jsonl *"])
    path.rmdir()
    path.write_bytes(LINES)
    assert api.texts(folder.name) == list(ALL)


# Replies that grow


def test_a_reply_that_nobody_writes_any_more_becomes_a_message(api: Api, folder: Path) -> None:
    reply = {"role": "assistant", "content": "so far", "status": "in_progress"}
    with api.events() as events:
        put(".reply-r.json", json.dumps(reply).encode())(folder)
        assert api.texts(folder.name) == [*ALL, ("r", "so far")]
        events.until(f"message created r {folder.name}")
    message = api.get(f"/threads/{folder.name}/messages/r")
    assert (message["status"], message["role"]) == ("incomplete", "assistant")
    assert api.texts(folder.name) == [*ALL, ("r", "so far")]
    assert sorted(read_regular(folder)) == ["messages.jsonl", "thread.json"]
    assert read_regular(folder)["messages.jsonl"].startswith(LINES + b'{"id":"r",')


def test_a_reply_that_another_process_writes_is_shown_as_it_grows(api: Api, folder: Path) -> None:
    store = Store(api.root, fsync=False)
    work = api.root / ".jan_server"
    replies = Replies(store.files, Locks(work / "locks"), torn=work / "torn")
    given = {"role": "assistant", "id": "r"}
    with replies.begin(store.messages(folder.name), given) as reply:
        for piece in ("so", " far"):
            reply.grow(piece)
            reply.save()
            assert api.texts(folder.name) == [*ALL, ("r", reply.text)]
            message = api.get(f"/threads/{folder.name}/messages/r")
            assert (message["status"], message["role"]) == ("in_progress", "assistant")
        assert api.get(f"/threads/{folder.name}/messages?order=desc&limit=1")["first_id"] == "r"
        reply.finish()
    assert api.get(f"/threads/{folder.name}/messages/r")["status"] == "ready"
    assert api.texts(folder.name) == [*ALL, ("r", "so far")]


# Folders


def test_a_copied_folder_is_a_thread_of_its_own(api: Api, folder: Path) -> None:
    put("thread.json", b'{"id": "%s", "title": "Before"}' % folder.name.encode())(folder)
    copy = f"{folder.name} (copy)"
    with api.events() as events:
        run("cp", "-r", folder, folder.with_name(copy))
        status, thread, _ = api.answer(f"/threads/{quote(copy)}")
        assert (status, thread["id"], thread["title"]) == (200, copy, "Before")
        events.until(f"thread created {copy}")
    assert {folder.name, copy} <= api.listed().keys()
    assert api.texts(copy) == list(ALL)
    assert_like(
        api.report(f"threads/{copy}"), [f"thread.json says that its id is '{folder.name}', *"]
    )
    assert api.answer(f"/threads/{quote(copy)}", "PATCH", {"title": "Copy"})[0] == 200
    assert api.get(f"/threads/{folder.name}")["title"] == "Before"


def test_a_renamed_folder_has_the_new_name_and_is_found_by_the_id_inside(
    api: Api, folder: Path
) -> None:
    put("thread.json", b'{"id": "%s", "title": "Before"}' % folder.name.encode())(folder)
    name = f"Übersicht {folder.name}"
    before = others(api, folder)
    with api.events() as events:
        run("mv", folder, folder.with_name(name))
        assert api.get(f"/threads/{quote(name)}")["id"] == name
        assert api.get(f"/threads/{folder.name}")["id"] == name
        assert api.texts(folder.name) == list(ALL)
        events.until(f"thread deleted {folder.name}", f"thread created {name}")
    assert name in api.listed()
    assert folder.name not in api.listed()
    assert_like(
        api.report(f"threads/{name}"), [f"thread.json says that its id is '{folder.name}', *"]
    )
    assert others(api, folder.with_name(name)) == before


def test_a_folder_renamed_in_case_alone_is_another_thread(api: Api, folder: Path) -> None:
    name = folder.name.upper()
    with api.events() as events:
        run("mv", folder, folder.with_name(name))
        assert api.answer(f"/threads/{folder.name}")[0] == 404
        assert api.texts(name) == list(ALL)
        events.until(f"thread deleted {folder.name}", f"thread created {name}")
    assert name in api.listed()
    assert folder.name not in api.listed()


def test_a_folder_that_was_filed_keeps_its_id_and_says_where_it_is(api: Api, folder: Path) -> None:
    with api.events() as events:
        (api.root / "threads/Work").mkdir(exist_ok=True)
        run("mv", folder, api.root / "threads/Work")
        thread = api.get(f"/threads/{folder.name}")
        assert (thread["title"], thread["folder"]) == ("Before", "Work")
        assert api.texts(folder.name) == list(ALL)
        events.until(f"thread * {folder.name}")
    assert folder.name in api.listed()
    assert api.answer(f"/threads/{folder.name}", "PATCH", {"title": "Filed"})[0] == 200
    assert b'"Filed"' in (api.root / "threads/Work" / folder.name / "thread.json").read_bytes()


def test_a_deleted_folder_is_gone(api: Api, folder: Path) -> None:
    before = others(api, folder)
    with api.events() as events:
        run("rm", "-r", folder)
        assert api.answer(f"/threads/{folder.name}")[0] == 404
        events.until(f"thread deleted {folder.name}")
    assert folder.name not in api.listed()
    assert others(api, folder) == before


def _link_out(threads: Path) -> None:
    outside = threads.parent.with_name("outside")
    outside.mkdir(exist_ok=True)
    (outside / "thread.json").write_bytes(THREAD)
    (threads / "stranger").symlink_to(outside)


def _named(name: str) -> Act:
    def act(threads: Path) -> None:
        (threads / name).mkdir()
        (threads / name / "thread.json").write_bytes(THREAD)

    return act


STRANGERS: dict[str, tuple[Act, str]] = {
    "a link out of the folder": (_link_out, "threads/stranger"),
    "a name that is not UTF-8": (_named(os.fsdecode(b"stranger\xff")), r"threads/stranger\xff"),
    "a name with a newline": (_named("stranger\n"), r"threads/stranger\n"),
    "a hidden folder": (_named(".stranger"), ""),
    "a backup of a folder": (_named("stranger~"), ""),
    "a FIFO": (lambda threads: os.mkfifo(threads / "stranger"), "threads/stranger"),
    "an empty folder": (lambda threads: (threads / "stranger").mkdir(), "threads/stranger"),
    "Syncthing's folder": (lambda threads: (threads / ".stfolder").mkdir(), ""),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_no_thread_is_reported_and_hides_nothing(name: str, api: Api, folder: Path) -> None:
    make, reported = STRANGERS[name]
    threads, known = api.root / "threads", api.listed()
    existing = set(threads.iterdir())
    try:
        with api.events() as events:
            make(threads)
            assert api.answer("/threads/stranger")[0] == 404
            sed("thread.json", "s/Before/After/")(folder)
            seen = events.until(f"thread updated {folder.name}")
        assert {event["id"] for event in seen} == {folder.name}
        assert api.listed() == {**known, folder.name: "After"}
        assert bool(reported) == bool(api.report(reported or "threads/.stfolder"))
    finally:
        for path in set(threads.iterdir()) - existing:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


# Other kinds


def test_a_gguf_without_a_manifest_is_a_model(api: Api) -> None:
    before = others(api, api.root / "models/dropped")
    with api.events() as events:
        folder = api.made("models/dropped", {"weights.gguf": b"GGUF"})
        model = api.get("/models/dropped")
        events.until("model created dropped")
    assert (model["id"], model["state"]) == ("dropped", "downloaded")
    assert others(api, folder) == before
    with api.events() as events:
        shutil.rmtree(folder)
        events.until("model deleted dropped")
    assert api.answer("/models/dropped")[0] == 404


def test_an_assistants_instructions_may_be_edited_while_an_answer_is_given(api: Api) -> None:
    api.made("models/echo", {"model.json": b'{"engine": "echo"}'})
    with api.events() as events:
        folder = api.made("assistants/ada", {"assistant.json": b'{"instructions": "Old."}'})
        assert api.get("/assistants/ada")["instructions"] == "Old."
        events.until("assistant created ada")
        before = others(api, folder)
        with answering(api, "[[slow 0.05]] Mary had a little lamb") as answer:
            in_place("assistant.json", b'{"instructions": "New."}')(folder)
            assert api.get("/assistants/ada")["instructions"] == "New."
            events.until("assistant updated ada")
            rest = answer.read()
        assert b"lamb" in rest
        assert rest.endswith(b"data: [DONE]\n\n")
    [listed] = [each for each in api.get("/assistants") if each["id"] == "ada"]
    assert listed["instructions"] == "New."
    assert api.report("assistants/ada") == []
    assert others(api, folder) == before


@contextmanager
def answering(api: Api, text: str) -> Iterator[HTTPResponse]:
    """An answer that has begun."""
    with closing(HTTPConnection(api.host, timeout=SECONDS)) as connection:
        chat = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": text}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(chat))
        answer = connection.getresponse()
        assert answer.readline().startswith(b"data: {")
        yield answer


def test_a_checkout_of_a_thousand_files_is_live(tmp_path: Path) -> None:
    """Five hundred threads, each with its messages, all of them changed by one command."""
    root = tmp_path / "jan"
    names = [f"thread{number:03}" for number in range(500)]
    commit = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-qam")
    run("git", "init", "-q", root)
    for version in ("one", "two"):
        for name in names:
            folder = root / "threads" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "thread.json").write_text(json.dumps({"title": f"{name} {version}"}))
            (folder / "messages.jsonl").write_text(json.dumps({"id": "a", "content": version}))
        run("git", "add", "threads", cwd=root)
        run(*commit, version, cwd=root)
        run("git", "tag", version, cwd=root)
    with served(Settings(data_folder=root, fsync=False)) as base, Api(base, root) as api:
        assert api.listed() == {name: f"{name} two" for name in names}
        with api.events() as events:
            run("git", "checkout", "-q", "one", cwd=root)
            assert api.get("/threads/thread321")["title"] == "thread321 one"
            assert api.texts("thread123") == [("a", "one")]
            events.until(*(f"thread updated {name}" for name in names))
        assert api.listed() == {name: f"{name} one" for name in names}
        assert all(api.texts(name) == [("a", "one")] for name in names[::50])
        run("git", "diff", "--exit-code", cwd=root)


AWAY = [
    ("GET", "/trash"),
    ("GET", "/threads"),
    ("GET", "/threads/one"),
    ("GET", "/threads/one/messages"),
    ("GET", "/assistants"),
    ("GET", "/models"),
    ("GET", "/diagnostics"),
    ("POST", "/threads"),
    ("POST", "/threads/one/messages"),
    ("POST", "/assistants"),
    ("PATCH", "/threads/one"),
    ("DELETE", "/threads/one"),
]


def test_a_data_folder_may_be_moved_away_and_back(tmp_path: Path) -> None:
    """While it is away nothing is said to be gone, and no other is made in its place."""
    root, away = tmp_path / "jan", tmp_path / "away"
    (root / "threads/one").mkdir(parents=True)
    (root / "threads/one/thread.json").write_bytes(THREAD)
    with served(Settings(data_folder=root, fsync=False)) as base, Api(base, root) as api:
        assert api.listed() == {"one": "Before"}  # The first look is over.
        with api.events() as events:
            run("mv", root, away)
            for method, path in AWAY:
                body = {"role": "user", "content": "x"} if method in ("POST", "PATCH") else None
                status, value, response = api.answer(path, method, body)
                assert (status, value["error"]["code"]) == (503, "data_folder_missing"), path
                assert response.getheader("Retry-After")
            shutil.copytree(away / "threads/one", away / "threads/two")
            assert not root.exists()
            run("mv", away, root)
            events.until("thread created two")
            assert api.listed() == {"one": "Before", "two": "Before"}
            sed("thread.json", "s/Before/After/")(root / "threads/one")
            events.until("thread updated one")
        told = {(event["id"], event["change"]) for event in events.seen}
        assert told == {("two", "created"), ("one", "updated")}


def test_folders_that_are_links_are_followed_and_stay_links(tmp_path: Path) -> None:
    """The data folder, and `threads` in it: where they lead to is known from the start."""
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "jan"
    (elsewhere / "one").mkdir(parents=True)
    (elsewhere / "one/thread.json").write_bytes(THREAD)
    (elsewhere / "one/messages.jsonl").write_bytes(LINES)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/threads").symlink_to(elsewhere)
    root.symlink_to(tmp_path / "data")
    with served(Settings(data_folder=root, fsync=False)) as base, Api(base, root) as api:
        assert api.listed() == {"one": "Before"}
        with api.events() as events:
            sed("thread.json", "s/Before/After/")(elsewhere / "one")
            events.until("thread updated one")
            shell(f"echo '{NEW_LINE}' >> messages.jsonl")(root / "threads/one")
            events.until("message created * one")
        assert api.answer("/threads/one", "PATCH", {"title": "Ours"})[0] == 200
        assert b'"Ours"' in (elsewhere / "one/thread.json").read_bytes()
        assert api.answer("/threads/one", "DELETE")[0] == 200
        assert (api.listed(), list(elsewhere.iterdir())) == ({}, [])
        [deletion] = api.get("/trash")["data"]
        assert api.answer(f"/trash/{deletion['id']}/restore", "POST")[0] == 200
        assert api.texts("one")[:3] == list(ALL)
        assert api.report("threads") == []
    assert (root.is_symlink(), (root / "threads").is_symlink()) == (True, True)


def test_this_machine_has_the_tools() -> None:
    """They are driven above; without them a row would fail with a less plain reason."""
    assert [tool for tool in ("vim", "sed", "git", "sh") if shutil.which(tool) is None] == []
