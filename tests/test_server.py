"""The server as a process: what it prints, what stops it, what it cannot start with."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from threading import Event, Thread

import pytest

from jan_server import server
from jan_server.app import create_app
from jan_server.errors import SettingsInvalid
from jan_server.server import address, bind, serve_until
from tests.running import Command, served


def start(data_folder, *more):
    return Command("serve", "--port", "0", "--data-folder", data_folder, *more)


@contextmanager
def chat(base, text, *, stream=True):
    """The response of a chat with the echo engine, its body not read yet."""
    host = base.removeprefix("http://")
    body = {"model": "echo", "stream": stream, "messages": [{"role": "user", "content": text}]}
    with closing(http.client.HTTPConnection(host, timeout=60)) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        with closing(connection.getresponse()) as response:
            yield response


def chat_status(base, text):
    with chat(base, text, stream=False) as response:
        return response.status


def test_it_prints_a_line_each_for_address_folder_and_model_and_ctrl_c_stops_it(data_folder):
    with start(data_folder) as command:
        lines = [command.read_line() for _ in range(3)]
        base = lines[0].split()[1]
        with urllib.request.urlopen(f"{base}/healthz") as answer:
            assert json.load(answer)["status"] == "ok"
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(60) == 0
        assert command.process.stdout.read() == ""
    assert lines[0].endswith("(Ctrl-C stops)")
    assert lines[1] == f"data folder: {data_folder} (--data-folder)"
    assert lines[2].startswith("model: smollm2-135m-instruct cannot answer yet")
    assert "python -m jan_server pull smollm2-135m-instruct" in lines[2]


def test_sigterm_lets_a_running_answer_end(data_folder, echo):
    with start(data_folder) as command:
        base = command.read_line().split()[1]
        with chat(base, "[[slow 0.2]] one two three four") as response:
            first = response.readline()
            command.process.send_signal(signal.SIGTERM)
            rest = response.read()
        assert command.process.wait(60) == 0
    assert first.startswith(b"data: ")
    assert rest.endswith(b"data: [DONE]\n\n")
    assert b"four" in rest


def test_who_has_sent_half_a_request_is_left_without_a_traceback(data_folder):
    head = b"POST /v1/threads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    with start(data_folder) as command:
        base = command.read_line().split()[1]
        host, port = base.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as half:
            half.sendall(head + b'{"title"')
            with urllib.request.urlopen(f"{base}/healthz"):
                pass  # Half a request that came before it has been begun.
            command.process.send_signal(signal.SIGTERM)
            assert command.process.wait(60) == 0
        assert "Traceback" not in command.process.stderr.read()


def test_what_fails_in_the_event_loop_is_told(settings, caplog):
    async def serve_and_fail():
        stop = asyncio.Event()
        with bind("127.0.0.1", 0) as sock:
            serving = asyncio.create_task(serve_until(stop, create_app(settings), sock))
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_exception_handler({"message": "something failed"})
            stop.set()
            await serving

    asyncio.run(serve_and_fail())
    assert caplog.messages == ["something failed"]


def test_the_second_ctrl_c_stops_at_once(data_folder, echo):
    with start(data_folder) as command:
        base = command.read_line().split()[1]
        with chat(base, "[[slow 5]] one two three") as response:
            response.readline()
            command.process.send_signal(signal.SIGINT)
            # The first is taken when new chats are refused: two at once could count as one.
            while chat_status(base, "x") != 503:
                pass
            command.process.send_signal(signal.SIGINT)
            assert command.process.wait(60) == 130


def test_an_answer_that_outlasts_the_draining_ends_with_an_error_event(settings, echo, monkeypatch):
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.2)
    begun, answers = Event(), []

    def read_to_the_end(base):
        with chat(base, "[[slow 0.1]] " + "word " * 500) as response:
            response.readline()
            begun.set()
            answers.append(response.read().decode())

    with served(settings) as base:
        reader = Thread(target=read_to_the_end, args=[base])
        reader.start()
        assert begun.wait(60)
    reader.join(60)
    *_, last, end = answers[0].split("\n\n")
    assert (json.loads(last.removeprefix("data: "))["error"]["code"], end) == ("shutting_down", "")


def test_a_port_in_use_is_one_line_and_exit_code_2(data_folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "jan_server", "--port", port, "--data-folder", data_folder],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert f"port {port}" in line
    assert "--port" in line


def test_a_folder_that_cannot_be_used_is_one_line_and_exit_code_2(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    done = subprocess.run(
        [sys.executable, "-m", "jan_server", "--port", "0", "--data-folder", tmp_path / "file"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert f"The data folder {tmp_path / 'file'} cannot be used" in line


@pytest.mark.parametrize(
    ("settings_text", "arguments", "words"),
    [
        ("prot = 1", [], ["Unknown setting 'prot'"]),
        ("port = = 1", [], ["settings.toml cannot be read"]),
        ("", ["--host", "0.0.0.0"], ["--api-key"]),
        ("", ["--port", "99999"], ["between 0 and 65535"]),
    ],
)
def test_broken_settings_are_one_line_and_exit_code_2(
    data_folder, write, settings_text, arguments, words
):
    write(".jan_server/settings.toml", settings_text)
    done = subprocess.run(
        [sys.executable, "-m", "jan_server", "--data-folder", data_folder, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    for word in words:
        assert word in line


def test_an_unknown_option_is_wrong_usage():
    done = subprocess.run(
        [sys.executable, "-m", "jan_server", "--prot", "1"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--prot" in done.stderr


def test_a_client_that_leaves_stops_the_work(settings, echo):
    with served(settings) as base:
        with chat(base, "[[slow 0.2]] " + "word " * 500) as response:
            response.readline()
        began = time.monotonic()
        assert chat_status(base, "next") == 200
        assert time.monotonic() - began < 60  # All of it would take 100.


def test_the_engine_killed_mid_answer_is_a_last_error_event_and_the_next_request_works(
    settings, echo
):
    with served(settings) as base:
        with chat(base, "one two [[die]] three") as response:
            *_, last, end = response.read().decode().split("\n\n")
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_died"
        assert end == ""
        assert chat_status(base, "again") == 200


def test_the_engine_killed_before_a_plain_answer_is_a_503(settings, echo):
    with served(settings) as base:
        with chat(base, "one [[die]] two", stream=False) as answer:
            assert answer.status == 503
            assert answer.getheader("retry-after") == "1"
            assert json.load(answer)["error"]["code"] == "engine_died"
        assert chat_status(base, "again") == 200


def test_a_body_of_11_mib_is_a_413_that_urllib_can_read(settings):
    with served(settings) as base:
        request = urllib.request.Request(f"{base}/v1/threads", data=b"x" * (11 * 2**20))
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=60)
    with closing(caught.value) as answer:
        assert answer.code == 413
        assert json.load(answer)["error"]["code"] == "body_too_large"


def test_a_body_of_11_mib_is_a_413_that_curl_can_read(settings, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b"x" * (11 * 2**20))
    with served(settings) as base:
        done = subprocess.run(
            [
                "curl",
                "-sS",
                "-w",
                "%{http_code}",
                "--data-binary",
                f"@{body}",
                f"{base}/v1/threads",
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0
    assert done.stdout.endswith("413")


def test_ipv6_addresses_are_written_in_brackets():
    with bind("::1", 0) as sock:
        assert address(sock).startswith("http://[::1]:")


def test_an_address_of_another_machine_cannot_be_bound():
    with pytest.raises(SettingsInvalid, match="Cannot listen on"):
        bind("203.0.113.1", 8080)
