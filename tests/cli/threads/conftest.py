from __future__ import annotations

import json

import pytest


@pytest.fixture
def run(run, data_folder):
    """`run("list", "--json")` in the data folder."""

    def threads(*arguments):
        return run("threads", *arguments, "--data-folder", str(data_folder))

    return threads


@pytest.fixture
def chat(write):
    """Put a thread there: `chat("jan_1", "Title", line, line)`; a text is a user's message."""

    def put(id, title=None, *lines, **keys):
        keys = {**keys, **({"title": title} if title is not None else {})}
        write(f"threads/{id}/thread.json", keys)
        whole = [line if line.startswith(("{", "[")) else message(line) for line in lines]
        write(f"threads/{id}/messages.jsonl", "".join(f"{line}\n" for line in whole))

    return put


def message(text, **keys):
    return json.dumps({"role": "user", "content": text, **keys})
