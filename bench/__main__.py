"""Measure all parts or some, print their tables, write `bench/results.md`; exit with 1 when a
bound is missed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click
from msgspec import Struct

from bench import (
    against,
    agreement,
    appends,
    chat,
    downloads,
    edits,
    features,
    killed,
    listen,
    lists,
    llama_cpp,
    load,
    messages,
    models,
    plotted,
    results,
    runs,
    sampling,
    scale,
    search,
    threads,
    titles,
)
from bench.figure import Figure, table
from bench.folder import place
from bench.subject import Subject
from jan_server.engines.ctransformers import builds

DATA = Path(__file__).parent.parent / "data"


class Part(Struct, frozen=True):
    """`why` is said below the table when a bound is missed: what a profile shows."""

    title: str
    measure: Callable[[Subject], list[Figure]]
    needs_model: bool = False
    is_usual: bool = True
    why: str = ""


AGAINST = """\
Decoding is bound by arithmetic, not by memory: it reads 18 GB of weights and cache a second where
two threads can read 30. One token takes 10 ms of one thread and 5.5 of two, which wait for each
other at each of some thousand steps; the second one is begun anew for each token (0.3 ms). Behind
700 tokens half the time are dot products of weights, a fifth those of the cache, and a sixth is
waiting. Two tokens at once take 1.8 times as long as one and four 3.2 times, so tokens that are
guessed from the prompt would gain nothing. Tried: 2 MiB pages for the weights (no more than what
reading the file anew brings), one thread (0.6 of two), the library built with AVX-512 and its dot
products (a few percent slower), with loops unrolled, at link time, with `-Ofast` (all the same).
"""

APPENDS = """\
The disk is not the limit (16 threads that only write and flush do 23,000 a second where this was
profiled), one interpreter is. Of 0.83 ms of processor time an append (by thread, machine busy) the
event loop takes 0.38, of which the peer has 0.2 as well; taking the thread's lock, making the line,
writing and noting it 0.27; flushing 0.08; hearing of it from the system 0.10 (since then half as
much for each path that is told). Seven appends share a round. Each of some 25 system calls an
append hands the interpreter's lock over and back: alone in a process the store's part takes 0.15 to
0.2 ms. So 1,300/s need a tenth less than this, and 0.6 of the peer's rate 0.3 ms for all of it:
what Hypercorn and one lock, open, write and flush take by themselves, which is out of reach in one
interpreter. Tried without gain: writing on the event loop and only flushing elsewhere (0.77 ms
instead of 0.81), half as many threads that flush, shorter and longer turns of the interpreter.
"""

PARTS = {
    "listen": Part("Start", listen.measure),
    "load": Part("Loading a model", load.measure, needs_model=True),
    "chat": Part("Chat", chat.measure, needs_model=True),
    "sampling": Part("Sampling", sampling.measure, needs_model=True),
    "features": Part("Schemas, cancelling, waiting", features.measure, needs_model=True),
    "against": Part("Against llama-server", against.measure, needs_model=True, why=AGAINST),
    "plot": Part("Over the length of the context", plotted.measure, needs_model=True),
    "llama-cpp": Part("The engine llama-cpp", llama_cpp.measure, needs_model=True),
    "agreement": Part("Agreement with llama.cpp", agreement.measure, needs_model=True),
    "list": Part("The list of threads", lists.measure),
    "thread": Part("One thread", threads.measure),
    "messages": Part("Messages", messages.measure),
    "runs": Part("Runs", runs.measure),
    "append": Part("Durable appends", appends.measure, why=APPENDS),
    "events": Part("Hand edits told", edits.measure),
    "scale": Part("Many threads", scale.measure),
    "search": Part("Search", search.measure),
    "models": Part("Models", models.measure),
    "title": Part("What a change leaves untouched", titles.measure),
    "download": Part("Downloads", downloads.measure),
    "torture": Part("Killed again and again", killed.measure, is_usual=False),
}


@click.command()
@click.option(
    "--data-folder",
    type=click.Path(path_type=Path, exists=True),
    default=DATA,
    help="A data folder that holds the model. Default: the sample one.",
)
@click.option("--model", default="smollm2-135m-instruct", help="Which model answers.")
@click.option(
    "--only",
    type=click.Choice(list(PARTS)),
    multiple=True,
    help="This part, and others that are named so. Default: all but torture.",
)
def main(data_folder: Path, model: str, only: tuple[str, ...]) -> None:
    subject = Subject(data_folder=data_folder, model=model)
    names = only or tuple(name for name, part in PARTS.items() if part.is_usual)
    if any(PARTS[name].needs_model for name in names):
        _check_model(subject)
    passed = [_run(name, subject) for name in names]
    sys.exit(not all(passed))


def _check_model(subject: Subject) -> None:
    try:
        subject.spec()
    except FileNotFoundError as error:
        sys.exit(str(error))


def _run(name: str, subject: Subject) -> bool:
    """Measure a part and write its section; whether every bound was kept."""
    part = PARTS[name]
    figures = part.measure(subject)
    passed = all(figure.passed for figure in figures)
    shown = table(figures, command=f"python -m bench --only {name}")
    if part.why and not passed:
        shown += f"\n{part.why}\n"
    click.echo(f"{part.title}\n\n{shown}")
    order = [part.title for part in PARTS.values()]
    results.write({part.title: f"{_on_what(part, subject)}\n\n{shown}"}, order=order)
    return passed


def _on_what(part: Part, subject: Subject) -> str:
    if part.needs_model:
        device = builds.device(subject.spec())
        return f"Model: {subject.model} on {device}. Machine: {results.machine()}."
    system = results.file_system(place()) or "an unnamed file system"
    return f"Data folders on {system}. Machine: {results.machine()}."


# Not in click's own way, which says nothing of a connection that broke off.
main(standalone_mode=False)
