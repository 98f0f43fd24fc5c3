"""A chat in the terminal, and one answer to a prompt that is given."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import aclosing, contextmanager

import httpx2
import pytest
from click.testing import CliRunner

from jan_server import cli
from jan_server.cli.conversation import ConversationInThread
from jan_server.cli.thread_answering import AnswerFailed, open_thread_answering
from jan_server.runs import states
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.store import formats
from tests.cli.sockets import a_server_that, answering
from tests.cli.terminal import Terminal
from tests.running import served
from tests.tiny_gguf import write_tiny_gguf

# What stands between the prompt and what follows it on the screen.
PROMPT = ">>> "


SLOW = "one [[slow 0.05]] " + "x " * 400 + "end"


@pytest.fixture(params=["folder", "server"])
def backend(request, echo, data_folder):
    """Once a server runs on the folder, once none does; its address, or nothing."""
    if request.param == "folder":
        yield ""
    else:
        with served(Settings(data_folder=data_folder, fsync=False)) as url:
            yield url


@pytest.fixture
def run(data_folder):
    """`run`, with `text` coming through a pipe."""

    def invoke(*arguments, text=""):
        given = ["run", *arguments, "--data-folder", str(data_folder)]
        return CliRunner().invoke(cli.main, given, input=text)

    return invoke


@pytest.fixture
def chat(data_folder):
    """A chat at a terminal, at its first prompt; it is to be at one again at the end.

    (Between two prompts the terminal edits lines itself, and a Ctrl-D there is lost.)
    """

    @contextmanager
    def begin(*arguments, **options):
        with Terminal("run", "echo", *arguments, "--data-folder", data_folder, **options) as begun:
            begun.wait_for(PROMPT)
            yield begun
            if begun.process.poll() is None:
                begun.type("\x04")
            assert begun.wait_for_the_end() == 0

    return begin


# --- one answer ------------------------------------------------------------------------------


def test_one_prompt_is_answered_on_stdout_and_nothing_else(run, backend):
    done = run("echo", "Hello you.\x1b[31m\tx")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "Hello you.\x1b[31m\tx\n", "")


@pytest.mark.parametrize(
    ("arguments", "text", "answer"),
    [
        ((), "From a pipe.\n", "From a pipe.\n"),
        (("Say this:",), "From a pipe.\n", "Say this:\n\nFrom a pipe.\n"),
        (("Just this.",), "", "Just this.\n"),
    ],
)
def test_text_comes_through_a_pipe_below_the_prompt(run, echo, arguments, text, answer):
    assert run("echo", *arguments, text=text).stdout == answer


def test_bytes_that_are_no_text_are_marked(run, echo, data_folder):
    assert run("echo", text=b"a\xffb").stdout == "a\ufffdb\n"
    assert run("echo", "a\udcffb").stdout == "a\ufffdb\n"
    assert "\ufffd" in run("echo", "Hi.", "--system", "\udcff").stdout


def test_there_may_be_no_input_at_all(run, echo, data_folder):
    command = f"{sys.executable} -m jan_server run echo Hi. --data-folder {data_folder} <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hi.\n", "")


def test_json_is_one_object(run, backend):
    assert json.loads(run("echo", "Hello you.", "--json").stdout) == {
        "model": "echo",
        "content": "Hello you.",
        "reasoning_content": None,
        "finish_reason": "stop",
        "prompt_tokens": 2,
        "completion_tokens": 2,
    }


def test_parameters_go_with_the_request(run, backend):
    done = run("echo", "one two three four", "--max-tokens", "2")
    assert (done.exit_code, done.stdout) == (0, "one two \n")
    assert "The answer was cut off" in done.stderr
    assert run("echo", "one two three", "--stop", "two", "--stop", "x").stdout == "one \n"
    assert run("echo", "x", "--temperature", "3").exit_code == 2


def test_a_system_message_is_said_first(run, backend, write):
    template = "{system_message}|{prompt}"
    write("models/echo/model.json", {"engine": "echo", "settings": {"prompt_template": template}})
    assert run("echo", "Hi.", "--system", "Be kind.").stdout == "Be kind.|Hi.\n"


def test_nothing_to_answer_is_wrong_usage(run, echo):
    for prompt in ((), ("",)):
        done = run("echo", *prompt, text="\n")
        assert (done.exit_code, done.stdout) == (2, "")
        assert "the prompt is empty" in done.stderr


@pytest.mark.parametrize(
    ("model", "code", "reason"),
    [
        ("nope", 1, "No model has the id 'nope'"),
        ("smollm2-135m-instruct", 1, "not downloaded. Get it with: python -m jan_server pull"),
        ("a\\b", 1, "is not a valid model id"),
    ],
)
def test_a_model_that_cannot_answer_is_one_line(run, backend, model, code, reason):
    done = run(model, "Hi.")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert reason in done.stderr


def test_a_data_folder_that_is_not_there_is_not_made(run, data_folder):
    assert (run("echo", "Hi.").exit_code, data_folder.exists()) == (2, False)


def test_what_fails_midway_is_one_line_after_what_came(run, backend):
    done = run("echo", "one two [[fail]] three")
    assert (done.exit_code, done.stdout) == (1, "one two \n")
    assert done.stderr.startswith("jan_server: The engine failed")
    died = run("echo", "one [[die]]")
    assert (died.exit_code, died.stderr.count("\n")) == (1, 1)


def test_a_prompt_that_is_too_long_is_one_line(run, backend):
    done = run("echo", "x " * 3000)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "The prompt is too long: it has 3000 tokens" in done.stderr


def test_the_key_of_the_server_is_needed(run, echo, data_folder):
    with served(Settings(data_folder=data_folder, fsync=False, api_key="secret")):
        refused = run("echo", "Hi.")
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "demands its API key" in refused.stderr
        assert run("echo", "Hi.", "--api-key", "secret").stdout == "Hi.\n"


def test_a_model_that_takes_long_to_load_is_waited_for(run, echo, write):
    write(".jan_server/settings.toml", "load-patience = 0")
    assert run("echo", "Hi.").stdout == "Hi.\n"


def test_one_that_another_server_answers_is_asked_there(run, echo, write, tmp_path):
    far = tmp_path / "far"
    (far / "models").mkdir(parents=True)
    (far / "models/echo").symlink_to(tmp_path / "jan/models/echo")
    with served(Settings(data_folder=far, fsync=False)) as url:
        write("engines/far.json", {"full_url": f"{url}/v1/chat/completions"})
        write("models/there/model.json", {"engine": "far", "settings": {"remote_model": "echo"}})
        done = run("there", "Hi.")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "Hi.\n", "")


HALF = b'data: {"choices": [{"delta": {"content": "Half"}}]}\n\n'


@pytest.mark.parametrize(
    ("events", "kind", "printed", "reason"),
    [
        (HALF, "text/event-stream", "Half\n", "broke off its answer"),
        (HALF + b"data: {\n\n", "text/event-stream", "Half\n", "does not understand"),
        (b"{}", "application/json", "", "cannot be reached"),
    ],
)
def test_an_answer_that_breaks_off_is_a_failure(
    run, echo, data_folder, events, kind, printed, reason
):
    with a_server_that(data_folder, answering(events, kind=kind)):
        done = run("echo", "Hi.")
    assert (done.exit_code, done.stdout, reason in done.stderr) == (1, printed, True)


def test_separators_of_lines_that_json_leaves_alone_are_text(run, backend):
    assert run("echo", "a\u2028b\x85c\u2029d").stdout == "a\u2028b\x85c\u2029d\n"


def test_a_parameter_that_cannot_be_is_one_line(run, backend):
    done = run("echo", "Hi.", "--seed", "9" * 30)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "seed" in done.stderr or "integer" in done.stderr


def test_a_folder_that_may_not_be_written_to_is_only_read(
    run, echo, data_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # As for another user than root, who may write everywhere.
    monkeypatch.setattr("os.access", lambda _path, mode: mode != os.W_OK)
    assert run("echo", "Hi.").stdout == "Hi.\n"
    assert not (data_folder / ".jan_server").exists()


def test_a_real_model_is_fitted_in_the_folder_and_answers(run, write, data_folder):
    write("models/tiny/notes.txt", "mine")
    write_tiny_gguf(data_folder / "models/tiny/tiny.gguf")
    options = ("--max-tokens", "4", "--seed", "1", "--temperature", "0", "--json")
    [first, second] = (json.loads(run("tiny", "Hello", *options).stdout) for _ in range(2))
    assert first == second
    assert first["completion_tokens"] == 4
    assert len(list((data_folder / ".jan_server/fitted").rglob("*.gguf"))) == 1


def test_with_read_only_settings_nothing_is_written(run, echo, data_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = data_folder / ".jan_server/settings.toml"
    settings.parent.mkdir()
    settings.write_text("read-only = true")
    assert run("echo", "Hi.").stdout == "Hi.\n"
    assert list(settings.parent.iterdir()) == [settings]


def test_ctrl_c_stops_one_answer_with_130(data_folder, backend):
    command = [sys.executable, "-m", "jan_server", "run", "echo", "one [[slow 0.05]] " + "x " * 900]
    with subprocess.Popen(
        [*command, "--data-folder", str(data_folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(3) == b"one"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stdout.read().endswith(b"\n")
        assert process.stderr.read() == b""


# --- a chat ----------------------------------------------------------------------------------


def test_a_chat_goes_on_until_bye(chat, backend):
    with chat() as terminal:
        assert f"echo, answered by {f'the server at {backend}' if backend else 'this command'}" in (
            terminal.shown
        )
        terminal.type("Hello you.\n")
        terminal.wait_for("\nHello you.\n")
        terminal.wait_for(PROMPT)
        terminal.type("\n")
        terminal.wait_for(PROMPT)
        terminal.type("/bye\n")
        assert terminal.wait_for_the_end() == 0


def test_what_was_said_before_goes_with_the_next_question(chat, write, backend):
    write("models/echo/model.json", {"engine": "echo"})  # Its template shows the whole chat.
    with chat("--system", "Be kind.") as terminal:
        terminal.type("first question\n")
        terminal.wait_for(PROMPT)
        terminal.type("second\n")
        answer = terminal.wait_for(PROMPT)
        assert "Be kind." in answer
        assert "first question" in answer
        terminal.type("/clear\n")
        terminal.wait_for(PROMPT)
        terminal.type("third\n")
        assert "first question" not in terminal.wait_for(PROMPT)


def test_ctrl_c_stops_the_answer_and_nothing_else(chat, backend):
    with chat() as terminal:
        terminal.type(SLOW + "\n")
        terminal.wait_for("\none [[slow")
        terminal.type("\x03")
        stopped = terminal.wait_for(PROMPT)
        assert "end" not in stopped
        terminal.type("/clear\n")
        terminal.wait_for(PROMPT)
        terminal.type("again\n")
        terminal.wait_for("\nagain\n")
        terminal.wait_for(PROMPT)
        if backend:
            [seen] = httpx2.get(f"{backend}/healthz").json()["loaded"]
            assert seen["busy"] == 0


def test_ctrl_c_at_the_prompt_says_how_to_end(chat, echo):
    with chat() as terminal:
        terminal.type("half a que")
        terminal.wait_for("half a que")
        terminal.type("\x03")
        terminal.wait_for("(Ctrl-D or /bye ends the chat.)", again="\x03")
        terminal.wait_for(PROMPT)
        terminal.type("whole\n")
        terminal.wait_for("\nwhole\n")
        terminal.wait_for(PROMPT)


@pytest.mark.parametrize(
    ("typed", "question"),
    [
        (['"""one\n', "two\n", 'three"""\n'], "one\ntwo\nthree"),
        (['"""\n', "\n", "one\n", '"""\n'], "one"),
        (["one\\\n", "two\n"], "one\ntwo"),
        (["\x1b[200~one\ntwo\x1b[201~\n"], "one\ntwo"),
    ],
)
def test_a_question_may_have_several_lines(chat, echo, typed, question):
    with chat() as terminal:
        for index, line in enumerate(typed):
            if index:
                terminal.wait_for("... ")
            terminal.type(line)
        terminal.wait_for(f"\n{question}\n{PROMPT}")


def test_lines_that_are_pasted_are_one_question_where_pastes_are_not_marked(chat, echo):
    with chat(env={"TERM": "dumb"}) as terminal:
        terminal.type("one\ntwo\nthree\n")
        terminal.wait_for("one\ntwo\nthree\n")
        terminal.wait_for(PROMPT)


def test_an_error_does_not_end_the_chat(chat, backend):
    with chat() as terminal:
        terminal.type("one [[fail]]\n")
        terminal.wait_for("jan_server: The engine failed")
        terminal.wait_for(PROMPT)
        terminal.type("again\n")
        terminal.wait_for("\nagain\n")
        terminal.wait_for(PROMPT)


def test_an_answer_cannot_speak_to_the_terminal(chat, echo):
    with chat() as terminal:
        # Ctrl-V takes the next key as it is.
        terminal.type("a\x16\x1b]0;x\x16\x07b\n")
        terminal.wait_for(r"a\x1b]0;x\x07b")
        terminal.wait_for(PROMPT)


def test_bytes_that_are_no_text_do_not_end_a_chat(chat, echo):
    with chat(env={"TERM": "dumb"}) as terminal:
        terminal.type_bytes(b"a\xe4b\n")
        terminal.wait_for(PROMPT)
        terminal.type("again\n")
        terminal.wait_for(PROMPT)


def test_json_needs_a_prompt(data_folder, echo):
    with Terminal("run", "echo", "--json", "--data-folder", data_folder) as terminal:
        assert terminal.wait_for_the_end() == 2
        assert "--json is for one answer" in terminal.shown


def test_a_prompt_at_a_terminal_is_answered_without_waiting_for_more(data_folder, echo):
    with Terminal("run", "echo", "Hello.", "--data-folder", data_folder) as terminal:
        assert terminal.wait_for_the_end() == 0
        assert "Hello.\n" in terminal.shown


# --- in a thread -----------------------------------------------------------------------------


@pytest.fixture
def said(write):
    """What is said in the thread `trip`, as pairs of role and text; nothing yet."""
    path = write("threads/trip/thread.json", {"title": "Trip"}).with_name("messages.jsonl")

    def read():
        lines = path.read_text().splitlines() if path.exists() else []
        values = [json.loads(line) for line in lines]
        return [(value["role"], formats.message_text(value)) for value in values]

    return read


def test_a_thread_is_gone_on_with_and_keeps_what_is_said(run, backend, write, said):
    write("models/echo/model.json", {"engine": "echo"})  # Its template shows the whole chat.
    write("threads/trip/messages.jsonl", '{"role":"user","content":"Where to?"}')
    done = run("echo", "When?", "--thread", "trip", "--system", "Be kind.", "--temperature", "0")
    assert (done.exit_code, done.stderr) == (0, "")
    assert all(text in done.stdout for text in ("Be kind.", "Where to?", "When?"))
    assert said() == [("user", "Where to?"), ("user", "When?"), ("assistant", done.stdout)]


def test_an_answer_in_a_thread_is_the_same_json(run, backend, said):
    done = run("echo", "one two three", "--thread", "trip", "--max-tokens", "2", "--json")
    assert json.loads(done.stdout) == {
        "model": "echo",
        "content": "one two ",
        "reasoning_content": None,
        "finish_reason": "length",
        "prompt_tokens": 3,
        "completion_tokens": 2,
    }
    assert "The answer was cut off" in done.stderr


def test_what_a_reply_in_a_thread_cannot_take_is_wrong_usage(run, echo, said):
    done = run("echo", "When?", "--thread", "trip", "--repeat-penalty", "2")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--repeat-penalty does not go with --thread" in done.stderr
    assert said() == []


@pytest.mark.parametrize(
    ("thread", "reason"),
    [("nope", "No thread has the id 'nope'"), ("a/b", "is not a valid thread id")],
)
def test_a_thread_that_is_not_there_is_not_made(run, backend, said, data_folder, thread, reason):
    done = run("echo", "When?", "--thread", thread)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert reason in done.stderr
    assert [path.name for path in (data_folder / "threads").iterdir()] == ["trip"]


def test_a_reply_that_fails_is_one_line_and_the_question_stays(run, backend, said):
    done = run("echo", "one two [[fail]] three", "--thread", "trip")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "one two \n", 1)
    assert done.stderr.startswith("jan_server: The engine failed")
    assert said() == [("user", "one two [[fail]] three"), ("assistant", "one two ")]


def test_a_reply_needs_a_folder_that_may_be_written_to(
    run, echo, write, said, monkeypatch, tmp_path_factory
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    write(".jan_server/settings.toml", "read-only = true")
    done = run("echo", "When?", "--thread", "trip")
    assert (done.exit_code, "read-only" in done.stderr) == (1, True)
    assert said() == []


def test_a_chat_in_a_thread_stops_an_answer_and_nothing_else(chat, backend, said, data_folder):
    with chat("--thread", "trip") as terminal:
        terminal.type(SLOW + "\n")
        terminal.wait_for("\none [[slow")
        terminal.type("\x03")
        assert "end" not in terminal.wait_for(PROMPT)
        *_, last = (data_folder / "threads/trip/runs.jsonl").read_text().splitlines()
        assert json.loads(last)["status"] == "cancelled"
        terminal.type("/clear\n")
        assert "What is in a thread stays there" in terminal.wait_for(PROMPT)
    [_, (role, text)] = said()
    assert (role, text[:4], "end" in text) == ("assistant", "one ", False)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"object": "thread.run", "id": 5}, "what is not understood"),
        ({"object": "thread.run.step"}, "broke off its answer"),
        ("[DONE]", "nobody began it"),
    ],
)
def test_a_run_that_is_not_understood_is_a_failure(run, echo, data_folder, said, data, reason):
    events = f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()
    with a_server_that(data_folder, answering(events, kind="text/event-stream")):
        done = run("echo", "When?", "--thread", "trip")
    assert (done.exit_code, done.stdout, reason in done.stderr) == (1, "", True)


def test_an_answer_that_others_cancel_has_failed_and_is_left_alone(backend, said, data_folder):
    settings = Settings(data_folder=data_folder, fsync=False)
    question = ConversationInThread("echo", system=None, parameters={}).request

    async def ask_and_cancel(*, leave):
        answering = await open_thread_answering(settings, "trip")
        runs = Services(settings).runs
        async with aclosing(answering.stream(question(SLOW))) as chunks:
            await anext(chunks)
            [*_, run] = await runs.list("trip")
            await runs.cancel("trip", run.id)
            while leave and states.is_active(run):
                await asyncio.sleep(0.05)
                run = await runs.get("trip", run.id)
            while not leave:
                await anext(chunks)
        await answering.close()

    asyncio.run(ask_and_cancel(leave=True))
    with pytest.raises(AnswerFailed, match=r"The answer has ended: cancelled\."):
        asyncio.run(ask_and_cancel(leave=False))
