"""What `examples/` shows, works."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from jan_server.engines.base import ModelSpec
from jan_server.settings import Settings
from tests.conftest import tree
from tests.engines.contract import EngineContract
from tests.running import served

EXAMPLES = Path(__file__).parent.parent / "examples"
SAMPLE = EXAMPLES.parent / "data"


def run(base, *command):
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "JAN_URL": f"{base}/v1", "PYTHONPATH": str(EXAMPLES.parent)},
    )
    logged = [line for line in done.stderr.splitlines() if " INFO jan_server." not in line]
    assert (done.returncode, logged) == (0, [])
    return done.stdout


@pytest.mark.model
def test_chat_and_stream_answer_paris(smollm2_folder):
    with served(Settings(data_folder=smollm2_folder, fsync=False)) as base:
        plain = json.loads(run(base, EXAMPLES / "chat.sh"))
        assert "Paris" in plain["choices"][0]["message"]["content"]
        streamed = run(base, sys.executable, EXAMPLES / "stream.py")
        assert plain["choices"][0]["message"]["content"] in streamed
        assert "(smollm2-135m-instruct: 8 tokens)" in streamed


@pytest.mark.model
def test_structured_output_is_what_was_asked_for(smollm2_folder):
    with served(Settings(data_folder=smollm2_folder, fsync=False)) as base:
        said = run(base, sys.executable, EXAMPLES / "structured_output.py")
    assert re.fullmatch(
        r".+ is the capital of .+, in (Africa|America|Asia|Europe|Oceania)\.\n"
        r"In the year 1[0-9]{3}\.\n",
        said,
    )


@pytest.mark.model
def test_an_assistant_looks_up_the_weather_and_its_run_is_kept(smollm2_folder):
    with served(Settings(data_folder=smollm2_folder, fsync=False)) as base:
        called, *said, last = run(base, sys.executable, EXAMPLES / "assistants.py").splitlines()
    arguments, result = re.fullmatch(r"get_weather\((.*)\) = (.*)", called).groups()
    assert result == f"It is sunny in {json.loads(arguments)['city']}, 21 degrees."
    # A very small model may call again, or be at its bound.
    thread, status = re.fullmatch(
        r"\((.+): (completed|requires_action|incomplete)\)", last
    ).groups()
    lines = (smollm2_folder / "threads" / thread / "runs.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["status"] == status
    kept = (smollm2_folder / "threads" / thread / "messages.jsonl").read_text()
    assert (
        "\n".join(said).strip() in json.loads(kept.splitlines()[-1])["content"][0]["text"]["value"]
    )


@pytest.mark.model
def test_a_function_is_called_as_its_schema_says_and_its_result_is_told(smollm2_folder):
    with served(Settings(data_folder=smollm2_folder, fsync=False)) as base:
        forced, called, offered, *_ = run(base, sys.executable, EXAMPLES / "tools.py").splitlines()
    assert forced == "required: tool_calls: "
    name, arguments, result = re.fullmatch(r"(\w+)\((.*)\) = (.*)", called).groups()
    arguments, result = json.loads(arguments), json.loads(result)
    assert (name, arguments.keys()) == ("get_weather", {"city", "unit"})
    assert arguments["unit"] in ("celsius", "fahrenheit")
    assert (result["city"], result["sky"]) == (arguments["city"], "sunny")
    assert offered.startswith(("auto: stop: ", "auto: tool_calls: "))


def test_threads_are_kept_and_deleted(settings):
    with served(settings) as base:
        said = run(base, sys.executable, EXAMPLES / "threads.py").splitlines()
    assert said[:2] == ["user: Remember the milk.", "user: And the bread."]
    assert said[2].endswith("is in the trash")


def test_a_thread_is_made_mended_and_spoilt_by_hand(settings, data_folder):
    with served(settings) as base:
        said = run(base, sys.executable, EXAMPLES / "thread_by_hand.py", data_folder)
    commands = ("$", "GET", "PATCH")
    assert [line for line in said.splitlines() if not line.startswith(commands)] == [
        "    user: Remember the milk.",
        "    user: Remember the bread.",
        "    assistant: I will.",
        '"title": "Saturday", "mood": "hungry"',
        "    user: Remember the bread.",
        "    assistant: I will.",
        "threads/shopping/messages.jsonl:3:1 expected a value",
        "    threads/shopping/thread.json:2:1: ends too early. Mend the file by hand; "
        "nothing was written.",
    ]
    assert [line for line in said.splitlines() if line.startswith("GET /threads/shopping: ")] == [
        "GET /threads/shopping: Shopping",
        "GET /threads/shopping: Saturday",
        "GET /threads/shopping: Sunday",
        "GET /threads/shopping: No thread has the id 'shopping'.",
    ]


def test_another_server_answers_by_two_files(settings, data_folder):
    with served(settings) as base:
        said = run(base, sys.executable, EXAMPLES / "remote_engine.py", data_folder)
        assert said.splitlines() == [
            "wrote engines/cluster.json",
            "wrote models/on-the-cluster/model.json",
            "Hello from one machine to many.",
            "(on-the-cluster: 6 tokens)",
        ]
    assert set(tree(data_folder)) == set()


def test_a_running_server_is_put_in_front_of_one_that_is_named(settings, tmp_path):
    behind = tmp_path / "behind"
    model = behind / "models" / "echo" / "model.json"
    model.parent.mkdir(parents=True)
    settings_of_model = {"prompt_template": "{prompt}"}
    model.write_text(json.dumps({"engine": "echo", "settings": settings_of_model}))
    with served(settings) as base, served(Settings(data_folder=behind, api_key="k")) as there:
        arguments = [settings.data_folder, f"{there}/v1", "echo", "k"]
        said = run(base, sys.executable, EXAMPLES / "remote_engine.py", *arguments)
    assert said.splitlines()[2] == "Hello from one machine to many."


def test_an_engine_of_ones_own_answers(settings):
    with served(settings) as base:
        assert run(base, sys.executable, EXAMPLES / "custom_engine.py") == "IS IT ON?\n"


class TestTheCustomEngineIsOne(EngineContract):
    prompt = "are all of these words loud enough"

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls):
        module = runpy.run_path(str(EXAMPLES / "custom_engine.py"))
        loaded = module["Shout"]().load(ModelSpec(id="m", engine="shout", ctx_len=64, slots=2))
        yield loaded
        loaded.close()


def test_what_happens_is_printed_until_the_server_stops(data_folder):
    thread = data_folder / "threads" / "shopping"
    thread.mkdir(parents=True)
    with ExitStack() as stack:
        with served(Settings(data_folder=data_folder, fsync=False)) as base:
            watching = subprocess.Popen(
                [sys.executable, EXAMPLES / "watch_events.py"],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "JAN_URL": f"{base}/v1"},
            )
            lines = stack.enter_context(watching).stdout
            assert lines.readline() == "watching\n"
            run(base, "curl", "-sS", f"{base}/v1/threads")  # The first look at the folder is over.
            (thread / "thread.json").write_text("{}")
            assert lines.readline() == "thread.created shopping (file)\n"
            line = {"role": "user", "content": "Remember the milk.", "id": "m1"}
            run(base, "curl", "-sS", f"{base}/v1/threads/shopping/messages", "-d", json.dumps(line))
            said = iter(lines.readline, "thread.message.created m1 (api) Remember the milk.\n")
            assert all("shopping" in told for told in said)
        assert lines.read().endswith("The server is shutting down.\n")
    assert watching.returncode == 0


def test_a_chat_by_file_is_answered_in_the_file(data_folder, echo):
    settings = Settings(data_folder=data_folder, fsync=False, default_model=echo)
    with served(settings) as base:
        run(base, "curl", "-sS", f"{base}/v1/threads")
        environment = {**os.environ, "JAN_DATA_FOLDER": str(data_folder)}
        command = [sys.executable, EXAMPLES / "chat_by_file.py", "Hello", "there"]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=True
        )
    assert done.stdout == "Hello there\n"
    lines = (data_folder / "threads/by-file/messages.jsonl").read_text().splitlines()
    assert [json.loads(line)["role"] for line in lines] == ["user", "assistant"]


def test_the_sample_folder_is_served_whole_and_left_as_it_is(tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(SAMPLE, folder, ignore=shutil.ignore_patterns(".jan_server", "*.gguf"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with served(Settings(data_folder=folder, fsync=False)) as base:
        threads = json.loads(run(base, "curl", "-sS", f"{base}/v1/threads"))
        for thread in threads:
            listed = run(base, "curl", "-sS", f"{base}/v1/threads/{thread['id']}/messages")
            assert json.loads(listed)["data"]
        assistants = json.loads(run(base, "curl", "-sS", f"{base}/v1/assistants"))
        models = json.loads(run(base, "curl", "-sS", f"{base}/v1/models?state=all"))
    assert len(threads) >= 3
    assert [assistant["id"] for assistant in assistants] == ["jan"]
    assert "smollm2-135m-instruct" in {model["id"] for model in models["data"]}
    assert {path: path.read_bytes() for path in before} == before
