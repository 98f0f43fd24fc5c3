"""Chunks of this machine and of others say the same."""

from __future__ import annotations

import pytest

from jan_server.engines.base import Queued
from jan_server.errors import RemoteFailed
from jan_server.runs.hearing import Heard, hear
from jan_server.types.run import RunUsage


def test_one_that_waits_says_nothing():
    assert hear(Queued(ahead=2)) is None


@pytest.mark.parametrize(
    ("event", "heard"),
    [
        ({}, Heard()),
        ({"choices": [], "usage": None}, Heard()),
        ({"choices": [{"delta": {"role": "assistant", "content": None}}]}, Heard()),
        ({"choices": [{"index": 0, "delta": {"content": "hi"}, "x": 1}]}, Heard("hi")),
        ({"choices": [{"delta": {}, "finish_reason": "stop"}]}, Heard(reason="stop")),
        (
            {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "more": {}}},
            Heard(usage=RunUsage(prompt_tokens=1, completion_tokens=2)),
        ),
    ],
)
def test_what_another_server_says(event, heard):
    assert hear(event) == heard


def test_what_is_no_chunk_is_the_other_servers_fault():
    with pytest.raises(RemoteFailed):
        hear({"choices": "none"})
