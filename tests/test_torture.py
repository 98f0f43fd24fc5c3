"""Acknowledged changes outlive a killed server; and what would be a loss is seen as one."""

from __future__ import annotations

import json
import shutil
from itertools import islice

import pytest

from jan_server.settings import Settings
from jan_server.torture import judge, torture
from jan_server.torture.record import GONE, Fact, Record, Thread
from jan_server.torture.victim import Victim, VictimFailed
from tests.running import served


def line(id="m1", text="hello"):
    return json.dumps({"id": id, "content": [{"type": "text", "text": {"value": text}}]}) + "\n"


@pytest.fixture
def folder(write):
    """A thread as it must be after two messages were acknowledged."""
    write("threads/a/thread.json", {"id": "a", "title": "first"})
    return write("threads/a/messages.jsonl", line("m1") + line("m2")).parent


@pytest.fixture
def record():
    record = Record()
    messages = {"m1": Fact({"hello"}), "m2": Fact({"hello"})}
    record.threads["a"] = Thread("a", 0, Fact({"first"}), messages)
    record.touch_all()
    return record


def kinds(findings):
    return [finding.kind for finding in findings]


def test_ten_kills_lose_nothing_and_leave_nothing(tmp_path):
    seen = []
    outcome = torture(
        10, folder=tmp_path / "new", seed=7, on_round=lambda done, _: seen.append(done)
    )
    assert outcome.findings == []
    assert sum(outcome.acknowledged.values()) > 0  # How many depends on the machine.
    assert seen == list(range(1, 11))
    assert list((tmp_path / "new").iterdir()) == []


def test_a_loss_ends_it_and_the_folder_is_kept(tmp_path):
    lost = []

    def lose_a_thread(_done, record):
        # A server that was killed early may not have made one.
        there = (id for id, thread in record.threads.items() if thread.title.is_there)
        for id in islice(there, 1):
            [data] = tmp_path.glob("*/data")
            shutil.rmtree(data / "threads" / id)
            lost.append(id)

    while not lost:
        outcome = torture(1, folder=tmp_path, on_round=lose_a_thread)
    assert kinds(outcome.findings) == ["lost"]
    assert list(tmp_path.iterdir()) == [outcome.folder]


def test_a_server_that_does_not_start_again_is_a_finding(tmp_path):
    def break_settings(done, _record):
        if done == 1:
            [data] = tmp_path.glob("*/data")
            (data / ".jan_server" / "settings.toml").write_text("no such = thing")

    outcome = torture(2, folder=tmp_path, on_round=break_settings)
    [finding] = outcome.findings
    assert finding.what == f"The server does not start: see {outcome.folder}/server.log."
    assert "settings.toml cannot be read" in (outcome.folder / "server.log").read_text()


def test_what_the_clients_were_told_is_on_the_disk(folder, data_folder, record):
    assert judge.check_disk(data_folder, record) == []


def change_title(folder):
    (folder / "thread.json").write_text('{"title": "another"}')


def cut_thread(folder):
    (folder / "thread.json").write_text('{"title": "fir')


def remove(folder):
    shutil.rmtree(folder)


def copy_to_trash(folder):
    shutil.copytree(folder, folder.parents[1] / ".jan_server/trash/t/threads/a")


def move_to_trash(folder):
    copy_to_trash(folder)
    remove(folder)


def messages(*lines):
    def write(folder):
        (folder / "messages.jsonl").write_text("".join(lines))

    return write


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (change_title, ["lost"]),
        (cut_thread, ["unreadable", "lost"]),
        (remove, ["lost"]),
        (copy_to_trash, ["lost"]),
        (move_to_trash, ["lost"]),
        (messages(line("m1")), ["lost"]),
        (messages(line("m1"), line("m2", "other")), ["lost"]),
        (messages(line("m1"), line("m2")[:-1]), ["unreadable", "lost"]),
        (messages(line("m1"), line("m2"), '{"id": "m'), ["unreadable"]),
        (messages(line("m1"), '{"id": "m\n', line("m2")), ["unreadable"]),
        (messages(line("m1"), line("m2"), line("m2")), ["unreadable"]),
        (messages(line("m1"), line("m2"), '{"id": "m3", "content": []}\n'), ["unreadable"]),
        (messages(line("m1"), line("m2"), line("m3")), ["half-made"]),
    ],
)
def test_damage_is_found(folder, data_folder, record, damage, found):
    damage(folder)
    assert kinds(judge.check_disk(data_folder, record)) == found


def test_a_folder_that_nobody_asked_for_is_found(folder, data_folder, record):
    folder.with_name("b").mkdir()
    assert kinds(judge.check_disk(data_folder, record)) == ["half-made"]


def test_a_deletion_that_was_acknowledged_must_stay_one(folder, data_folder, record):
    record.threads["a"].title.settle(GONE)
    assert kinds(judge.check_disk(data_folder, record)) == ["lost"]
    move_to_trash(folder)
    record.threads["a"].title.settle(GONE)
    assert judge.check_disk(data_folder, record) == []


@pytest.mark.parametrize("there", [True, False])
def test_what_was_not_answered_may_be_there_and_stays_as_it_was_found(
    folder, data_folder, record, there
):
    record.threads["a"].messages["m3"] = fact = Fact()
    fact.begin("new")
    messages(line("m1"), line("m2"), *[line("m3", "new")] * there)(folder)
    assert judge.check_disk(data_folder, record) == []
    assert fact == Fact({"new" if there else GONE})
    messages(line("m1"), line("m2"), *[line("m3", "new")] * (not there))(folder)
    assert kinds(judge.check_disk(data_folder, record)) == ["lost"]


def test_a_line_that_was_not_answered_may_be_cut_off(folder, data_folder, record):
    record.threads["a"].messages["m3"] = fact = Fact()
    fact.begin("new")
    messages(line("m1"), line("m2"), line("m3", "new")[:20])(folder)
    assert judge.check_disk(data_folder, record) == []
    # And stays so until somebody appends.
    assert judge.check_disk(data_folder, record) == []


def test_a_creation_that_was_not_answered_is_whole_or_not_there(folder, data_folder, write):
    record = Record()
    thread = Thread("", 0, Fact({"first"}), {"m1": Fact({"hello"}), "m2": Fact({"hello"})})
    record.begin_creating("first", thread)
    assert judge.check_disk(data_folder, record) == []
    assert record.threads == {"a": thread}
    messages(line("m1"))(folder)
    assert kinds(judge.check_disk(data_folder, record)) == ["lost"]


def test_a_refusal_is_no_change(record):
    fact = Fact({"old"})
    fact.begin("new")
    fact.refuse("new")
    assert fact == Fact({"old"})


def test_what_a_server_shows_is_compared_with_the_disk(folder, data_folder, record, write):
    with served(Settings(data_folder=data_folder, fsync=False)) as url:
        port = int(url.rpartition(":")[2])
        assert judge.check_api(data_folder, record, port) == []
        # A folder without a document is not shown: somebody left the half of one.
        (data_folder / "threads" / "half").mkdir()
        messages(line("m1"), "{}\n", line("m2"))(folder)
        found = judge.check_api(data_folder, record, port)
    assert [finding.what for finding in found] == [
        "listed are ['a'], there are ['a', 'half']",
        "a is shown with 3 messages of 2",
    ]


def test_an_answer_that_is_an_error_is_a_finding(folder, data_folder, record):
    (folder / "thread.json").write_text("{")
    with served(Settings(data_folder=data_folder, fsync=False)) as url:
        [*_, last] = judge.check_api(data_folder, record, int(url.rpartition(":")[2]))
    assert last.kind == "unexpected"
    assert "GET /v1/threads/a was answered 500" in last.what


def test_a_port_that_never_comes_is_no_long_wait(tmp_path):
    (tmp_path / "data").write_text("no folder")
    with Victim(tmp_path) as victim, pytest.raises(VictimFailed):
        victim.wait()
