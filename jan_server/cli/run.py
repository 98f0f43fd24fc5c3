"""`run ID`: a chat in the terminal, or one answer to a prompt that is given.

The chat is kept in memory and forgotten at its end, or is a thread. Ctrl-C stops the answer that is
being given, and nothing else; Ctrl-D or /bye ends the chat.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

import click

from jan_server.cli.answering import Answering, Body, open_answering, patiently
from jan_server.cli.arguments import complete_threads, model_argument
from jan_server.cli.backend import models_of
from jan_server.cli.conversation import (
    Answer,
    Conversation,
    ConversationInMemory,
    ConversationInThread,
)
from jan_server.cli.options import (
    api_key_option,
    check_there,
    data_folder_option,
    find_settings,
    json_option,
)
from jan_server.cli.output import print_json
from jan_server.cli.printer import Printer
from jan_server.cli.questions import enable_editing, read_question
from jan_server.cli.thread_answering import open_thread_answering
from jan_server.errors import JanError
from jan_server.printable import printable
from jan_server.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])
Asking = Callable[[str, Printer], tuple[Answer, bool]]
"""Of a question: the answer, and whether it is whole."""

INTERRUPTED = 130
END = "/bye"
CLEAR = "/clear"
HELP = (
    f"Ctrl-D or {END} ends the chat, Ctrl-C stops an answer, {CLEAR} begins anew. "
    'A \\ at the end of a line, or """ around several, make one question of them.'
)

PARAMETERS: tuple[tuple[str, Any, str], ...] = (
    ("temperature", click.FloatRange(0, 2), "0 takes the likeliest token always."),
    ("top-p", click.FloatRange(0, 1), "Only the likeliest tokens that together have it."),
    ("top-k", click.IntRange(0), "Only so many of the likeliest tokens; 0 is off."),
    ("min-p", click.FloatRange(0, 1), "Only tokens with that share of the likeliest's chance."),
    ("repeat-penalty", click.FloatRange(0.001, 1000), "Above 1 for fewer repetitions."),
    ("max-tokens", click.IntRange(1), "The longest that an answer may be."),
    ("seed", int, "The same seed gives the same answer."),
)
"""Options that go into the request under their own names."""

OF_RUNS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_completion_tokens",
}
"""Those that a reply in a thread takes, and how OpenAI calls them there."""


def parameter_options(command: F) -> F:
    for name, type, help in reversed(PARAMETERS):
        command = click.option(f"--{name}", type=type, metavar="N", help=help)(command)
    return command


@click.command()
@model_argument
@click.argument("prompt", required=False)
@click.option("--system", metavar="TEXT", help="What the model is told before the chat.")
@click.option(
    "--thread",
    metavar="ID",
    shell_complete=complete_threads,
    help="Go on with this thread: what is said is kept in it.",
)
@parameter_options
@click.option("--stop", multiple=True, metavar="TEXT", help="An answer ends before it.")
@data_folder_option
@api_key_option
@json_option
def command(
    model: str,
    prompt: str | None,
    system: str | None,
    thread: str | None,
    data_folder: str | None,
    api_key: str | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Chat with a MODEL in the terminal, or have it answer one PROMPT.

    The running server answers; without one, this command loads the model itself. With a PROMPT, or
    text from a pipe (of both, the text comes below the prompt), there is one answer and no chat.
    The chat is kept in memory only, but for --thread: there what you say and the answers are
    messages of the thread, as in its file; what the options do not say is the thread's.

    In a chat, a backslash at the end of a line goes on in the next, as do three double quotes
    until there are three again. Ctrl-C stops the answer and nothing else, Ctrl-D or /bye ends the
    chat, /clear begins a new one.

    JSON, of one answer: {model, content, reasoning_content, finish_reason, prompt_tokens,
    completion_tokens}. The exit code is 130 when Ctrl-C stopped it.
    """
    settings = find_settings(data_folder, api_key=api_key)
    question = None if prompt is None and _is_chat() else _question(_as_text(prompt))
    if question is None and as_json:
        raise click.UsageError("--json is for one answer: give a PROMPT.")
    said = {name: value for name, value in parameters.items() if value not in (None, ())}
    if thread is not None:
        said = _of_run(said)
    check_there(settings)
    ready = models_of(settings).ready(model)
    begin = ConversationInMemory if thread is None else ConversationInThread
    conversation = begin(ready.id, system=_as_text(system), parameters=said)
    with asyncio.Runner() as runner:
        answering = runner.run(_open(settings, thread))
        asking = partial(_ask, runner, answering, conversation)
        try:
            if question is None:
                _chat(conversation, answering.where, asking)
            else:
                _answer_once(question, asking, as_json=as_json)
        finally:
            runner.run(answering.close())


def _of_run(said: Mapping[str, Any]) -> dict[str, Any]:
    """Those parameters as a run names them."""
    for name in said:
        if name not in OF_RUNS:
            option = name.replace("_", "-")
            raise click.UsageError(
                f"--{option} does not go with --thread: say it in the thread's thread.json, "
                "in the parameters of its assistant's model."
            )
    return {OF_RUNS[name]: value for name, value in said.items()}


async def _open(settings: Settings, thread: str | None) -> Answering:
    if thread is None:
        return await open_answering(settings)
    return await open_thread_answering(settings, thread)


def _is_chat() -> bool:
    return _is_typed() and sys.stdout.isatty()


def _is_typed() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _question(prompt: str | None) -> str:
    """The prompt, and below it what comes through a pipe."""
    piped = "" if prompt is not None and _is_typed() else _piped()
    question = "\n\n".join(filter(None, [prompt, piped.strip()]))
    if not question.strip():
        raise click.UsageError("There is nothing to answer: the prompt is empty.")
    return question


def _piped() -> str:
    """Empty when there is no such thing as an input (`<&-`); bytes that are no text are marked."""
    if sys.stdin is None:
        return ""
    return sys.stdin.buffer.read().decode(errors="replace")


def _as_text(argument: str | None) -> str | None:
    """Without the surrogates that stand for bytes of a command line that are no text."""
    return argument and os.fsencode(argument).decode(errors="replace")


def _answer_once(question: str, asking: Asking, *, as_json: bool) -> None:
    """Ends the program for an answer that was stopped."""
    answer, is_whole = asking(question, Printer(is_silent=as_json))
    if not is_whole:
        sys.exit(INTERRUPTED)
    if as_json:
        print_json(answer)
    _tell_of_a_cut(answer)


def _chat(conversation: Conversation, where: str, asking: Asking) -> None:
    enable_editing()
    click.echo(f"{printable(conversation.model)}, answered by {where}. {HELP}")
    while (question := _read_question()) != END:
        try:
            if question == CLEAR:
                conversation.clear()
            elif question:
                answer, _ = asking(question, Printer())
                _tell_of_a_cut(answer)
        except JanError as error:  # The chat goes on: perhaps only this question was too long.
            click.echo(f"jan_server: {printable(error.message)}", err=True)


def _read_question() -> str:
    """END for the end of input too; nothing for what Ctrl-C broke off."""
    try:
        question = read_question()
    except KeyboardInterrupt:
        click.echo(f"\n(Ctrl-D or {END} ends the chat.)")
        return ""
    if question is None:
        click.echo()
        return END
    return question


def _ask(
    runner: asyncio.Runner,
    answering: Answering,
    conversation: Conversation,
    question: str,
    printer: Printer,
) -> tuple[Answer, bool]:
    """The answer, and whether it is whole: Ctrl-C stops it, and what was said is kept.

    Raises JanError, and nothing is.
    """
    answer, is_whole = Answer(model=conversation.model), True
    try:
        runner.run(_take(answering, conversation.request(question), answer, printer))
    except KeyboardInterrupt:
        is_whole = False
    finally:
        printer.end()
    conversation.keep(question, answer)
    return answer, is_whole


async def _take(answering: Answering, body: Body, answer: Answer, printer: Printer) -> None:
    async with aclosing(patiently(answering, body)) as chunks:
        async for chunk in chunks:
            printer.print(answer.take(chunk))


def _tell_of_a_cut(answer: Answer) -> None:
    if answer.finish_reason == "length":
        click.echo("(The answer was cut off: --max-tokens, or the context is full.)", err=True)
