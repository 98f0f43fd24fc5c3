from __future__ import annotations

import json
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import httpx2
import pytest

from jan_server.cli import doctor
from jan_server.settings import Settings
from jan_server.types.diagnostics import Checked, Diagnosis, Finding, TrashSize
from tests.conftest import tree
from tests.running import served

LINE = '{"id":"a","role":"user","content":"hi"}\n'
BROKEN_LINE = "threads/x/messages.jsonl:17:42 expected ','"


@pytest.fixture
def run(run, data_folder: Path):
    return partial(run, "doctor", "--data-folder", str(data_folder))


def test_a_folder_that_is_well_is_said_to_be(run, write):
    write("threads/x/thread.json", {"id": "x"})
    write("threads/x/messages.jsonl", LINE)
    done = run()
    assert (done.exit_code, done.output.splitlines()) == (
        0,
        [
            "Looked at 1 thread, 1 message, 0 replies, 0 assistants, 0 models: no problems.",
            "The trash is empty.",
        ],
    )


def test_a_problem_is_told_with_its_place_and_what_to_do(run, write, data_folder):
    write("threads/x/thread.json", {"id": "x"})
    lines = [LINE.replace('"a"', f'"{n}"') for n in range(16)]
    write(
        "threads/x/messages.jsonl",
        "".join(lines) + '{"id":"a","role":"user","content":"hi 7" "x"}\n{}{}',
    )
    before = tree(data_folder)
    done = run()
    assert (done.exit_code, done.output.splitlines()) == (
        1,
        [
            BROKEN_LINE,
            "    Mend it in an editor. It is kept as it is and hides nothing else.",
            "threads/x/messages.jsonl:18:3 expected a newline before this record",
            "    --fix would put the newline between the two",
            "Looked at 1 thread, 18 messages, 0 replies, 0 assistants, 0 models: "
            "2 problems, --fix would mend 1.",
            "The trash is empty.",
        ],
    )
    assert tree(data_folder) == before


def test_fixing_says_what_was_mended_and_what_remains(run, write, data_folder):
    write("threads/x/thread.json", '{"id": "x",}')
    path = write("threads/x/messages.jsonl", LINE + LINE)
    done = run("--fix")
    assert (done.exit_code, done.output.splitlines()[:-1]) == (
        1,
        [
            "threads/x/messages.jsonl:2:1 the message id 'a' is also that of line 1",
            "    mended: write the id by which it is served, 'a.2'",
            "threads/x/thread.json:1:12 expected a key in double quotes",
            "    Mend it in an editor; JSON has no comments and no trailing commas.",
            "Looked at 1 thread, 2 messages, 0 replies, 0 assistants, 0 models: "
            "1 mended, 1 problem left.",
        ],
    )
    assert done.output.splitlines()[-1].startswith("The trash holds 1 deletion, 0.0 MB; the oldest")
    assert path.read_text() == LINE + LINE.replace('"a"', '"a.2"')
    write("threads/x/thread.json", '{"id": "x"}')
    assert run("--fix").exit_code == 0


def test_fixing_all_of_it_is_a_success(run, write):
    write("threads/x/thread.json", "{}")
    write("threads/x/messages.jsonl", "{}{}")
    assert run("--fix").exit_code == 0
    assert run().exit_code == 0


def test_json_is_one_object(run, write):
    write("threads/x/messages.jsonl", LINE)
    done = run("--json")
    assert (done.exit_code, json.loads(done.output)) == (
        1,
        {
            "object": "diagnostics",
            "findings": [
                {
                    "file": "threads/x",
                    "line": None,
                    "column": None,
                    "code": "no_thread_document",
                    "reason": "has messages and no thread.json",
                    "fix": "write a thread.json",
                    "hint": None,
                }
            ],
            "trash": {"deletions": 0, "bytes": 0, "oldest": None},
            "checked": {"threads": 1, "messages": 1, "replies": 0, "assistants": 0, "models": 0},
        },
    )
    mended = json.loads(run("--json", "--fix").output)
    assert ([each["file"] for each in mended["mended"]], mended["findings"]) == (["threads/x"], [])


def test_a_folder_that_is_not_there_is_not_made(run, data_folder):
    for arguments in ([], ["--fix"]):
        done = run(*arguments)
        assert (done.exit_code, data_folder.exists()) == (2, False)
        assert f"There is no data folder {data_folder}" in done.output


def test_wrong_usage_and_settings_that_forbid_it_are_exit_code_2(run, write):
    assert run("--mend").exit_code == 2
    write(".jan_server/settings.toml", "read-only = true")
    assert run().exit_code == 0
    assert run("--fix").exit_code == 2
    write(".jan_server/settings.toml", "prot = 1")
    assert run().exit_code == 2


def test_it_mends_beside_a_running_server_and_loses_nothing(run, write, data_folder):
    write("threads/x/thread.json", {"id": "x"})
    path = write("threads/x/messages.jsonl", LINE)
    said: list[str] = []
    with served(Settings(data_folder=data_folder, fsync=False)) as url:

        def talk() -> None:
            with httpx2.Client(base_url=url) as client:
                for number in range(60):
                    body = {"role": "user", "content": str(number)}
                    answer = client.post("/v1/threads/x/messages", json=body)
                    said.append(answer.json()["id"])

        talking = threading.Thread(target=talk)
        talking.start()
        mends = 0
        while talking.is_alive():
            with path.open("a") as file:
                file.write(LINE)
            mends += run("--fix").output.count("mended: ")
        talking.join()
        run("--fix")
        [*served_ids] = (message["id"] for message in messages(url))
    written = [json.loads(line)["id"] for line in path.read_text().splitlines()]
    assert written == served_ids
    assert [id for id in written if not id.startswith("a")] == said
    assert len(set(written)) == len(written) == len(said) + 1 + mends


def messages(url: str) -> list[dict[str, str]]:
    return httpx2.get(f"{url}/v1/threads/x/messages", timeout=60).json()["data"]


def test_a_name_cannot_speak_to_the_terminal(run, write):
    write("threads/a\x1b]0;x\x07/thread.json", "{}")
    done = run()
    assert "\x1b" not in done.output
    assert r"threads/a\x1b]0;x\x07 has a name" in done.output


def test_large_numbers_are_told_readably():
    diagnosis = Diagnosis(
        findings=[Finding(file="threads", code="unreadable", reason="is", hint="Look.")],
        trash=TrashSize(deletions=1234, bytes=5_678_900_000, oldest="2026-01-31T09:30:00Z"),
        checked=Checked(threads=10_000, messages=1, replies=1, assistants=1, models=1),
    )
    assert list(doctor.told(diagnosis)) == [
        "threads is\n    Look.",
        "Looked at 10,000 threads, 1 message, 1 reply, 1 assistant, 1 model: 1 problem.",
        "The trash holds 1,234 deletions, 5,678.9 MB; the oldest is of 2026-01-31.",
    ]


def test_the_command_loads_nothing_that_only_the_server_needs():
    heavy = {"starlette", "hypercorn", "numpy"}
    loaded = f"import jan_server.cli.doctor, sys; print({heavy} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
