"""What the doctor finds, mends, and leaves alone: one row for each kind of damage."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jan_server.errors import DataFolderMissing
from jan_server.store import Store, doctor
from jan_server.store.doctor import Doctor, lines, mending
from jan_server.store.doctor.found import ADVICE, Mend
from jan_server.store.doctor.names import STALE, is_stale
from jan_server.store.doctor.weights import Digests
from jan_server.store.files import Files
from jan_server.store.locks import Locks
from jan_server.store.replacing import Replaced
from jan_server.store.signature import Signature
from jan_server.types.diagnostics import Checked, Diagnosis, Finding, TrashSize
from tests.conftest import tree
from tests.store.conftest import write
from tests.store.failing import FailingSystem
from tests.tiny_gguf import write_tiny_gguf

A = b'{"id":"a","role":"user","content":"hi"}\n'
B = b'{"id":"b","role":"user","content":"b"}\n'
LINES = "threads/one/messages.jsonl"
ONE = "threads/one/thread.json"

Edit = Callable[[Path], object]

NO_IDS = b'{"id":"../x"}\n{"id":[]}\n{"id":true}\n{"id":1.5}\n{"id":{}}\n{"id":"%s"}' % (b"x" * 300)


def found(root: Path, *, sums: bool = False) -> list[Finding]:
    return Doctor(Store(root, fsync=False)).examine(sums=sums).findings


def mended(root: Path, *, sums: bool = False) -> Diagnosis:
    return Doctor(Store(root, fsync=False)).mend(sums=sums)


def told(findings: list[Finding]) -> list[str]:
    return [f"{finding.code} {finding}" for finding in findings]


def put(name: str, data: str | bytes) -> Edit:
    return lambda root: write(root / name, data)


def age(path: Path, seconds: float = STALE + 60) -> None:
    for each in (*path.rglob("*"), path):
        moment = each.lstat().st_mtime - seconds
        os.utime(each, (moment, moment), follow_symlinks=False)


def old(name: str, data: str | bytes = b"x") -> Edit:
    def edit(root: Path) -> None:
        write(root / name, data)
        age(root / ".jan_server") if name.startswith(".jan_server/") else age(root / name)

    return edit


def both(*edits: Edit) -> Edit:
    return lambda root: [edit(root) for edit in edits]


def copied(source: str, target: str) -> Edit:
    return lambda root: shutil.copytree(root / source, root / target)


def link(name: str, target: str) -> Edit:
    def edit(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)

    return edit


def special(name: str) -> Edit:
    return lambda root: os.mkfifo(root / name)


def test_a_folder_that_is_well_has_no_findings(root: Path) -> None:
    diagnosis = Doctor(Store(root, fsync=False)).examine(sums=True)
    assert diagnosis == Diagnosis(
        findings=[], trash=TrashSize(), checked=Checked(threads=2, messages=1, assistants=1)
    )


HARMLESS: dict[str, Edit] = {
    "no final newline": put(LINES, A + B.rstrip()),
    "blank lines, CRLF, a byte order mark": put(
        LINES, b"\xef\xbb\xbf" + A.replace(b"\n", b"\r\n") + b"\n \n" + B
    ),
    "half a surrogate pair": put(LINES, b'{"role":"user","content":"\\ud83d"}'),
    "lines without ids, twice": put(LINES, b'{"role":"user","content":"ok"}\n' * 2),
    "an id that is null or a number": put(LINES, b'{"id":null}\n{"id":7}\n'),
    "an empty messages.jsonl": put(LINES, b""),
    "a minimal thread": put("threads/three/thread.json", "{}"),
    "a thread that a person filed": put("threads/Work/2024/x/thread.json", "{}"),
    "hidden files and backups": both(
        put("threads/one/.DS_Store", b"\0\1"),
        put("threads/.stfolder/x", b""),
        put("threads/one/.syncthing.thread.json.tmp", b"{"),
        link("threads/one/.#thread.json", "me@here.123"),
    ),
    "a temporary file that is being written": put("threads/one/.jan_server-1234", b"{"),
    "a download that runs": put(".jan_server/downloads/.jan_server-download-1/x.gguf", b"GG"),
    "pictures behind a link": link("threads/one/pictures", "/"),
    "a model that is not downloaded yet": put(
        "models/far/model.json",
        '{"source_url": "https://example.org/far.gguf",'
        ' "settings": {"llama_model_path": "far.gguf"}}',
    ),
    "a model without weights of its own": put("models/echo/model.json", '{"engine": "echo"}'),
    "a model without a manifest": lambda root: _gguf(root, "models/bare/bare.gguf"),
    "folders of models": lambda root: _gguf(root, "models/org/name/bare.gguf"),
    "files beside the threads": both(put("threads/notes.txt", b"mine"), put("threads/Icon\r", b"")),
    "no threads folder": lambda root: shutil.rmtree(root / "threads"),
    "a link to a thread": link("threads/again", "one"),
}


def _gguf(root: Path, name: str) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    return write_tiny_gguf(root / name)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_harmless_is_not_told(name: str, root: Path) -> None:
    HARMLESS[name](root)
    assert told(found(root, sums=True)) == []


LINE_FAULTS: dict[str, tuple[bytes, list[str], bytes]] = {
    "a broken line stays where it is": (
        A + b'{"id":"b",}\n' + B,
        ["broken_line 2:11 expected a key in double quotes"],
        A + b'{"id":"b",}\n' + B,
    ),
    "what is no object stays too": (
        A + b"42\n" + B,
        ["broken_line 2:1 expected an object"],
        A + b"42\n" + B,
    ),
    "bytes that are no text stay": (
        A + b'{"id":"\xff"}\n',
        ["broken_line 2:8 is not UTF-8"],
        A + b'{"id":"\xff"}\n',
    ),
    "a torn last line is set aside": (
        A + b'{"id":"b","ro',
        ["torn_line 2:11 a string that begins here does not end"],
        A,
    ),
    "lines of zeros are taken out": (
        A + b"\0" * 9 + b"\n" + B + b"\0" * 9,
        [
            "zeros 2:1 holds nothing but zeros",
            "zeros 4:1 holds nothing but zeros",
        ],
        A + B,
    ),
    "zeros behind a record are taken out": (
        A.rstrip() + b"\0\0\n" + B.rstrip() + b"\0\0",
        [
            "zeros 1:40 zeros stand behind this record",
            "zeros 2:39 zeros stand behind this record",
        ],
        A + B.rstrip(),
    ),
    "zeros before a record stay": (
        b"\0\0" + A,
        ["broken_line 1:1 expected a value"],
        b"\0\0" + A,
    ),
    "glued records get their newline": (
        A.rstrip() + B.rstrip() + b" " + A.replace(b'"a"', b'"c"'),
        [
            "glued_records 1:40 expected a newline before this record",
            "glued_records 1:79 expected a newline before this record",
        ],
        A + B.rstrip() + b" \n" + A.replace(b'"a"', b'"c"'),
    ),
    "a torn one that is glued is set aside": (
        A.rstrip() + b'{"id',
        ["torn_line 1:41 a string that begins here does not end"],
        A.rstrip(),
    ),
    "an id that is there twice becomes its address": (
        A + A + B + A.replace(b'"a"', b' "a" '),
        [
            "duplicate_message_id 2:1 the message id 'a' is also that of line 1",
            "duplicate_message_id 4:1 the message id 'a' is also that of line 1",
        ],
        A + A.replace(b'"a"', b'"a.2"') + B + A.replace(b'"a"', b' "a.3" '),
    ),
    "an address that is taken is not used": (
        A + A + A.replace(b'"a"', b'"a.2"'),
        ["duplicate_message_id 2:1 the message id 'a' is also that of line 1"],
        A + A.replace(b'"a"', b'"a.3"') + A.replace(b'"a"', b'"a.2"'),
    ),
    "glued and twice": (
        A.rstrip() + A,
        [
            "glued_records 1:40 expected a newline before this record",
            "duplicate_message_id 1:40 the message id 'a' is also that of line 1",
        ],
        A + A.replace(b'"a"', b'"a.2"'),
    ),
    "an id that nobody can ask for stays": (
        NO_IDS,
        [
            "unusable_message_id 1:1 no message can be asked for by the id '../x'",
            "unusable_message_id 2:1 an id is a text, not an array",
            "unusable_message_id 3:1 an id is a text, not true or false",
            "unusable_message_id 4:1 an id is a text, not a fraction",
            "unusable_message_id 5:1 an id is a text, not an object",
            f"unusable_message_id 6:1 no message can be asked for by the id '{'x' * 37}...'",
        ],
        NO_IDS,
    ),
}


@pytest.mark.parametrize("name", LINE_FAULTS)
def test_lines_are_told_with_their_place_and_mended_without_guessing(name: str, root: Path) -> None:
    raw, expected, after = LINE_FAULTS[name]
    write(root / LINES, raw)
    age(root / LINES, 60)
    others = {name: data for name, data in tree(root).items() if name != LINES}
    before = found(root)
    assert told(before) == [
        f"{code} {LINES}:{rest}" for code, rest in (line.split(" ", 1) for line in expected)
    ]
    assert lines.mended(raw).raw == after

    diagnosis = mended(root)
    assert tree(root) == {**others, LINES: after}
    remaining = [finding for finding in before if finding.fix is None]
    assert (diagnosis.findings, diagnosis.mended) == (
        remaining,
        [finding for finding in before if finding.fix],
    )
    # What was changed is in the trash, as it was.
    copies = list((root / ".jan_server/trash").glob("*/doctor/threads/one/messages.jsonl"))
    assert [copy.read_bytes() for copy in copies] == ([raw] if raw != after else [])
    assert mended(root).mended == []


def test_a_line_that_may_still_be_written_is_left_alone(root: Path) -> None:
    write(root / LINES, A + A + b'{"id":"b","ro')
    [duplicate, torn] = mended(root).findings
    assert duplicate.hint == torn.hint
    assert "may not be finished" in (torn.hint or "")
    assert (root / LINES).read_bytes() == A + A + b'{"id":"b","ro'


def test_a_torn_line_is_kept_in_a_file_of_its_own(root: Path) -> None:
    write(root / LINES, A + b'{"id":"b","ro')
    age(root / LINES, 60)
    mended(root)
    [kept] = (root / ".jan_server/torn").iterdir()
    assert kept.read_bytes() == b'{"id":"b","ro'
    assert "one" in kept.name


def test_what_is_mended_is_served_as_before(root: Path) -> None:
    write(root / LINES, A + A + B.rstrip() + A + b"\0\0\n")
    before = [message.id for message in Store(root).messages("one").list()]
    mended(root)
    assert [message.id for message in Store(root).messages("one").list()] == before
    assert before == ["a", "a.2", "b", "a.3"]


def test_a_line_of_many_megabytes_is_told(root: Path) -> None:
    long = b'{"id":"b","content":"' + b"x" * (50 * 2**20) + b'"}\n'
    write(root / LINES, A + long + A)
    assert told(found(root)) == [
        f"long_line {LINES}:2:1 holds 50 MB",
        f"duplicate_message_id {LINES}:3:1 the message id 'a' is also that of line 1",
    ]


def test_lines_are_counted_across_pieces_of_a_long_file(root: Path) -> None:
    numbered = [json.dumps({"id": f"m{n}", "content": "x" * 1000}).encode() for n in range(4000)]
    numbered[3500] = b"{"
    numbered[3600] = numbered[0]
    write(root / LINES, b"\n".join(numbered))
    diagnosis = Doctor(Store(root)).examine(sums=False)
    assert diagnosis.checked.messages == 3999
    assert [(each.code, each.line) for each in diagnosis.findings] == [
        ("broken_line", 3501),
        ("duplicate_message_id", 3601),
    ]


def test_of_a_file_full_of_faults_the_first_are_told_and_all_are_mended(root: Path) -> None:
    write(root / LINES, b"{]\n" * 300 + b"\0\n" * 300)
    before = found(root)
    assert [each.code for each in before[1:]] == ["broken_line"] * lines.LIMIT
    assert str(before[0]) == f"{LINES} has 400 faults more"
    after = mended(root).findings
    assert (root / LINES).read_bytes() == b"{]\n" * 300
    assert (str(after[0]), after[0].fix) == (f"{LINES} has 100 faults more", None)


FOUND: dict[str, tuple[Edit, list[str]]] = {
    "an empty document": (put(ONE, b""), [f"broken_document {ONE}:1:1 is empty"]),
    "a document of zeros": (
        put(ONE, b"\0" * 64),
        [f"broken_document {ONE}:1:1 holds nothing but zeros"],
    ),
    "a comment": (
        put(ONE, '{\n  // mine\n  "title": "One"}'),
        [f"broken_document {ONE}:2:3 expected a key in double quotes"],
    ),
    "a trailing comma": (
        put("assistants/jan/assistant.json", '{"id": "jan",\n}'),
        ["broken_document assistants/jan/assistant.json:2:1 expected a key in double quotes"],
    ),
    "no object": (put(ONE, "[]"), [f"broken_document {ONE}:1:1 expected an object"]),
    "a broken manifest": (
        put("models/m/model.json", "{"),
        ["broken_document models/m/model.json:1:2 ends too early"],
    ),
    "a folder instead of a document": (
        put("threads/three/thread.json/x", ""),
        ["unreadable threads/three/thread.json cannot be read (Is a directory)"],
    ),
    "a folder instead of messages": (
        put("threads/two/messages.jsonl/x", ""),
        ["unreadable threads/two/messages.jsonl cannot be read (Is a directory)"],
    ),
    "a file instead of the threads": (
        both(lambda root: shutil.rmtree(root / "threads"), put("threads", "x")),
        ["unreadable threads cannot be listed (Not a directory)"],
    ),
    "an empty folder": (
        lambda root: (root / "threads/empty").mkdir(),
        ["empty_folder threads/empty is empty"],
    ),
    "a folder that holds something else": (
        both(put("threads/odd/x.txt", ""), put("assistants/odd/x.txt", "")),
        [
            "no_document assistants/odd is no assistant: it has no assistant.json",
            "no_document threads/odd is no thread: it has no thread.json",
        ],
    ),
    "a renamed folder": (
        put("threads/three/thread.json", '{"id": "other"}'),
        [
            "other_id threads/three/thread.json says that its id is 'other', "
            "but its folder is 'three'"
        ],
    ),
    "an id that two folders have": (
        both(
            put("threads/b/thread.json", '{"id": "x"}'), put("threads/a/thread.json", '{"id": "x"}')
        ),
        [
            "same_id threads/a/thread.json says that its id is 'x', as threads/b does",
            "same_id threads/b/thread.json says that its id is 'x', as threads/a does",
        ],
    ),
    "a name that two filed folders have": (
        both(
            put("threads/Work/x/thread.json", '{"id": "x"}'),
            put("threads/x/thread.json", '{"id": "x"}'),
        ),
        ["same_id threads/Work/x/thread.json says that its id is 'x', as threads/x does"],
    ),
    "a copied model": (
        both(
            put("models/org/m/model.json", '{"id": "org/m", "engine": "echo"}'),
            copied("models/org/m", "models/copy"),
        ),
        ["copied_id models/copy/model.json says that its id is 'org/m', as models/org/m does"],
    ),
    "a name that is not UTF-8": (
        lambda root: (root / os.fsdecode(b"threads/caf\xe9")).mkdir(),
        ["name_not_utf8 threads/caf\\xe9 has a name that is not UTF-8"],
    ),
    "a name that no request could hold": (
        put("threads/a\x1b[31m\\b/thread.json", "{}"),
        ["unusable_name threads/a\\x1b[31m\\b has a name that nothing can be asked by"],
    ),
    "a FIFO": (
        both(special("threads/one/pipe"), special("threads/two/messages.jsonl")),
        [
            "special_file threads/one/pipe is neither a file nor a folder",
            "special_file threads/two/messages.jsonl is neither a file nor a folder",
        ],
    ),
    "a FIFO instead of a document": (
        both(
            lambda root: (root / "threads/two/thread.json").unlink(),
            special("threads/two/thread.json"),
        ),
        ["special_file threads/two/thread.json is neither a file nor a folder"],
    ),
    "links that lead out": (
        both(
            link("threads/out", "/etc"),
            link("threads/out.txt", "/etc/passwd"),
            link("threads/two/messages.jsonl", "/etc/passwd"),
            lambda root: (root / "assistants/jan/assistant.json").unlink(),
            link("assistants/jan/assistant.json", "/etc/passwd"),
        ),
        [
            f"link_leads_out {name} is a link that leads out of the data folder"
            for name in (
                "assistants/jan/assistant.json",
                "threads/out",
                "threads/two/messages.jsonl",
            )
        ],
    ),
    "links that lead nowhere": (
        both(
            link("threads/gone", "nothing"),
            link("models/round", "round"),
            link("threads/two/messages.jsonl", "messages.jsonl"),
        ),
        [
            "link_leads_nowhere models/round is a link to round, which cannot be reached",
            "link_leads_nowhere threads/gone is a link to nothing, which cannot be reached",
            "link_leads_nowhere threads/two/messages.jsonl is a link to messages.jsonl, "
            "which cannot be reached",
        ],
    ),
    "conflict copies": (
        both(
            put("threads/one/thread.conflict-20261123T051500Z.json", "{}"),
            put("threads/one/messages.sync-conflict-20261123-051500-ABCDEFG.jsonl", A + B),
            put("threads/one/nothing.json.orig", "{}"),
        ),
        [
            "conflict_copy threads/one/messages.sync-conflict-20261123-051500-ABCDEFG.jsonl"
            " is another version of messages.jsonl",
            "conflict_copy threads/one/nothing.json.orig is another version of nothing.json",
            "conflict_copy threads/one/thread.conflict-20261123T051500Z.json"
            " is another version of thread.json",
        ],
    ),
    "weights that are not there": (
        both(
            put("models/a/model.json", '{"settings": {"llama_model_path": "x.gguf"}}'),
            put(
                "models/b/model.json",
                '{"source_url": "https://example.org/x.gguf",'
                ' "settings": {"llama_model_path": "/nowhere/x.gguf"}}',
            ),
        ),
        [
            "weights_missing models/a/model.json names the weights 'x.gguf', which are not there",
            "weights_missing models/b/model.json"
            " names the weights '/nowhere/x.gguf', which are not there",
        ],
    ),
    "a web page for weights": (
        put("models/m/m.gguf", "<!doctype html>" + " " * 64),
        [
            "broken_weights models/m/m.gguf cannot be used: "
            "it is text of a web page, not a GGUF file."
        ],
    ),
    "weights that were cut short": (
        put("models/m/m.gguf", b"GGUF\3\0"),
        ["broken_weights models/m/m.gguf cannot be used: it is cut short or damaged"],
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_a_person_must_decide_is_told_and_left_alone(name: str, root: Path) -> None:
    edit, expected = FOUND[name]
    edit(root)
    before = found(root)
    assert [line.startswith(start) for line, start in zip(told(before), expected, strict=True)] == [
        True
    ] * len(expected), told(before)
    assert [(bool(each.hint), each.fix) for each in before] == [(True, None)] * len(before)
    names = sorted(os.fsencode(path) for path in root.rglob("*"))
    diagnosis = mended(root)
    assert (diagnosis.findings, diagnosis.mended) == (before, [])
    assert sorted(os.fsencode(path) for path in root.rglob("*")) == names


def test_every_code_is_in_the_table_that_people_read() -> None:
    table = re.findall(r"^    ([a-z_0-9]+(?: [a-z_]+)?)  +\S", doctor.__doc__ or "", re.MULTILINE)
    assert sorted(" ".join(table[1:]).split()) == sorted(ADVICE)


def test_messages_without_a_document_get_the_one_that_they_are_served_with(root: Path) -> None:
    write(
        root / "threads/orphan/messages.jsonl",
        b'{"role":"user","content":"x","created":1700000000}',
    )
    before = Store(root).threads.get("orphan")
    place = "no_thread_document threads/orphan has messages and no thread.json"
    assert told(found(root)) == [place]
    diagnosis = mended(root)
    assert (diagnosis.findings, told(diagnosis.mended or [])) == ([], [place])
    assert before.value == {}
    assert json.loads((root / "threads/orphan/thread.json").read_bytes()) == {
        "id": "orphan",
        "object": "thread",
        "title": "New Thread",
        "assistants": [],
        "created": 1700000000000,
        "updated": 1700000000000,
        "metadata": {},
    }


def test_a_copied_folder_gets_its_own_id(root: Path) -> None:
    write(root / ONE, '{\n  "id": "one",\n  "title": "One"\n}')
    copied("threads/one", "threads/one (copy)")(root)
    place = "threads/one (copy)/thread.json says that its id is 'one', as threads/one does"
    assert told(found(root)) == [f"copied_id {place}"]
    diagnosis = mended(root)
    assert diagnosis.findings == []
    assert [each.fix for each in diagnosis.mended or []] == ["write the folder's name as its id"]
    assert (root / "threads/one (copy)/thread.json").read_text() == (
        '{\n  "id": "one (copy)",\n  "title": "One"\n}'
    )
    assert (root / ONE).read_text() == '{\n  "id": "one",\n  "title": "One"\n}'
    [copy] = (root / ".jan_server/trash").glob("*/doctor/threads/one (copy)/thread.json")
    assert copy.read_text() == '{\n  "id": "one",\n  "title": "One"\n}'


TRASHED: dict[str, tuple[Edit, str, str]] = {
    "a temporary file": (
        old("threads/one/.jan_server-0123"),
        "leftover threads/one/.jan_server-0123 was left behind unfinished",
        "doctor/threads/one/.jan_server-0123",
    ),
    "a temporary file beside the threads": (
        old("threads/.jan_server-0123"),
        "leftover threads/.jan_server-0123 was left behind unfinished",
        "doctor/threads/.jan_server-0123",
    ),
    "a folder that was being made": (
        old(".jan_server/new/0123/thread.json"),
        "leftover .jan_server/new/0123 was left behind unfinished",
        "doctor/.jan_server/0123/thread.json",
    ),
    "a download": (
        old(".jan_server/downloads/.jan_server-download-1/x.gguf"),
        "leftover .jan_server/downloads/.jan_server-download-1 was left behind unfinished",
        "doctor/.jan_server/.jan_server-download-1/x.gguf",
    ),
    "a temporary file of our own": (
        old(".jan_server/.jan_server-1"),
        "leftover .jan_server/.jan_server-1 was left behind unfinished",
        "doctor/.jan_server/.jan_server-1",
    ),
    "a conflict copy that says the same": (
        both(
            put("threads/one/messages.sync-conflict-20261123-051500-ABCDEFG.jsonl", A),
            put(LINES, A),
        ),
        "equal_conflict_copy threads/one/messages.sync-conflict-20261123-051500-ABCDEFG.jsonl"
        " holds the same as messages.jsonl",
        "doctor/threads/one/messages.sync-conflict-20261123-051500-ABCDEFG.jsonl",
    ),
}


@pytest.mark.parametrize("name", TRASHED)
def test_what_nobody_misses_is_moved_to_the_trash(name: str, root: Path) -> None:
    edit, place, trashed = TRASHED[name]
    edit(root)
    assert told(found(root)) == [place]
    diagnosis = mended(root)
    assert (diagnosis.findings, told(diagnosis.mended or [])) == ([], [place])
    [deletion] = (root / ".jan_server/trash").iterdir()
    assert (deletion / trashed).is_file()
    assert tree(root).keys() == tree(Store(root).root).keys()
    assert diagnosis.trash.deletions == 1
    assert (diagnosis.trash.oldest or "")[:4] == deletion.name[:4]


@pytest.mark.parametrize(
    ("copy", "original"),
    [
        ("thread.conflict-20261123T051500Z-2.json", "thread.json"),
        ("thread.sync-conflict-20261123-051500-ABCDEFG.json", "thread.json"),
        ("thread (conflicted copy 2026-11-23 051500).json", "thread.json"),
        ("thread (anna's conflicted copy 2026-11-23).json", "thread.json"),
        ("thread_conflict-20261123-051500.json", "thread.json"),
        ("thread (SFConflict ann@example.org 2026-11-23-05-15-00).json", "thread.json"),
        ("thread_LOCAL_1234.json", "thread.json"),
        ("thread.json.orig", "thread.json"),
    ],
)
def test_whose_conflict_copy_it_is_is_seen_by_its_name(
    copy: str, original: str, root: Path
) -> None:
    shutil.copy(root / "threads/one" / original, root / "threads/one" / copy)
    assert told(found(root)) == [
        f"equal_conflict_copy threads/one/{copy} holds the same as {original}"
    ]


def test_weights_that_are_not_those_on_record_are_told(root: Path) -> None:
    path = _gguf(root, "models/m/m.gguf")
    size, sum = path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()

    def manifest(**source: object) -> None:
        sources = [{"url": "https://example.org/a/m.gguf?download=true", **source}]
        write(root / "models/m/model.json", json.dumps({"sources": sources}))

    manifest(size=size, sha256=sum.upper())
    assert found(root, sums=True) == []
    manifest(size=size, sha256="0" * 64)
    assert found(root) == []
    assert told(mended(root, sums=True).findings) == [
        f"wrong_sum models/m/m.gguf has the SHA-256 {sum} instead of {'0' * 64}"
    ]
    manifest(size=size + 1, sha256="0" * 64)
    assert told(found(root, sums=True)) == [
        f"wrong_size models/m/m.gguf has {size} bytes instead of {size + 1}"
    ]
    manifest(filename="other.gguf", sha256="0" * 64)
    assert found(root, sums=True) == []


def test_the_catalogue_knows_the_sum_of_a_model_whose_manifest_has_none(root: Path) -> None:
    _gguf(root, "models/known/k.gguf")
    source = {"url": "pkg:pypi/k@1#folder/k.gguf", "sha256": "0" * 64}
    catalogue = {"known": {"sources": [{"url": "http://[", "sha256": "1" * 64}, source]}}
    [finding] = Doctor(Store(root), catalogue=catalogue).examine(sums=True).findings
    assert (finding.code, finding.file) == ("wrong_sum", "models/known/k.gguf")


def test_weights_that_are_not_what_they_were_are_told(root: Path) -> None:
    path = _gguf(root, "models/m/m.gguf")
    assert found(root, sums=True) == []
    old = hashlib.sha256(path.read_bytes()).hexdigest()
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    new = hashlib.sha256(raw).hexdigest()
    [finding] = found(root)
    assert (finding.code, finding.file) == ("changed_weights", "models/m/m.gguf")
    assert finding.reason.startswith("changed after it was verified, 20")
    [finding] = found(root, sums=True)
    assert (finding.code, finding.file) == ("other_sum", "models/m/m.gguf")
    assert finding.reason.startswith(f"has the SHA-256 {new} instead of {old}, which it had 20")
    (root / ".jan_server/sums.json").unlink()
    assert found(root, sums=True) == found(root) == []


def test_a_bit_that_fell_over_is_told_though_the_file_seems_the_same(root: Path) -> None:
    path = _gguf(root, "models/m/m.gguf")
    assert found(root, sums=True) == []
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert found(root) == []
    assert [each.code for each in found(root, sums=True)] == ["other_sum"]


def test_weights_that_were_only_touched_are_verified_again(root: Path) -> None:
    path = _gguf(root, "models/m/m.gguf")
    assert found(root, sums=True) == []
    os.utime(path, ns=(0, 0))
    assert [each.code for each in found(root)] == ["changed_weights"]
    assert found(root, sums=True) == found(root) == []


def test_where_nothing_can_be_recorded_all_is_told_the_same(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _gguf(root, "models/m/m.gguf")
    store = Store(root, files=Files(system=FailingSystem(1, for_ever=True)))
    assert Doctor(store).examine(sums=True).findings == []
    assert "the sum of" in caplog.text
    assert not (root / ".jan_server/sums.json").exists()


def test_weights_elsewhere_are_told_by_their_whole_path(root: Path, tmp_path: Path) -> None:
    away = write_tiny_gguf(tmp_path / "away.gguf")
    away.write_bytes(away.read_bytes()[:-100])
    beside = root / "models/shared.gguf"
    shutil.copy(away, beside)
    for id, named in (("far", str(away)), ("near", str(beside))):
        manifest = {"settings": {"llama_model_path": named}}
        write(root / f"models/{id}/model.json", json.dumps(manifest))
    assert [each.file for each in found(root)] == [str(away), "models/shared.gguf"]


def test_behind_a_link_nothing_is_changed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside / ".jan_server-1", b"x")
    write(outside / "model.json", b"{}")
    write(outside / "model.json.orig", b"{}")
    age(outside)
    link("models/linked", str(outside))(root)
    before = tree(outside)
    diagnosis = mended(root)
    assert told(diagnosis.findings) == [
        "leftover models/linked/.jan_server-1 was left behind unfinished",
        "equal_conflict_copy models/linked/model.json.orig holds the same as model.json",
    ]
    assert (diagnosis.mended, tree(outside)) == ([], before)


@pytest.mark.parametrize("name", [".jan_server", ".jan_server/new", ".jan_server/downloads"])
def test_a_link_in_our_own_folder_is_not_followed(name: str, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    for each in ("new/1/x", "downloads/.jan_server-1", ".jan_server-1"):
        write(outside / each, b"x")
    age(outside)
    shutil.rmtree(root / ".jan_server")
    link(name, str(outside))(root)
    before = tree(tmp_path)
    assert (mended(root).mended, tree(tmp_path)) == ([], before)


def test_a_link_that_was_put_there_meanwhile_is_not_written_through(
    root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "words.jsonl"
    outside.write_bytes(b"{}{}")
    (root / LINES).unlink()
    (root / LINES).symlink_to(outside)
    reason = mending.mend(Store(root), Locks(), Mend("lines", root / LINES, "threads/one"))
    assert "outside the data folder" in reason
    assert outside.read_bytes() == b"{}{}"


STALE_MENDS: dict[str, tuple[str, str, Edit]] = {
    "lines that are whole by now": ("lines", LINES, lambda root: None),
    "a document that is there by now": ("thread", "threads/one", lambda root: None),
    "a document that broke": ("id", ONE, put(ONE, "{")),
    "a temporary file that lives": (
        "leftover",
        "threads/one/.jan_server-1",
        put("threads/one/.jan_server-1", ""),
    ),
    "a copy that differs by now": ("copy", f"{ONE}.orig", put(f"{ONE}.orig", "")),
}


@pytest.mark.parametrize("name", STALE_MENDS)
def test_what_needs_no_mending_any_more_is_left_alone(name: str, root: Path) -> None:
    how, path, edit = STALE_MENDS[name]
    edit(root)
    before = tree(root)
    what = Mend(how, root / path, "threads/one")  # type: ignore[arg-type]
    assert mending.mend(Store(root, fsync=False), Locks(), what) == ""
    assert (tree(root), Store(root).trash.path.exists()) == (before, False)


def test_what_cannot_be_mended_says_why(root: Path) -> None:
    write(root / LINES, A + A)
    store = Store(root, files=Files(system=FailingSystem(1, for_ever=True)))
    diagnosis = Doctor(store).mend(sums=False)
    [finding] = diagnosis.findings
    assert (finding.fix, diagnosis.mended) == (None, [])
    assert (finding.hint or "").startswith("It could not be mended: ")
    assert (root / LINES).read_bytes() == A + A


def test_whichever_operation_fails_while_it_mends_nothing_is_lost(tmp_path: Path) -> None:
    number, has_failed = 0, True
    while has_failed:
        number += 1
        root = tmp_path / str(number)
        files = {LINES: A + A + B.rstrip() + A + b"\0\n", ONE: b'{"id": "one"}'}
        files |= {"threads/orphan/messages.jsonl": B, "threads/copy/thread.json": b'{"id": "one"}'}
        for name, data in files.items():
            write(root / name, data)
        before = {d.id: _ids(root, d.id) for d in Store(root).threads.list()}
        system = FailingSystem(number)
        Doctor(Store(root, files=Files(system=system))).mend(sums=False)
        has_failed = system.has_failed
        assert {d.id: _ids(root, d.id) for d in Store(root).threads.list()} == before, number
        kept = [path.read_bytes() for path in root.rglob("*") if path.is_file()]
        assert all(data in kept for data in files.values()), number
        mended(root)
        assert found(root) == [], number
    assert number > 20


def _ids(root: Path, thread: str) -> list[str]:
    return [message.id for message in Store(root).messages(thread).list()]


def test_a_file_that_is_gone_when_it_is_to_be_mended_says_so(root: Path) -> None:
    what = Mend("lines", root / "threads/one/gone.jsonl", "threads/one")
    assert mending.mend(Store(root), Locks(), what) == "No such file or directory"


class _Meanwhile(Files):
    """Another program writes to a file just before it is replaced for the first time."""

    def __init__(self, data: bytes) -> None:
        super().__init__(fsync=False)
        self._data: bytes | None = data

    def try_replace(self, path: Path, data: bytes, *, expected: bytes) -> Replaced | None:
        if self._data is not None:
            path.write_bytes(self._data)
            self._data = None
        return super().try_replace(path, data, expected=expected)


def test_lines_that_are_added_meanwhile_are_mended_too(root: Path) -> None:
    write(root / LINES, A + A)
    diagnosis = Doctor(Store(root, files=_Meanwhile(A + A + B + B))).mend(sums=False)
    assert diagnosis.findings == []
    written = A + A.replace(b'"a"', b'"a.2"') + B + B.replace(b'"b"', b'"b.2"', 1)
    assert (root / LINES).read_bytes() == written


def test_a_line_that_is_being_added_meanwhile_is_kept_beside_the_file(root: Path) -> None:
    write(root / LINES, A + A)
    diagnosis = Doctor(Store(root, files=_Meanwhile(A + A + B[:9]))).mend(sums=False)
    [copy] = diagnosis.findings
    assert (copy.code, (root / copy.file).read_bytes()) == ("conflict_copy", A + A + B[:9])


def test_a_document_that_changes_meanwhile_keeps_that_too(root: Path) -> None:
    write(root / ONE, '{"id": "one"}')
    copied("threads/one", "threads/copy")(root)
    Doctor(Store(root, files=_Meanwhile(b'{"id": "one", "title": "New"}'))).mend(sums=False)
    path = root / "threads/copy/thread.json"
    assert path.read_bytes() == b'{"id": "copy", "title": "New"}'
    assert [each.name for each in path.parent.glob("thread*")] == ["thread.json"]


class _Growing(Files):
    """A file to which a part of a line is added at each look, until the line is whole."""

    def __init__(self, *parts: bytes) -> None:
        super().__init__(fsync=False)
        self._parts = [*parts]

    def read(self, path: Path) -> tuple[bytes, Signature]:
        seen = super().read(path)
        if path.name == "messages.jsonl" and self._parts:
            path.write_bytes(seen[0] + self._parts.pop(0))
        return seen


@pytest.mark.parametrize(
    ("parts", "codes"),
    [([B[10:]], []), ([B[10:12], B[12:]], []), ([b" "] * 9, ["torn_line"])],
)
def test_a_line_that_is_being_written_is_looked_at_again(
    parts: list[bytes], codes: list[str], root: Path
) -> None:
    write(root / LINES, A + B[:10])
    findings = Doctor(Store(root, files=_Growing(*parts))).examine(sums=False).findings
    assert [each.code for each in findings] == codes


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="Linux has a file that fails")
def test_a_disk_that_fails_is_told(root: Path) -> None:
    link("models/m/m", "/proc/self/mem")(root)
    manifest = {"sources": [{"url": "https://example.org/m", "sha256": "0" * 64}]}
    write(root / "models/m/model.json", json.dumps(manifest))
    write(root / "threads/one/messages.jsonl", b"{")
    assert told(found(root, sums=True)) == [
        "unreadable models/m cannot be looked at (Input/output error)",
        "torn_line threads/one/messages.jsonl:1:2 ends too early",
    ]


def test_what_vanishes_meanwhile_is_not_stale(root: Path) -> None:
    assert not is_stale(root / "threads/gone")


def test_it_says_what_it_is(root: Path) -> None:
    assert repr(Doctor(Store(root))) == f"<Doctor of {root}>"
    assert repr(Digests(Store(root).sums)) == "<Digests of 0 files>"


def test_mending_waits_for_whoever_writes_to_the_thread(root: Path) -> None:
    write(root / LINES, A + A)
    locks = Locks(root / ".jan_server/locks")
    with locks.hold("threads/one"):
        mending_thread = threading.Thread(target=mended, args=(root,))
        mending_thread.start()
        mending_thread.join(0.2)
        assert mending_thread.is_alive()
        assert (root / LINES).read_bytes() == A + A
    mending_thread.join(60)
    assert (root / LINES).read_bytes() == A + A.replace(b'"a"', b'"a.2"')


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataFolderMissing):
        found(tmp_path / "nowhere")
    with pytest.raises(DataFolderMissing):
        mended(tmp_path / "nowhere")


def test_looking_writes_nothing(root: Path) -> None:
    shutil.rmtree(root / ".jan_server")
    write(root / LINES, A + A + b"{")
    before = {path: path.lstat().st_mtime_ns for path in root.rglob("*")}
    found(root, sums=True)
    assert {path: path.lstat().st_mtime_ns for path in root.rglob("*")} == before


def test_what_the_trash_holds_is_counted(root: Path) -> None:
    write(root / ".jan_server/trash/20260131T093000.000000Z/threads/x/thread.json", b"12345")
    write(root / ".jan_server/trash/20260201T093000.000000Z-2/threads/x/thread.json", b"67")
    write(root / ".jan_server/trash/mine/notes.txt", b"not a deletion")
    link(".jan_server/trash/20260201T093000.000000Z-2/link", "/etc/passwd")(root)
    link(".jan_server/trash/20260202T093000.000000Z", "/")(root)
    trash = Doctor(Store(root)).examine(sums=False).trash
    assert trash == TrashSize(deletions=3, bytes=7 + 11, oldest="2026-01-31T09:30:00Z")


def test_growing_replies_are_counted(root: Path) -> None:
    write(root / "threads/one/.reply-01J.json", b"{}")
    diagnosis = Doctor(Store(root)).examine(sums=False)
    assert (diagnosis.checked.replies, diagnosis.findings) == (1, [])


def test_a_socket_hinders_nothing(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "threads/one/s"))
        assert [each.code for each in found(root)] == ["special_file"]


_NAMES = st.sampled_from(
    [
        "threads/one/thread.json",
        "threads/one/messages.jsonl",
        "threads/one/thread.json.orig",
        "threads/one/.jan_server-1",
        "threads/two/messages.jsonl",
        "threads/Work/x/thread.json",
        "threads/Work/x/messages.jsonl",
        "assistants/jan/assistant.json",
        "models/m/model.json",
        "models/m/m.gguf",
        ".jan_server/trash/20260131T093000.000000Z/x",
    ]
)
_PIECES = st.lists(
    st.sampled_from(
        [
            A,
            B,
            A.rstrip(),
            b"{",
            b"}",
            b"[",
            b"\0",
            b"\n",
            b'"id"',
            b":",
            b",",
            b"\xff",
            b"GGUF",
            b"\r",
        ]
    )
    | st.binary(max_size=20),
    max_size=8,
).map(b"".join)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(_NAMES, _PIECES, max_size=6))
def test_whatever_the_files_hold_it_neither_fails_nor_loses_anything(
    files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    for name, data in files.items():
        write(root / name, data)
    age(root, 60)
    Doctor(Store(root)).examine(sums=True)
    diagnosis = mended(root, sums=True)
    # What can be mended was: a second time there is nothing to do.
    assert [each for each in diagnosis.findings if each.fix] == []
    for name, data in files.items():
        kept = [path.read_bytes() for path in root.rglob("*") if path.is_file()]
        assert data in kept, name


@given(raw=_PIECES)
def test_mended_lines_need_no_mending(raw: bytes) -> None:
    once = lines.mended(raw).raw
    assert lines.mended(once).raw == once
    assert lines.examine(once).messages == lines.examine(raw).messages
