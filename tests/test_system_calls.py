"""What a real server asks of the system, watched by strace: flushed first, answered then.

Killing a process proves nothing about a flush, since what it wrote is in the system's cache.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.importing.conftest import small_gguf

# With a question mark: some processors have only the newer ones of these calls.
TRACED = (
    "?write,?writev,?pwrite64,?fsync,?fdatasync,?rename,?renameat,?renameat2,"
    "?sendto,?sendmsg,?recvfrom,?recvmsg,?read"
)
_LINE = re.compile(r"(?P<process>\d+) +(?:(?P<name>\w+)\(|<\.\.\. \w+ resumed>)(?P<rest>.*)")
_OPENED = re.compile(r"\d+<([^<>]*)>")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Call(NamedTuple):
    """One call: between which lines of the trace it ran, and what it says to people."""

    begin: int
    end: int
    text: str


class Change(NamedTuple):
    """A request, and what must have been done, in this order, before its answer begins."""

    method: str
    path: str
    body: Any
    steps: list[str]


THREAD = "threads/jan_1"
STAGED = ".jan_server/new/*"
TRASHED = ".jan_server/trash/*"
DELETION = "29990101T000000.000000Z"
OTHER_DELETION = "29990102T000000.000000Z"
DELETED = (
    f".jan_server/trash/{DELETION}/threads/old/thread.json",
    f".jan_server/trash/{OTHER_DELETION}/threads/gone/thread.json",
)
CHANGES = {
    "create a thread": Change(
        "POST",
        "/v1/threads",
        {"assistants": [{"assistant_id": "new"}], "messages": [{"role": "user", "content": "hi"}]},
        [
            f"write {STAGED}/messages.jsonl",
            f"fsync {STAGED}/messages.jsonl",
            f"write {STAGED}/thread.json",
            f"fsync {STAGED}/thread.json",
            f"fsync {STAGED}",
            f"rename {STAGED} threads/new_*",
            "fsync threads",
        ],
    ),
    "change a title": Change(
        "PATCH",
        "/v1/threads/jan_1",
        {"title": "New"},
        [
            f"write {THREAD}/.jan_server-*",
            f"fsync {THREAD}/.jan_server-*",
            f"exchange {THREAD}/.jan_server-* {THREAD}/thread.json",
            f"fsync {THREAD}",
        ],
    ),
    "append a message": Change(
        "POST",
        "/v1/threads/jan_1/messages",
        {"role": "user", "content": "hi"},
        [
            f"fsync {THREAD}",
            f"write {THREAD}/messages.jsonl",
            f"fsync {THREAD}/messages.jsonl",
        ],
    ),
    "append another one": Change(
        "POST",
        "/v1/threads/jan_1/messages",
        {"role": "user", "content": "hi again"},
        [f"write {THREAD}/messages.jsonl", f"fsync {THREAD}/messages.jsonl"],
    ),
    "change a message": Change(
        "POST",
        "/v1/threads/jan_1/messages/a",
        {"metadata": {"new": 1}},
        [
            f"write {THREAD}/.jan_server-*",
            f"fsync {THREAD}/.jan_server-*",
            f"exchange {THREAD}/.jan_server-* {THREAD}/messages.jsonl",
            f"fsync {THREAD}",
        ],
    ),
    "delete a message": Change(
        "DELETE",
        "/v1/threads/jan_1/messages/a",
        None,
        [
            f"write {TRASHED}/messages/jan_1/*",
            f"fsync {TRASHED}/messages/jan_1/*",
            f"fsync {TRASHED}/messages/jan_1",
            f"write {THREAD}/.jan_server-*",
            f"fsync {THREAD}/.jan_server-*",
            f"exchange {THREAD}/.jan_server-* {THREAD}/messages.jsonl",
            f"fsync {THREAD}",
        ],
    ),
    "delete a thread": Change(
        "DELETE",
        "/v1/threads/jan_1",
        None,
        [
            "fsync .jan_server/trash",
            f"fsync {TRASHED}",
            f"rename {THREAD} {TRASHED}/{THREAD}",
            f"fsync {TRASHED}/threads",
            "fsync threads",
        ],
    ),
    "create an assistant": Change(
        "POST",
        "/v1/assistants",
        {"id": "new", "name": "New"},
        [
            f"write {STAGED}/assistant.json",
            f"fsync {STAGED}/assistant.json",
            f"fsync {STAGED}",
            f"rename {STAGED} assistants/new",
            "fsync assistants",
        ],
    ),
    "change an assistant": Change(
        "PATCH",
        "/v1/assistants/jan",
        {"name": "New"},
        [
            "write assistants/jan/.jan_server-*",
            "fsync assistants/jan/.jan_server-*",
            "exchange assistants/jan/.jan_server-* assistants/jan/assistant.json",
            "fsync assistants/jan",
        ],
    ),
    "delete an assistant": Change(
        "DELETE",
        "/v1/assistants/jan",
        None,
        [
            f"rename assistants/jan {TRASHED}/assistants/jan",
            f"fsync {TRASHED}/assistants",
            "fsync assistants",
        ],
    ),
    "delete a model": Change(
        "DELETE",
        "/v1/models/tiny",
        None,
        [
            f"rename models/tiny {TRASHED}/models/tiny",
            f"fsync {TRASHED}/models",
            "fsync models",
        ],
    ),
    "import a model": Change(
        "POST",
        "/v1/models/import",
        {"modelPath": "ROOT/logs/m.gguf", "model": "new"},
        [
            f"write {STAGED}/model/m.gguf",
            f"fsync {STAGED}/model/m.gguf",
            f"write {STAGED}/model/model.json",
            f"fsync {STAGED}/model/model.json",
            f"fsync {STAGED}/model",
            f"rename {STAGED}/model models/new",
            "fsync models",
        ],
    ),
    "restore a thread": Change(
        "POST",
        f"/v1/trash/{DELETION}/restore",
        None,
        [
            f"rename .jan_server/trash/{DELETION}/threads/old threads/old",
            "fsync threads",
            f"fsync .jan_server/trash/{DELETION}/threads",
        ],
    ),
    "free a deletion": Change(
        "DELETE",
        f"/v1/trash/{OTHER_DELETION}",
        None,
        [
            f"rename .jan_server/trash/{OTHER_DELETION}/threads/gone {TRASHED}/gone",
            f"fsync .jan_server/trash/{OTHER_DELETION}/threads",
        ],
    ),
    # The last one: it goes on when it is answered.
    "begin a run": Change(
        "POST",
        "/v1/threads/jan_2/runs",
        {"model": "echo", "additional_messages": [{"role": "user", "content": "hi"}]},
        [
            "write threads/jan_2/messages.jsonl",
            "fsync threads/jan_2/messages.jsonl",
            "fsync threads/jan_2",
            "write threads/jan_2/runs.jsonl",
            "fsync threads/jan_2/runs.jsonl",
        ],
    ),
}


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """For each change what was asked of the system from its request to its answer."""
    folder = tmp_path_factory.mktemp("traced")
    thread = folder / "data" / THREAD
    thread.mkdir(parents=True)
    (thread / "thread.json").write_text('{"title": "Old"}')
    (thread / "messages.jsonl").write_text('{"id": "a", "role": "user", "content": "hi"}\n')
    for name in ("assistants/jan/assistant.json", "models/tiny/model.json", *DELETED):
        (folder / "data" / name).parent.mkdir(parents=True)
        (folder / "data" / name).write_text('{"name": "Old"}')
    (folder / "data/threads/jan_2").mkdir()
    (folder / "data/threads/jan_2/thread.json").write_text("{}")
    (folder / "data/models/echo").mkdir()
    (folder / "data/models/echo/model.json").write_text('{"engine": "echo"}')
    small_gguf(folder / "data/logs/m.gguf")
    with _traced_server(folder / "data", trace=folder / "trace") as host:
        for change in CHANGES.values():
            _ask(host, change, root=folder / "data")
    found = list(_read((folder / "trace").read_text(), root=folder / "data"))
    return {name: _between(found, change) for name, change in CHANGES.items()}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_answered_was_flushed_before(name: str, calls: dict[str, list[str]]) -> None:
    steps = iter(calls[name])
    missing = [step for step in CHANGES[name].steps if not any(_is(call, step) for call in steps)]
    assert missing == [], f"not done before the answer, or not in this order, of {calls[name]}"


def test_of_a_trace_the_end_of_a_call_counts_and_the_beginning_of_an_answer() -> None:
    trace = """\
7 recvfrom(8<socket:[1]>, "PATCH /v1/threads/jan_1 HTTP/1.1\\r\\nHost"..., 262144, 0, NULL) = 9
9 write(12</d/threads/jan_1/a>, "{}", 2 <unfinished ...>
7 read(3</d/b>, "x", 1) = 1
9 <... write resumed>) = 2
9 fsync(12</d/threads/jan_1/a> <unfinished ...>
7 sendto(8<socket:[1]>, "HTTP/1.1 200 \\r\\netag"..., 212, 0, NULL, 0 <unfinished ...>
9 <... fsync resumed>) = 0
7 <... sendto resumed>) = 212
7 renameat2(AT_FDCWD</x>, "/d/a", AT_FDCWD</x>, "/d/b", RENAME_EXCHANGE) = 0
7 renameat(AT_FDCWD</x>, "/d/a", AT_FDCWD</x>, "/d/b") = 0
7 --- SIGINT {si_signo=SIGINT} ---
7 fsync(12</d>) = -1 EIO (Input/output error)
"""
    found = list(_read(trace, root=Path("/d")))
    assert [call.text for call in found] == [
        "request PATCH /v1/threads/jan_1",
        "write threads/jan_1/a",
        "fsync threads/jan_1/a",
        "answer 200",
        "exchange a b",
        "rename a b",
    ]
    assert _between(found, CHANGES["change a title"]) == ["write threads/jan_1/a"]


@contextmanager
def _traced_server(root: Path, *, trace: Path) -> Iterator[str]:
    strace = shutil.which("strace")
    assert strace, "this test needs strace: install it with your system's package manager"
    command = [strace, "-f", "-y", "-s", "64", "-o", str(trace), "-e", f"trace={TRACED}"]
    server = [sys.executable, "-m", "jan_server", "serve", "--port", "0", "--data-folder", root]
    with subprocess.Popen(
        [*command, *map(str, server)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        line = process.stdout.readline()
        if not line.startswith("address: "):
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(
                "strace could not run the server. Where ptrace is forbidden, as in some "
                f"containers, allow it (docker: --cap-add SYS_PTRACE). {process.stderr.read()}"
            )
        try:
            yield line.split()[1].removeprefix("http://")
        finally:
            # strace itself ignores it, and ends when the server has.
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=60)


def _ask(host: str, change: Change, *, root: Path) -> None:
    with closing(http.client.HTTPConnection(host, timeout=60)) as connection:
        body = None if change.body is None else json.dumps(change.body).replace("ROOT", str(root))
        connection.request(change.method, change.path, body)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()


def _read(trace: str, *, root: Path) -> Iterator[Call]:
    """The calls that succeeded and mean something here, in the order in which they ended.

    An answer counts from where it begins.
    """
    begun: dict[str, tuple[int, str, str]] = {}
    for number, line in enumerate(trace.splitlines()):
        found = _LINE.match(line)
        if found is None:
            continue
        begin, name, rest = begun.pop(found["process"], (number, "", ""))
        name, rest = found["name"] or name, rest + found["rest"]
        if rest.endswith("<unfinished ...>"):
            begun[found["process"]] = number, name, rest.removesuffix("<unfinished ...>")
        elif " = -1 " not in rest:
            text = _text(name, rest, root=str(root))
            if text:
                yield Call(begin, number, text)


def _text(name: str, rest: str, *, root: str) -> str:
    opened = _OPENED.findall(rest)
    quoted = _QUOTED.findall(rest)
    if name.startswith("rename"):
        verb = "exchange" if "RENAME_EXCHANGE" in rest else "rename"
        return " ".join([verb, *(_below(root, path) for path in quoted)])
    if opened and opened[0].startswith(root):
        verb = {"fdatasync": "fsync", "pwrite64": "write", "writev": "write"}.get(name, name)
        return f"{verb} {_below(root, opened[0])}" if verb in ("fsync", "write") else ""
    if quoted and quoted[0].startswith("HTTP/1.1 "):
        return f"answer {quoted[0].split()[1]}"
    if quoted and " HTTP/1.1" in quoted[0]:
        return f"request {quoted[0].split(' HTTP/')[0]}"
    return ""


def _below(root: str, path: str) -> str:
    return path.removeprefix(root).removeprefix("/")


def _between(calls: list[Call], change: Change) -> list[str]:
    """What ended between a request, which is taken out, and the beginning of its answer."""
    asked = f"request {change.method} {change.path}"
    request = next(call for call in calls if call.text == asked)
    calls.remove(request)
    answer = next(call for call in calls if call.begin > request.end and call.text == "answer 200")
    return [call.text for call in calls if request.end < call.end < answer.begin]


def _is(call: str, step: str) -> bool:
    """A star is one part of a path, or the end of one."""
    return re.fullmatch(re.escape(step).replace(r"\*", "[^/ ]*"), call) is not None
