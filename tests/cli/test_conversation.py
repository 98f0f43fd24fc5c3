from __future__ import annotations

import pytest

from jan_server.cli.conversation import (
    Answer,
    ConversationInMemory,
    ConversationInThread,
    Piece,
)
from jan_server.cli.printer import Printer
from jan_server.errors import InvalidRequest


def chunk(finish=None, **delta):
    return {"choices": [{"delta": delta, "finish_reason": finish}]}


def test_chunks_become_an_answer():
    answer = Answer(model="m")
    pieces = [
        answer.take(each)
        for each in (
            chunk(role="assistant"),
            chunk(reasoning_content="Hm. "),
            chunk(reasoning_content="So."),
            chunk(content="Hel"),
            chunk(content="lo.", finish="stop"),
            {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}},
        )
    ]
    assert pieces[1:4] == [Piece(reasoning="Hm. "), Piece(reasoning="So."), Piece("Hel")]
    assert answer == Answer(
        model="m",
        content="Hello.",
        reasoning_content="Hm. So.",
        finish_reason="stop",
        prompt_tokens=5,
        completion_tokens=3,
    )


@pytest.mark.parametrize(
    "garbled", [{}, {"choices": None}, {"choices": ["x"]}, chunk(content=5), {"usage": None}]
)
def test_what_another_server_garbles_is_nothing(garbled):
    answer = Answer(model="m")
    assert answer.take(garbled) == Piece()
    assert answer == Answer(model="m")


def test_a_request_holds_what_was_said_before():
    conversation = ConversationInMemory("m", system="Be kind.", parameters={"temperature": 0})
    conversation.keep("first", Answer(model="m", content="one"))
    conversation.keep("unanswered", Answer(model="m"))
    assert repr(conversation) == "<ConversationInMemory with m, 2 turns>"
    assert conversation.request("second") == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "one"},
            {"role": "user", "content": "second"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
    }
    conversation.clear()
    assert len(conversation.request("third")["messages"]) == 2


def test_a_request_in_a_thread_adds_the_question_to_it():
    conversation = ConversationInThread("m", system="Be kind.", parameters={"temperature": 0})
    conversation.keep("first", Answer(model="m", content="one"))
    assert conversation.request("second") == {
        "model": "m",
        "additional_messages": [{"role": "user", "content": "second"}],
        "tools": [],
        "instructions": "Be kind.",
        "temperature": 0,
    }
    with pytest.raises(InvalidRequest, match="What is in a thread stays there"):
        conversation.clear()


def printed(capsys, *pieces, **options):
    printer = Printer(**options)
    for piece in pieces:
        printer.print(piece)
    printer.end()
    return capsys.readouterr().out


THOUGHT = (Piece(reasoning="Hm."), Piece("Hi\x1b."))


def test_elsewhere_than_on_a_terminal_the_answer_is_printed_as_it_is(capsys):
    assert printed(capsys, *THOUGHT) == "Hi\x1b.\n"
    assert printed(capsys, Piece("a\n")) == "a\n"
    assert printed(capsys) == ""
    assert printed(capsys, *THOUGHT, is_silent=True) == ""


def test_on_a_terminal_thoughts_are_dimmed_and_all_is_spelled_out(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = printed(capsys, Piece(reasoning="Hm\x1b."), Piece("Hi\x1b.\n"), Piece("x"))
    assert shown == "\x1b[2mHm\\x1b.\x1b[0m\n" + "Hi\\x1b.\nx\n"
