"""`runs.jsonl`: a line is a whole run, the last one counts, and a broken one hides only itself."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from jan_server.errors import FileUnreadable, JanError, NotFound
from jan_server.store import Store, ThreadRuns
from jan_server.store import runs as stored
from jan_server.store.doctor import Doctor
from jan_server.store.files import Files
from jan_server.types.run import (
    AnsweredCall,
    AnsweredFunction,
    MessageCreation,
    MessageId,
    Step,
    StoredRun,
    ToolCalls,
)
from tests.store.conftest import write
from tests.store.failing import FailingSystem

RUN = StoredRun(
    id="run_1",
    created_at=5,
    thread_id="one",
    assistant_id="jan",
    status="queued",
    model="m",
    expires_at=605,
)
LINE = {
    "id": "run_1",
    "object": "thread.run",
    "created_at": 5,
    "thread_id": "one",
    "assistant_id": "jan",
    "status": "queued",
    "expires_at": 605,
    "model": "m",
}
FILE = "threads/one/runs.jsonl"


@pytest.fixture
def runs(store: Store) -> ThreadRuns:
    return store.runs("one")


def lines(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / FILE).read_text().splitlines()]


def text(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def test_a_thread_without_the_file_has_no_runs(runs, root):
    assert runs.list() == []
    assert not (root / FILE).exists()
    with pytest.raises(NotFound):
        runs.get("run_1")


@pytest.mark.parametrize("write_it", [ThreadRuns.add, ThreadRuns.put])
def test_a_line_says_what_is_not_as_always(runs, root, write_it):
    write_it(runs, RUN)
    assert list(lines(root)[0].items()) == list(LINE.items())
    assert runs.list() == [RUN]


def test_of_long_lines_nothing_is_kept(runs):
    short, long = RUN, replace(RUN, id="run_2", instructions="be kind " * 2000)
    runs.put(short)
    assert runs.list() == [short]
    known = stored._kept.cache_info().misses
    runs.put(long)
    assert runs.list() == [short, long]
    assert stored._kept.cache_info().misses == known


def test_steps_are_inside(runs, root):
    said = MessageCreation(message_creation=MessageId(message_id="m"))
    called = AnsweredCall(id="c", function=AnsweredFunction(name="f", arguments="{}"))
    steps = (
        Step(id="a", created_at=6, status="completed", step_details=said, completed_at=7),
        Step(
            id="b",
            created_at=7,
            status="in_progress",
            step_details=ToolCalls(tool_calls=(called,)),
        ),
    )
    run = replace(RUN, steps=steps, status="in_progress")
    runs.put(run)
    assert runs.get("run_1") == run
    assert lines(root)[0]["steps"] == [
        {
            "id": "a",
            "created_at": 6,
            "status": "completed",
            "step_details": {
                "type": "message_creation",
                "message_creation": {"message_id": "m"},
            },
            "completed_at": 7,
        },
        {
            "id": "b",
            "created_at": 7,
            "status": "in_progress",
            "step_details": {
                "type": "tool_calls",
                "tool_calls": [
                    {
                        "id": "c",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}", "output": None},
                    }
                ],
            },
        },
    ]


def test_the_last_line_of_a_run_counts_and_the_first_says_its_place(runs, root):
    other = replace(RUN, id="run_2")
    done = replace(RUN, status="completed", expires_at=None)
    for run in (RUN, other, done):
        runs.put(run)
    assert runs.list() == [done, other]
    assert len(lines(root)) == 3


@pytest.mark.parametrize(
    "broken",
    [
        '{"id": "run_1", "status": "comple',
        "not JSON\n",
        "[]\n",
        "\n\n",
        '{"id": "run_1"}\n',
        '{"id": "run_1", "status": "dancing"}\n',
        text({**LINE, "steps": [{"id": 1}]}),
        "\0\0\0\0",
    ],
)
def test_what_is_broken_hides_only_itself(runs, root, broken):
    other = {**LINE, "id": "run_2"}
    write(root / FILE, text(LINE) + broken)
    assert runs.list() == [RUN]
    runs.put(replace(RUN, id="run_2"))
    assert [run.id for run in runs.list()] == ["run_1", "run_2"]
    assert (root / FILE).read_text() == (
        text(LINE)
        + broken
        + ("" if broken.endswith("\n") else "\n")
        + json.dumps(other, separators=(",", ":"))
        + "\n"
    )


def test_what_is_broken_is_reported_with_its_place(runs, root, caplog):
    write(root / FILE, text(LINE) + '{"id": "run_1"')
    with caplog.at_level(logging.WARNING):
        runs.list()
    assert "threads/one/runs.jsonl:2:15" in caplog.text


def test_keys_that_a_person_added_stay(runs, root):
    write(root / FILE, text({**LINE, "note": "mine", "required_action": None}))
    runs.put(replace(RUN, status="completed"))
    assert lines(root)[-1]["note"] == "mine"
    assert "required_action" not in lines(root)[-1]


def test_a_copied_threads_runs_are_its_own(store, runs, root):
    runs.put(RUN)
    write(root / "threads/two/runs.jsonl", (root / FILE).read_bytes())
    assert store.runs("two").get("run_1").thread_id == "two"
    assert runs.get("run_1").thread_id == "one"


def test_a_link_that_leads_out_is_not_followed(runs, root, tmp_path):
    outside = tmp_path / "outside.jsonl"
    write(outside, text(LINE))
    (root / FILE).symlink_to(outside)
    with pytest.raises(FileUnreadable, match="leads out"):
        runs.list()
    with pytest.raises(FileUnreadable, match="leads out"):
        runs.put(RUN)
    assert outside.read_text() == text(LINE)


def test_what_is_no_file_is_said_to_be_unreadable(runs, root):
    (root / FILE).mkdir()
    with pytest.raises(FileUnreadable, match=r"threads/one/runs\.jsonl"):
        runs.list()


def test_an_unknown_thread_has_no_runs_and_gets_none(store, root):
    for act in (store.runs("none").list, lambda: store.runs("none").put(RUN)):
        with pytest.raises(NotFound):
            act()
    assert not (root / "threads/none").exists()


def test_one_at_a_time_answers_a_run(runs, root):
    claim = runs.claim("run_1")
    assert claim is not None
    elsewhere = Store(root, fsync=False).runs("one")
    assert elsewhere.claim("run_1") is None
    claim.release(forget=True)
    again = elsewhere.claim("run_1")
    assert again is not None
    again.release(forget=True)


def test_messages_and_threads_know_nothing_of_it(store, runs):
    before = [message.raw for message in store.messages("one").list()]
    runs.put(RUN)
    assert [message.raw for message in store.messages("one").list()] == before
    assert {thread.id for thread in store.threads.list()} == {"one", "two"}


@pytest.mark.parametrize("how", [{}, {"for_ever": True}, {"cut": True}])
def test_a_failed_write_leaves_the_runs_that_there_were(root, how):
    """For every changing call of the system: SQLite's method."""
    write(root / FILE, text(LINE))
    for nth in range(1, 20):
        system = FailingSystem(nth, **how)
        files = Files(fsync=True, system=system)
        new = replace(RUN, id=f"run_of_{nth}")
        before = Store(root, fsync=False).runs("one").list()
        try:
            Store(root, fsync=False, files=files).runs("one").put(new)
            was_put = True
        except JanError:
            was_put = False
        found = Store(root, fsync=False).runs("one").list()
        assert found[: len(before)] == before
        assert found[len(before) :] in ([[new]] if was_put else [[], [new]])
        if not system.has_failed:
            assert was_put
            break
    else:
        pytest.fail("it never came to its end")


def test_the_doctor_tells_what_is_broken(store, root):
    write(root / FILE, text(LINE) + "nonsense\n" + text({"id": "run_2"}) + '{"id": ')
    write(root / "threads/two/runs.jsonl", text(LINE))
    told = [str(finding) for finding in Doctor(store).examine(sums=False).findings]
    assert told == [
        "threads/one/runs.jsonl:2:1 expected a value",
        "threads/one/runs.jsonl:3:1 expected a run, with an id, a state and a model",
        "threads/one/runs.jsonl:4:8 ends too early",
    ]
