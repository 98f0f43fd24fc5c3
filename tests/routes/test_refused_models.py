"""Files that the engine cannot run: 422 with the reason, while the server and others go on."""

from __future__ import annotations

import os

import pytest

from tests.tiny_gguf import write_tiny_gguf


def ask(client, model):
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
    return client.post("/v1/chat/completions", json=body)


def cut_short(path):
    write_tiny_gguf(path)
    path.write_bytes(path.read_bytes()[:-2000])


def random_bytes(path):
    path.write_bytes(os.urandom(5000))


def header_then_random(path):
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + os.urandom(5000))


def text(path):
    path.write_text("<html>Not found</html>\n" * 50)


def empty(path):
    path.write_bytes(b"")


def another_architecture(path):
    write_tiny_gguf(path, architecture="llama9")


FILES = {
    cut_short: ["cut short"],
    random_bytes: ["GGUF"],
    header_then_random: ["damaged"],
    text: ["web page"],
    empty: ["m.gguf"],
    another_architecture: ["llama.cpp refuses", "llama9"],
}


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_such_a_file_is_a_422_that_says_why_and_others_go_on(client, echo, data_folder, make):
    folder = data_folder / "models" / "bad"
    folder.mkdir(parents=True)
    make(folder / "m.gguf")

    answer = ask(client, "bad")

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "model_cannot_run")
    for word in FILES[make]:
        assert word in answer.json()["message"]
    assert ask(client, echo).status_code == 200
