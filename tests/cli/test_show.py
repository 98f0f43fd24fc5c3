from __future__ import annotations

import json
from functools import partial

import httpx2
import pytest
from gguf import GGUFReader

from jan_server.engines.memory import default_budget
from jan_server.settings import Settings
from tests.conftest import tree
from tests.running import served
from tests.tiny_gguf import CHATML, LAYERS, WIDTH, write_tiny_gguf

BUDGET = default_budget()


@pytest.fixture
def run(run, data_folder):
    return partial(run, "show", "--data-folder", str(data_folder))


@pytest.fixture
def show(run):
    """What `show ID --json` says."""

    def facts(id):
        done = run(id, "--json")
        assert (done.exit_code, done.stderr) == (0, "")
        return json.loads(done.stdout)

    return facts


@pytest.fixture
def tiny(write, data_folder):
    """Put a real model there; the path of its file."""

    def put(manifest=None, **options):
        write("models/tiny/model.json", {} if manifest is None else manifest)
        return write_tiny_gguf(data_folder / "models/tiny/tiny.gguf", **options)

    return put


def test_all_facts_of_a_model_are_told(show, tiny, data_folder):
    path = tiny({"name": "Mine", "settings": {"ctx_len": 128, "n_parallel": 2}})
    before = tree(data_folder)
    size = path.stat().st_size
    each = 48 * 2**20 + 2 * LAYERS * 128 * WIDTH // 2 * 2
    found = show("tiny")
    device, parameters = found["fit"].pop("device"), found["header"].pop("parameters")
    assert found == {
        "id": "tiny",
        "name": "Mine",
        "description": "",
        "state": "downloaded",
        "license": None,
        "source": None,
        "file": str(path),
        "size": size,
        "settings": {"ctx_len": 128, "n_parallel": 2},
        "parameters": {},
        "header": {
            "architecture": "llama",
            "name": "Tiny",
            "quantization": "F32",
            "context_length": 256,
            "embedding_length": WIDTH,
            "layers": LAYERS,
            "vocabulary": found["header"]["vocabulary"],
            "tensors": found["header"]["tensors"],
            "gguf_version": 3,
        },
        "chat_template": CHATML,
        "fit": {
            "runs": True,
            "fits": True,
            "budget": BUDGET,
            "engine": "ctransformers",
            "gpu_layers": 0,
            "weights": size,
            "contexts": 2 * each,
            "context_length": 128,
            "slots": 2,
            "memory": size + 2 * each,
            "note": None,
        },
        "answered_by": None,
        "problem": None,
    }
    assert device.startswith("ctransformers on cpu")
    assert parameters == sum(int(tensor.n_elements) for tensor in GGUFReader(path).tensors)
    assert tree(data_folder) == before


def test_a_person_reads_them_in_lines(run, tiny):
    tiny(
        {
            "description": "Says nothing.",
            "metadata": {"license": "MIT"},
            "settings": {"ctx_len": 128, "n_parallel": 1, "prompt_template": "a\nb"},
        }
    )
    done = run("tiny")
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[:2] == ["Tiny", "Says nothing."]
    for line in (
        "license MIT",
        "settings ctx_len 128, n_parallel 1",
        "architecture llama",
        "quantization F32",
        "context 256 tokens",
        f"template {len(CHATML)} characters (show --template)",
        "GPU layers none",
        "fits yes",
    ):
        assert line in lines
    [memory] = [line for line in lines if line.startswith("memory ")]
    assert memory.endswith("for 1 slot of 128 tokens")


def test_the_template_alone_is_printed_as_it_is(run, tiny):
    tiny(chat_template="{{ messages }}\n\x1b[31m")
    assert run("tiny", "--template").stdout == "{{ messages }}\n\x1b[31m\n"


def test_a_file_without_a_template_has_none(run, tiny):
    tiny(chat_template=None)
    done = run("tiny", "--template")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "No chat template has the id 'tiny'. Its file has none." in done.stderr
    assert "none" in run("tiny").stdout


def test_one_that_is_not_here_is_estimated(show, run, data_folder):
    data_folder.mkdir()
    found = show("smollm2-135m-instruct")
    assert found["state"] == "not_downloaded"
    assert (found["license"], found["size"]) == ("Apache-2.0", 98_362_432)
    assert (found["file"], found["header"], found["chat_template"]) == (None, None, None)
    fit = found["fit"]
    assert (fit["runs"], fit["engine"], fit["memory"]) == (True, "ctransformers", 118_034_918)
    assert "An estimate" in fit["note"]
    assert "about 118.0 MB" in run("smollm2-135m-instruct").stdout
    assert "Its file is not here." in run("smollm2-135m-instruct", "--template").stderr


def test_with_a_name_of_jans_for_the_engine_it_is_estimated_for_the_first_choice(show, write):
    source = {"url": "https://example.com/m.gguf", "size": 10**9}
    write("models/m/model.json", {"engine": "nitro", "sources": [source]})
    assert show("m")["fit"]["engine"] == "ctransformers"


def test_more_than_the_budget_does_not_fit_and_says_what_helps(show, run, write, tiny):
    write(".jan_server/settings.toml", 'memory-budget = "1MB"')
    tiny()
    fit = show("tiny")["fit"]
    assert (fit["runs"], fit["fits"], fit["budget"], fit["slots"]) == (True, False, 10**6, 1)
    assert "A smaller ctx_len or n_parallel" in fit["note"]
    assert "no" in run("tiny").stdout


@pytest.mark.parametrize(
    ("manifest", "options", "reason"),
    [
        ({"engine": "ctransformers"}, {"architecture": "qwen2"}, "architecture is 'qwen2'"),
        ({"engine": "nobody"}, {}, "No engine is called 'nobody'"),
    ],
)
def test_what_no_engine_runs_says_why_not(show, run, tiny, manifest, options, reason):
    tiny(manifest, **options)
    fit = show("tiny")["fit"]
    assert (fit["runs"], fit["fits"], fit["engine"]) == (False, False, None)
    assert reason in fit["note"]
    lines = [" ".join(line.split()) for line in run("tiny").stdout.splitlines()]
    assert "runs no" in lines


def test_a_broken_file_says_what_is_wrong_with_it(show, write):
    write("models/m/m.gguf", "nonsense")
    found = show("m")
    assert (found["header"], found["fit"]["runs"]) == (None, False)
    assert "m.gguf cannot be used" in found["fit"]["note"]
    assert found["problem"] == found["fit"]["note"]


def test_an_engine_without_weights_takes_nothing(show, echo):
    fit = show("echo")["fit"]
    assert (fit["engine"], fit["memory"], fit["fits"], fit["note"]) == ("echo", 0, True, None)


@pytest.mark.parametrize("remote", [True, False])
def test_one_that_another_server_answers_says_where(show, run, write, remote):
    if remote:
        write("engines/far.json", {"full_url": "http://10.0.0.7:8000/v1/chat/completions"})
    write("models/m/model.json", {"engine": "openai" if not remote else "far"})
    found = show("m")
    assert found["fit"] is None
    if remote:
        assert found["answered_by"] == "http://10.0.0.7:8000"
        assert "Answered by another server, at http://10.0.0.7:8000." in run("m").stdout
    else:
        assert "engines/openai.json is not there" in found["problem"]
        assert "engines/openai.json is not there" in run("m").stdout


def test_the_state_is_the_running_servers(show, echo, data_folder):
    with served(Settings(data_folder=data_folder, fsync=False)) as url:
        httpx2.post(f"{url}/v1/models/echo/start", timeout=60).raise_for_status()
        assert show("echo")["state"] == "running"


def test_an_unknown_model_is_a_failure(run, echo):
    done = run("nope")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "No model has the id 'nope'" in done.stderr


def test_what_a_file_says_cannot_speak_to_the_terminal(run, tiny):
    tiny({"name": "\x1b[2J", "description": "\x9b"}, extra_metadata={"general.license": "\x1b"})
    assert not set("\x1b\x9b") & set(run("tiny").stdout)
