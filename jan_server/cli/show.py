"""`show ID`: what a model is, and whether it runs here; or `facts.Facts` as JSON."""

from __future__ import annotations

from collections.abc import Iterator

import click

from jan_server.cli.arguments import model_argument
from jan_server.cli.backend import models_of, open_backend
from jan_server.cli.facts import Facts, HeaderFacts, facts
from jan_server.cli.fit import Fit
from jan_server.cli.options import (
    api_key_option,
    data_folder_option,
    find_settings,
    json_option,
)
from jan_server.cli.output import print_json, print_text, size
from jan_server.engines.memory import default_budget
from jan_server.errors import NotFound
from jan_server.printable import printable

Pair = tuple[str, str | None]


@click.command()
@model_argument
@click.option("--template", is_flag=True, help="Print the file's chat template, and nothing else.")
@data_folder_option
@api_key_option
@json_option
def command(
    model: str, data_folder: str | None, api_key: str | None, template: bool, as_json: bool
) -> None:
    """Show what a MODEL is: its file, its header, and whether it runs on this machine.

    JSON: {id, name, description, state, license, source, file, size, settings, parameters, header,
    chat_template, fit, answered_by, problem}; sizes in bytes, what is not known null.
    """
    settings = find_settings(data_folder, api_key=api_key)
    with open_backend(settings) as backend:
        states = backend.states()
    models = models_of(settings)
    known = models.get(model)
    found = facts(
        models,
        known,
        state=states.get(known.id, known.state),
        budget=settings.memory_budget or default_budget(),
    )
    if template:
        _print_template(found)
    elif as_json:
        print_json(found)
    else:
        click.echo("\n".join(told(found)))


def _print_template(facts: Facts) -> None:
    if facts.chat_template is None:
        hint = "Its file has none." if facts.file else "Its file is not here."
        raise NotFound("chat template", facts.id, hint=hint)
    print_text(facts.chat_template)


def told(facts: Facts) -> Iterator[str]:
    """The lines for a person."""
    yield printable(facts.name)
    if facts.description:
        yield printable(facts.description)
    yield ""
    yield from _lines(_model(facts))
    if facts.header:
        yield from ("", "Header")
        yield from _lines(_header(facts.header, facts.chat_template))
    if facts.fit:
        yield from ("", "On this machine")
        yield from _lines(_fit(facts.fit))
    elif facts.answered_by:
        yield from ("", f"Answered by another server, at {printable(facts.answered_by)}.")
    if facts.problem and not facts.fit:
        yield printable(facts.problem)


def _lines(pairs: Iterator[Pair]) -> Iterator[str]:
    for name, value in pairs:
        if value:
            yield f"  {name:<14} {printable(value)}"


def _model(facts: Facts) -> Iterator[Pair]:
    yield "id", facts.id
    yield "state", facts.state
    yield "file", facts.file
    yield "size", size(facts.size)
    yield "source", facts.source
    yield "license", facts.license
    for name, values in (("settings", facts.settings), ("parameters", facts.parameters)):
        yield name, ", ".join(f"{key} {value}" for key, value in values.items() if _is_short(value))


def _is_short(value: object) -> bool:
    """Texts of several lines, such as templates, are left to `--json`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number or (isinstance(value, str) and "\n" not in value)


def _header(header: HeaderFacts, template: str | None) -> Iterator[Pair]:
    yield "architecture", header.architecture
    yield "parameters", _counted(header.parameters)
    yield "quantization", header.quantization
    yield "context", f"{header.context_length:,} tokens" if header.context_length else None
    yield "layers", str(header.layers or "")
    yield "embedding", str(header.embedding_length or "")
    yield "vocabulary", f"{header.vocabulary:,} tokens" if header.vocabulary else None
    yield "template", f"{len(template):,} characters (show --template)" if template else "none"


def _counted(parameters: int) -> str:
    for unit, factor in (("billion", 10**9), ("million", 10**6), ("thousand", 10**3)):
        if parameters >= factor:
            return f"{parameters / factor:.1f} {unit}"
    return str(parameters)


def _fit(fit: Fit) -> Iterator[Pair]:
    if not fit.runs:
        yield "runs", "no"
    else:
        yield "runs", f"yes, {fit.device}"
        yield "GPU layers", str(fit.gpu_layers) if fit.gpu_layers else "none"
        yield "memory", _memory(fit)
        yield "fits", "yes" if fit.fits else "no"
    yield "note", fit.note


def _memory(fit: Fit) -> str:
    within = f"of {size(fit.budget)} for all models"
    if fit.contexts is None or fit.slots is None:
        return f"about {size(fit.memory)} {within}"
    slots = "1 slot" if fit.slots == 1 else f"{fit.slots} slots"
    return (
        f"{size(fit.memory)} {within}: weights {size(fit.weights)}, and {size(fit.contexts)} for "
        f"{slots} of {fit.context_length:,} tokens"
    )
