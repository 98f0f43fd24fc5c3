"""Arguments that are ids of something in the data folder, which shells complete.

Little is read for that, so it is fast; whatever goes wrong, nothing is offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from jan_server.cli.options import find_folder
from jan_server.errors import JanError

F = TypeVar("F", bound=Callable[..., Any])


def complete_models(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Those of the data folder, then those of the catalogue."""
    from jan_server import catalogue

    return _beginning(incomplete, (*_models(ctx), *catalogue.load()))


def complete_threads(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Those that people filed are offered by the names of their folders."""
    return _beginning(incomplete, (where.rpartition("/")[2] for where in _threads(ctx)))


def model_argument(command: F) -> F:
    """The command gets `model`, an id."""
    return click.argument("model", shell_complete=complete_models)(command)


def thread_argument(command: F) -> F:
    """The command gets `thread`, an id."""
    return click.argument("thread", shell_complete=complete_threads)(command)


def _beginning(incomplete: str, ids: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(id) for id in dict.fromkeys(ids) if id.startswith(incomplete)]


def _models(ctx: click.Context) -> Iterator[str]:
    from jan_server.store import Store

    try:
        models = Store(_folder(ctx), read_only=True).models.list()
        yield from (document.id for document in models)
    except (OSError, JanError):
        return


def _threads(ctx: click.Context) -> Iterator[str]:
    """Where they are; what is in them is not looked at: there may be very many."""
    from jan_server.store.paths import THREADS, Place

    try:
        place = Place(_folder(ctx), THREADS)
        yield from (found.where for found in place.walk() if found.is_resource)
    except (OSError, JanError):
        return


def _folder(ctx: click.Context) -> Path:
    return find_folder(ctx.params.get("data_folder")).path
