"""Measure all, print the table, write `bench/results.md`; exit with 1 when a bound is missed."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bench import chat, listen, load
from bench.figure import report, table
from bench.subject import Subject

MEASURES = (listen.measure, load.measure, chat.measure)
HERE = Path(__file__).parent


@click.command()
@click.option(
    "--data-folder",
    type=click.Path(path_type=Path, exists=True),
    default=HERE.parent / "data",
    help="A data folder that holds the model. Default: the sample one.",
)
@click.option("--model", default="smollm2-135m-instruct", help="Which model answers.")
def main(data_folder: Path, model: str) -> None:
    subject = Subject(data_folder=data_folder, model=model)
    try:
        subject.spec()
    except FileNotFoundError as error:
        sys.exit(str(error))
    figures = [figure for measure in MEASURES for figure in measure(subject)]
    print(table(figures))
    (HERE / "results.md").write_text(report(figures, model=model), encoding="utf-8")
    sys.exit(not all(figure.passed for figure in figures))


# Not in click's own way, which says nothing of a connection that broke off.
main(standalone_mode=False)
